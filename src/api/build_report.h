// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "build/build.h"

namespace redline {

// What Engine::build_report() gives.
std::string describe_build(const BuildReport& report, const Stages& stages);

}  // namespace redline
