// SPDX-License-Identifier: Apache-2.0
#include "tune/check_inputs.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "ops/elements.h"
#include "ops/gather.h"
#include "ops/random_tensor.h"

namespace redline {
namespace {

// Integers in [low, high).
Result<Tensor> random_ints(DType dtype, const Dims& dims, uint64_t seed, int64_t low,
                           int64_t high) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  std::mt19937_64 random(seed);
  std::vector<int64_t> values(static_cast<size_t>(tensor.count()));
  for (int64_t& value : values) {
    value = low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low));
  }
  write_elements(values, tensor.view());
  return tensor;
}

void enlarge(Tensor& tensor, double scale) {
  std::vector<double> values = read_elements<double>(tensor.view());
  for (double& value : values) value *= scale;
  write_elements(values, tensor.view());
}

// Large tensors repeat a block of random values, since making each of them would take longer than
// all else; its length is prime, so that what lies some rows or tiles apart still differs.
constexpr int64_t kPeriod = 1048573;

Result<Tensor> random_values(DType dtype, const Dims& dims, uint64_t seed, double scale) {
  bool repeats = dims.count() > kPeriod && dtype_bits(dtype) >= 8 && dtype != DType::kString;
  if (!repeats) {
    REDLINE_ASSIGN(Tensor tensor, random_tensor(dtype, dims, seed));
    if (scale != 1 && is_float(dtype)) enlarge(tensor, scale);
    return tensor;
  }
  REDLINE_ASSIGN(Tensor block, random_values(dtype, Dims{kPeriod}, seed, scale));
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  auto* to = static_cast<unsigned char*>(tensor.mutable_raw());
  for (size_t done = 0; done < tensor.bytes(); done += block.bytes()) {
    std::memcpy(to + done, block.raw(), std::min(block.bytes(), tensor.bytes() - done));
  }
  return tensor;
}

// The size of the axis that the input's elements count along, when the op says so.
std::optional<int64_t> indexed_size(const Problem& problem, size_t input) {
  if (input != 1 || !(problem.is("gather") || problem.is("gather_elements"))) return std::nullopt;
  const Dims& data = problem.inputs[0].dims;
  int64_t axis = problem.attrs.as<GatherAttrs>().axis;
  if (axis < 0) axis += data.rank();
  if (axis < 0 || axis >= data.rank()) return std::nullopt;
  int64_t size = data[static_cast<size_t>(axis)];
  return size > 0 ? std::optional(size) : std::nullopt;
}

}  // namespace

Result<std::vector<Tensor>> make_check_inputs(const Problem& problem, uint64_t seed,
                                              bool small_ints, double scale) {
  std::vector<Tensor> tensors;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& operand = problem.inputs[i];
    uint64_t own_seed = seed * 131 + i;
    if (!operand.present) {
      tensors.emplace_back();
    } else if (operand.constant != nullptr) {
      tensors.push_back(*operand.constant);
    } else {
      Result<Tensor> tensor = Status();
      bool ints = is_int(operand.dtype);
      if (std::optional<int64_t> size = indexed_size(problem, i); size && ints) {
        tensor = random_ints(operand.dtype, operand.dims, own_seed,
                             is_signed_int(operand.dtype) ? -*size : 0, *size);
      } else if (small_ints && ints) {
        tensor = random_ints(operand.dtype, operand.dims, own_seed, 0, 2);
      } else {
        tensor = random_values(operand.dtype, operand.dims, own_seed, scale);
      }
      REDLINE_TRY(tensor.status());
      tensors.push_back(*std::move(tensor));
    }
  }
  return tensors;
}

}  // namespace redline
