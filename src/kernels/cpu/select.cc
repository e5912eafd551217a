// SPDX-License-Identifier: Apache-2.0
// The tables that the *.isa.cc files define in each instruction set's namespace.
#include "kernels/cpu/attention/attention.h"
#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/movement/movement.h"
#include "kernels/cpu/norm/norm.h"
#include "kernels/cpu/pointwise/program.h"
#include "kernels/cpu/pool/pool.h"
#include "kernels/cpu/reduce/reduce.h"
#include "kernels/cpu/resize/resize.h"
#include "kernels/cpu/rotary/rotary.h"

#define REDLINE_SELECT(Table, function, table)            \
  namespace sse4 {                                        \
  extern const Table table;                               \
  }                                                       \
  namespace avx2 {                                        \
  extern const Table table;                               \
  }                                                       \
  namespace avx512 {                                      \
  extern const Table table;                               \
  }                                                       \
  const Table& function(Isa isa) {                        \
    if (isa == Isa::kAvx512) return avx512::table;        \
    return isa == Isa::kAvx2 ? avx2::table : sse4::table; \
  }

namespace redline::kernels {

REDLINE_SELECT(AttentionKernels, attention_kernels, kAttention)
REDLINE_SELECT(GemmKernels, gemm_kernels, kGemm)
REDLINE_SELECT(MovementKernels, movement_kernels, kMovement)
REDLINE_SELECT(NormKernels, norm_kernels, kNorm)
REDLINE_SELECT(PointwiseKernels, pointwise_kernels, kPointwise)
REDLINE_SELECT(PoolKernels, pool_kernels, kPool)
REDLINE_SELECT(ResizeKernels, resize_kernels, kResize)
REDLINE_SELECT(RotaryKernels, rotary_kernels, kRotary)
REDLINE_SELECT(ReduceKernels, reduce_kernels, kReduce)

}  // namespace redline::kernels
