// SPDX-License-Identifier: Apache-2.0
#include "ops/einsum.h"

#include <algorithm>

#include "onnx/import_rule.h"
#include "ops/reshape.h"
#include "ops/transpose.h"

namespace redline {
namespace {

using Labels = std::vector<int>;

bool contains(const Labels& labels, int label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

Labels joined(std::initializer_list<const Labels*> parts) {
  Labels result;
  for (const Labels* part : parts) result.insert(result.end(), part->begin(), part->end());
  return result;
}

// A product of two operands as a matrix product: labels of both and the output are the batch, of
// both alone are summed, of one and the output are its rows or columns.
struct Product {
  Labels batch;
  Labels rows;
  Labels cols;
  Labels summed;
};

bool repeats(const Labels& labels) {
  return std::any_of(labels.begin(), labels.end(), [&](int label) {
    return std::count(labels.begin(), labels.end(), label) > 1;
  });
}

std::optional<Product> as_product(const EinsumTerms& terms) {
  if (terms.inputs.size() != 2) return std::nullopt;
  const Labels& a = terms.inputs[0];
  const Labels& b = terms.inputs[1];
  if (repeats(a) || repeats(b)) return std::nullopt;
  Product product;
  for (int label : a) {
    bool kept = contains(terms.output, label);
    if (contains(b, label)) {
      (kept ? product.batch : product.summed).push_back(label);
    } else if (kept) {
      product.rows.push_back(label);
    } else {
      return std::nullopt;  // summed over before the product
    }
  }
  for (int label : b) {
    if (contains(a, label)) continue;
    if (!contains(terms.output, label)) return std::nullopt;
    product.cols.push_back(label);
  }
  return product;
}

const Dim& size_of(const Shape& shape, const Labels& labels, int label) {
  return shape[static_cast<int>(std::find(labels.begin(), labels.end(), label) - labels.begin())];
}

Result<Value*> transposed(ImportContext& c, Value* value, const Labels& from, const Labels& to) {
  if (from == to) return value;
  TransposeAttrs attrs;
  for (int label : to) {
    attrs.perm.push_back(std::find(from.begin(), from.end(), label) - from.begin());
  }
  return c.emit("transpose", {value}, std::move(attrs));
}

Result<Value*> reshaped(ImportContext& c, Value* value, SymDims sizes) {
  if (value->shape() == Shape(sizes)) return value;
  return c.emit("reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

// Sizes of the batch, then the products of the sizes of two groups.
SymDims matrix_sizes(const Shape& shape, const Labels& labels, const Labels& batch,
                     const Labels& first, const Labels& second) {
  SymDims sizes;
  for (int label : batch) sizes.push_back(size_of(shape, labels, label));
  for (const Labels* group : {&first, &second}) {
    Dim size(1);
    for (int label : *group) size *= size_of(shape, labels, label);
    sizes.push_back(size);
  }
  return sizes;
}

Status import_product(ImportContext& c, const EinsumTerms& terms, const Product& product) {
  const Labels& a_labels = terms.inputs[0];
  const Labels& b_labels = terms.inputs[1];
  const Shape a_shape = c.input(0)->shape();
  const Shape b_shape = c.input(1)->shape();
  REDLINE_ASSIGN(Value * a, transposed(c, c.input(0), a_labels,
                                       joined({&product.batch, &product.rows, &product.summed})));
  REDLINE_ASSIGN(
      a,
      reshaped(c, a, matrix_sizes(a_shape, a_labels, product.batch, product.rows, product.summed)));
  REDLINE_ASSIGN(Value * b, transposed(c, c.input(1), b_labels,
                                       joined({&product.batch, &product.summed, &product.cols})));
  REDLINE_ASSIGN(
      b,
      reshaped(c, b, matrix_sizes(b_shape, b_labels, product.batch, product.summed, product.cols)));
  REDLINE_ASSIGN(Value * y, c.emit("matmul", {a, b}));
  Labels order = joined({&product.batch, &product.rows, &product.cols});
  SymDims sizes;
  for (int label : order) {
    bool in_a = contains(a_labels, label);
    sizes.push_back(in_a ? size_of(a_shape, a_labels, label) : size_of(b_shape, b_labels, label));
  }
  REDLINE_ASSIGN(y, reshaped(c, y, std::move(sizes)));
  REDLINE_ASSIGN(y, transposed(c, y, order, terms.output));
  c.set_output(0, y);
  return {};
}

// A product of two operands becomes a matrix product, for which there are kernels; the rest stays.
Status import_einsum(ImportContext& c) {
  std::vector<int> ranks;
  for (Value* input : c.inputs()) {
    if (input != nullptr && input->shape().has_rank()) ranks.push_back(input->shape().rank());
  }
  if (c.num_inputs() != 2 || ranks.size() != 2 || !is_float(c.input(0)->dtype()) ||
      c.input(0)->dtype() != c.input(1)->dtype()) {
    return c.import_same("einsum");
  }
  Result<EinsumTerms> terms = parse_einsum(c.string_attr("equation"), ranks);
  std::optional<Product> product = terms.ok() ? as_product(*terms) : std::nullopt;
  if (!product) return c.import_same("einsum");
  for (const Labels* shared : {&product->batch, &product->summed}) {
    for (int label : *shared) {
      // Sizes that may be broadcast are left to the op.
      if (size_of(c.input(0)->shape(), terms->inputs[0], label) !=
          size_of(c.input(1)->shape(), terms->inputs[1], label)) {
        return c.import_same("einsum");
      }
    }
  }
  return import_product(c, *terms, *product);
}

}  // namespace

void register_import_einsum(ImportRegistry& registry) { registry.add("Einsum", import_einsum); }

}  // namespace redline
