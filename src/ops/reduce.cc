// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

enum class Reduction { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kSumSquare, kLogSum, kLogSumExp };

// Which axes go, by axis; none when the input `axes` is not known.
Result<std::optional<std::vector<bool>>> reduced_axes(const InferContext& c, int rank) {
  std::vector<int64_t> axes;
  if (c.has_input(1)) {
    REDLINE_TRY(c.expect_rank(1, 1));
    std::optional<std::vector<int64_t>> known = c.const_ints(1);
    if (!known) return std::optional<std::vector<bool>>();
    axes = std::move(*known);
  }
  bool all = axes.empty() && !c.attrs<ReduceAttrs>().noop_with_empty_axes;
  std::vector<bool> reduced(static_cast<size_t>(rank), all);
  REDLINE_ASSIGN(std::vector<int> at, normalize_axes(c, axes, rank));
  for (int axis : at) reduced[static_cast<size_t>(axis)] = true;
  return std::optional(std::move(reduced));
}

// Sizes of shapes multiplied or added up, as exporters write it.
std::optional<Dim> reduced_contents(Reduction reduction, const SymDims& values) {
  if (values.empty()) return std::nullopt;
  Dim result = values[0];
  for (size_t i = 1; i < values.size(); ++i) {
    switch (reduction) {
      case Reduction::kSum:
        result += values[i];
        break;
      case Reduction::kProd:
        result *= values[i];
        break;
      case Reduction::kMax:
        result = max(result, values[i]);
        break;
      case Reduction::kMin:
        result = min(result, values[i]);
        break;
      default:
        return std::nullopt;
    }
  }
  bool plain = reduction == Reduction::kSum || reduction == Reduction::kProd ||
               reduction == Reduction::kMax || reduction == Reduction::kMin;
  return plain ? std::optional(result) : std::nullopt;
}

template <Reduction kReduction>
Status infer_reduce(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  DType dtype = c.dtype(0);
  bool orders = kReduction == Reduction::kMax || kReduction == Reduction::kMin;
  if (dtype == DType::kString || (dtype == DType::kBool && !orders)) {
    return c.input_error(0, "must hold numbers");
  }
  const Shape& in = c.shape(0);
  bool keep = c.attrs<ReduceAttrs>().keepdims;
  c.set_output(0, dtype, Shape());
  if (!in.has_rank()) {
    bool all = !c.has_input(1) && !c.attrs<ReduceAttrs>().noop_with_empty_axes;
    if (all && !keep) c.set_output(0, dtype, SymDims{});
    return {};
  }
  REDLINE_ASSIGN(std::optional<std::vector<bool>> reduced, reduced_axes(c, in.rank()));
  if (!reduced) {
    // No axis may be named twice, so their number tells the rank.
    std::optional<int64_t> count = const_length(c, 1);
    if (keep) {
      c.set_output(0, dtype, fresh_dims(c, in.rank(), "reduce"));
    } else if (count && *count > 0 && *count <= in.rank()) {
      c.set_output(0, dtype, fresh_dims(c, in.rank() - *count, "reduce"));
    }
    return {};
  }
  SymDims out;
  for (int d = 0; d < in.rank(); ++d) {
    bool goes = (*reduced)[static_cast<size_t>(d)];
    if (!goes || keep) out.push_back(goes ? Dim(1) : in[d]);
  }
  c.set_output(0, dtype, std::move(out));
  if (in.rank() == 1 && (*reduced)[0]) {
    std::optional<SymDims> contents = c.contents(0);
    std::optional<Dim> value =
        contents && dtype == DType::kInt64 ? reduced_contents(kReduction, *contents) : std::nullopt;
    if (value) c.set_contents(0, {*value});
  }
  return {};
}

