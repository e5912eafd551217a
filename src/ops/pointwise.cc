// SPDX-License-Identifier: Apache-2.0
#include "ops/pointwise.h"

#include <algorithm>
#include <cmath>

#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/pointwise_math.h"

namespace redline {
namespace {

constexpr double kNoIdentity = std::numeric_limits<double>::quiet_NaN();
constexpr uint8_t kC = kPointwiseCommutative;
constexpr uint8_t kI = kPointwiseIdempotent;
constexpr uint8_t kF = kPointwiseInFloat;
constexpr uint8_t kU = kPointwiseUnidirectional;

struct ParamCollector {
  std::vector<PointwiseParam> params;
  void operator()(std::string_view name, float v) { params.push_back({std::string(name), v}); }
  void operator()(std::string_view name, bool v) {
    params.push_back({std::string(name), v ? 1.0 : 0.0});
  }
  template <internal::NamedEnum E>
  void operator()(std::string_view name, E v) {
    params.push_back({std::string(name), static_cast<double>(v)});
  }
};

template <class A>
std::vector<PointwiseParam> collect_params(const Attrs& attrs) {
  A copy = attrs.as<A>();
  ParamCollector collector;
  copy.fields(collector);
  return std::move(collector.params);
}

constexpr PointwiseRow kRows[] = {
#define REDLINE_POINTWISE(Id, name, onnx_name, arity, types, result, traits, identity, Attrs_, \
                          ...)                                                                 \
  {PointwiseId::k##Id,                                                                         \
   name,                                                                                       \
   onnx_name,                                                                                  \
   arity,                                                                                      \
   PointwiseTypes::types,                                                                      \
   PointwiseResult::result,                                                                    \
   traits,                                                                                     \
   static_cast<double>(identity),                                                              \
   #__VA_ARGS__,                                                                               \
   &internal::kAttrsType<Attrs_>,                                                              \
   &collect_params<Attrs_>},
#include "ops/pointwise.inc"
#undef REDLINE_POINTWISE
};

// Whether formulas of this class are ever evaluated in W.
template <class W>
constexpr bool evaluates_in(PointwiseTypes types, uint8_t traits) {
  constexpr bool kFloating = std::is_floating_point_v<W>;
  if ((traits & kF) != 0 || types == PointwiseTypes::kFloat) return kFloating;
  if (types == PointwiseTypes::kInteger) return !kFloating;
  if (types == PointwiseTypes::kBool) return std::is_same_v<W, uint64_t>;
  return types != PointwiseTypes::kWhere;
}

// One formula over n elements.
template <class W>
using Evaluate = void (*)(const W* x, const W* y, const W* z, W* out, int64_t n, double alpha,
                          double beta);

template <PointwiseId id>
struct Formula;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtype-limits"
#define REDLINE_POINTWISE(Id, name, onnx_name, arity, types_, result, traits_, identity, Attrs_, \
                          ...)                                                                   \
  template <>                                                                                    \
  struct Formula<PointwiseId::k##Id> {                                                           \
    static constexpr PointwiseTypes types = PointwiseTypes::types_;                              \
    static constexpr uint8_t traits = traits_;                                                   \
    template <class T>                                                                           \
    static void evaluate(const T* xs, const T* ys, const T* zs, T* out, int64_t n, double a,     \
                         double b) {                                                             \
      using namespace std;            /* NOLINT: the functions that formulas name */             \
      using namespace pointwise_math; /* NOLINT */                                               \
      [[maybe_unused]] const T alpha = static_cast<T>(a);                                        \
      [[maybe_unused]] const T beta = static_cast<T>(b);                                         \
      for (int64_t i = 0; i < n; ++i) {                                                          \
        [[maybe_unused]] const T x = xs[i];                                                      \
        [[maybe_unused]] const T y = ys[i];                                                      \
        [[maybe_unused]] const T z = zs[i];                                                      \
        out[i] = static_cast<T>(__VA_ARGS__);                                                    \
      }                                                                                          \
    }                                                                                            \
  };
#include "ops/pointwise.inc"
#undef REDLINE_POINTWISE
#pragma GCC diagnostic pop

