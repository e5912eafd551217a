// SPDX-License-Identifier: Apache-2.0
#include "ops/recurrent.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr size_t kBias = 3;
constexpr size_t kLengths = 4;
constexpr size_t kHidden = 5;
constexpr size_t kCell = 6;
constexpr size_t kPeepholes = 7;

constexpr int kTogether = 8;  // sequences of a batch

enum class Kind { kRnn, kGru, kLstm };

constexpr int64_t gates_of(Kind kind) {
  return kind == Kind::kRnn ? 1 : kind == Kind::kGru ? 3 : 4;
}
constexpr size_t functions_of(Kind kind) {
  return kind == Kind::kRnn ? 1 : kind == Kind::kGru ? 2 : 3;
}
struct ActivationKind {
  std::string_view name;
  double (*apply)(double x, double alpha, double beta);
  bool has_alpha = false;
  bool has_beta = false;
  double alpha = 0;  // unless given
  double beta = 0;
};

constexpr ActivationKind kActivations[] = {
    {"sigmoid", [](double x, double, double) { return 1 / (1 + std::exp(-x)); }},
    {"tanh", [](double x, double, double) { return std::tanh(x); }},
    {"relu", [](double x, double, double) { return x < 0 ? 0 : x; }},
    {"affine", [](double x, double a, double b) { return a * x + b; }, true, true, 1, 0},
    {"leakyrelu", [](double x, double a, double) { return x >= 0 ? x : a * x; }, true, false, 0.01},
    {"thresholdedrelu", [](double x, double a, double) { return x >= a ? x : 0; }, true, false, 1},
    {"scaledtanh", [](double x, double a, double b) { return a * std::tanh(b * x); }, true, true, 1,
     1},
    {"hardsigmoid", [](double x, double a, double b) { return std::clamp(a * x + b, 0.0, 1.0); },
     true, true, 0.2, 0.5},
    {"elu", [](double x, double a, double) { return x >= 0 ? x : a * std::expm1(x); }, true, false,
     1},
    {"softsign", [](double x, double, double) { return x / (1 + std::abs(x)); }},
    {"softplus", [](double x, double,
                    double) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }},
};

const ActivationKind* find_activation(std::string_view name) {
  std::string lower(name);
  for (char& letter : lower) letter = letter >= 'A' && letter <= 'Z' ? letter + 32 : letter;
  for (const ActivationKind& kind : kActivations) {
    if (kind.name == lower) return &kind;
  }
  return nullptr;
}

Result<std::vector<RecurrentActivation>> activations_of(const RecurrentAttrs& attrs, Kind kind) {
  std::vector<std::string> names = attrs.activations;
  size_t count = static_cast<size_t>(recurrent_directions(attrs)) * functions_of(kind);
  if (names.empty()) {
    for (int64_t d = 0; d < recurrent_directions(attrs); ++d) {
      if (kind != Kind::kRnn) names.emplace_back("sigmoid");
      names.emplace_back("tanh");
      if (kind == Kind::kLstm) names.emplace_back("tanh");
    }
  }
  if (names.size() != count) {
    return invalid_argument(names.size(), " activations are listed, expected ", count);
  }
  std::vector<RecurrentActivation> result;
  size_t alpha = 0;
  size_t beta = 0;
  for (const std::string& name : names) {
    const ActivationKind* found = find_activation(name);
    if (found == nullptr) return unsupported("activation '", name, "'");
    RecurrentActivation activation{found->name, found->apply, found->alpha, found->beta};
    if (found->has_alpha && alpha < attrs.alphas.size()) activation.alpha = attrs.alphas[alpha++];
    if (found->has_beta && beta < attrs.betas.size()) activation.beta = attrs.betas[beta++];
    result.push_back(activation);
  }
  return result;
}

