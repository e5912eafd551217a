// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/tf32.h"

namespace redline {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr size_t kMask = 3;
constexpr size_t kPastK = 4;
constexpr size_t kPastV = 5;
constexpr size_t kLengths = 6;

// One operand's sizes whatever its layout.
struct HeadDims {
  Dim batch, heads, sequence, size;
};

Result<HeadDims> head_dims(InferContext& c, size_t i) {
  const Shape& shape = c.shape(i);
  const auto& attrs = c.attrs<AttentionAttrs>();
  int64_t heads = operand_heads(attrs, i);
  if (attrs.packed) {
    int64_t all = row_heads(attrs, i);
    if (std::optional<int64_t> row = shape[2].as_const(); row && *row % all != 0) {
      return c.input_error(i, str_cat("has rows that ", all, " heads do not fill"));
    }
    return HeadDims{shape[0], Dim(heads), shape[1], floor_div(shape[2], Dim(all))};
  }
  if (shape.rank() == 4) {
    if (heads > 0 && conflict(shape[1], Dim(heads))) {
      return c.input_error(i, str_cat("must have ", heads, " heads"));
    }
    return HeadDims{shape[0], shape[1], shape[2], shape[3]};
  }
  if (heads <= 0) return c.error("operands of rank 3 need positive q_heads and kv_heads");
  if (std::optional<int64_t> hidden = shape[2].as_const(); hidden && *hidden % heads != 0) {
    return c.input_error(i, str_cat("cannot be split into ", heads, " heads"));
  }
  return HeadDims{shape[0], Dim(heads), shape[1], floor_div(shape[2], Dim(heads))};
}

Status expect_agree(InferContext& c, size_t i, const Dim& a, const Dim& b, std::string_view what) {
  if (!conflict(a, b)) return {};
  return c.input_error(i, str_cat("has ", what, " ", a.to_string(), ", expected ", b.to_string()));
}

Status check_mask(InferContext& c, const HeadDims& q, const Dim& keys) {
  REDLINE_TRY(c.expect_tensor(kMask));
  DType dtype = c.dtype(kMask);
  if (dtype == DType::kString) return c.input_error(kMask, "must be bool or hold numbers");
  const Shape& mask = c.shape(kMask);
  if (!mask.has_rank()) return {};
  if (mask.rank() == 0 || mask.rank() > 4) return c.input_error(kMask, "must have rank 1 to 4");
  const std::array<Dim, 4> full = {q.batch, q.heads, q.sequence, keys};
  for (int d = 0; d < mask.rank(); ++d) {
    const Dim& to = full[static_cast<size_t>(4 - mask.rank() + d)];
    bool last = d + 1 == mask.rank();
    if (!conflict(mask[d], to) || (!last && mask[d] == Dim(1))) continue;
    if (last && mask[d].value() < to.value()) continue;
    return c.input_error(kMask, str_cat("has size ", mask[d].to_string(), " at axis ", d,
                                        ", expected ", to.to_string()));
  }
  return {};
}

Status check_attention_attrs(InferContext& c) {
  const auto& attrs = c.attrs<AttentionAttrs>();
  if (attrs.left_window < -1 || attrs.right_window < -1) {
    return c.error("windows must be -1 (unbounded) or more");
  }
  if (attrs.q_heads < 0 || attrs.kv_heads < 0) return c.error("head counts must not be negative");
  if (attrs.softmax_dtype && !is_float(*attrs.softmax_dtype)) {
    return c.error("softmax_dtype must be a floating-point type");
  }
  if (c.has_input(kPastK) != c.has_input(kPastV)) {
    return c.error("'past_k' and 'past_v' go together");
  }
  if (c.has_input(kLengths) && c.has_input(kPastK)) {
    return c.error("'kv_lengths' does not go with a past");
  }
  if (attrs.packed && c.has_input(kPastK)) return c.error("'packed' does not go with a past");
  constexpr int64_t kMostHeads = int64_t{1} << 31;
  if (attrs.packed && (attrs.q_heads < 1 || attrs.kv_heads < 1 || attrs.q_heads > kMostHeads ||
                       attrs.kv_heads > kMostHeads)) {
    return c.error("'packed' needs q_heads and kv_heads of 1 to 2^31");
  }
  return {};
}

Status infer_attention(InferContext& c) {
  const auto& attrs = c.attrs<AttentionAttrs>();
  REDLINE_TRY(check_attention_attrs(c));
  bool known = true;
  for (size_t i : {0, 1, 2}) {
    REDLINE_TRY(c.expect_tensor(i));
    if (!is_float(c.dtype(i))) return c.input_error(i, "must hold floating-point numbers");
    known &= c.shape(i).has_rank();
  }
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  REDLINE_TRY(check_tf32(c, attrs.tf32));
  for (size_t i : {kPastK, kPastV}) {
    if (!c.has_input(i)) continue;
    REDLINE_TRY(c.expect_rank(i, 4));
    REDLINE_TRY(c.expect_same_dtype(i, i == kPastK ? 1 : 2));
    known &= c.shape(i).has_rank();
  }
  c.set_output(0, c.dtype(0), Shape());
  c.set_output(1, c.dtype(1), Shape());
  c.set_output(2, c.dtype(2), Shape());
  c.set_output(3, c.dtype(0), Shape());
  if (!known) return {};
  int rank = c.shape(0).rank();
  if (rank != 3 && (rank != 4 || attrs.packed)) {
    return c.input_error(0, attrs.packed ? "must have rank 3" : "must have rank 3 or 4");
  }
  REDLINE_TRY(c.expect_rank(1, rank));
  REDLINE_TRY(c.expect_rank(2, rank));
  REDLINE_ASSIGN(HeadDims q, head_dims(c, 0));
  REDLINE_ASSIGN(HeadDims k, head_dims(c, 1));
  REDLINE_ASSIGN(HeadDims v, head_dims(c, 2));
  REDLINE_TRY(expect_agree(c, 1, k.batch, q.batch, "batch"));
  REDLINE_TRY(expect_agree(c, 2, v.batch, q.batch, "batch"));
  REDLINE_TRY(expect_agree(c, 1, k.size, q.size, "head size"));
  REDLINE_TRY(expect_agree(c, 2, v.heads, k.heads, "heads"));
  REDLINE_TRY(expect_agree(c, 2, v.sequence, k.sequence, "length"));
  if (q.heads.is_const() && k.heads.is_const() &&
      (k.heads.value() == 0 ? q.heads.value() != 0 : q.heads.value() % k.heads.value() != 0)) {
    return c.input_error(1, str_cat("has ", k.heads.value(), " heads, which ", q.heads.value(),
                                    " query heads cannot share evenly"));
  }
  Dim keys = k.sequence;
  if (c.has_input(kPastK)) {
    const Shape& past_k = c.shape(kPastK);
    const Shape& past_v = c.shape(kPastV);
    REDLINE_TRY(expect_agree(c, kPastK, past_k[0], q.batch, "batch"));
    REDLINE_TRY(expect_agree(c, kPastK, past_k[1], k.heads, "heads"));
    REDLINE_TRY(expect_agree(c, kPastK, past_k[3], k.size, "head size"));
    REDLINE_TRY(expect_agree(c, kPastV, past_v[0], q.batch, "batch"));
    REDLINE_TRY(expect_agree(c, kPastV, past_v[1], k.heads, "heads"));
    REDLINE_TRY(expect_agree(c, kPastV, past_v[2], past_k[2], "length"));
    REDLINE_TRY(expect_agree(c, kPastV, past_v[3], v.size, "head size"));
    keys += past_k[2];
  }
  if (c.has_input(kLengths)) {
    REDLINE_TRY(c.expect_rank(kLengths, 1));
    if (c.dtype(kLengths) != DType::kInt64) return c.input_error(kLengths, "must hold i64");
    if (c.shape(kLengths).has_rank()) {
      REDLINE_TRY(expect_agree(c, kLengths, c.shape(kLengths)[0], q.batch, "size"));
    }
  }
  if (c.has_input(kMask)) REDLINE_TRY(check_mask(c, q, keys));
  Shape y = rank == 3 ? Shape({q.batch, q.sequence, q.heads * v.size})
                      : Shape({q.batch, q.heads, q.sequence, v.size});
  c.set_output(0, c.dtype(0), std::move(y));
  c.set_output(1, c.dtype(1), Shape({q.batch, k.heads, keys, k.size}));
  c.set_output(2, c.dtype(2), Shape({q.batch, k.heads, keys, v.size}));
  c.set_output(3, c.dtype(0), Shape({q.batch, q.heads, q.sequence, keys}));
  return {};
}

// [batch, heads, sequence, size] in row-major order, whatever the layout of the operand.
struct Heads {
  int64_t batch, heads, sequence, size;
  std::vector<double> values;
  const double* at(int64_t b, int64_t h) const {
    return values.data() + (b * heads + h) * sequence * size;
  }
};

// Moves between [batch, sequence, heads, size] and [batch, heads, sequence, size].
std::vector<double> swap_axes(const std::vector<double>& from, int64_t batch, int64_t outer,
                              int64_t inner, int64_t size) {
  std::vector<double> to(from.size());
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        std::copy_n(from.data() + ((b * outer + o) * inner + i) * size, size,
                    to.data() + ((b * inner + i) * outer + o) * size);
      }
    }
  }
  return to;
}

