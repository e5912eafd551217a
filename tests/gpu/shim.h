// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace redline::emulator {

// A kernel's text as C++ for the host's compiler, with a function "emulated_ENTRY" that fills in a
// KernelTable (block.h).
std::string host_text(std::string_view kernel_text, std::string_view entry);

}  // namespace redline::emulator
