// SPDX-License-Identifier: Apache-2.0
#include "device/cupti.h"
#include "redline/redline.h"

namespace redline {

Result<std::shared_ptr<cuda::GpuTrace>> cupti_trace() { return cuda::open_cupti(); }

}  // namespace redline
