// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/driver.h"
#include "ops/work.h"

namespace redline {

// What a GPU can do by its data sheet: its memory at the rate of its pins, arithmetic from a table
// by architecture.
Rates chip_rates(const cuda::DeviceInfo& info);

}  // namespace redline
