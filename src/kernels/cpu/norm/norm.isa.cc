// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/norm/norm.h"

#include "kernels/cpu/sums.h"
#include "kernels/cpu/vector_math.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

// y[i] = f(x[i]) over a row.
template <class Map>
REDLINE_INLINE void map_row(const float* x, float* y, int64_t n, Map f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, f(load(x + i)));
  if (i < n) {
    const int left = static_cast<int>(n - i);
    store_n(y + i, f(load_n(x + i, left)), left);
  }
}

// y = exp(x - max), returns the sum.
double exp_row(const float* x, float* y, int64_t n, F max) {
  DoubleSum total;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    F s0 = zero(), s1 = zero();
    int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      const F e0 = exp_not_positive(load(x + i) - max);
      const F e1 = exp_not_positive(load(x + i + kLanes) - max);
      store(y + i, e0);
      store(y + i + kLanes, e1);
      s0 += e0;
      s1 += e1;
    }
    for (; i < end; i += kLanes) {
      const int left = end - i < kLanes ? static_cast<int>(end - i) : kLanes;
      const F e = exp_not_positive(load_n_or(x + i, left, set1(-kInf)) - max);
      store_n(y + i, e, left);
      // A lane past the end is exp(-inf - max): 0, or NaN when the row's maximum is -inf or NaN,
      // and then the row is NaN anyway.
      s1 += e;
    }
    add_to(total, s0 + s1);
  }
  return total_of(total);
}

void softmax_rows(const float* x, float* y, int64_t n, int64_t begin, int64_t end) {
  if (n == 0) return;
  for (int64_t row = begin; row < end; ++row) {
    const float* in = x + row * n;
    float* out = y + row * n;
    const double sum = exp_row(in, out, n, set1(max_of(in, n)));
    const F scale = set1(static_cast<float>(1.0 / sum));
    map_row(out, out, n, [&](F v) { return v * scale; });
  }
}

double sum_exp(const float* x, int64_t n, float max) {
  const F m = set1(max);
  return sum_of(x, n, set1(-kInf), [&](F v) { return exp_not_positive(v - m); });
}

void log_softmax_rows(const float* x, float* y, int64_t n, int64_t begin, int64_t end) {
  if (n == 0) return;
  for (int64_t row = begin; row < end; ++row) {
    const float* in = x + row * n;
    const float max = max_of(in, n);
    const F m = set1(max);
    const F log_sum = set1(static_cast<float>(__builtin_log(sum_exp(in, n, max))));
    // In this order, so that a large maximum does not swallow the logarithm.
    map_row(in, y + row * n, n, [&](F v) { return (v - m) - log_sum; });
  }
}

// Columns are taken in strips that are contiguous in memory; the strip's state stays in L1.
constexpr int kStrip = 256;

template <bool Log>
void softmax_axis(const float* x, float* y, int64_t n, int64_t inner, int64_t begin, int64_t end) {
  if (n == 0) return;
  alignas(64) float max[kStrip], sum[kStrip], part[kStrip];
  for (int64_t at = begin; at < end;) {
    const int64_t outer = at / inner, column = at % inner;
    int64_t width = inner - column;
    if (width > end - at) width = end - at;
    if (width > kStrip) width = kStrip;
    const float* in = x + outer * n * inner + column;
    float* out = y + outer * n * inner + column;
    const auto for_vectors = [&](auto visit) {
      for (int64_t i = 0; i < width; i += kLanes)
        visit(i, width - i < kLanes ? static_cast<int>(width - i) : kLanes);
    };
    for_vectors([&](int64_t i, int left) {
      F m = load_n(in + i, left);
      for (int64_t k = 1; k < n; ++k) m = max_raw(m, load_n(in + k * inner + i, left));
      store(max + i, m);
      store(sum + i, zero());
      store(part + i, zero());
    });
    for (int64_t k = 0; k < n; ++k) {
      for_vectors([&](int64_t i, int left) {
        const F e = exp_not_positive(load_n(in + k * inner + i, left) - load(max + i));
        if (!Log) store_n(out + k * inner + i, e, left);
        store(part + i, load(part + i) + e);
      });
      // Sums of 32 are added up, so that a long axis loses no accuracy.
      if (k % 32 != 31 && k != n - 1) continue;
      for_vectors([&](int64_t i, int) {
        store(sum + i, load(sum + i) + load(part + i));
        store(part + i, zero());
      });
    }
    for_vectors([&](int64_t i, int) {
      store(sum + i, Log ? log(load(sum + i)) : set1(1.0f) / load(sum + i));
    });
    for (int64_t k = 0; k < n; ++k)
      for_vectors([&](int64_t i, int left) {
        const int64_t offset = k * inner + i;
        const F v = Log ? (load_n(in + offset, left) - load(max + i)) - load(sum + i)
                        : load_n(out + offset, left) * load(sum + i);
        store_n(out + offset, v, left);
      });
    at += width;
  }
}

