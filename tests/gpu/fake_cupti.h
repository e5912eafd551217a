// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "device/cupti_api.h"
#include "device/driver_api.h"

namespace redline::emulator {

// A libcupti for tests: a library of its own, which is told what the emulated GPU did and hands
// over records of that as the real one would. What it has wrong is set here.
struct FakeCupti {
  uint32_t version = 130001;
  std::map<std::string, cuda::cupti::Code> fails;  // a function, and what it returns
  bool tells_clones = true;                        // the subscriber hears of nodes' clones
  bool has_graph_nodes = true;                     // records say of which node they are
  size_t drops = 0;                                // records that it says were lost

  struct Record {
    cuda::cupti::ActivityKind kind = cuda::cupti::kConcurrentKernel;
    uint64_t begin_ns = 0;
    uint64_t end_ns = 0;
    uint64_t node = 0;
    uint32_t graph = 7;
    std::string name;
  };
  std::vector<Record> records;  // to be handed over

  int subscribers = 0;
  std::map<uint32_t, bool> enabled;  // by kind
};

// A function of the library, by this name: its state.
inline constexpr const char* kFakeCuptiState = "fake_cupti";
using FakeCuptiState = FakeCupti* (*)();
// And one by this name, which tells of a clone.
inline constexpr const char* kFakeCuptiClone = "fake_cupti_clone";
using FakeCuptiClone = void (*)(cuda::GraphNodeHandle clone, cuda::GraphNodeHandle original);

}  // namespace redline::emulator
