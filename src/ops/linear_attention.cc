// SPDX-License-Identifier: Apache-2.0
#include "ops/linear_attention.h"

#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr size_t kState = 3;
constexpr size_t kDecay = 4;
constexpr size_t kBeta = 5;

bool is_gated(LinearUpdate update) {
  return update == LinearUpdate::kGated || update == LinearUpdate::kGatedDelta;
}
bool is_delta(LinearUpdate update) {
  return update == LinearUpdate::kDelta || update == LinearUpdate::kGatedDelta;
}

Status check_sizes(const InferContext& c, size_t i, const SymDims& expected) {
  if (!c.shape(i).has_rank()) return {};
  for (int d = 0; d < c.shape(i).rank(); ++d) {
    const Dim& to = expected[static_cast<size_t>(d)];
    if (conflict(c.shape(i)[d], to)) {
      return c.input_error(i, str_cat("must have size ", to.to_string(), " at axis ", d));
    }
  }
  return {};
}

// decay and beta: one number a head, or one a key element or for all heads.
Status check_gate(const InferContext& c, size_t i, bool wanted, int64_t per_head,
                  std::optional<int64_t> other, const SymDims& q) {
  if (c.has_input(i) != wanted) {
    return c.error(str_cat("this update ", wanted ? "needs" : "does not take", " input '",
                           c.op().inputs[i].name, "'"));
  }
  if (!wanted) return {};
  REDLINE_TRY(c.expect_rank(i, 3));
  REDLINE_TRY(c.expect_same_dtype(i, 0));
  if (!c.shape(i).has_rank()) return {};
  std::optional<int64_t> last = c.shape(i)[2].as_const();
  if (last && *last != per_head && other && *last != *other) {
    return c.input_error(i, str_cat("must have size ", per_head, " or ", *other, " at axis 2"));
  }
  return check_sizes(c, i, {q[0], q[1], c.shape(i)[2]});
}

Status infer_linear_attention(InferContext& c) {
  const auto& attrs = c.attrs<LinearAttentionAttrs>();
  for (size_t i : {0, 1, 2}) {
    REDLINE_TRY(c.expect_rank(i, 3));
    REDLINE_TRY(c.expect_same_dtype(i, 0));
  }
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  if (attrs.q_heads <= 0 || attrs.kv_heads <= 0 || attrs.q_heads % attrs.kv_heads != 0) {
    return c.error(
        str_cat(attrs.q_heads, " query heads cannot share ", attrs.kv_heads, " key heads evenly"));
  }
  bool has_state = c.has_input(kState);
  if (has_state) {
    REDLINE_TRY(c.expect_rank(kState, 4));
    if (!is_float(c.dtype(kState))) {
      return c.input_error(kState, "must hold floating-point numbers");
    }
  }
  DType state = has_state ? c.dtype(kState) : c.dtype(0);
  c.set_output(0, c.dtype(0), Shape());
  c.set_output(1, state, has_state ? c.shape(kState) : Shape());
  if (!c.shape(0).has_rank() || !c.shape(2).has_rank()) return {};
  const SymDims& q = c.shape(0).dims();
  const SymDims& v = c.shape(2).dims();
  for (size_t i : {0, 1, 2}) {
    if (!c.shape(i).has_rank()) continue;
    int64_t heads = i == 0 ? attrs.q_heads : attrs.kv_heads;
    if (c.shape(i)[2].is_const() && c.shape(i)[2].value() % heads != 0) {
      return c.input_error(i, str_cat("cannot be split into ", heads, " heads"));
    }
  }
  Dim key_size = floor_div(q[2], Dim(attrs.q_heads));
  Dim value_size = floor_div(v[2], Dim(attrs.kv_heads));
  REDLINE_TRY(check_sizes(c, 1, {q[0], q[1], key_size * Dim(attrs.kv_heads)}));
  REDLINE_TRY(check_sizes(c, 2, {q[0], q[1], v[2]}));
  SymDims states = {q[0], Dim(attrs.kv_heads), key_size, value_size};
  if (has_state) REDLINE_TRY(check_sizes(c, kState, states));
  std::optional<int64_t> per_key;
  if (key_size.is_const()) per_key = key_size.value() * attrs.kv_heads;
  REDLINE_TRY(check_gate(c, kDecay, is_gated(attrs.update), attrs.kv_heads, per_key, q));
  REDLINE_TRY(check_gate(c, kBeta, is_delta(attrs.update), attrs.kv_heads, 1, q));
  c.set_output(0, c.dtype(0), Shape({q[0], q[1], value_size * Dim(attrs.q_heads)}));
  c.set_output(1, state, std::move(states));
  return {};
}

