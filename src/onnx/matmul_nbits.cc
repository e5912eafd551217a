// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "onnx/import_rule.h"
#include "ops/quantize_linear.h"

namespace redline {
namespace {

// Rows of `columns` numbers of `bits` bits, the first in the lowest bits of a byte; each row begins
// a new byte, and has `row_bytes` of them.
Result<Tensor> unpack(const Tensor& packed, int64_t bits, int64_t rows, int64_t columns,
                      int64_t row_bytes) {
  if (packed.dtype() != DType::kUInt8 || packed.count() != rows * row_bytes) {
    return invalid_argument("packed numbers: ", packed.count(), " elements of ",
                            dtype_name(packed.dtype()), ", expected ", rows * row_bytes, " u8");
  }
  DType dtype = bits == 8 ? DType::kUInt8 : bits == 4 ? DType::kUInt4 : DType::kUInt2;
  REDLINE_ASSIGN(Tensor result, Tensor::create(dtype, {rows, columns}));
  const auto* from = packed.data<uint8_t>();
  auto* to = result.mutable_data<uint8_t>();
  auto mask = static_cast<uint8_t>((1u << bits) - 1);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < columns; ++i) {
      uint8_t byte = from[row * row_bytes + i * bits / 8];
      to[row * columns + i] = static_cast<uint8_t>(byte >> (i * bits % 8)) & mask;
    }
  }
  return result;
}

// com.microsoft: a [.., k] times the transpose of b [n, k], whose rows are quantised in blocks.
// With constant b it is a blocked dequantize_linear, a transpose and a matmul.
Status import_matmul_nbits(ImportContext& c) {
  int64_t k = c.int_attr("K");
  int64_t n = c.int_attr("N");
  int64_t bits = c.int_attr("bits", 4);
  int64_t block = c.int_attr("block_size");
  Value* b = c.input(1);
  Value* scales = c.input(2);
  if (b == nullptr || scales == nullptr)
    return invalid_argument("MatMulNBits: an input is missing");
  if (bits != 2 && bits != 4 && bits != 8) {
    return c.unsupported_here(str_cat(bits, " bits; nearest: 4"));
  }
  constexpr int64_t kMax = int64_t{1} << 30;
  if (k < 1 || n < 1 || block < 8 || k > kMax || n > kMax || block > kMax) {
    return invalid_argument("MatMulNBits: K is ", k, ", N ", n, ", block_size ", block);
  }
  if (!b->is_constant()) return c.unsupported_here("packed weights that are not constant");
  if (c.input(4) != nullptr) return c.unsupported_here("g_idx; nearest: blocks in order");
  int64_t blocks = (k + block - 1) / block;
  REDLINE_ASSIGN(Tensor weights, unpack(b->constant, bits, n, k, blocks * (block * bits / 8)));
  if (scales->is_constant() && scales->constant.count() == n * blocks) {
    scales = c.constant(scales->constant.reshaped({n, blocks}));
  } else {
    return c.unsupported_here("scales that are not one constant for each block");
  }
  Tensor zeros;
  if (Value* given = c.input(3); given != nullptr) {
    if (!given->is_constant()) return c.unsupported_here("zero points that are not constant");
    REDLINE_ASSIGN(zeros, unpack(given->constant, bits, n, blocks, (blocks * bits + 7) / 8));
  } else {
    REDLINE_ASSIGN(zeros, Tensor::create(weights.dtype(), {n, blocks}));
    std::fill_n(zeros.mutable_data<uint8_t>(), n * blocks, static_cast<uint8_t>(1u << (bits - 1)));
  }
  DequantizeLinearAttrs attrs{.axis = 1, .block_size = block};
  REDLINE_ASSIGN(
      Value * w,
      c.emit("dequantize_linear",
             {c.constant(std::move(weights)), scales, c.constant(std::move(zeros))}, attrs));
  const OpDef& transpose = c.graph().registry().get("transpose");
  REDLINE_ASSIGN(Attrs turn, Attrs::load(transpose.attrs, {{"perm", std::vector<int64_t>{1, 0}}}));
  REDLINE_ASSIGN(w, c.emit("transpose", {w}, turn));
  REDLINE_ASSIGN(Value * y, c.emit("matmul", {c.input(0), w}));
  if (c.input(5) != nullptr) {
    REDLINE_ASSIGN(y, c.emit("add", {y, c.input(5)}));
  }
  c.set_output(0, y);
  return {};
}

}  // namespace

void register_import_matmul_nbits(ImportRegistry& registry) {
  registry.add({"com.microsoft", "MatMulNBits", import_matmul_nbits});
}

}  // namespace redline
