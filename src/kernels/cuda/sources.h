// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace redline::kernels::cuda {

// The text of a file of this folder ("types.cuh", "gemm/wgmma.cuh"), which the build put into the
// library. A name that is not there is a bug of ours.
std::string_view source(std::string_view path);

}  // namespace redline::kernels::cuda