template <class W, PointwiseId id>
constexpr Evaluate<W> evaluator() {
  if constexpr (evaluates_in<W>(Formula<id>::types, Formula<id>::traits)) {
    return &Formula<id>::template evaluate<W>;
  } else {
    return nullptr;
  }
}

template <class W>
constexpr Evaluate<W> kEvaluators[] = {
#define REDLINE_POINTWISE(Id, ...) evaluator<W, PointwiseId::k##Id>(),
#include "ops/pointwise.inc"
#undef REDLINE_POINTWISE
};

bool is_numeric(DType dtype) { return is_float(dtype) || is_int(dtype); }

Status check_types(const InferContext& c, const PointwiseRow& row) {
  size_t first = row.types == PointwiseTypes::kWhere ? 1 : 0;
  if (first == 1 && c.dtype(0) != DType::kBool) return c.input_error(0, "must be bool");
  DType dtype = c.dtype(first);
  const char* expected = nullptr;
  switch (row.types) {
    case PointwiseTypes::kFloat:
      if (!is_float(dtype)) expected = "must have a floating-point type";
      break;
    case PointwiseTypes::kInteger:
      if (!is_int(dtype)) expected = "must have an integer type";
      break;
    case PointwiseTypes::kNumeric:
    case PointwiseTypes::kMixed:
      if (!is_numeric(dtype)) expected = "must have a floating-point or integer type";
      break;
    case PointwiseTypes::kBool:
      if (dtype != DType::kBool) expected = "must be bool";
      break;
    case PointwiseTypes::kAny:
    case PointwiseTypes::kWhere:
      break;
  }
  if (expected != nullptr) return c.input_error(first, expected);
  for (size_t i = first + 1; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) continue;
    if (row.types != PointwiseTypes::kMixed) {
      REDLINE_TRY(c.expect_same_dtype(i, first));
    } else if (!is_numeric(c.dtype(i))) {
      return c.input_error(i, "must have a floating-point or integer type");
    }
  }
  return {};
}

Result<Shape> result_shape(const InferContext& c, const PointwiseRow& row) {
  std::vector<Shape> shapes;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (c.has_input(i)) shapes.push_back(c.shape(i));
  }
  if (!row.has(kPointwiseUnidirectional)) return broadcast_shapes(shapes);
  const Shape& to = c.shape(0);
  for (size_t i = 1; i < c.num_inputs() && to.has_rank(); ++i) {
    if (!c.has_input(i) || !c.shape(i).has_rank()) continue;
    const Shape& from = c.shape(i);
    int extra = std::max(0, from.rank() - to.rank());
    for (int axis = 0; axis < from.rank(); ++axis) {
      const Dim& size = from[axis];
      if (!size.is_const() || size == Dim(1)) continue;
      if (axis < extra) return c.input_error(i, "does not broadcast to the first operand");
      const Dim& wanted = to[axis - from.rank() + to.rank()];
      if (wanted.is_const() && wanted != size) {
        return c.input_error(
            i, str_cat("does not broadcast to the first operand, ", c.type(0).to_string()));
      }
    }
  }
  return to;
}

// Whether arithmetic of the type gives these values: it wraps where that of sizes does not. Sizes
// themselves are taken to fit 32 bits.
bool fits(DType dtype, const SymDims& contents) {
  int bits = dtype == DType::kBool ? 1 : dtype_bits(dtype);
  bool is_signed = is_signed_int(dtype);
  for (const Dim& dim : contents) {
    if (!dim.is_const()) {
      if (bits < 32 || (!is_signed && dim.lower_bound() < 0)) return false;
    } else if (is_signed) {
      int64_t rest = bits == 64 ? 0 : dim.value() >> (bits - 1);
      if (rest != 0 && rest != -1) return false;
    } else if (dim.value() < 0 || (bits < 64 && dim.value() >> bits != 0)) {
      return false;
    }
  }
  return true;
}

