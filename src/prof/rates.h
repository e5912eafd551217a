// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/thread_pool.h"
#include "device/context.h"
#include "ops/work.h"

namespace redline {

// Measures the bandwidth of a large copy; arithmetic is as chip_rates() has it.
Result<Rates> rates_of(const cuda::ContextPtr& context);
// Measures both, for f32.
Result<Rates> rates_of(ThreadPool& pool);

}  // namespace redline
