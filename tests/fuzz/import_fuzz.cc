// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as an ONNX file, all the way to the verified graph.

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocation_bound.h"
#include "onnx/importer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace redline;
  static const auto ops = make_op_registry();
  static const auto rules = make_import_registry();
  const AllocationBound bound(bytes);
  ImportReport report;
  const auto model =
      import_onnx({.bytes = std::as_bytes(std::span(data, bytes))}, *ops, *rules, &report);
  if (!model.ok() && model.status().message().empty()) __builtin_trap();
  return 0;
}
