// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/status.h"
#include "device/driver_api.h"

namespace redline::cuda {

// OK, or what the driver said of a call: "cuMemAlloc(1048576 bytes): out of memory
// (CUDA_ERROR_OUT_OF_MEMORY)". After some errors every further call of the process on this GPU
// fails; the message then says that only a new process helps.
Status to_status(const DriverApi& api, CuResult result, std::string_view call);

// True when the context is lost.
bool is_sticky(CuResult result);

}  // namespace redline::cuda