// The columns of packed rows from `first` on, as if they were all.
Heads read_packed(const TensorView& view, int64_t all, int64_t first, int64_t heads) {
  std::vector<double> values = read_elements<double>(view);
  const Dims& d = view.dims;
  int64_t size = d[2] / all;
  std::vector<double> own(static_cast<size_t>(d[0] * d[1] * heads * size));
  for (int64_t row = 0; row < d[0] * d[1]; ++row) {
    std::copy_n(values.data() + row * d[2] + first * size, heads * size,
                own.data() + row * heads * size);
  }
  return {d[0], heads, d[1], size, swap_axes(own, d[0], d[1], heads, size)};
}

Heads read_heads(const TensorView& view, int64_t heads) {
  std::vector<double> values = read_elements<double>(view);
  const Dims& d = view.dims;
  if (d.rank() == 4) return {d[0], d[1], d[2], d[3], std::move(values)};
  int64_t size = d[2] / heads;
  return {d[0], heads, d[1], size, swap_axes(values, d[0], d[1], heads, size)};
}

// The past before the present, for each head.
Heads append(const TensorView& past_view, const Heads& now) {
  Heads past = read_heads(past_view, now.heads);
  Heads all{now.batch, now.heads, past.sequence + now.sequence, now.size, {}};
  for (int64_t b = 0; b < now.batch; ++b) {
    for (int64_t h = 0; h < now.heads; ++h) {
      const double* old = past.at(b, h);
      all.values.insert(all.values.end(), old, old + past.sequence * now.size);
      const double* fresh = now.at(b, h);
      all.values.insert(all.values.end(), fresh, fresh + now.sequence * now.size);
    }
  }
  return all;
}

