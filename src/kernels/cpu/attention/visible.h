// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the two ways to run attention share. Only for this folder's *.isa.cc files.
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/sums.h"
#include "kernels/cpu/vector_math.h"

namespace redline::kernels::REDLINE_ISA {

// So few queries leave most lanes idle; they go kRowGroup at a time with the keys in the lanes.
inline constexpr int64_t kFewQueries = kLanes / 2;
inline constexpr int kRowGroup = 4;
inline constexpr int64_t kRowKeys = 1024;

REDLINE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
REDLINE_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Keys [begin, end).
struct Range {
  int64_t begin, end;
};

REDLINE_INLINE Range visible(const AttentionArgs& a, int64_t batch, int64_t query) {
  constexpr int64_t kFar = int64_t{1} << 40;
  int64_t end = a.keys;
  int64_t position = query + a.past;
  if (a.lengths) {
    const int64_t valid = least(most(a.lengths[batch], -kFar), kFar);
    end = least(end, valid);
    position = query + valid - a.queries;
  }
  if (a.right_window >= 0) end = least(end, position + least(a.right_window, kFar) + 1);
  const int64_t begin = a.left_window >= 0 ? most(0, position - least(a.left_window, kFar)) : 0;
  end = most(end, 0);
  return {least(begin, end), end};
}

REDLINE_INLINE const float* mask_row(const AttentionArgs& a, int64_t batch, int64_t head,
                                     int64_t query) {
  if (!a.mask) return nullptr;
  return a.mask + batch * a.mask_strides.batch + head * a.mask_strides.head +
         query * a.mask_strides.row;
}

// Up to kRowGroup queries from `query` on, with kRowGroup * (kRowKeys + v_size) floats of scratch.
void attend_rows(const AttentionArgs& args, float* scratch, int64_t batch, int64_t head,
                 int64_t query);

}  // namespace redline::kernels::REDLINE_ISA