REDLINE_INLINE F load_or(const float* p, int64_t i, int left, float otherwise) {
  return p ? load_n(p + i, left) : set1(otherwise);
}

// Where the row to normalise lies: x itself, or the sum of x, the residual and the bias, which is
// written to `sum` or, for want of that, to y.
const float* gather_row(const LayerNormArgs& a, int64_t row) {
  const int64_t n = a.n;
  const float* x = a.x + row * n;
  if (!a.residual && !a.input_bias) {
    if (a.sum && a.sum != a.x) std::memmove(a.sum + row * n, x, static_cast<size_t>(n) * 4);
    return x;
  }
  float* out = (a.sum ? a.sum : a.y) + row * n;
  const float* r = a.residual ? a.residual + row * n : nullptr;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int left = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    F v = load_n(x + i, left);
    if (r) v += load_n(r + i, left);
    if (a.input_bias) v += load_n(a.input_bias + i, left);
    store_n(out + i, v, left);
  }
  return out;
}

// v -> ((v - center) - correction) * factor; the first difference is nearly exact.
struct Standardise {
  float center, correction, factor;
};

// y = standardised v * scale + bias
void scale_row(const float* v, float* y, int64_t n, const Standardise& p, const float* scale,
               const float* bias) {
  const F center = set1(p.center), factor = set1(p.factor);
  const F shift = set1(-p.correction * p.factor);
  const auto standard = [&](F x) { return fma(x - center, factor, shift); };
  int64_t i = 0;
  if (scale && bias) {
    for (; i + kLanes <= n; i += kLanes)
      store(y + i, fma(standard(load(v + i)), load(scale + i), load(bias + i)));
  } else if (scale) {
    for (; i + kLanes <= n; i += kLanes) store(y + i, standard(load(v + i)) * load(scale + i));
  }
  for (; i < n; i += kLanes) {
    const int left = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    const F s = load_or(scale, i, left, 1.0f), b = load_or(bias, i, left, 0.0f);
    const F normal = standard(load_n(v + i, left));
    store_n(y + i, bias ? fma(normal, s, b) : normal * s, left);
  }
}

void layer_norm(const LayerNormArgs& a, int64_t begin, int64_t end) {
  if (a.n == 0) return;
  for (int64_t row = begin; row < end; ++row) {
    const float* v = gather_row(a, row);
    const Moments m = moments_of(v, a.n);
    const float factor = static_cast<float>(1.0 / __builtin_sqrt(m.variance + a.epsilon));
    scale_row(v, a.y + row * a.n, a.n, {m.center, m.correction, factor}, a.scale, a.bias);
    if (a.mean) a.mean[row] = m.center + m.correction;
    if (a.inv_std) a.inv_std[row] = factor;
  }
}

void rms_norm(const LayerNormArgs& a, int64_t begin, int64_t end) {
  if (a.n == 0) return;
  for (int64_t row = begin; row < end; ++row) {
    const float* v = gather_row(a, row);
    const double squares = sum_of(v, a.n, zero(), [](F x) { return x * x; });
    const float factor =
        static_cast<float>(1.0 / __builtin_sqrt(squares / static_cast<double>(a.n) + a.epsilon));
    scale_row(v, a.y + row * a.n, a.n, {0.0f, 0.0f, factor}, a.scale, nullptr);
    if (a.inv_std) a.inv_std[row] = factor;
  }
}

void group_norm(const GroupNormArgs& a, int64_t begin, int64_t end) {
  if (a.spatial == 0 || a.channels == 0) return;
  const int64_t channels = a.channels / a.groups, n = channels * a.spatial;
  for (int64_t group = begin; group < end; ++group) {
    const float* v = a.x + group * n;
    float* y = a.y + group * n;
    const Moments m = moments_of(v, n);
    const F center = set1(m.center);
    const double factor = 1.0 / __builtin_sqrt(m.variance + a.epsilon);
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = group % a.groups * channels + c;
      const double weight = factor * (a.scale ? a.scale[channel] : 1.0f);
      const double offset = (a.bias ? a.bias[channel] : 0.0f) - weight * m.correction;
      const F s = set1(static_cast<float>(weight)), b = set1(static_cast<float>(offset));
      map_row(v + c * a.spatial, y + c * a.spatial, a.spatial,
              [&](F x) { return fma(x - center, s, b); });
    }
  }
}

}  // namespace

extern const NormKernels kNorm = {.softmax_rows = softmax_rows,
                                  .log_softmax_rows = log_softmax_rows,
                                  .softmax_axis = softmax_axis<false>,
                                  .log_softmax_axis = softmax_axis<true>,
                                  .layer_norm = layer_norm,
                                  .rms_norm = rms_norm,
                                  .group_norm = group_norm};

}  // namespace redline::kernels::REDLINE_ISA
