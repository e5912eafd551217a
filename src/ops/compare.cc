// SPDX-License-Identifier: Apache-2.0
#include "ops/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

#include "ops/elements.h"

namespace redline {
namespace {

std::string place(const Dims& dims, int64_t flat) {
  Dims index = dims;
  for (int d = dims.rank() - 1; d >= 0; --d) {
    auto axis = static_cast<size_t>(d);
    index[axis] = flat % dims[axis];
    flat /= dims[axis];
  }
  return index.to_string();
}

std::string show(double v) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", v);
  return buffer;
}

Status compare_floats(const Tensor& expected, const Tensor& actual, const Tolerance& tolerance) {
  std::vector<double> want = read_elements<double>(expected.view());
  std::vector<double> got = read_elements<double>(actual.view());
  double largest = 0;
  for (double v : want) {
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  }
  int64_t differing = 0;
  int64_t worst = -1;
  double worst_excess = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    double a = want[i];
    double b = got[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    bool finite = std::isfinite(a) && std::isfinite(b);
    double excess = finite ? std::abs(a - b) - tolerance.limit(a, largest) : INFINITY;
    if (excess <= 0) continue;
    ++differing;
    if (worst < 0 || excess > worst_excess) {
      worst = static_cast<int64_t>(i);
      worst_excess = excess;
    }
  }
  if (differing == 0) return {};
  auto at = static_cast<size_t>(worst);
  return invalid_argument(differing, " of ", want.size(), " elements differ, most of all at ",
                          place(expected.dims(), worst), ": ", show(got[at]), ", expected ",
                          show(want[at]));
}

template <class T, class Show>
Status compare_exactly(const std::vector<T>& want, const std::vector<T>& got, const Dims& dims,
                       Show&& show_element) {
  int64_t differing = 0;
  size_t first = 0;
  for (size_t i = want.size(); i-- > 0;) {
    if (want[i] == got[i]) continue;
    ++differing;
    first = i;
  }
  if (differing == 0) return {};
  return invalid_argument(differing, " of ", want.size(), " elements differ, first at ",
                          place(dims, static_cast<int64_t>(first)), ": ", show_element(got[first]),
                          ", expected ", show_element(want[first]));
}

}  // namespace

double dtype_epsilon(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 0x1p-52;
    case DType::kFloat32:
      return 0x1p-23;
    case DType::kFloat16:
      return 0x1p-10;
    case DType::kBFloat16:
      return 0x1p-7;
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
      return 0x1p-3;
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
      return 0x1p-2;
    case DType::kFloat4E2M1:
      return 0x1p-1;
    case DType::kFloat8E8M0:
      return 1;
    default:
      return 0;
  }
}

double smallest_normal(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 0x1p-1022;
    case DType::kFloat32:
    case DType::kBFloat16:
      return 0x1p-126;
    case DType::kFloat16:
    case DType::kFloat8E5M2:
      return 0x1p-14;
    case DType::kFloat8E5M2FNUZ:
      return 0x1p-15;
    case DType::kFloat8E4M3FN:
      return 0x1p-6;
    case DType::kFloat8E4M3FNUZ:
      return 0x1p-7;
    case DType::kFloat4E2M1:
      return 1;
    default:
      return 0;
  }
}

double Tolerance::limit(double e, double largest) const {
  if (!std::isfinite(e)) return to_largest * largest;
  return relative * std::max(std::abs(e), least) + to_largest * largest;
}

Tolerance rounding_tolerance(DType dtype, int64_t reduction_length) {
  double storage = dtype_epsilon(dtype);
  if (storage == 0) return {};
  double accumulation = std::min(storage, 0x1p-23);
  double length = std::sqrt(static_cast<double>(std::max<int64_t>(reduction_length, 1)));
  // An elementary function costs a few units in the last place of the accumulation type.
  return {storage + 16 * accumulation, 2 * accumulation * length, smallest_normal(dtype)};
}

int64_t reduction_length(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
                         std::span<const Type> outputs) {
  auto count = [](const Type& type) -> int64_t {
    std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::optional<Dims>();
    return std::max<int64_t>(dims ? dims->count() : 1, 1);
  };
  if (op.cost != nullptr) {
    double flops = op.cost(inputs, outputs, attrs).flops;
    double length = outputs.empty() ? 0 : flops / 2 / static_cast<double>(count(outputs[0]));
    return std::max<int64_t>(1, static_cast<int64_t>(length));
  }
  if (op.has(kTraitPointwise) || op.has(kTraitMovement)) return 1;
  int64_t largest = 1;
  for (const Type& input : inputs) largest = std::max(largest, count(input));
  return largest;
}

Status compare_tensors(const Tensor& expected, const Tensor& actual, const Tolerance& tolerance) {
  if (!actual.defined()) return invalid_argument("was not produced");
  if (expected.dtype() != actual.dtype() || !(expected.dims() == actual.dims())) {
    return invalid_argument("is ", dtype_name(actual.dtype()), actual.dims().to_string(),
                            ", expected ", dtype_name(expected.dtype()),
                            expected.dims().to_string());
  }
  DType dtype = expected.dtype();
  if (is_float(dtype)) return compare_floats(expected, actual, tolerance);
  if (dtype == DType::kString) {
    auto list = [](const Tensor& t) {
      return std::vector<std::string>(t.data<std::string>(), t.data<std::string>() + t.count());
    };
    return compare_exactly(list(expected), list(actual), expected.dims(),
                           [](const std::string& s) { return "'" + s + "'"; });
  }
  return with_wide_type(dtype, [&](auto wide) {
    using W = decltype(wide);
    return compare_exactly(read_elements<W>(expected.view()), read_elements<W>(actual.view()),
                           expected.dims(), [](W v) { return std::to_string(v); });
  });
}

namespace {

Status compare_all(const HostValue& expected, const HostValue& actual,
                   const std::function<Tolerance(DType)>& tolerance) {
  if (expected.kind != actual.kind) return invalid_argument("is of another kind than expected");
  if (expected.kind == HostValue::Kind::kTensor) {
    return compare_tensors(expected.tensor, actual.tensor, tolerance(expected.tensor.dtype()));
  }
  if (expected.elements.size() != actual.elements.size()) {
    return invalid_argument("has ", actual.elements.size(), " elements, expected ",
                            expected.elements.size());
  }
  for (size_t i = 0; i < expected.elements.size(); ++i) {
    REDLINE_TRY(compare_all(expected.elements[i], actual.elements[i], tolerance)
                    .with_context(str_cat("element ", i)));
  }
  return {};
}

}  // namespace

Status compare_values(const HostValue& expected, const HostValue& actual,
                      int64_t reduction_length) {
  return compare_all(expected, actual,
                     [&](DType dtype) { return rounding_tolerance(dtype, reduction_length); });
}

Status compare_values(const HostValue& expected, const HostValue& actual, const Tolerance& floats) {
  return compare_all(expected, actual, [&](DType) { return floats; });
}

}  // namespace redline
