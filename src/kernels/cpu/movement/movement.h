// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Data movement on the CPU: transposes, strided copies (slice, concat, pad, expand, split), gathers
// and blocked layouts, for elements of 1, 2, 4 or 8 bytes, whatever they mean.
namespace redline::kernels {

inline constexpr int kMaxCopyRank = 8;  // after neighbouring dims are merged

// A copy of a box of elements between two strided arrays: dst[sum i_d * dst_strides[d]] =
// src[sum i_d * src_strides[d]] for all i in dims. A source stride of 0 repeats (expand; fill, with
// all strides 0); negative ones are allowed. Made once for each shape; plain data. Members are the
// planner's: dims are merged and sorted by destination stride.
struct CopyPlan {
  enum class Mode : uint8_t {
    kNothing,    // no elements
    kRows,       // both innermost strides are 1: rows are memory copies
    kFill,       // the source repeats along the innermost destination dim
    kTranspose,  // the source is contiguous along another dim: tiles
    kStrided,    // the rest, element by element
  };
  Mode mode = Mode::kNothing;
  int elem_bytes = 0;
  int rank = 0;
  int64_t dims[kMaxCopyRank] = {};
  int64_t src_strides[kMaxCopyRank] = {};
  int64_t dst_strides[kMaxCopyRank] = {};
  int64_t outer_rank = 0;            // leading dims that units walk one by one
  int64_t chunk = 0, chunks = 0;     // pieces of the last dim
  int64_t tile_rows = 0, tiles = 0;  // kTranspose: pieces of the dim before it
  int64_t units = 0;                 // work items for [begin, end) below, each about 4 to 64 KB
  int64_t elems = 0;
};

// strides in elements; a null one means dense row-major over dims. Null on success, else a static
// string that says what is wrong. Does not allocate.
const char* copy_plan(int rank, const int64_t* dims, const int64_t* src_strides,
                      const int64_t* dst_strides, int elem_bytes, CopyPlan* plan);

// dst dim d is src dim perm[d], as numpy and ONNX have it; dims are the source's. Both dense.
const char* transpose_plan(int rank, const int64_t* dims, const int64_t* perm, int elem_bytes,
                           CopyPlan* plan);

struct MovementKernels {
  // Carries out the units [begin, end) of plan.units; threads may work on disjoint ranges. src and
  // dst point at the element whose indices are all 0, and must not overlap. Elements need their own
  // alignment only.
  void (*copy)(const CopyPlan& plan, const void* src, void* dst, int64_t begin, int64_t end);

  // ONNX Gather: dst[o][i] = src[o][indices[i]], rows of inner_bytes, for the rows [begin, end) of
  // outer * count. indices are int64 or, if wide is false, int32; negative ones count from the end.
  // Returns -1, or the position in `indices` of one that is out of range (dst is then unspecified).
  int64_t (*gather)(const void* src, int64_t axis_dim, int64_t inner_bytes, const void* indices,
                    bool wide, int64_t count, void* dst, int64_t begin, int64_t end);

  // Between [batch][channels][spatial] and [batch][ceil(channels / block)][spatial][block] of
  // 4-byte elements; block is 4, 8 or 16. Channels past the last are 0 in the blocked form. [begin,
  // end) of batch * ceil(channels / block).
  void (*to_blocked)(const void* src, void* dst, int64_t channels, int64_t spatial, int64_t block,
                     int64_t begin, int64_t end);
  void (*from_blocked)(const void* src, void* dst, int64_t channels, int64_t spatial, int64_t block,
                       int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const MovementKernels& movement_kernels(Isa isa);

}  // namespace redline::kernels
