// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm.h"

#include <algorithm>

#include "ops/matmul.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"

namespace redline {
namespace {

const std::vector<std::string> kAnchors = {"matmul", "gemm"};
// Rows that an unknown number of them is tuned for.
constexpr int64_t kUsualRows = 512;
constexpr int64_t kMostBatches = 4096;  // with splits they must fit a grid's z

struct Parts {
  ProductSpec spec;
  ProductTail tail;
  int b = 1;  // input of the problem
  ProductStrides strides;
};

bool is_one(int64_t dim) { return dim == 1; }

// The leading axes of an operand, filled up at the front.
Dims batch_dims(const Dims& dims, int matrix_axes, int rank) {
  Dims result;
  int own = dims.rank() - matrix_axes;
  for (int i = own; i < rank; ++i) result.push_back(1);
  for (int i = 0; i < own; ++i) result.push_back(dims[static_cast<size_t>(i)]);
  return result;
}

// " + ..." of a product of the batch to where its operand begins, in matrices of `elements`.
std::string batch_offset(const Dims& batch, const Dims& own, const std::string& elements) {
  std::string index;
  int64_t div = 1;
  int64_t stride = 1;
  for (size_t i = batch.size(); i-- > 0;) {
    if (own[i] != 1) {
      index += str_cat(index.empty() ? "" : " + ", "(i64)(batch / ", div, " % ", batch[i], ") * ",
                       stride);
    }
    div *= batch[i];
    stride *= own[i];
  }
  return index.empty() ? "" : str_cat(" + (", index, ") * ", elements);
}

Status check_types(const OperandDesc& a, const OperandDesc& b) {
  for (const OperandDesc* operand : {&a, &b}) {
    if (!operand->is_tensor || !operand->has_rank)
      return unsupported("takes tensors of known rank");
    if (!product_type(operand->dtype))
      return unsupported("takes f16, bf16 and f32, not ", dtype_name(operand->dtype));
  }
  if (a.dtype != b.dtype) return unsupported("takes operands of one type");
  return {};
}

Result<Parts> finish(const Problem& problem, AnchoredRegion region, Parts parts,
                     ProductTail::Shape shape) {
  ProductSpec& spec = parts.spec;
  const OperandDesc& b = problem.inputs[static_cast<size_t>(parts.b)];
  spec.constant = b.is_constant();
  spec.can_pack = spec.batch == 1;
  spec.b_input = static_cast<size_t>(parts.b);
  if (spec.depth <= 0 || spec.columns <= 0) return unsupported("takes no empty rows or columns");
  if (spec.depth > INT32_MAX / 64 || spec.columns > INT32_MAX / 64) {
    return unsupported("rows or columns of more than ", INT32_MAX / 64);
  }
  REDLINE_ASSIGN(parts.tail, ProductTail::create(problem, std::move(region), std::move(shape)));
  return parts;
}

Result<Parts> matmul_parts(const Problem& problem, AnchoredRegion region) {
  const OperandDesc& a = *region.operand(problem, 0);
  const OperandDesc& b = *region.operand(problem, 1);
  REDLINE_TRY(check_types(a, b));
  Parts parts;
  ProductSpec& spec = parts.spec;
  parts.b = region.operands[1];
  spec.dtype = a.dtype;
  spec.tf32 = region.attrs.as<MatmulAttrs>().tf32;
  bool a_vector = a.dims.rank() == 1;
  bool b_vector = b.dims.rank() == 1;
  if (!b.is_static()) return unsupported("takes a second operand of known sizes");
  spec.depth = b.dims[static_cast<size_t>(b_vector ? 0 : b.dims.rank() - 2)];
  spec.columns = b_vector ? 1 : b.dims.back();
  int a_batch = std::max(0, a.dims.rank() - 2);
  int b_batch = std::max(0, b.dims.rank() - 2);
  int rank = std::max(a_batch, b_batch);
  Dims own_a = batch_dims(a.dims, std::min(a.dims.rank(), 2), rank);
  Dims own_b = batch_dims(b.dims, std::min(b.dims.rank(), 2), rank);
  int64_t m = a_vector ? 1 : a.dims[a.dims.size() - 2];
  std::string vector_text = str_cat(spec.depth, ", ", spec.depth, "LL>");
  std::string a_begin = str_cat("in", region.operands[0]);
  std::string b_begin = str_cat("in", parts.b);
  std::string_view type = storage_type(spec.dtype);
  if (std::all_of(own_b.begin(), own_b.end(), is_one)) {
    // One b for all: their rows follow each other.
    bool known =
        std::find(own_a.begin(), own_a.end(), kDynamicDim) == own_a.end() && m != kDynamicDim;
    spec.rows = known ? own_a.count() * m : kDynamicDim;
  } else {
    Dims batch;
    for (size_t i = 0; i < own_a.size(); ++i) {
      if (own_a[i] == kDynamicDim) return unsupported("batches of an unknown size");
      batch.push_back(std::max(own_a[i], own_b[i]));
      if (own_a[i] == 0 || own_b[i] == 0) return unsupported("an empty batch");
    }
    spec.rows = m;
    spec.batch = batch.count();
    if (spec.batch > kMostBatches) return unsupported("more than ", kMostBatches, " products");
    a_begin += batch_offset(batch, own_a, str_cat("((i64)rows * ", spec.depth, ")"));
    b_begin += batch_offset(batch, own_b, str_cat(spec.depth * spec.columns, "LL"));
  }
  spec.a = {str_cat("DenseRows<", type, ", ", vector_text), a_begin + ", rows",
            product_vector(spec.dtype, spec.depth), static_cast<size_t>(region.operands[0]),
            spec.depth};
  if (b_vector) {
    spec.b = {str_cat("DenseRows<", type, ", ", vector_text), b_begin + ", 1",
              product_vector(spec.dtype, spec.depth)};
  } else {
    spec.columns_together = true;
    spec.b = {str_cat("DenseRows<", type, ", ", spec.columns, ", ", spec.columns, "LL>"),
              str_cat(b_begin, ", ", spec.depth), product_vector(spec.dtype, spec.columns)};
  }
  parts.strides.inner = spec.columns;
  parts.strides.inner_count = spec.depth;
  ProductTail::Shape shape;
  shape.has_columns = !b_vector;
  return finish(problem, std::move(region), std::move(parts), shape);
}

Result<Parts> gemm_parts(const Problem& problem, AnchoredRegion region) {
  const OperandDesc& a = *region.operand(problem, 0);
  const OperandDesc& b = *region.operand(problem, 1);
  const auto& attrs = region.attrs.as<GemmAttrs>();
  REDLINE_TRY(check_types(a, b));
  Parts parts;
  ProductSpec& spec = parts.spec;
  parts.b = region.operands[1];
  spec.dtype = a.dtype;
  spec.tf32 = attrs.tf32;
  if (!b.is_static()) return unsupported("takes a second operand of known sizes");
  if (a.dims.rank() != 2 || b.dims.rank() != 2) return unsupported("takes operands of rank 2");
  spec.rows = a.dims[attrs.trans_a ? 1 : 0];
  spec.depth = b.dims[attrs.trans_b ? 1 : 0];
  spec.columns = b.dims[attrs.trans_b ? 0 : 1];
  std::string_view type = storage_type(spec.dtype);
  std::string a_begin = str_cat("in", region.operands[0]);
  std::string b_begin = str_cat("in", parts.b);
  std::string dense = str_cat("DenseRows<", type, ", ", spec.depth, ", ", spec.depth, "LL>");
  if (attrs.trans_a) {
    spec.a = {str_cat("TransposedRows<", type, ", ", spec.depth, ">"), a_begin + ", rows, rows", 1};
  } else {
    spec.a = {dense, a_begin + ", rows", product_vector(spec.dtype, spec.depth),
              static_cast<size_t>(region.operands[0]), spec.depth};
  }
  bool together = !attrs.trans_b;
  spec.columns_together = together;
  if (together) {
    spec.b = {str_cat("DenseRows<", type, ", ", spec.columns, ", ", spec.columns, "LL>"),
              str_cat(b_begin, ", ", spec.depth), product_vector(spec.dtype, spec.columns)};
  } else {
    spec.b = {dense, str_cat(b_begin, ", ", spec.columns), product_vector(spec.dtype, spec.depth)};
  }
  parts.strides.inner_count = spec.depth;
  parts.strides.inner = together ? spec.columns : 1;
  parts.strides.column = together ? 1 : spec.depth;
  ProductTail::Shape shape;
  shape.alpha = attrs.alpha;
  shape.beta = attrs.beta;
  if (region.operand(problem, 2) != nullptr && region.operand(problem, 2)->present) {
    shape.bias = region.operands[2];
  }
  return finish(problem, std::move(region), std::move(parts), shape);
}

Result<Parts> parts_of(const Problem& problem) {
  REDLINE_ASSIGN(AnchoredRegion region, take_apart(problem, kAnchors));
  for (size_t i : {0, 1}) {
    const OperandDesc* operand = region.operand(problem, i);
    if (operand == nullptr || !operand->present) return unsupported("an absent operand");
  }
  bool gemm = region.op->name == "gemm";
  return gemm ? gemm_parts(problem, std::move(region)) : matmul_parts(problem, std::move(region));
}

Status supports(const Problem& problem) { return parts_of(problem).status(); }

std::vector<Config> configs(const Problem& problem) {
  Result<Parts> parts = parts_of(problem);
  if (!parts.ok()) return {};
  return product_configs(parts->spec,
                         parts->spec.rows == kDynamicDim ? kUsualRows : parts->spec.rows);
}

Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  const OperandDesc& b = problem.inputs[parts.spec.b_input];
  return pack_product(parts.spec, config, b, parts.strides, args);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  REDLINE_ASSIGN(ProductKnobs knobs, product_knobs(config, parts.spec.dtype));
  return product_kernels(problem, parts.spec, parts.tail, "", knobs, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  REDLINE_ASSIGN(ProductKnobs knobs, product_knobs(config, parts.spec.dtype));
  return prepare_product(problem, parts.spec, parts.tail, knobs, args);
}

}  // namespace

void register_tactic_product_gemm(TacticRegistry& registry) {
  registry.add({.name = "cuda.gemm",
                .device = "cuda",
                .ops = {"matmul", "gemm", "fused"},
                .supports = supports,
                .configs = configs,
                .fits = product_fits,
                .overlaps = product_overlaps,
                .pack = pack,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
