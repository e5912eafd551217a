// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "device/gpu_trace.h"

namespace redline::cuda {

// A trace by NVIDIA's CUPTI, looked for like NVRTC: in the file named by REDLINE_CUPTI, beside this
// library, by the loader's own search, in the toolkit, in the nvidia-cuda-cupti wheel. Fails with
// what to do when it is not there or its records are of a version that we do not know. One of a
// process may be started at a time, and none where another profiler is attached.
Result<std::shared_ptr<GpuTrace>> open_cupti();

}  // namespace redline::cuda