// What a maximum (or minimum) starts from: the least (largest) value of the dtype.
template <class W>
W extreme(DType dtype, bool largest) {
  if constexpr (std::is_same_v<W, double>) {
    double infinity = std::numeric_limits<double>::infinity();
    return largest ? infinity : -infinity;
  } else {
    if (dtype == DType::kBool) return largest ? 1 : 0;
    int bits = dtype_bits(dtype);
    if (is_signed_int(dtype)) {
      auto low = static_cast<int64_t>(~uint64_t{0} << (bits - 1));
      return static_cast<W>(largest ? ~low : low);
    }
    return static_cast<W>(largest ? ~uint64_t{0} >> (64 - bits) : 0);
  }
}

template <class W>
bool is_nan(W v) {
  if constexpr (std::is_same_v<W, double>) {
    return std::isnan(v);
  } else {
    return false;
  }
}

// Integers wrap.
template <class W>
W add(W a, W b) {
  if constexpr (std::is_same_v<W, double>) return a + b;
  return static_cast<W>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
template <class W>
W multiply(W a, W b) {
  if constexpr (std::is_same_v<W, double>) return a * b;
  return static_cast<W>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

template <class W>
W magnitude(W v) {
  if constexpr (std::is_same_v<W, double>) {
    return std::abs(v);
  } else if constexpr (std::is_signed_v<W>) {
    return v < 0 ? static_cast<W>(0 - static_cast<uint64_t>(v)) : v;
  } else {
    return v;
  }
}

struct Walk {
  Dims dims;        // of the input
  Dims strides[1];  // of the output, 0 along reduced axes
  int64_t out_count = 0;
  int64_t reduced_count = 1;
};

Walk reduction_walk(const ReferenceContext& c) {
  const auto& attrs = c.attrs<ReduceAttrs>();
  Walk walk;
  walk.dims = c.input(0).dims;
  auto rank = walk.dims.rank();
  std::vector<int64_t> axes;
  if (c.has_input(1)) axes = read_ints(c.input(1));
  std::vector<bool> reduced(static_cast<size_t>(rank), axes.empty() && !attrs.noop_with_empty_axes);
  for (int64_t axis : axes) reduced[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = true;
  walk.out_count = c.output(0).count();
  walk.strides[0].resize(rank);
  int64_t stride = 1;
  for (size_t d = static_cast<size_t>(rank); d-- > 0;) {
    if (reduced[d]) {
      walk.reduced_count *= walk.dims[d];
    } else {
      walk.strides[0][d] = stride;
      stride *= walk.dims[d];
    }
  }
  return walk;
}

template <class W, class Fn>
std::vector<W> fold(const Walk& walk, const std::vector<W>& values, W start, Fn&& fn) {
  std::vector<W> result(static_cast<size_t>(walk.out_count), start);
  for_each_offset(walk.dims, walk.strides, [&](int64_t i, const int64_t(&offset)[1]) {
    W& into = result[static_cast<size_t>(offset[0])];
    into = fn(into, values[static_cast<size_t>(i)]);
  });
  return result;
}

template <class W>
std::vector<W> fold_max(const Walk& walk, const std::vector<W>& values, DType dtype) {
  return fold(walk, values, extreme<W>(dtype, false),
              [](W a, W b) { return is_nan(a) || a > b ? a : b; });
}

// log(sum(exp(x))) with the maximum taken out, so that nothing overflows.
std::vector<double> log_sum_exp(const Walk& walk, const std::vector<double>& values) {
  std::vector<double> shift = fold_max(walk, values, DType::kFloat64);
  for (double& v : shift) v = std::isfinite(v) ? v : 0;
  std::vector<double> sums(shift.size(), 0);
  for_each_offset(walk.dims, walk.strides, [&](int64_t i, const int64_t(&offset)[1]) {
    auto at = static_cast<size_t>(offset[0]);
    sums[at] += std::exp(values[static_cast<size_t>(i)] - shift[at]);
  });
  for (size_t i = 0; i < sums.size(); ++i) sums[i] = std::log(sums[i]) + shift[i];
  return sums;
}

template <Reduction kReduction, class W>
std::vector<W> reduce(const Walk& walk, const std::vector<W>& values, DType dtype) {
  switch (kReduction) {
    case Reduction::kMax:
      return fold_max(walk, values, dtype);
    case Reduction::kMin:
      return fold(walk, values, extreme<W>(dtype, true),
                  [](W a, W b) { return is_nan(a) || a < b ? a : b; });
    case Reduction::kProd:
      return fold(walk, values, W{1}, multiply<W>);
    case Reduction::kL1:
      return fold(walk, values, W{0}, [](W a, W b) { return add(a, magnitude(b)); });
    case Reduction::kSumSquare:
      return fold(walk, values, W{0}, [](W a, W b) { return add(a, multiply(b, b)); });
    default:
      break;
  }
  std::vector<W> sums = fold(walk, values, W{0}, add<W>);
  if (kReduction == Reduction::kMean) {
    auto count = static_cast<W>(walk.reduced_count);
    // The mean of no integers is not defined; 0 will do.
    for (W& sum : sums) {
      if constexpr (std::is_same_v<W, double>) {
        sum /= count;
      } else {
        sum = count == 0 ? 0 : sum / count;
      }
    }
  }
  return sums;
}

// Those that take a root or a logarithm; integers are cut off, and kept in range.
template <Reduction kReduction>
std::vector<double> reduce_real(const Walk& walk, const std::vector<double>& values) {
  if (kReduction == Reduction::kLogSumExp) return log_sum_exp(walk, values);
  bool root = kReduction == Reduction::kL2;
  std::vector<double> sums =
      fold(walk, values, 0.0, [root](double a, double b) { return a + (root ? b * b : b); });
  for (double& sum : sums) sum = root ? std::sqrt(sum) : std::log(sum);
  return sums;
}

template <Reduction kReduction>
Status reference_reduce(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  Walk walk = reduction_walk(c);
  constexpr bool kReal = kReduction == Reduction::kL2 || kReduction == Reduction::kLogSum ||
                         kReduction == Reduction::kLogSumExp;
  if constexpr (kReal) {
    std::vector<double> result = reduce_real<kReduction>(walk, read_elements<double>(in));
    if (!is_float(in.dtype)) {
      for (double& v : result) v = std::isnan(v) ? 0 : std::clamp(std::trunc(v), -0x1p62, 0x1p62);
    }
    write_elements(result, out);
  } else {
    with_wide_type(in.dtype, [&](auto wide) {
      using W = decltype(wide);
      write_elements(reduce<kReduction, W>(walk, read_elements<W>(in), in.dtype), out);
    });
  }
  return {};
}

Cost cost_reduce(std::span<const Type> inputs, std::span<const Type>, const Attrs&) {
  std::optional<Dims> in = inputs[0].shape.as_static();
  return {in ? static_cast<double>(in->count()) : 0};
}

template <Reduction kReduction>
void add_row(OpRegistry& registry, const char* name) {
  registry.add({.name = name,
                .inputs = {{"data"}, {"axes", Arity::kOptional}},
                .outputs = {{"reduced"}},
                .attrs = attrs_type<ReduceAttrs>(),
                .traits = kTraitReduction,
                .infer = infer_reduce<kReduction>,
                .reference = reference_reduce<kReduction>,
                .cost = cost_reduce});
}

}  // namespace

void register_op_reduce(OpRegistry& registry) {
  add_row<Reduction::kSum>(registry, "reduce_sum");
  add_row<Reduction::kMean>(registry, "reduce_mean");
  add_row<Reduction::kMax>(registry, "reduce_max");
  add_row<Reduction::kMin>(registry, "reduce_min");
  add_row<Reduction::kProd>(registry, "reduce_prod");
  add_row<Reduction::kL1>(registry, "reduce_l1");
  add_row<Reduction::kL2>(registry, "reduce_l2");
  add_row<Reduction::kSumSquare>(registry, "reduce_sum_square");
  add_row<Reduction::kLogSum>(registry, "reduce_log_sum");
  add_row<Reduction::kLogSumExp>(registry, "reduce_log_sum_exp");
}

}  // namespace redline
