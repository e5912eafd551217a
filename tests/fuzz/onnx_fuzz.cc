// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as an ONNX file.

#include <cstddef>
#include <cstdint>
#include <span>

#include "onnx/model_proto.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  auto model = redline::read_model_proto(std::as_bytes(std::span(data, bytes)));
  if (!model.ok() && model.status().message().empty()) __builtin_trap();
  return 0;
}