// Numbers added to the scores of one head, [queries, keys].
class Bias {
 public:
  Bias(ReferenceContext& c, const Heads& q, const Heads& k, int64_t past)
      : attrs_(c.attrs<AttentionAttrs>()),
        queries_(q.sequence),
        keys_(k.sequence),
        past_(past),
        has_mask_(c.has_input(kMask)) {
    if (has_mask_) {
      const TensorView& mask = c.input(kMask);
      values_ = read_elements<double>(mask);
      if (mask.dtype == DType::kBool) {
        for (double& v : values_) v = v != 0 ? 0 : -kInfinity;
      }
      mask_keys_ = mask.dims.back();
      Dims leading(std::span(mask.dims.begin(), mask.dims.size() - 1));
      strides_ = broadcast_strides(leading, Dims{q.batch, q.heads, q.sequence});
    }
    if (c.has_input(kLengths)) lengths_ = read_ints(c.input(kLengths));
  }

  void head(int64_t b, int64_t h, std::vector<double>& out) const {
    constexpr int64_t kFar = int64_t{1} << 40;
    int64_t valid = keys_;
    int64_t offset = past_;
    if (!lengths_.empty()) {
      valid = std::clamp(lengths_[static_cast<size_t>(b)], -kFar, kFar);
      offset = valid - queries_;
    }
    out.assign(static_cast<size_t>(queries_ * keys_), 0.0);
    for (int64_t i = 0; i < queries_; ++i) {
      const double* mask =
          has_mask_
              ? values_.data() + (b * strides_[0] + h * strides_[1] + i * strides_[2]) * mask_keys_
              : nullptr;
      int64_t at = i + offset;
      for (int64_t j = 0; j < keys_; ++j) {
        double& v = out[static_cast<size_t>(i * keys_ + j)];
        if (has_mask_) v = j < mask_keys_ ? mask[j] : -kInfinity;
        bool hidden = j >= valid || (attrs_.causal && j > at);
        if (attrs_.left_window >= 0) hidden |= at - j > attrs_.left_window;
        if (attrs_.right_window >= 0) hidden |= j - at > attrs_.right_window;
        if (hidden) v += -kInfinity;
      }
    }
  }

