// SPDX-License-Identifier: Apache-2.0
#include "core/type.h"

namespace redline {

Shape Shape::of(const Dims& dims) {
  SymDims result;
  for (int64_t dim : dims) result.emplace_back(dim);
  return Shape(std::move(result));
}

std::optional<Dims> Shape::as_static() const {
  if (!dims_ || dims_->size() > kMaxRank) return std::nullopt;
  Dims result;
  for (const Dim& dim : *dims_) {
    std::optional<int64_t> size = dim.as_const();
    if (!size) return std::nullopt;
    result.push_back(*size);
  }
  return result;
}

std::optional<Dim> Shape::count() const {
  if (!dims_) return std::nullopt;
  Dim product(1);
  for (const Dim& dim : *dims_) product = product * dim;
  return product;
}

std::string Shape::to_string() const {
  if (!dims_) return "[*]";
  std::string text = "[";
  for (size_t i = 0; i < dims_->size(); ++i) {
    if (i > 0) text += ",";
    text += (*dims_)[i].to_string();
  }
  return text + "]";
}

std::string Type::to_string() const {
  switch (kind) {
    case Kind::kTensor:
      return std::string(dtype_name(dtype)) + shape.to_string();
    case Kind::kSequence:
      return "seq(" + element->to_string() + ")";
    case Kind::kOptional:
      return "opt(" + element->to_string() + ")";
  }
  return "";
}

bool operator==(const Type& a, const Type& b) {
  if (a.kind != b.kind) return false;
  if (a.is_tensor()) return a.dtype == b.dtype && a.shape == b.shape;
  return *a.element == *b.element;
}

}  // namespace redline
