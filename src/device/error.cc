// SPDX-License-Identifier: Apache-2.0
#include "device/error.h"

namespace redline::cuda {

// Those after which, says the driver API reference (13.0), the context cannot be used or the
// process must be started again; and two of which it says less: uncorrectable ECC errors, and a
// driver that shuts down.
bool is_sticky(CuResult result) {
  switch (result) {
    case kErrorDeinitialized:
    case kErrorEccUncorrectable:
    case kErrorIllegalAddress:
    case kErrorLaunchTimeout:
    case kErrorAssert:
    case kErrorHardwareStackError:
    case kErrorIllegalInstruction:
    case kErrorMisalignedAddress:
    case kErrorInvalidAddressSpace:
    case kErrorInvalidPc:
    case kErrorLaunchFailed:
    case kErrorContained:
    case kErrorTensorMemoryLeak:
    case kErrorMpsClientTerminated:
    case kErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

Status to_status(const DriverApi& api, CuResult result, std::string_view call) {
  if (result == kSuccess) return {};
  const char* name = nullptr;
  const char* text = nullptr;
  if (api.cuGetErrorName == nullptr || api.cuGetErrorName(result, &name) != kSuccess)
    name = nullptr;
  if (api.cuGetErrorString == nullptr || api.cuGetErrorString(result, &text) != kSuccess) {
    text = nullptr;
  }
  std::string what = str_cat(call, ": ", text ? text : "unknown error", " (",
                             name ? name : std::to_string(result), ")");
  if (is_sticky(result)) {
    what += "; the GPU's context is lost, and everything on it: start the process again";
  }
  if (result == kErrorOutOfMemory) return out_of_memory(what);
  if (result == kErrorNoBinaryForGpu || result == kErrorInvalidImage) return incompatible(what);
  return {StatusCode::kDeviceError, what};
}

}  // namespace redline::cuda
