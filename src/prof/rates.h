// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "device/context.h"
#include "prof/work.h"

namespace redline {

// What a machine can do.
struct Rates {
  double bytes_per_us = 0;  // from and to its memory
  std::string bytes_from;   // how that is known, in words
  std::map<DType, double> matrix_flops_per_us;
  double other_flops_per_us = 0;
  std::string flops_from;

  // The least microseconds that work can take, and what takes them.
  struct Floor {
    double us = 0;
    bool by_memory = true;
  };
  Floor floor_of(const Work& work) const;
};

// Measures the bandwidth of a large copy; arithmetic comes from a table by architecture.
Result<Rates> rates_of(const cuda::ContextPtr& context);
// Measures both, for f32.
Result<Rates> rates_of(ThreadPool& pool);

}  // namespace redline