Status check_sizes(const InferContext& c, size_t i, const SymDims& expected) {
  if (!c.has_input(i)) return {};
  REDLINE_TRY(c.expect_rank(i, static_cast<int>(expected.size())));
  if (i != kLengths) REDLINE_TRY(c.expect_same_dtype(i, 0));
  if (!c.shape(i).has_rank()) return {};
  for (int d = 0; d < c.shape(i).rank(); ++d) {
    const Dim& to = expected[static_cast<size_t>(d)];
    if (conflict(c.shape(i)[d], to)) {
      return c.input_error(i, str_cat("must have size ", to.to_string(), " at axis ", d));
    }
  }
  return {};
}

template <Kind kKind>
Status infer_recurrent(InferContext& c) {
  const auto& attrs = c.attrs<RecurrentAttrs>();
  for (size_t i : {0, 1, 2}) {
    REDLINE_TRY(c.expect_rank(i, 3));
    REDLINE_TRY(c.expect_same_dtype(i, 0));
  }
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  if (attrs.clip && !(*attrs.clip >= 0)) return c.error("clip must not be negative");
  Result<std::vector<RecurrentActivation>> activations = activations_of(attrs, kKind);
  if (!activations.ok()) return activations.status().with_context(c.op().name);
  if (c.has_input(kLengths) && !is_int(c.dtype(kLengths))) {
    return c.input_error(kLengths, "must hold integers");
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) c.set_output(i, c.dtype(0), Shape());
  if (!c.shape(0).has_rank() || !c.shape(2).has_rank()) return {};
  const Shape& x = c.shape(0);
  const Dim& sequence = attrs.batch_first ? x[1] : x[0];
  const Dim& batch = attrs.batch_first ? x[0] : x[1];
  const Dim& hidden = c.shape(2)[2];
  Dim directions = recurrent_directions(attrs);
  Dim gates = Dim(gates_of(kKind)) * hidden;
  REDLINE_TRY(check_sizes(c, 1, {directions, gates, x[2]}));
  REDLINE_TRY(check_sizes(c, 2, {directions, gates, hidden}));
  REDLINE_TRY(check_sizes(c, kBias, {directions, Dim(2) * gates}));
  REDLINE_TRY(check_sizes(c, kLengths, {batch}));
  SymDims state =
      attrs.batch_first ? SymDims{batch, directions, hidden} : SymDims{directions, batch, hidden};
  REDLINE_TRY(check_sizes(c, kHidden, state));
  if (kKind == Kind::kLstm) {
    REDLINE_TRY(check_sizes(c, kCell, state));
    REDLINE_TRY(check_sizes(c, kPeepholes, {directions, Dim(3) * hidden}));
  }
  c.set_output(0, c.dtype(0),
               attrs.batch_first ? Shape({batch, sequence, directions, hidden})
                                 : Shape({sequence, directions, batch, hidden}));
  for (size_t i = 1; i < c.num_outputs(); ++i) c.set_output(i, c.dtype(0), state);
  return {};
}

// The weights of one direction and the states of kLanes sequences, which take their steps together
// so that weights are read once for all. Vectors are [size][kLanes].
template <int kLanes>
struct Cells {
  const RecurrentAttrs& attrs;
  int64_t input, hidden;
  const double *w, *r, *wb, *rb, *peepholes;
  const RecurrentActivation* functions;
  std::vector<double> x, h, c;
  std::vector<double> from_x, from_h, reset;

  // Two lanes a register; arrays of single ones are kept in memory by compilers, at half the speed.
  using Pair = double __attribute__((vector_size(16)));
  using Pack = std::conditional_t<kLanes == 1, double, Pair>;
  static constexpr int kPacks = kLanes == 1 ? 1 : kLanes / 2;

  // out[i] = bias[i] + sum_k m[i, k] v[k]
  static void multiply(const double* m, const double* v, const double* bias, int64_t rows,
                       int64_t columns, double* out) {
    constexpr int kRows = 3;
    int64_t i = 0;
    for (; i + kRows <= rows; i += kRows) multiply_rows<kRows>(m, v, bias, i, columns, out);
    for (; i < rows; ++i) multiply_rows<1>(m, v, bias, i, columns, out);
  }

