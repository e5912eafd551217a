// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as a graph in text form; every op's shape rule runs on what they say.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "allocation_bound.h"
#include "ir/text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const auto ops = redline::make_op_registry();
  const redline::AllocationBound bound(bytes);
  std::string_view text(reinterpret_cast<const char*>(data), bytes);
  auto graph = redline::parse_graph(*ops, text);
  if (!graph.ok()) {
    if (graph.status().message().empty()) __builtin_trap();
    return 0;
  }
  // A graph that was accepted prints, parses and prints to the same.
  std::string printed = redline::print_graph(**graph);
  auto again = redline::parse_graph(*ops, printed);
  if (!again.ok() || redline::print_graph(**again) != printed) __builtin_trap();
  return 0;
}
