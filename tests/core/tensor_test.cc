// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace redline {
namespace {

// Memory comes from the heap or, for large ones, from the system.
TEST(Tensor, IsZeroAlignedAndReusable) {
  for (int64_t bytes : {0, 1, 4096, (2 << 20) - 128, (2 << 20) - 64, 2 << 20, (5 << 20) + 3}) {
    for (int round = 0; round < 2; ++round) {
      Tensor tensor = Tensor::create(DType::kUInt8, Dims{bytes}).value();
      auto* data = tensor.mutable_data<uint8_t>();
      ASSERT_NE(data, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
      EXPECT_TRUE(std::all_of(data, data + bytes, [](uint8_t b) { return b == 0; })) << bytes;
      std::fill_n(data, bytes, uint8_t{7});
      Tensor other = tensor.reshaped(Dims{bytes, 1});
      tensor = Tensor();
      EXPECT_TRUE(std::all_of(other.data<uint8_t>(), other.data<uint8_t>() + bytes, [](uint8_t b) {
        return b == 7;
      })) << bytes;
    }
  }
}

TEST(Tensor, RefusesWhatNoMachineHas) {
  EXPECT_EQ(Tensor::create(DType::kFloat32, Dims{int64_t{1} << 60}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(Tensor::create(DType::kFloat32, Dims{-1}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace redline
