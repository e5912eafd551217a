// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 that does nothing. CMake builds it several times: INIT_RESULT is what cuInit()
// returns, DRIVER_VERSION what the driver supports; with LACKS_LAUNCH it has no cuLaunchKernelEx.
#include "device/driver_api.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace redline::cuda {

// Under other names, not to be found.
#define cuInit other_init
#define cuDriverGetVersion other_version
#ifdef LACKS_LAUNCH
#define cuLaunchKernelEx other_launch
#endif
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define DO_NOTHING(name, parameters) \
  EXPORTED CuResult name parameters { return kSuccess; }
REDLINE_CUDA_DRIVER_FUNCTIONS(DO_NOTHING)
#undef cuInit
#undef cuDriverGetVersion

EXPORTED CuResult cuInit(unsigned int) { return INIT_RESULT; }
EXPORTED CuResult cuDriverGetVersion(int* version) {
  *version = DRIVER_VERSION;
  return kSuccess;
}

}  // namespace redline::cuda
