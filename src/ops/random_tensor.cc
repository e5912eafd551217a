// SPDX-License-Identifier: Apache-2.0
#include "ops/random_tensor.h"

#include <algorithm>
#include <string>

#include "ops/elements.h"

namespace redline {
namespace {

// splitmix64: passes BigCrush, two lines, no state beyond a counter.
uint64_t random_bits(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0xd1342543de82ef95ull + (index + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

Result<Tensor> random_tensor(DType dtype, const Dims& dims, uint64_t seed) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  int64_t count = tensor.count();
  auto fill = [&](auto value_of) {
    // In blocks, so that a large tensor is never held twice in wide form.
    constexpr int64_t kBlock = 1 << 14;
    using Wide = decltype(value_of(uint64_t{}));
    std::vector<Wide> block;
    for (int64_t first = 0; first < count; first += kBlock) {
      block.resize(static_cast<size_t>(std::min(kBlock, count - first)));
      for (size_t i = 0; i < block.size(); ++i) {
        block[i] = value_of(random_bits(seed, static_cast<uint64_t>(first) + i));
      }
      auto* data = static_cast<uint8_t*>(tensor.mutable_raw()) +
                   static_cast<size_t>(first) * dtype_bytes(dtype);
      write_elements(block, TensorView{dtype, Dims{static_cast<int64_t>(block.size())}, data});
    }
  };
  int bits = std::min(dtype_bits(dtype), 4);
  if (dtype == DType::kString) {
    for (int64_t i = 0; i < count; ++i) {
      uint64_t letter = random_bits(seed, static_cast<uint64_t>(i)) % 26;
      tensor.mutable_data<std::string>()[i] = std::string(1, static_cast<char>('a' + letter));
    }
  } else if (dtype == DType::kBool) {
    fill([](uint64_t r) { return r >> 63; });
  } else if (is_signed_int(dtype)) {
    fill([&](uint64_t r) { return static_cast<int64_t>(r) >> (64 - bits); });
  } else if (is_unsigned_int(dtype)) {
    fill([&](uint64_t r) { return r >> (64 - bits); });
  } else if (dtype == DType::kFloat8E8M0) {
    fill([](uint64_t r) { return r >> 63 != 0 ? 1.0 : 0.5; });  // only powers of two
  } else {
    fill([](uint64_t r) { return static_cast<double>(static_cast<int64_t>(r) >> 11) * 0x1p-52; });
  }
  return tensor;
}

}  // namespace redline
