// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "device/driver_api.h"

namespace redline::cuda {

// libcuda, loaded and initialised once for the process. Fails with what to install when there is no
// driver, no GPU, or a driver older than kMinimumDriver. Thread-safe; the table lives for ever.
Result<const DriverApi*> load_driver();

// CUDA 12.4: the oldest whose functions and launch attributes we use.
inline constexpr int kMinimumDriver = 12040;

// "13.0"
std::string driver_version_text(int version);

// The table of a library that was opened with dlopen; incompatible names the first missing
// function.
Result<DriverApi> find_driver_functions(void* library);

struct DeviceInfo {
  int ordinal = 0;
  std::string name;  // "NVIDIA H100 80GB HBM3"
  int compute_major = 0, compute_minor = 0;
  int multiprocessors = 0;
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;
  int l2_bytes = 0;
  int shared_bytes_per_block = 0;  // with the opt-in
  int shared_bytes_per_multiprocessor = 0;
  int registers_per_multiprocessor = 0;
  int threads_per_multiprocessor = 0, blocks_per_multiprocessor = 0;  // at once, at most
  size_t memory_bytes = 0;
  int driver_version = 0;

  // Clusters of blocks, and launches that begin while the step in front still runs.
  bool has_clusters() const { return compute_major >= 9; }
  bool has_programmatic_launch() const { return compute_major >= 9; }
  // What kernels are compiled for and engines name: "sm_90a" on Hopper, whose matrix instructions
  // need the suffix, "sm_86" and so on elsewhere.
  std::string arch() const;
  // The usual chip of an architecture, to build for it without one: "sm_90a" is an H100's.
  static Result<DeviceInfo> of_arch(const std::string& arch);
};

Result<std::vector<DeviceInfo>> list_devices(const DriverApi& api);

}  // namespace redline::cuda
