// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cpu/movement/movement.h"

namespace redline::kernels {
namespace {

struct Dim {
  int64_t size, src, dst;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t magnitude(int64_t a) { return a < 0 ? -a : a; }

// Pieces of a row of about 32 KB, so that one long row can be shared out among threads.
void cut_rows(CopyPlan* plan) {
  const int64_t n = plan->dims[plan->rank - 1];
  plan->chunk = std::min<int64_t>(n, 32768 / plan->elem_bytes);
  plan->chunks = ceil_div(n, plan->chunk);
  plan->outer_rank = plan->rank - 1;
  plan->units = plan->chunks;
}

void cut_tiles(CopyPlan* plan) {
  const int64_t rows = plan->dims[plan->rank - 2], n = plan->dims[plan->rank - 1];
  plan->tile_rows = std::min<int64_t>(rows, 4096 / std::min<int64_t>(n, 64));
  plan->tiles = ceil_div(rows, plan->tile_rows);
  plan->chunk = std::min<int64_t>(n, std::max<int64_t>(64, 4096 / plan->tile_rows));
  plan->chunks = ceil_div(n, plan->chunk);
  plan->outer_rank = plan->rank - 2;
  plan->units = plan->tiles * plan->chunks;
}

}  // namespace

const char* copy_plan(int rank, const int64_t* dims, const int64_t* src_strides,
                      const int64_t* dst_strides, int elem_bytes, CopyPlan* plan) {
  *plan = CopyPlan{};
  if (elem_bytes != 1 && elem_bytes != 2 && elem_bytes != 4 && elem_bytes != 8)
    return "copy: elements are not of 1, 2, 4 or 8 bytes";
  if (rank < 0 || rank > 64) return "copy: rank is not in 0..64";
  plan->elem_bytes = elem_bytes;
  Dim list[64];
  int count = 0;
  int64_t elems = 1;
  for (int d = 0; d < rank; ++d) {
    if (dims[d] < 0) return "copy: negative dim";
    if (dims[d] == 0) return nullptr;
  }
  for (int d = rank - 1; d >= 0; --d) {
    const int64_t src = src_strides ? src_strides[d] : elems;
    const int64_t dst = dst_strides ? dst_strides[d] : elems;
    if (__builtin_mul_overflow(elems, dims[d], &elems)) return "copy: too many elements";
    if (dims[d] == 1) continue;
    if (dst == 0) return "copy: two elements have the same place";
    list[count++] = {dims[d], src, dst};
  }
  plan->elems = elems;
  // Outermost first, by destination stride, so that writes are in order. By insertion: there are
  // few dims, mostly in order, and std::stable_sort may allocate.
  for (int d = 1; d < count; ++d)
    for (int k = d; k > 0 && magnitude(list[k].dst) > magnitude(list[k - 1].dst); --k)
      std::swap(list[k], list[k - 1]);
  int merged = 0;
  for (int d = 0; d < count; ++d) {
    if (merged > 0) {
      Dim& outer = list[merged - 1];
      if (outer.dst == list[d].dst * list[d].size && outer.src == list[d].src * list[d].size) {
        outer = {outer.size * list[d].size, list[d].src, list[d].dst};
        continue;
      }
    }
    list[merged++] = list[d];
  }
  if (merged == 0) list[merged++] = {1, 1, 1};
  if (merged > kMaxCopyRank) return "copy: rank above 8";

  const Dim last = list[merged - 1];
  int contiguous_in_src = -1;
  for (int d = 0; d < merged - 1; ++d)
    if (list[d].src == 1) contiguous_in_src = d;
  using Mode = CopyPlan::Mode;
  if (last.src == 1 && last.dst == 1) {
    plan->mode = Mode::kRows;
  } else if (last.src == 0 && last.dst == 1) {
    plan->mode = Mode::kFill;
  } else if (last.dst == 1 && contiguous_in_src >= 0) {
    plan->mode = Mode::kTranspose;
    std::rotate(list + contiguous_in_src, list + contiguous_in_src + 1, list + merged - 1);
  } else {
    plan->mode = Mode::kStrided;
  }
  plan->rank = merged;
  for (int d = 0; d < merged; ++d) {
    plan->dims[d] = list[d].size;
    plan->src_strides[d] = list[d].src;
    plan->dst_strides[d] = list[d].dst;
  }
  if (plan->mode == Mode::kTranspose) {
    cut_tiles(plan);
  } else {
    cut_rows(plan);
  }
  for (int d = 0; d < plan->outer_rank; ++d) plan->units *= plan->dims[d];
  return nullptr;
}

const char* transpose_plan(int rank, const int64_t* dims, const int64_t* perm, int elem_bytes,
                           CopyPlan* plan) {
  if (rank < 0 || rank > 64) return "transpose: rank is not in 0..64";
  int64_t dense[64], dst_dims[64], src_strides[64];
  bool used[64] = {};
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    dense[d] = stride;
    if (dims[d] > 0 && __builtin_mul_overflow(stride, dims[d], &stride))
      return "transpose: too many elements";
  }
  for (int d = 0; d < rank; ++d) {
    if (perm[d] < 0 || perm[d] >= rank || used[perm[d]]) return "transpose: not a permutation";
    used[perm[d]] = true;
    dst_dims[d] = dims[perm[d]];
    src_strides[d] = dense[perm[d]];
  }
  return copy_plan(rank, dst_dims, src_strides, nullptr, elem_bytes, plan);
}

}  // namespace redline::kernels
