// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {

// A value that owns its memory, for what outlives the step that read it.
inline Result<HostValue> own_copy(const HostValue& value) {
  if (value.kind == HostValue::Kind::kTensor) {
    const Tensor& from = value.tensor;
    REDLINE_ASSIGN(Tensor to, Tensor::create(from.dtype(), from.dims()));
    with_storage_type(from.dtype(), [&](auto element) {
      using T = decltype(element);
      std::copy_n(from.data<T>(), from.count(), to.mutable_data<T>());
    });
    return HostValue::of(std::move(to));
  }
  HostValue copy{value.kind, {}, {}};
  for (const HostValue& element : value.elements) {
    REDLINE_ASSIGN(HostValue own, own_copy(element));
    copy.elements.push_back(std::move(own));
  }
  return copy;
}

// Element `index` along `axis`, without that axis.
inline Result<Tensor> take_slice(const Tensor& from, int axis, int64_t index) {
  Dims dims;
  for (int d = 0; d < from.rank(); ++d) {
    if (d != axis) dims.push_back(from.dims()[static_cast<size_t>(d)]);
  }
  REDLINE_ASSIGN(Tensor to, Tensor::create(from.dtype(), dims));
  int64_t outer = from.dims().count(0, axis);
  int64_t size = from.dims()[static_cast<size_t>(axis)];
  int64_t inner = from.dims().count(axis + 1, from.rank());
  with_storage_type(from.dtype(), [&](auto element) {
    using T = decltype(element);
    for (int64_t o = 0; o < outer; ++o) {
      std::copy_n(from.data<T>() + (o * size + index) * inner, inner,
                  to.mutable_data<T>() + o * inner);
    }
  });
  return to;
}

// Joins tensors of equal sizes but at `axis` along it.
inline Result<Tensor> concat_tensors(const std::vector<Tensor>& parts, int axis) {
  Dims dims = parts[0].dims();
  auto at = static_cast<size_t>(axis);
  dims[at] = 0;
  for (const Tensor& part : parts) {
    Dims expected = dims;
    if (part.rank() == dims.rank()) expected[at] = part.dims()[at];
    if (part.dtype() != parts[0].dtype() || part.dims() != expected) {
      return invalid_argument("cannot join ", dtype_name(parts[0].dtype()),
                              parts[0].dims().to_string(), " and ", dtype_name(part.dtype()),
                              part.dims().to_string(), " along axis ", axis);
    }
    if (__builtin_add_overflow(dims[at], part.dims()[at], &dims[at])) {
      return invalid_argument("the joined size overflows");
    }
  }
  REDLINE_ASSIGN(Tensor to, Tensor::create(parts[0].dtype(), dims));
  int64_t outer = dims.count(0, axis);
  int64_t inner = dims.count(axis + 1, dims.rank());
  with_storage_type(to.dtype(), [&](auto element) {
    using T = decltype(element);
    T* out = to.mutable_data<T>();
    for (int64_t o = 0; o < outer; ++o) {
      for (const Tensor& part : parts) {
        int64_t row = part.dims()[at] * inner;
        out = std::copy_n(part.data<T>() + o * row, row, out);
      }
    }
  });
  return to;
}

// Joins tensors of equal sizes along a new axis.
inline Result<Tensor> stack_tensors(std::vector<Tensor> parts, int axis) {
  for (Tensor& part : parts) {
    if (!part.defined()) return invalid_argument("cannot stack what is no tensor");
    if (part.rank() >= kMaxRank || axis < 0 || axis > part.rank()) {
      return invalid_argument("cannot stack ", part.dims().to_string(), " along axis ", axis);
    }
    Dims dims;
    for (int d = 0; d <= part.rank(); ++d) {
      if (d == axis) dims.push_back(1);
      if (d < part.rank()) dims.push_back(part.dims()[static_cast<size_t>(d)]);
    }
    part = part.reshaped(dims);
  }
  for (const Tensor& part : parts) {
    if (part.dims() != parts[0].dims()) {
      return invalid_argument("cannot stack ", parts[0].dims().to_string(), " and ",
                              part.dims().to_string());
    }
  }
  return concat_tensors(parts, axis);
}

}  // namespace redline