  // Several rows read v together.
  template <int kRows>
  static void multiply_rows(const double* m, const double* v, const double* bias, int64_t first,
                            int64_t columns, double* out) {
    Pack sums[kRows][kPacks];
    for (int row = 0; row < kRows; ++row) {
      for (Pack& sum : sums[row]) sum = Pack{} + bias[first + row];
    }
    for (int64_t k = 0; k < columns; ++k) {
      Pack x[kPacks];
      std::memcpy(x, v + k * kLanes, sizeof x);
      for (int row = 0; row < kRows; ++row) {
        Pack weight = Pack{} + m[(first + row) * columns + k];
        for (int i = 0; i < kPacks; ++i) sums[row][i] += weight * x[i];
      }
    }
    std::memcpy(out + first * kLanes, sums, sizeof sums);
  }

  double activate(size_t function, double value) const {
    if (attrs.clip) value = std::clamp<double>(value, -*attrs.clip, *attrs.clip);
    const RecurrentActivation& f = functions[function];
    return f.apply(value, f.alpha, f.beta);
  }

  template <Kind kKind>
  void step() {
    int64_t gates = gates_of(kKind) * hidden;
    from_x.resize(static_cast<size_t>(gates * kLanes));
    from_h.resize(static_cast<size_t>(gates * kLanes));
    multiply(w, x.data(), wb, gates, input, from_x.data());
    multiply(r, h.data(), rb, gates, hidden, from_h.data());
    if constexpr (kKind == Kind::kRnn) step_rnn();
    if constexpr (kKind == Kind::kGru) step_gru();
    if constexpr (kKind == Kind::kLstm) step_lstm();
  }

  double sum(int64_t gate, int64_t i) const {
    auto at = static_cast<size_t>(gate * hidden * kLanes + i);
    return from_x[at] + from_h[at];
  }

  void step_rnn() {
    for (int64_t i = 0; i < hidden * kLanes; ++i)
      h[static_cast<size_t>(i)] = activate(0, sum(0, i));
  }

  void step_gru() {
    reset.resize(h.size());
    for (int64_t i = 0; i < hidden * kLanes; ++i) {
      reset[static_cast<size_t>(i)] = activate(0, sum(1, i));
    }
    double* last = from_h.data() + 2 * hidden * kLanes;
    if (attrs.linear_before_reset) {
      for (size_t i = 0; i < h.size(); ++i) last[i] *= reset[i];
    } else {
      for (size_t i = 0; i < h.size(); ++i) reset[i] *= h[i];
      multiply(r + 2 * hidden * hidden, reset.data(), rb + 2 * hidden, hidden, hidden, last);
    }
    for (int64_t i = 0; i < hidden * kLanes; ++i) {
      double update = activate(0, sum(0, i));
      double& value = h[static_cast<size_t>(i)];
      value = (1 - update) * activate(1, sum(2, i)) + update * value;
    }
  }

  void step_lstm() {
    for (int64_t i = 0; i < hidden * kLanes; ++i) {
      const double* peephole = peepholes + i / kLanes;
      double& cell = c[static_cast<size_t>(i)];
      double in = activate(0, sum(0, i) + peephole[0] * cell);
      double forget =
          attrs.input_forget ? 1 - in : activate(0, sum(2, i) + peephole[2 * hidden] * cell);
      cell = forget * cell + in * activate(1, sum(3, i));
      double out = activate(0, sum(1, i) + peephole[hidden] * cell);
      h[static_cast<size_t>(i)] = out * activate(2, cell);
    }
  }
};

std::vector<double> read_or_zero(ReferenceContext& c, size_t i, int64_t count) {
  if (c.has_input(i)) return read_elements<double>(c.input(i));
  return std::vector<double>(static_cast<size_t>(count));
}

// What all sequences of a run have.
struct Sequences {
  const RecurrentAttrs& attrs;
  int64_t count, steps, input, hidden, directions;
  std::vector<int64_t> lengths;
  std::vector<double> x, h, c, y;  // states: the first before, the last behind