 private:
  const AttentionAttrs& attrs_;
  int64_t queries_, keys_, past_;
  bool has_mask_;
  std::vector<double> values_;
  int64_t mask_keys_ = 0;
  Dims strides_;
  std::vector<int64_t> lengths_;
};

// scores = a b^T for a [rows, depth] and b [columns, depth].
void multiply_transposed(const double* a, const double* b, int64_t rows, int64_t columns,
                         int64_t depth, double* scores) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      double sum = 0;
      for (int64_t d = 0; d < depth; ++d) sum += a[i * depth + d] * b[j * depth + d];
      scores[i * columns + j] = sum;
    }
  }
}

// A row whose bias hides every key becomes zero, whatever its scores.
void softmax_rows(double* scores, const double* bias, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    double* row = scores + i * columns;
    const double* hidden = bias + i * columns;
    if (std::all_of(hidden, hidden + columns, [](double v) { return v == -kInfinity; })) {
      std::fill_n(row, columns, 0.0);
      continue;
    }
    double most = -kInfinity;
    for (int64_t j = 0; j < columns; ++j)
      most = std::isnan(row[j]) ? row[j] : std::max(most, row[j]);
    if (most == -kInfinity) most = 0;
    double sum = 0;
    for (int64_t j = 0; j < columns; ++j) sum += row[j] = std::exp(row[j] - most);
    if (sum == 0) sum = 1;
    for (int64_t j = 0; j < columns; ++j) row[j] /= sum;
  }
}