Status reference_linear_attention(ReferenceContext& c) {
  const auto& attrs = c.attrs<LinearAttentionAttrs>();
  const Dims& dims = c.input(0).dims;
  int64_t batch = dims[0];
  int64_t tokens = dims[1];
  int64_t keys = dims[2] / attrs.q_heads;
  int64_t values = c.input(2).dims[2] / attrs.kv_heads;
  int64_t group = attrs.q_heads / attrs.kv_heads;
  std::vector<double> q = read_elements<double>(c.input(0));
  std::vector<double> k = read_elements<double>(c.input(1));
  std::vector<double> v = read_elements<double>(c.input(2));
  std::vector<double> state(static_cast<size_t>(batch * attrs.kv_heads * keys * values));
  if (c.has_input(kState)) state = read_elements<double>(c.input(kState));
  std::vector<double> decay;
  std::vector<double> beta;
  if (c.has_input(kDecay)) decay = read_elements<double>(c.input(kDecay));
  if (c.has_input(kBeta)) beta = read_elements<double>(c.input(kBeta));
  int64_t decays = decay.empty() ? 0 : c.input(kDecay).dims[2];
  int64_t betas = beta.empty() ? 0 : c.input(kBeta).dims[2];
  double scale = attrs.scale != 0 ? attrs.scale : 1 / std::sqrt(static_cast<double>(keys));
  std::vector<double> y(static_cast<size_t>(batch * tokens * attrs.q_heads * values));
  std::vector<double> update(static_cast<size_t>(values));
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < tokens; ++t) {
      int64_t token = b * tokens + t;
      for (int64_t h = 0; h < attrs.kv_heads; ++h) {
        double* s = state.data() + (b * attrs.kv_heads + h) * keys * values;
        const double* key = k.data() + (token * attrs.kv_heads + h) * keys;
        const double* value = v.data() + (token * attrs.kv_heads + h) * values;
        for (int64_t d = 0; decays > 0 && d < keys; ++d) {
          int64_t at = decays == attrs.kv_heads ? h : h * keys + d;
          double factor = std::exp(decay[static_cast<size_t>(token * decays + at)]);
          for (int64_t m = 0; m < values; ++m) s[d * values + m] *= factor;
        }
        update.assign(value, value + values);
        if (betas > 0) {
          double rate = beta[static_cast<size_t>(token * betas + (betas == 1 ? 0 : h))];
          for (int64_t d = 0; d < keys; ++d) {
            for (int64_t m = 0; m < values; ++m) {
              update[static_cast<size_t>(m)] -= s[d * values + m] * key[d];
            }
          }
          for (double& u : update) u *= rate;
        }
        for (int64_t d = 0; d < keys; ++d) {
          for (int64_t m = 0; m < values; ++m) {
            s[d * values + m] += key[d] * update[static_cast<size_t>(m)];
          }
        }
        for (int64_t g = h * group; g < (h + 1) * group; ++g) {
          const double* query = q.data() + (token * attrs.q_heads + g) * keys;
          double* out = y.data() + (token * attrs.q_heads + g) * values;
          for (int64_t d = 0; d < keys; ++d) {
            for (int64_t m = 0; m < values; ++m) out[m] += scale * query[d] * s[d * values + m];
          }
        }
      }
    }
  }
  write_elements(y, c.output(0));
  if (c.wants_output(1)) write_elements(state, c.output(1));
  return {};
}

}  // namespace

void register_op_linear_attention(OpRegistry& registry) {
  registry.add({.name = "linear_attention",
                .inputs = {{"q"},
                           {"k"},
                           {"v"},
                           {"past_state", Arity::kOptional},
                           {"decay", Arity::kOptional},
                           {"beta", Arity::kOptional}},
                .outputs = {{"y"}, {"present_state", Arity::kOptional}},
                .attrs = attrs_type<LinearAttentionAttrs>(),
                .infer = infer_linear_attention,
                .reference = reference_linear_attention});
}

}  // namespace redline
