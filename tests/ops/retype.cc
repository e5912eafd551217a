// SPDX-License-Identifier: Apache-2.0
#include "retype.h"

#include <cmath>

#include "ops/body.h"
#include "ops/elements.h"

namespace redline {
namespace {

Result<Tensor> converted(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  REDLINE_ASSIGN(Tensor result, Tensor::create(dtype, tensor.dims()));
  std::vector<double> values = read_elements<double>(tensor.view());
  write_elements(values, result.view());
  std::vector<double> rounded = read_elements<double>(result.view());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && !std::isfinite(rounded[i])) {
      return unsupported("a value does not fit ", dtype_name(dtype), ": ", values[i]);
    }
  }
  return result;
}

Result<Tensor> retyped(const Tensor& tensor, const Retype& retype) {
  if (!tensor.defined() || tensor.dtype() != DType::kFloat32) return tensor;
  REDLINE_ASSIGN(Tensor rounded, converted(tensor, retype.half));
  return converted(rounded, retype.kept);
}

Result<std::shared_ptr<const Body>> retyped(const Body& body, const Retype& retype) {
  auto result = std::make_shared<Body>(body);
  for (BodyNode& node : result->nodes) {
    REDLINE_ASSIGN(node.attrs, retyped(node.attrs, retype));
  }
  return std::shared_ptr<const Body>(std::move(result));
}

}  // namespace

Result<HostValue> retyped(const HostValue& value, const Retype& retype) {
  HostValue result = value;
  if (value.kind == HostValue::Kind::kTensor) {
    REDLINE_ASSIGN(result.tensor, retyped(value.tensor, retype));
  }
  for (HostValue& element : result.elements) {
    REDLINE_ASSIGN(element, retyped(element, retype));
  }
  return result;
}

Result<Attrs> retyped(const Attrs& attrs, const Retype& retype) {
  AttrMap map = attrs.map();
  for (NamedAttr& attr : map) {
    if (auto* dtype = std::get_if<DType>(&attr.value)) {
      if (*dtype == DType::kFloat32) *dtype = retype.kept;
    } else if (auto* tensor = std::get_if<Tensor>(&attr.value)) {
      REDLINE_ASSIGN(*tensor, retyped(*tensor, retype));
    } else if (auto* body = std::get_if<std::shared_ptr<const Body>>(&attr.value)) {
      if (*body == nullptr) continue;
      REDLINE_ASSIGN(*body, retyped(**body, retype));
    }
  }
  return Attrs::load(attrs.type(), map);
}

Result<HostValue> in_type(const HostValue& value, const Type& type) {
  HostValue result = value;
  if (value.kind == HostValue::Kind::kTensor) {
    if (is_float(type.dtype) && value.tensor.dtype() == DType::kFloat32) {
      REDLINE_ASSIGN(result.tensor, converted(value.tensor, type.dtype));
    }
    return result;
  }
  for (HostValue& element : result.elements) {
    REDLINE_ASSIGN(element, in_type(element, *type.element));
  }
  return result;
}

}  // namespace redline
