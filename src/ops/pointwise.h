// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "ops/attrs.h"
#include "ops/op.h"

namespace redline {

enum class PointwiseId : uint8_t {
#define REDLINE_POINTWISE(Id, ...) k##Id,
#include "ops/pointwise.inc"
#undef REDLINE_POINTWISE
};

enum class PointwiseTypes : uint8_t {
  kFloat,    // all operands of one floating-point type
  kInteger,  // ... of one integer type
  kNumeric,  // ... of one floating-point or integer type
  kBool,     // ... bool
  kAny,      // ... of one type, bool and strings too
  kMixed,    // numeric, the second of any numeric type
  kWhere,    // the first bool, the others of one type of any kind
};
enum class PointwiseResult : uint8_t { kSame, kBool };

enum PointwiseTrait : uint8_t {
  kPointwiseCommutative = 1,
  kPointwiseIdempotent = 2,
  // Computes in floating point whatever the element type.
  kPointwiseInFloat = 4,
  // The output has the sizes of operand 0; the others broadcast to it.
  kPointwiseUnidirectional = 8,
};

// One member of an op's attribute struct as the formula sees it: `alpha` is the first, `beta` the
// second. Flags are 0 or 1, enumerations their index.
struct PointwiseParam {
  std::string name;
  double value = 0;
};

// One row of pointwise.inc. Static data.
struct PointwiseRow {
  PointwiseId id;
  std::string_view name;       // of the IR op
  std::string_view onnx_name;  // "" when no ONNX op means exactly this
  int arity;
  PointwiseTypes types;
  PointwiseResult result;
  uint8_t traits;
  double identity;           // f(x, identity) = x; NaN when there is none
  std::string_view formula;  // C++ and CUDA, see pointwise.inc
  const AttrsType* attrs;
  // The parameters of a node (or, of default attributes, the defaults).
  std::vector<PointwiseParam> (*params)(const Attrs& attrs);

  bool has(PointwiseTrait trait) const { return (traits & trait) != 0; }
  bool has_identity() const { return identity == identity; }
};

// All rows, in the order of PointwiseId.
std::span<const PointwiseRow> pointwise_rows();
const PointwiseRow& pointwise_row(PointwiseId id);
// The row of an IR op; null for other ops.
const PointwiseRow* find_pointwise(std::string_view name);

// The op's shape rule applied to elements: contents of an integer result from those of its
// operands, as far as they can be told. Used by the table's shape rules.
std::optional<SymDims> pointwise_contents(PointwiseId id, const InferContext& c,
                                          const Shape& result, double alpha);

struct LeakyReluAttrs {
  float alpha = 0.01f;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
  }
};

struct EluAttrs {
  float alpha = 1;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
  }
};

struct SeluAttrs {
  float alpha = 1.67326319217681884765625f;
  float gamma = 1.05070102214813232421875f;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
    v("gamma", gamma);
  }
};

struct CeluAttrs {
  float alpha = 1;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
  }
};

struct HardSigmoidAttrs {
  float alpha = 0.2f;
  float beta = 0.5f;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
    v("beta", beta);
  }
};

enum class GeluForm : uint8_t { kNone, kTanh };
inline std::span<const std::string_view> enum_names(GeluForm) {
  static constexpr std::string_view kNames[] = {"none", "tanh"};
  return kNames;
}

// The error function itself ("none") or its approximation by tanh.
struct GeluAttrs {
  GeluForm approximate = GeluForm::kNone;
  template <class V>
  void fields(V& v) {
    v("approximate", approximate);
  }
};

// x * sigmoid(alpha * x): SiLU for 1, QuickGelu for 1.702.
struct SwishAttrs {
  float alpha = 1;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
  }
};

struct ThresholdedReluAttrs {
  float alpha = 1;
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
  }
};

struct ShrinkAttrs {
  float lambd = 0.5f;
  float bias = 0;
  template <class V>
  void fields(V& v) {
    v("lambd", lambd);
    v("bias", bias);
  }
};

struct IsInfAttrs {
  bool detect_positive = true;
  bool detect_negative = true;
  template <class V>
  void fields(V& v) {
    v("detect_positive", detect_positive);
    v("detect_negative", detect_negative);
  }
};

// fmod: the result has the sign of x (C), else that of y (Python).
struct ModAttrs {
  bool fmod = false;
  template <class V>
  void fields(V& v) {
    v("fmod", fmod);
  }
};

enum class ShiftDirection : uint8_t { kLeft, kRight };
inline std::span<const std::string_view> enum_names(ShiftDirection) {
  static constexpr std::string_view kNames[] = {"LEFT", "RIGHT"};
  return kNames;
}

struct BitShiftAttrs {
  ShiftDirection direction = ShiftDirection::kLeft;
  template <class V>
  void fields(V& v) {
    v("direction", direction);
  }
};

}  // namespace redline