Status infer_pointwise(InferContext& c) {
  const PointwiseRow& row = *find_pointwise(c.op().name);
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (c.has_input(i) || row.id != PointwiseId::kClip || i == 0) REDLINE_TRY(c.expect_tensor(i));
  }
  REDLINE_TRY(check_types(c, row));
  DType dtype = row.result == PointwiseResult::kBool
                    ? DType::kBool
                    : c.dtype(row.types == PointwiseTypes::kWhere ? 1 : 0);
  Result<Shape> shape = result_shape(c, row);
  if (!shape.ok()) return shape.status().with_context(c.op().name);
  if (is_int(dtype) || dtype == DType::kBool) {
    double alpha = row.id == PointwiseId::kMod ? c.attrs<ModAttrs>().fmod : 0.0;
    std::optional<SymDims> contents = pointwise_contents(row.id, c, *shape, alpha);
    if (contents && fits(dtype, *contents)) {
      c.set_contents(0, std::move(*contents));
    }
  }
  c.set_output(0, dtype, *std::move(shape));
  return {};
}

// The elements of `view` in the wide type, broadcast to `dims`.
template <class W>
std::vector<W> read_broadcast(const TensorView& view, const Dims& dims) {
  std::vector<W> own = read_elements<W>(view);
  if (view.dims == dims) return own;
  std::vector<W> result(static_cast<size_t>(dims.count()));
  if (own.size() == 1) {
    std::fill(result.begin(), result.end(), own[0]);
    return result;
  }
  Dims strides[1] = {broadcast_strides(view.dims, dims)};
  for_each_offset(dims, strides, [&](int64_t i, const int64_t(&offset)[1]) {
    result[static_cast<size_t>(i)] = own[static_cast<size_t>(offset[0])];
  });
  return result;
}

DType computing_dtype(const ReferenceContext& c, const PointwiseRow& row) {
  DType dtype = c.input(0).dtype;
  if (row.has(kPointwiseInFloat)) return DType::kFloat64;
  if (row.types == PointwiseTypes::kMixed) {
    DType other = c.input(1).dtype;
    if (is_float(dtype) || is_float(other)) return DType::kFloat64;
    if (is_signed_int(dtype) || is_signed_int(other)) return DType::kInt64;
  }
  return dtype;
}

template <class T>
T type_limit(DType dtype, bool lowest) {
  if constexpr (std::is_floating_point_v<T>) {
    T infinity = std::numeric_limits<T>::infinity();
    return lowest ? -infinity : infinity;
  } else if constexpr (std::is_signed_v<T>) {
    return lowest ? int_min(dtype) : int_max(dtype);
  } else {
    return lowest ? T(0) : std::numeric_limits<T>::max();
  }
}

// Floating-point results of integer ops.
void write_saturated(const std::vector<double>& values, const TensorView& out) {
  std::vector<int64_t> whole;
  for (double v : values) {
    whole.push_back(out.dtype == DType::kUInt64
                        ? static_cast<int64_t>(saturating_uint64(v))
                        : saturating_int64(v, int_min(out.dtype), int_max(out.dtype)));
  }
  write_elements(whole, out);
}

template <class W>
void run_formula(ReferenceContext& c, const PointwiseRow& row) {
  const TensorView& out = c.output(0);
  std::vector<PointwiseParam> params = row.params(c.attrs());
  double alpha = params.empty() ? 0 : params[0].value;
  double beta = params.size() < 2 ? 0 : params[1].value;
  std::vector<W> operands[3];
  for (size_t i = 0; i < static_cast<size_t>(row.arity); ++i) {
    if (c.has_input(i)) {
      operands[i] = read_broadcast<W>(c.input(i), out.dims);
    } else {
      operands[i].assign(static_cast<size_t>(out.count()), type_limit<W>(out.dtype, i == 1));
    }
  }
  for (size_t i = static_cast<size_t>(row.arity); i < 3; ++i) operands[i] = operands[0];
  std::vector<W> result(static_cast<size_t>(out.count()));
  kEvaluators<W>[static_cast<size_t>(row.id)](operands[0].data(), operands[1].data(),
                                              operands[2].data(), result.data(), out.count(), alpha,
                                              beta);
  if constexpr (std::is_same_v<W, double>) {
    if (is_int(out.dtype)) return write_saturated(result, out);
  }
  write_elements(result, out);
}

// Equality of strings.
void compare_strings(ReferenceContext& c, bool equal) {
  const TensorView& out = c.output(0);
  Dims strides[2] = {broadcast_strides(c.input(0).dims, out.dims),
                     broadcast_strides(c.input(1).dims, out.dims)};
  const auto* x = c.input(0).as<std::string>();
  const auto* y = c.input(1).as<std::string>();
  for_each_offset(out.dims, strides, [&](int64_t i, const int64_t(&offset)[2]) {
    out.as<uint8_t>()[i] = (x[offset[0]] == y[offset[1]]) == equal;
  });
}

