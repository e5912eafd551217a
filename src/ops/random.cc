// SPDX-License-Identifier: Apache-2.0
#include "ops/random.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

class Philox {
 public:
  explicit Philox(uint64_t seed) : key_(seed) {}

  // Four random words for a counter.
  std::array<uint32_t, 4> operator()(uint64_t counter) const {
    std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter),
                                 static_cast<uint32_t>(counter >> 32), 0, 0};
    auto k0 = static_cast<uint32_t>(key_);
    auto k1 = static_cast<uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      uint64_t p0 = uint64_t{0xD2511F53} * x[0];
      uint64_t p1 = uint64_t{0xCD9E8D57} * x[2];
      x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
      k0 += 0x9E3779B9;
      k1 += 0xBB67AE85;
    }
    return x;
  }

  // In [0, 1), 53 bits.
  double uniform(uint64_t i) const {
    std::array<uint32_t, 4> x = (*this)(i);
    uint64_t bits = (uint64_t{x[0]} << 32 | x[1]) >> 11;
    return static_cast<double>(bits) * 0x1p-53;
  }
  // Box-Muller.
  double normal(uint64_t i) const {
    std::array<uint32_t, 4> x = (*this)(i);
    double u = (static_cast<double>((uint64_t{x[0]} << 32 | x[1]) >> 11) + 1) * 0x1p-53;
    double v = static_cast<double>((uint64_t{x[2]} << 32 | x[3]) >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
  }

 private:
  uint64_t key_;
};

