// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pointwise/program.h"

namespace redline::kernels {

namespace sse4 {
extern const PointwiseKernels kPointwise;
}
namespace avx2 {
extern const PointwiseKernels kPointwise;
}
namespace avx512 {
extern const PointwiseKernels kPointwise;
}

const PointwiseKernels& pointwise_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return avx512::kPointwise;
    case Isa::kAvx2:
      return avx2::kPointwise;
    case Isa::kSse4:
      break;
  }
  return sse4::kPointwise;
}

}  // namespace redline::kernels