Status reference_attention(ReferenceContext& c) {
  const auto& attrs = c.attrs<AttentionAttrs>();
  auto read = [&](size_t i) {
    int64_t heads = operand_heads(attrs, i);
    if (!attrs.packed) return read_heads(c.input(i), heads);
    return read_packed(c.input(i), row_heads(attrs, i), first_head(attrs, i), heads);
  };
  Heads q = read(0);
  Heads k = read(1);
  Heads v = read(2);
  int64_t past = c.has_input(kPastK) ? c.input(kPastK).dims[2] : 0;
  if (c.has_input(kPastK)) {
    k = append(c.input(kPastK), k);
    v = append(c.input(kPastV), v);
  }
  if (c.wants_output(1)) write_elements(k.values, c.output(1));
  if (c.wants_output(2)) write_elements(v.values, c.output(2));
  for (Heads* operand : {&q, &k, &v}) {
    operand->values = factors(std::move(operand->values), attrs.tf32);
  }

  double scale = attrs.scale ? *attrs.scale : 1 / std::sqrt(static_cast<double>(q.size));
  int64_t block = q.sequence * k.sequence;
  std::vector<double> y(static_cast<size_t>(q.batch * q.heads * q.sequence * v.size));
  std::vector<double> qk(c.wants_output(3) ? static_cast<size_t>(q.batch * q.heads * block) : 0);
  std::vector<double> scores(static_cast<size_t>(block));
  std::vector<double> bias;
  Bias biases(c, q, k, past);
  int64_t group = k.heads > 0 ? q.heads / k.heads : 1;
  for (int64_t b = 0; b < q.batch; ++b) {
    for (int64_t h = 0; h < q.heads; ++h) {
      int64_t head = b * q.heads + h;
      auto keep = [&](QkOutput stage) {
        if (attrs.qk_output == stage && !qk.empty()) {
          std::copy(scores.begin(), scores.end(), qk.begin() + head * block);
        }
      };
      multiply_transposed(q.at(b, h), k.at(b, h / group), q.sequence, k.sequence, q.size,
                          scores.data());
      for (double& s : scores) s *= scale;
      keep(QkOutput::kProduct);
      if (attrs.softcap > 0) {
        for (double& s : scores) s = std::tanh(s / attrs.softcap) * attrs.softcap;
      }
      keep(QkOutput::kSoftcapped);
      biases.head(b, h, bias);
      for (size_t i = 0; i < scores.size(); ++i) scores[i] += bias[i];
      keep(QkOutput::kBiased);
      softmax_rows(scores.data(), bias.data(), q.sequence, k.sequence);
      keep(QkOutput::kProbabilities);
      const double* values = v.at(b, h / group);
      double* out = y.data() + head * q.sequence * v.size;
      for (int64_t i = 0; i < q.sequence; ++i) {
        for (int64_t j = 0; j < k.sequence; ++j) {
          double p = scores[static_cast<size_t>(i * k.sequence + j)];
          for (int64_t d = 0; d < v.size; ++d) out[i * v.size + d] += p * values[j * v.size + d];
        }
      }
    }
  }
  if (c.input(0).dims.rank() == 3) y = swap_axes(y, q.batch, q.heads, q.sequence, v.size);
  write_elements(y, c.output(0));
  if (c.wants_output(3)) write_elements(qk, c.output(3));
  return {};
}

Cost cost_attention(std::span<const Type> inputs, std::span<const Type> outputs,
                    const Attrs& attrs) {
  std::optional<Dims> q = inputs[0].shape.as_static();
  std::optional<Dims> k = inputs[1].shape.as_static();
  std::optional<Dims> y = outputs[0].shape.as_static();
  if (!q || !k || !y) return {};
  auto keys = static_cast<double>((*k)[k->size() - 2]);
  int64_t queries = attrs.as<AttentionAttrs>().packed ? y->count() : q->count();
  return {2.0 * keys * static_cast<double>(queries + y->count())};
}

}  // namespace

void register_op_attention(OpRegistry& registry) {
  registry.add({.name = "attention",
                .inputs = {{"q"},
                           {"k"},
                           {"v"},
                           {"mask", Arity::kOptional},
                           {"past_k", Arity::kOptional},
                           {"past_v", Arity::kOptional},
                           {"kv_lengths", Arity::kOptional}},
                .outputs = {{"y"},
                            {"present_k", Arity::kOptional},
                            {"present_v", Arity::kOptional},
                            {"qk", Arity::kOptional}},
                .attrs = attrs_type<AttentionAttrs>(),
                .infer = infer_attention,
                .reference = reference_attention,
                .cost = cost_attention});
}

}  // namespace redline
