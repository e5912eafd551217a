// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "ops/elements.h"
#include "ops/pointwise.h"

namespace redline {
namespace {

using MaybeDim = std::optional<Dim>;

constexpr int64_t kMaxElements = 1024;

bool not_negative(const Dim& d) { return d.lower_bound() >= 0; }
bool positive(const Dim& d) { return d.lower_bound() > 0; }

// Truncating division; known where it agrees with rounding down.
MaybeDim divide(const Dim& x, const Dim& y) {
  if (y == Dim(0)) return std::nullopt;
  if (x.is_const() && y.is_const()) {
    return y.value() == -1 ? -x : Dim(x.value() / y.value());
  }
  if (MaybeDim exact = exact_div(x, y)) return exact;
  if (not_negative(x) && not_negative(y)) return floor_div(x, y);
  return std::nullopt;
}

MaybeDim remainder(const Dim& x, const Dim& y, bool sign_of_x) {
  if (y == Dim(0)) return std::nullopt;
  if (sign_of_x && x.is_const() && y.is_const()) {
    return y.value() == -1 ? Dim(0) : Dim(x.value() % y.value());
  }
  if (!sign_of_x || (not_negative(x) && not_negative(y))) return mod(x, y);
  return std::nullopt;
}

MaybeDim truth(bool value) { return Dim(value ? 1 : 0); }

MaybeDim equal(const Dim& x, const Dim& y) {
  if (x == y) return truth(true);
  if (positive(x - y) || positive(y - x)) return truth(false);
  return std::nullopt;
}

MaybeDim less(const Dim& x, const Dim& y) {
  if (positive(y - x)) return truth(true);
  if (not_negative(x - y)) return truth(false);
  return std::nullopt;
}

MaybeDim negated(const MaybeDim& d) {
  if (!d || !d->is_const()) return std::nullopt;
  return truth(d->value() == 0);
}

MaybeDim sign(const Dim& x) {
  if (x == Dim(0)) return Dim(0);
  if (positive(x)) return Dim(1);
  if (positive(-x)) return Dim(-1);
  return std::nullopt;
}

MaybeDim logic(PointwiseId id, const Dim& x, const Dim& y) {
  bool x_known = x.is_const();
  bool y_known = y.is_const();
  if (id == PointwiseId::kAnd && (x == Dim(0) || y == Dim(0))) return truth(false);
  if (id == PointwiseId::kOr && ((x_known && x != Dim(0)) || (y_known && y != Dim(0)))) {
    return truth(true);
  }
  if (!x_known || !y_known) return std::nullopt;
  bool a = x.value() != 0;
  bool b = y.value() != 0;
  return truth(id == PointwiseId::kAnd ? a && b : id == PointwiseId::kOr ? a || b : a != b);
}

// The row's formula on one element of each operand; z and y are those of operand 0 when the op has
// fewer.
MaybeDim element(PointwiseId id, const Dim& x, const Dim& y, const Dim& z, bool alpha) {
  switch (id) {
    case PointwiseId::kAbs:
      if (not_negative(x)) return x;
      return not_negative(-x) ? MaybeDim(-x) : std::nullopt;
    case PointwiseId::kNeg:
      return -x;
    case PointwiseId::kSign:
      return sign(x);
    case PointwiseId::kSquare:
      return x * x;
    case PointwiseId::kRelu:
      return max(x, Dim(0));
    case PointwiseId::kNot:
      return negated(x);
    case PointwiseId::kAdd:
      return x + y;
    case PointwiseId::kSub:
      return x - y;
    case PointwiseId::kMul:
      return x * y;
    case PointwiseId::kDiv:
      return divide(x, y);
    case PointwiseId::kMod:
      return remainder(x, y, alpha);
    case PointwiseId::kMax:
      return max(x, y);
    case PointwiseId::kMin:
      return min(x, y);
    case PointwiseId::kEqual:
      return equal(x, y);
    case PointwiseId::kNotEqual:
      return negated(equal(x, y));
    case PointwiseId::kLess:
      return less(x, y);
    case PointwiseId::kLessEqual:
      return negated(less(y, x));
    case PointwiseId::kGreater:
      return less(y, x);
    case PointwiseId::kGreaterEqual:
      return negated(less(x, y));
    case PointwiseId::kAnd:
    case PointwiseId::kOr:
    case PointwiseId::kXor:
      return logic(id, x, y);
    case PointwiseId::kWhere:
      if (y == z) return y;
      if (!x.is_const()) return std::nullopt;
      return x.value() != 0 ? y : z;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<SymDims> pointwise_contents(PointwiseId id, const InferContext& c,
                                          const Shape& result, double alpha) {
  std::optional<Dims> dims = result.as_static();
  if (!dims || dims->count() > kMaxElements) return std::nullopt;
  std::array<SymDims, 3> operands;
  Dims strides[3];
  for (size_t i = 0; i < 3; ++i) {
    if (!c.has_input(i)) {
      // Clip's limits; other ops have fewer operands.
      if (i > 0 && id == PointwiseId::kClip) return std::nullopt;
      operands[i] = operands[0];
      strides[i] = strides[0];
      continue;
    }
    std::optional<Dims> own = c.shape(i).as_static();
    std::optional<SymDims> contents = c.contents(i);
    if (!own || !contents || static_cast<int64_t>(contents->size()) != own->count()) {
      return std::nullopt;
    }
    operands[i] = std::move(*contents);
    strides[i] = broadcast_strides(*own, *dims);
  }
  SymDims elements;
  bool known = true;
  for_each_offset(*dims, strides, [&](int64_t, const int64_t(&offset)[3]) {
    if (!known) return;
    auto at = [&](size_t i) -> const Dim& { return operands[i][static_cast<size_t>(offset[i])]; };
    MaybeDim dim = id == PointwiseId::kClip ? min(max(at(0), at(1)), at(2))
                                            : element(id, at(0), at(1), at(2), alpha != 0);
    known = dim.has_value() && !dim->is_invalid();
    if (known) elements.push_back(*std::move(dim));
  });
  if (!known) return std::nullopt;
  return elements;
}

}  // namespace redline
