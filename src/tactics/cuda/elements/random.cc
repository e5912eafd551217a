// SPDX-License-Identifier: Apache-2.0
#include "ops/random.h"

#include <bit>

#include "ops/elements.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// Philox4x32-10 as ops/random.cc has it.
constexpr const char* kPhilox = R"(struct philox_words {
  u32 x[4];
};
__device__ inline philox_words philox(u64 key, u64 counter) {
  philox_words w = {{(u32)counter, (u32)(counter >> 32), 0, 0}};
  u32 k0 = (u32)key;
  u32 k1 = (u32)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    u64 p0 = 0xD2511F53ull * w.x[0];
    u64 p1 = 0xCD9E8D57ull * w.x[2];
    philox_words next = {
        {(u32)(p1 >> 32) ^ w.x[1] ^ k0, (u32)p1, (u32)(p0 >> 32) ^ w.x[3] ^ k1, (u32)p0}};
    w = next;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return w;
}
// In [0, 1), 53 bits.
__device__ inline double philox_uniform(u64 key, u64 i) {
  philox_words w = philox(key, i);
  return (double)(((u64)w.x[0] << 32 | w.x[1]) >> 11) * (1.0 / 9007199254740992.0);
}
__device__ inline double philox_normal(u64 key, u64 i) {
  philox_words w = philox(key, i);
  double u = (double)((((u64)w.x[0] << 32 | w.x[1]) >> 11) + 1) * (1.0 / 9007199254740992.0);
  double v = (double)(((u64)w.x[2] << 32 | w.x[3]) >> 11) * (1.0 / 9007199254740992.0);
  return sqrt(-2 * log(u)) * cos(6.283185307179586477 * v);
})";

// Without a seed each run draws anew: from the time of the GPU and the cycles of the
// multiprocessor. Elements need not share the key, for their counters differ.
constexpr const char* kFreshKey = R"(__device__ inline u64 fresh_key() {
  u64 time, cycles;
#ifdef REDLINE_EMULATED
  static u64 calls;
  time = (u64)&calls;
  cycles = ++calls;
#else
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(time));
  asm volatile("mov.u64 %0, %clock64;" : "=l"(cycles));
#endif
  u64 z = time * 0xd1342543de82ef95ull + cycles * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
})";

template <class T>
std::string key_of(ElementContext& c, const std::optional<T>& seed) {
  if (!seed) {
    c.function(kFreshKey);
    return c.let("u64", "fresh_key()");
  }
  uint64_t bits = 0;
  if constexpr (std::is_integral_v<T>) {
    bits = static_cast<uint64_t>(*seed);
  } else {
    bits = std::bit_cast<uint64_t>(static_cast<double>(*seed));
  }
  return str_cat(bits, "ull");
}

// Where the element is in a row-major walk, which is its counter.
std::string counter(ElementContext& c, const ElementIndex& at) {
  return c.let("u64", str_cat("(u64)(", c.output().offset(at), ")"));
}

Result<std::string> random_normal(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<RandomNormalAttrs>();
  c.function(kPhilox);
  return str_cat("(", compute_type(c.output().dtype), ")(", float_literal(attrs.mean, "double"),
                 " + ", float_literal(attrs.scale, "double"), " * philox_normal(",
                 key_of(c, attrs.seed), ", ", counter(c, at), "))");
}

Result<std::string> random_uniform(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<RandomUniformAttrs>();
  double low = attrs.low;
  c.function(kPhilox);
  return str_cat("(", compute_type(c.output().dtype), ")(", float_literal(low, "double"), " + ",
                 float_literal(static_cast<double>(attrs.high) - low, "double"),
                 " * philox_uniform(", key_of(c, attrs.seed), ", ", counter(c, at), "))");
}

Result<std::string> bernoulli(ElementContext& c, const ElementIndex& at) {
  c.function(kPhilox);
  REDLINE_ASSIGN(std::string p, c.read(0, at));
  return str_cat("(", compute_type(c.output().dtype), ")(philox_uniform(",
                 key_of(c, c.attrs<BernoulliAttrs>().seed), ", ", counter(c, at), ") < (double)", p,
                 " ? 1 : 0)");
}