uint64_t fresh_seed() {
  uint64_t seed = 0;
  if (getentropy(&seed, sizeof seed) != 0) {
    seed = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return seed;
}

template <class T>
Philox generator(const std::optional<T>& seed) {
  if (!seed) return Philox(fresh_seed());
  if constexpr (std::is_integral_v<T>) {
    return Philox(static_cast<uint64_t>(*seed));
  } else {
    return Philox(std::bit_cast<uint64_t>(static_cast<double>(*seed)));
  }
}

template <class A>
Status infer_random(InferContext& c) {
  const auto& attrs = c.attrs<A>();
  DType dtype = attrs.dtype.value_or(c.has_input(0) ? c.dtype(0) : DType::kFloat32);
  if (!is_float(dtype)) return c.error(str_cat("cannot make ", dtype_name(dtype)));
  if (c.has_input(0)) {
    REDLINE_TRY(c.expect_tensor(0));
    c.set_output(0, dtype, c.shape(0));
    return {};
  }
  if (!attrs.shape) return c.error("needs the attribute 'shape' or an operand");
  if (attrs.shape->size() > kMaxRank) return c.error(str_cat("rank is over ", kMaxRank));
  for (const Dim& dim : *attrs.shape) {
    if (dim.is_const() && dim.value() < 0) return c.error(str_cat("size ", dim.value()));
  }
  c.set_output(0, dtype, *attrs.shape);
  return {};
}

template <class Draw>
void fill(const TensorView& out, Draw&& draw) {
  std::vector<double> values(static_cast<size_t>(out.count()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = draw(i);
  write_elements(values, out);
}

Status reference_normal(ReferenceContext& c) {
  const auto& attrs = c.attrs<RandomNormalAttrs>();
  Philox philox = generator(attrs.seed);
  double mean = attrs.mean;
  double scale = attrs.scale;
  fill(c.output(0), [&](size_t i) { return mean + scale * philox.normal(i); });
  return {};
}

Status reference_uniform(ReferenceContext& c) {
  const auto& attrs = c.attrs<RandomUniformAttrs>();
  Philox philox = generator(attrs.seed);
  double low = attrs.low;
  double width = static_cast<double>(attrs.high) - low;
  fill(c.output(0), [&](size_t i) { return low + width * philox.uniform(i); });
  return {};
}

Status infer_bernoulli(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  DType dtype = c.attrs<BernoulliAttrs>().dtype.value_or(c.dtype(0));
  if (dtype == DType::kString) return c.error("cannot make strings");
  c.set_output(0, dtype, c.shape(0));
  return {};
}

Status reference_bernoulli(ReferenceContext& c) {
  Philox philox = generator(c.attrs<BernoulliAttrs>().seed);
  std::vector<double> p = read_elements<double>(c.input(0));
  fill(c.output(0), [&](size_t i) { return philox.uniform(i) < p[i] ? 1.0 : 0.0; });
  return {};
}

Status infer_multinomial(InferContext& c) {
  const auto& attrs = c.attrs<MultinomialAttrs>();
  REDLINE_TRY(c.expect_rank(0, 2));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  if (attrs.dtype != DType::kInt32 && attrs.dtype != DType::kInt64) {
    return c.error("dtype must be i32 or i64");
  }
  if (attrs.sample_size < 0) return c.error(str_cat("sample_size is ", attrs.sample_size));
  Dim batch = c.shape(0).has_rank() ? c.shape(0)[0] : c.fresh_symbol("batch");
  c.set_output(0, attrs.dtype, SymDims{batch, Dim(attrs.sample_size)});
  return {};
}

Status reference_multinomial(ReferenceContext& c) {
  const auto& attrs = c.attrs<MultinomialAttrs>();
  const TensorView& in = c.input(0);
  Philox philox = generator(attrs.seed);
  auto classes = static_cast<size_t>(in.dims[1]);
  auto samples = static_cast<size_t>(attrs.sample_size);
  if (classes == 0 && c.output(0).count() > 0) return invalid_argument("no classes to draw from");
  std::vector<double> logs = read_elements<double>(in);
  std::vector<int64_t> result(static_cast<size_t>(c.output(0).count()));
  std::vector<double> sums(classes);
  for (size_t row = 0; row < static_cast<size_t>(in.dims[0]) && classes > 0; ++row) {
    const double* weights = logs.data() + row * classes;
    double peak = *std::max_element(weights, weights + classes);
    double sum = 0;
    for (size_t k = 0; k < classes; ++k) sums[k] = sum += std::exp(weights[k] - peak);
    for (size_t s = 0; s < samples; ++s) {
      double u = philox.uniform(row * samples + s) * sum;
      auto at = std::upper_bound(sums.begin(), sums.end(), u) - sums.begin();
      result[row * samples + s] = std::min<int64_t>(at, static_cast<int64_t>(classes) - 1);
    }
  }
  write_elements(result, c.output(0));
  return {};
}

Status infer_dropout(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  if (c.has_input(1)) REDLINE_TRY(c.expect_tensor(1));
  if (c.has_input(2)) REDLINE_TRY(c.expect_tensor(2));
  c.set_output(0, c.dtype(0), c.shape(0));
  c.set_output(1, DType::kBool, c.shape(0));
  return {};
}

Result<double> read_scalar(const TensorView& view, std::string_view name) {
  if (view.count() != 1) {
    return invalid_argument(name, " has ", view.count(), " elements, expected 1");
  }
  return read_elements<double>(view)[0];
}

Status reference_dropout(ReferenceContext& c) {
  double ratio = 0.5;
  double training = 0;
  if (c.has_input(1)) {
    REDLINE_ASSIGN(ratio, read_scalar(c.input(1), "ratio"));
  }
  if (c.has_input(2)) {
    REDLINE_ASSIGN(training, read_scalar(c.input(2), "training_mode"));
  }
  auto count = static_cast<size_t>(c.output(0).count());
  if (training == 0 || ratio == 0) {
    if (count > 0) std::memcpy(c.output(0).data, c.input(0).data, c.input(0).bytes());
    if (c.wants_output(1)) std::fill_n(c.output(1).as<uint8_t>(), count, uint8_t{1});
    return {};
  }
  if (!(ratio > 0 && ratio < 1)) return invalid_argument("ratio is ", ratio, ", not in [0, 1)");
  Philox philox = generator(c.attrs<DropoutAttrs>().seed);
  std::vector<double> x = read_elements<double>(c.input(0));
  for (size_t i = 0; i < count; ++i) {
    bool keep = philox.uniform(i) >= ratio;
    x[i] = keep ? x[i] / (1 - ratio) : 0;
    if (c.wants_output(1)) c.output(1).as<uint8_t>()[i] = keep;
  }
  write_elements(x, c.output(0));
  return {};
}

}  // namespace

void register_op_random(OpRegistry& registry) {
  registry.add({.name = "random_normal",
                .inputs = {{"like", Arity::kOptional}},
                .outputs = {{"output"}},
                .attrs = attrs_type<RandomNormalAttrs>(),
                .traits = kTraitRandom,
                .infer = infer_random<RandomNormalAttrs>,
                .reference = reference_normal});
  registry.add({.name = "random_uniform",
                .inputs = {{"like", Arity::kOptional}},
                .outputs = {{"output"}},
                .attrs = attrs_type<RandomUniformAttrs>(),
                .traits = kTraitRandom,
                .infer = infer_random<RandomUniformAttrs>,
                .reference = reference_uniform});
  registry.add({.name = "bernoulli",
                .inputs = {{"input"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<BernoulliAttrs>(),
                .traits = kTraitRandom,
                .infer = infer_bernoulli,
                .reference = reference_bernoulli});
  registry.add({.name = "multinomial",
                .inputs = {{"input"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<MultinomialAttrs>(),
                .traits = kTraitRandom,
                .infer = infer_multinomial,
                .reference = reference_multinomial});
  registry.add(
      {.name = "dropout",
       .inputs = {{"data"}, {"ratio", Arity::kOptional}, {"training_mode", Arity::kOptional}},
       .outputs = {{"output"}, {"mask", Arity::kOptional}},
       .attrs = attrs_type<DropoutAttrs>(),
       .traits = kTraitRandom,
       .infer = infer_dropout,
       .reference = reference_dropout});
}

}  // namespace redline