template <class T>
void select(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  Dims strides[3];
  for (size_t i = 0; i < 3; ++i) strides[i] = broadcast_strides(c.input(i).dims, out.dims);
  const auto* condition = c.input(0).as<uint8_t>();
  const T* y = c.input(1).as<T>();
  const T* z = c.input(2).as<T>();
  for_each_offset(out.dims, strides, [&](int64_t i, const int64_t(&offset)[3]) {
    out.as<T>()[i] = condition[offset[0]] != 0 ? y[offset[1]] : z[offset[2]];
  });
}

// Symbolic sizes were taken to agree; here they are numbers.
Status check_broadcast(const ReferenceContext& c) {
  const Dims& out = c.output(0).dims;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) continue;
    const Dims& in = c.input(i).dims;
    bool fits = in.rank() <= out.rank() || in.count() == 1;
    for (int axis = 1; fits && axis <= std::min(in.rank(), out.rank()); ++axis) {
      int64_t size = in[static_cast<size_t>(in.rank() - axis)];
      fits = size == 1 || size == out[static_cast<size_t>(out.rank() - axis)];
    }
    if (!fits) {
      return invalid_argument("operand ", i, " of sizes ", in.to_string(),
                              " does not broadcast to ", out.to_string());
    }
  }
  return {};
}

Status reference_row(ReferenceContext& c, const PointwiseRow& row) {
  REDLINE_TRY(check_broadcast(c));
  if (row.id == PointwiseId::kWhere) {
    with_storage_type(c.output(0).dtype, [&](auto storage) { select<decltype(storage)>(c); });
  } else if (c.input(0).dtype == DType::kString) {
    compare_strings(c, row.id == PointwiseId::kEqual);
  } else {
    with_wide_type(computing_dtype(c, row),
                   [&](auto wide) { run_formula<decltype(wide)>(c, row); });
  }
  return {};
}

template <PointwiseId id>
Status reference_pointwise(ReferenceContext& c) {
  return reference_row(c, pointwise_row(id));
}

Cost cost_pointwise(std::span<const Type>, std::span<const Type> outputs, const Attrs&) {
  std::optional<Dims> out = outputs[0].shape.as_static();
  return {out ? static_cast<double>(out->count()) : 0};
}

void add_row(OpRegistry& registry, const PointwiseRow& row,
             Status (*reference)(ReferenceContext&)) {
  static constexpr const char* kNames[] = {"x", "y", "z"};
  OpDef def;
  def.name = row.name;
  for (int i = 0; i < row.arity; ++i) {
    bool optional = row.id == PointwiseId::kClip && i > 0;
    def.inputs.push_back({kNames[i], optional ? Arity::kOptional : Arity::kRequired});
  }
  if (row.id == PointwiseId::kClip) {
    def.inputs[1].name = "min";
    def.inputs[2].name = "max";
  }
  def.outputs = {{"output"}};
  def.attrs = row.attrs;
  def.traits = kTraitPointwise;
  if (row.has(kPointwiseCommutative)) def.traits |= kTraitCommutative;
  if (row.has(kPointwiseIdempotent)) def.traits |= kTraitIdempotent;
  def.infer = infer_pointwise;
  def.reference = reference;
  def.cost = cost_pointwise;
  registry.add(std::move(def));
}

}  // namespace

std::span<const PointwiseRow> pointwise_rows() { return kRows; }

const PointwiseRow& pointwise_row(PointwiseId id) { return kRows[static_cast<size_t>(id)]; }

const PointwiseRow* find_pointwise(std::string_view name) {
  for (const PointwiseRow& row : kRows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

void register_op_pointwise(OpRegistry& registry) {
#define REDLINE_POINTWISE(Id, ...) \
  add_row(registry, pointwise_row(PointwiseId::k##Id), reference_pointwise<PointwiseId::k##Id>);
#include "ops/pointwise.inc"
#undef REDLINE_POINTWISE
}

}  // namespace redline
