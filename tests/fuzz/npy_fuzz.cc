// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as an .npz archive and as an .npy file. Its size picks the type that opaque
// elements stand for.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "allocation_bound.h"
#include "core/npy.h"
#include "core/npz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace redline;
  const AllocationBound bound(bytes);
  std::optional<DType> expected;
  if (const size_t pick = bytes % (kNumDTypes + 1); pick < kNumDTypes) {
    expected = static_cast<DType>(pick);
  }
  const auto file = std::as_bytes(std::span(data, bytes));
  if (const auto archive = read_npz(file); !archive.ok() && archive.status().message().empty()) {
    __builtin_trap();
  }
  // Once copied, once in place.
  const auto copied = read_npy(file, nullptr, expected);
  const auto in_place = read_npy(file, std::make_shared<int>(0), expected);
  if (copied.ok() != in_place.ok()) __builtin_trap();
  if (!copied.ok()) {
    if (copied.status().message().empty()) __builtin_trap();
    return 0;
  }
  if (!identical(*copied, *in_place)) __builtin_trap();
  return 0;
}
