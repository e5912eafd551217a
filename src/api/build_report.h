// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tune/tuner.h"

namespace redline {

// What Engine::build_report() gives.
std::string describe_tuning(const TuneReport& report);

}  // namespace redline