  int64_t state(int64_t b, int64_t d) const {
    return (attrs.batch_first ? b * directions + d : d * count + b) * hidden;
  }
  int64_t row(int64_t b, int64_t t) const {
    return (attrs.batch_first ? b * steps + t : t * count + b) * input;
  }
  int64_t result(int64_t b, int64_t t, int64_t d) const {
    return (attrs.batch_first ? (b * steps + t) * directions + d
                              : (t * directions + d) * count + b) *
           hidden;
  }
};

// A lane of [size][kLanes] from or to contiguous elements.
template <int kLanes>
void set_lane(std::vector<double>& to, int lane, const double* from) {
  for (size_t i = 0; i * kLanes < to.size(); ++i)
    to[i * kLanes + static_cast<size_t>(lane)] = from[i];
}
template <int kLanes>
void get_lane(const std::vector<double>& from, int lane, double* to) {
  for (size_t i = 0; i * kLanes < from.size(); ++i)
    to[i] = from[i * kLanes + static_cast<size_t>(lane)];
}

// Sequences first, first + 1, ... in the lanes; a lane whose sequence is over goes on with what
// nobody reads.
template <Kind kKind, int kLanes>
void run_together(Cells<kLanes>& cells, Sequences& all, int64_t first, int64_t d) {
  bool backward = d == 1 || all.attrs.direction == RecurrentDirection::kReverse;
  auto lanes = static_cast<int>(std::min<int64_t>(kLanes, all.count - first));
  cells.x.assign(static_cast<size_t>(all.input * kLanes), 0);
  cells.h.assign(static_cast<size_t>(all.hidden * kLanes), 0);
  cells.c.assign(cells.h.size(), 0);
  int64_t longest = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    set_lane<kLanes>(cells.h, lane, all.h.data() + all.state(first + lane, d));
    set_lane<kLanes>(cells.c, lane, all.c.data() + all.state(first + lane, d));
    longest = std::max(longest, all.lengths[static_cast<size_t>(first + lane)]);
  }
  for (int64_t t = 0; t < longest; ++t) {
    auto place = [&](int lane) {
      int64_t length = all.lengths[static_cast<size_t>(first + lane)];
      return t >= length ? -1 : backward ? length - 1 - t : t;
    };
    for (int lane = 0; lane < lanes; ++lane) {
      if (place(lane) < 0) continue;
      set_lane<kLanes>(cells.x, lane, all.x.data() + all.row(first + lane, place(lane)));
    }
    cells.template step<kKind>();
    for (int lane = 0; lane < lanes; ++lane) {
      if (place(lane) < 0) continue;
      int64_t b = first + lane;
      get_lane<kLanes>(cells.h, lane, all.h.data() + all.state(b, d));
      get_lane<kLanes>(cells.c, lane, all.c.data() + all.state(b, d));
      get_lane<kLanes>(cells.h, lane, all.y.data() + all.result(b, place(lane), d));
    }
  }
}

template <Kind kKind, int kLanes>
void run_direction(Sequences& all, int64_t d, const Cells<kLanes>& weights) {
  Cells<kLanes> cells = weights;
  for (int64_t first = 0; first < all.count; first += kLanes) {
    run_together<kKind>(cells, all, first, d);
  }
}

