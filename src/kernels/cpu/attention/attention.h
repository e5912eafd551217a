// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// softmax(q k^T * scale + mask) v of float32 heads on the CPU, with the softmax carried along the
// keys, so that no matrix of scores is ever whole.
//
// Operands need the alignment of float and must not overlap with y. Their strides are in elements;
// elements of one row are next to each other. Results do not depend on how units are given to
// threads. Nothing allocates.
namespace redline::kernels {

struct HeadStrides {
  int64_t batch = 0, head = 0, row = 0;
};

struct AttentionArgs {
  const float* q = nullptr;  // [batch][heads][queries][size]
  const float* k = nullptr;  // [batch][heads / group][keys][size]
  const float* v = nullptr;  // [batch][heads / group][keys][v_size]
  float* y = nullptr;        // [batch][heads][queries][v_size]
  HeadStrides q_strides, k_strides, v_strides, y_strides;
  int64_t batch = 0, heads = 0, group = 1;
  int64_t queries = 0, keys = 0;  // keys < 2^31
  int64_t size = 0, v_size = 0;
  float scale = 1;
  float softcap = 0;  // 0: none

  const float* mask = nullptr;  // added to the scores, [batch][heads][queries][keys], or null
  HeadStrides mask_strides;     // 0 where broadcast

  // Query i of a batch stands at i + offset; it sees keys from its position - left_window to its
  // position + right_window (-1: unbounded). The offset is `past`, or lengths[b] - queries; then
  // keys from lengths[b] on are hidden. A query that sees no key gets zeros.
  int64_t left_window = -1, right_window = -1;
  int64_t past = 0;
  const int64_t* lengths = nullptr;  // [batch], or null
};

struct AttentionKernels {
  // Work items, for [begin, end) below.
  int64_t (*units)(const AttentionArgs& args);
  // Floats of scratch memory, 64-byte aligned, that each thread needs.
  int64_t (*scratch_elems)(const AttentionArgs& args);
  void (*attention)(const AttentionArgs& args, float* scratch, int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const AttentionKernels& attention_kernels(Isa isa);

}  // namespace redline::kernels