Result<std::string> multinomial(ElementContext& c, const ElementIndex& at) {
  c.function(kPhilox);
  const std::string& classes = c.input(0).dims[1];
  std::string peak = c.variable("double", "0");
  std::string k = c.loop(classes);
  REDLINE_ASSIGN(std::string first, c.read(0, {at[0], k}));
  c.line(str_cat("if (", k, " == 0 || ", peak, " < (double)", first, ") ", peak, " = (double)",
                 first, ";"));
  c.close();
  // The same sums twice: of all, and up to the drawn one.
  std::string total = c.variable("double", "0");
  auto add = [&](const std::string& sum, const std::string& i) -> Status {
    REDLINE_ASSIGN(std::string weight, c.read(0, {at[0], i}));
    c.line(str_cat(sum, " += exp((double)", weight, " - ", peak, ");"));
    return {};
  };
  REDLINE_TRY(add(total, c.loop(classes)));
  c.close();
  std::string u =
      c.let("double", str_cat("philox_uniform(", key_of(c, c.attrs<MultinomialAttrs>().seed), ", ",
                              counter(c, at), ") * ", total));
  std::string sum = c.variable("double", "0");
  std::string place = c.variable("i64", "0");
  std::string i = c.loop(classes);
  REDLINE_TRY(add(sum, i));
  c.line(str_cat("if (!(", u, " < ", sum, ") && ", i, " + 1 < ", classes, ") ", place, " = (i64)",
                 i, " + 1;"));
  c.close();
  return place;
}

// Whether dropout is known to pass its input through.
bool is_zero(const ElementOperand& operand) {
  if (operand.constant == nullptr || operand.constant->count() != 1) return false;
  return read_elements<double>(operand.constant->view())[0] == 0;
}

Result<std::string> dropout(ElementContext& c, const ElementIndex& at) {
  bool mask = c.output_number() == 1;
  const auto& seed = c.attrs<DropoutAttrs>().seed;
  bool passes = !c.has_input(2) || is_zero(c.input(2)) || (c.has_input(1) && is_zero(c.input(1)));
  if (passes) return mask ? Result<std::string>(std::string("true")) : c.read(0, at);
  c.function(kPhilox);
  std::string ratio = c.variable("double", "0.5");
  if (c.has_input(1)) {
    REDLINE_ASSIGN(std::string given, read_scalar(c, 1));
    c.line(str_cat(ratio, " = (double)", given, ";"));
  }
  REDLINE_ASSIGN(std::string training, read_scalar(c, 2));
  c.line(str_cat("if (", training, " == 0) ", ratio, " = 0;"));
  std::string keep = c.let("bool", str_cat(ratio, " == 0 || philox_uniform(", key_of(c, seed), ", ",
                                           counter(c, at), ") >= ", ratio));
  if (mask) return keep;
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  std::string_view type = compute_type(c.output().dtype);
  return str_cat("(", ratio, " == 0 ? ", x, " : ", keep, " ? (", type, ")((double)", x, " / (1 - ",
                 ratio, ")) : ", type, "(0))");
}

Status dropout_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  bool training = inputs.size() > 2 && inputs[2].present && !is_zero(inputs[2]);
  bool drops = inputs.size() <= 1 || !inputs[1].present || !is_zero(inputs[1]);
  bool draws = training && drops && !node.attrs.as<DropoutAttrs>().seed;
  if (!draws || node.num_outputs == 1) return {};
  return unsupported("without a seed the mask would be another than that of the output");
}

}  // namespace

void register_element_random(ElementRegistry& registry) {
  registry.add({.ops = {"random_normal"}, .element = random_normal});
  registry.add({.ops = {"random_uniform"}, .element = random_uniform});
  registry.add({.ops = {"bernoulli"}, .element = bernoulli});
  registry.add({.ops = {"multinomial"}, .element = multinomial, .loops = true});
  registry.add({.ops = {"dropout"}, .supports = dropout_supports, .element = dropout});
}

}  // namespace redline