template <Kind kKind>
Status reference_recurrent(ReferenceContext& c) {
  const auto& attrs = c.attrs<RecurrentAttrs>();
  const Dims& dims = c.input(0).dims;
  Sequences all{.attrs = attrs,
                .count = dims[attrs.batch_first ? 0 : 1],
                .steps = dims[attrs.batch_first ? 1 : 0],
                .input = dims[2],
                .hidden = c.input(2).dims[2],
                .directions = recurrent_directions(attrs)};
  int64_t states = all.directions * all.count * all.hidden;
  int64_t gates = gates_of(kKind) * all.hidden;
  REDLINE_ASSIGN(std::vector<RecurrentActivation> activations, activations_of(attrs, kKind));
  all.x = read_elements<double>(c.input(0));
  std::vector<double> w = read_elements<double>(c.input(1));
  std::vector<double> r = read_elements<double>(c.input(2));
  std::vector<double> bias = read_or_zero(c, kBias, all.directions * 2 * gates);
  all.h = read_or_zero(c, kHidden, states);
  all.c.resize(all.h.size());
  std::vector<double> peepholes(static_cast<size_t>(all.directions * 3 * all.hidden));
  if (kKind == Kind::kLstm) {
    all.c = read_or_zero(c, kCell, states);
    peepholes = read_or_zero(c, kPeepholes, all.directions * 3 * all.hidden);
  }
  all.lengths.assign(static_cast<size_t>(all.count), all.steps);
  if (c.has_input(kLengths)) all.lengths = read_ints(c.input(kLengths));
  for (size_t b = 0; b < all.lengths.size(); ++b) {
    if (all.lengths[b] >= 0 && all.lengths[b] <= all.steps) continue;
    return invalid_argument("length ", all.lengths[b], " of sequence ", b, " is beyond ",
                            all.steps);
  }
  all.y.resize(static_cast<size_t>(all.steps * states));
  for (int64_t d = 0; d < all.directions; ++d) {
    auto run = [&]<int kLanes>() {
      const double* wb = bias.data() + d * 2 * gates;
      run_direction<kKind, kLanes>(
          all, d,
          {.attrs = attrs,
           .input = all.input,
           .hidden = all.hidden,
           .w = w.data() + d * gates * all.input,
           .r = r.data() + d * gates * all.hidden,
           .wb = wb,
           .rb = wb + gates,
           .peepholes = peepholes.data() + d * 3 * all.hidden,
           .functions = activations.data() + static_cast<size_t>(d) * functions_of(kKind)});
    };
    if (all.count < kTogether / 2) {
      run.template operator()<1>();
    } else {
      run.template operator()<kTogether>();
    }
  }
  if (c.has_output_view(0)) write_elements(all.y, c.output(0));
  if (c.wants_output(1)) write_elements(all.h, c.output(1));
  if (c.wants_output(2)) write_elements(all.c, c.output(2));
  return {};
}

template <Kind kKind>
Cost cost_recurrent(std::span<const Type> inputs, std::span<const Type>, const Attrs&) {
  std::optional<Dims> x = inputs[0].shape.as_static();
  std::optional<Dims> w = inputs[1].shape.as_static();
  std::optional<Dims> r = inputs[2].shape.as_static();
  if (!x || !w || !r) return {};
  return {2.0 * static_cast<double>((*x)[0]) * static_cast<double>((*x)[1]) *
          static_cast<double>(w->count() + r->count())};
}

template <Kind kKind>
OpDef recurrent_op(const char* name) {
  OpDef def{.name = name,
            .inputs = {{"x"},
                       {"w"},
                       {"r"},
                       {"bias", Arity::kOptional},
                       {"lengths", Arity::kOptional},
                       {"h", Arity::kOptional}},
            .outputs = {{"y"}, {"y_h", Arity::kOptional}},
            .attrs = attrs_type<RecurrentAttrs>(),
            .infer = infer_recurrent<kKind>,
            .reference = reference_recurrent<kKind>,
            .cost = cost_recurrent<kKind>};
  if (kKind == Kind::kLstm) {
    def.inputs.push_back({"c", Arity::kOptional});
    def.inputs.push_back({"peepholes", Arity::kOptional});
    def.outputs.push_back({"y_c", Arity::kOptional});
  }
  return def;
}

}  // namespace

Result<std::vector<RecurrentActivation>> recurrent_activations(const RecurrentAttrs& attrs,
                                                               std::string_view op) {
  return activations_of(attrs, op == "rnn" ? Kind::kRnn : op == "gru" ? Kind::kGru : Kind::kLstm);
}

void register_op_recurrent(OpRegistry& registry) {
  registry.add(recurrent_op<Kind::kRnn>("rnn"));
  registry.add(recurrent_op<Kind::kGru>("gru"));
  registry.add(recurrent_op<Kind::kLstm>("lstm"));
}

}  // namespace redline
