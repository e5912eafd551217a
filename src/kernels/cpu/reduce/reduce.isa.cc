// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/reduce/reduce.h"

#include "kernels/cpu/sums.h"
#include "kernels/cpu/vector_math.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

REDLINE_INLINE F identity(F x) { return x; }
REDLINE_INLINE F square(F x) { return x * x; }

// --- Rows: inner == 1 ----------------------------------------------------------------------------

template <F (*Map)(F)>
double row_sum(const float* x, int64_t n) {
  return sum_of(x, n, zero(), [](F v) { return Map(v); });
}

// max and min keep a NaN apart: the processor's instructions would lose it.
template <F (*Fold)(F, F), float (*Across)(F)>
float row_extreme(const float* x, int64_t n, float neutral) {
  const F start = set1(neutral);
  F m0 = start, m1 = start;
  M nan = is_nan(start);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const F a = load(x + i), b = load(x + i + kLanes);
    m0 = Fold(a, m0);
    m1 = Fold(b, m1);
    nan = m_or(nan, m_or(is_nan(a), is_nan(b)));
  }
  for (; i < n; i += kLanes) {
    const F a = load_n_or(x + i, n - i < kLanes ? static_cast<int>(n - i) : kLanes, start);
    m0 = Fold(a, m0);
    nan = m_or(nan, is_nan(a));
  }
  return any(nan) ? kNan : Across(Fold(m0, m1));
}

float row_max(const float* x, int64_t n) { return row_extreme<max_raw, reduce_max>(x, n, -kInf); }
float row_min(const float* x, int64_t n) { return row_extreme<min_raw, reduce_min>(x, n, kInf); }

float row_prod(const float* x, int64_t n) {
  const F one = set1(1.0f);
  F p0 = one, p1 = one;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    p0 = p0 * load(x + i);
    p1 = p1 * load(x + i + kLanes);
  }
  for (; i < n; i += kLanes)
    p0 = p0 * load_n_or(x + i, n - i < kLanes ? static_cast<int>(n - i) : kLanes, one);
  return reduce_mul(p0 * p1);
}

float row_log_sum_exp(const float* x, int64_t n) {
  const float max = row_max(x, n);
  if (!(__builtin_fabsf(max) < kInf)) return max;  // NaN, or an infinity that decides
  const F m = set1(max);
  const double sum = sum_of(x, n, set1(-kInf), [&](F v) { return exp_not_positive(v - m); });
  return max + static_cast<float>(__builtin_log(sum));
}

float reduce_row(ReduceOp op, const float* x, int64_t n) {
  switch (op) {
    case ReduceOp::kSum:
      return static_cast<float>(row_sum<identity>(x, n));
    case ReduceOp::kMean:
      return static_cast<float>(row_sum<identity>(x, n) / static_cast<double>(n));
    case ReduceOp::kMax:
      return row_max(x, n);
    case ReduceOp::kMin:
      return row_min(x, n);
    case ReduceOp::kProd:
      return row_prod(x, n);
    case ReduceOp::kL1:
      return static_cast<float>(row_sum<abs>(x, n));
    case ReduceOp::kL2:
      return static_cast<float>(__builtin_sqrt(row_sum<square>(x, n)));
    case ReduceOp::kSumSquare:
      return static_cast<float>(row_sum<square>(x, n));
    case ReduceOp::kLogSum:
      return static_cast<float>(__builtin_log(row_sum<identity>(x, n)));
    case ReduceOp::kLogSumExp:
      return row_log_sum_exp(x, n);
  }
  return 0;
}

// --- Columns: inner > 1 --------------------------------------------------------------------------

// A strip of columns keeps its accumulators in L1 while the rows stream by.
constexpr int kStrip = 512;
// Rows that are summed in float before their sum is added to the total in double.
constexpr int64_t kRowBlock = 32;

struct Strip {
  const float* x;  // the first row of the strip
  int64_t rows, pitch;
  int width;
};

template <class Visit>
REDLINE_INLINE void for_vectors(int width, Visit visit) {
  int i = 0;
  for (; i + kLanes <= width; i += kLanes) visit(i, kLanes);
  if (i < width) visit(i, width - i);
}

// Four rows at a time, so that an accumulator is loaded and stored once for four elements.
template <class Step>
REDLINE_INLINE void fold_rows(const Strip& s, int64_t begin, int64_t end, float* acc, Step step) {
  int64_t k = begin;
  for (; k + 4 <= end; k += 4) {
    const float* r = s.x + k * s.pitch;
    for_vectors(s.width, [&](int i, int left) {
      F a = load(acc + i);
      a = step(a, load_n(r + i, left), i);
      a = step(a, load_n(r + s.pitch + i, left), i);
      a = step(a, load_n(r + 2 * s.pitch + i, left), i);
      store(acc + i, step(a, load_n(r + 3 * s.pitch + i, left), i));
    });
  }
  for (; k < end; ++k) {
    const float* r = s.x + k * s.pitch;
    for_vectors(s.width, [&](int i, int left) {
      store(acc + i, step(load(acc + i), load_n(r + i, left), i));
    });
  }
}

REDLINE_INLINE void set_all(float* acc, float value) {
  for (int i = 0; i < kStrip; i += kLanes) store(acc + i, set1(value));
}

template <class Map>
REDLINE_INLINE void sum_strip(const Strip& s, float* sum, Map f) {
  alignas(64) float block[kStrip];
  alignas(64) double total[kStrip] = {};
  for (int64_t begin = 0; begin < s.rows; begin += kRowBlock) {
    const int64_t end = s.rows - begin < kRowBlock ? s.rows : begin + kRowBlock;
    set_all(block, 0);
    fold_rows(s, begin, end, block, [&](F a, F x, int i) { return a + f(x, i); });
    for (int i = 0; i < s.width; ++i) total[i] += block[i];
  }
  for (int i = 0; i < s.width; ++i) sum[i] = static_cast<float>(total[i]);
}

void reduce_strip(ReduceOp op, const Strip& s, float* y) {
  alignas(64) float acc[kStrip], max[kStrip];
  const float count = static_cast<float>(s.rows);
  const auto finish = [&](auto f) {
    for_vectors(s.width, [&](int i, int left) { store_n(y + i, f(load(acc + i)), left); });
  };
  const auto extreme = [&](float neutral, auto fold) {
    set_all(acc, neutral);
    fold_rows(s, 0, s.rows, acc, [&](F a, F x, int) { return fold(a, x); });
  };
  switch (op) {
    case ReduceOp::kSum:
      sum_strip(s, acc, [](F x, int) { return x; });
      return finish(identity);
    case ReduceOp::kMean:
      sum_strip(s, acc, [](F x, int) { return x; });
      return finish([&](F v) { return v / set1(count); });
    case ReduceOp::kMax:
      extreme(-kInf, [](F a, F x) { return max_nan(a, x); });
      return finish(identity);
    case ReduceOp::kMin:
      extreme(kInf, [](F a, F x) { return min_nan(a, x); });
      return finish(identity);
    case ReduceOp::kProd:
      extreme(1, [](F a, F x) { return a * x; });
      return finish(identity);
    case ReduceOp::kL1:
      sum_strip(s, acc, [](F x, int) { return abs(x); });
      return finish(identity);
    case ReduceOp::kL2:
      sum_strip(s, acc, [](F x, int) { return x * x; });
      return finish([](F v) { return sqrt(v); });
    case ReduceOp::kSumSquare:
      sum_strip(s, acc, [](F x, int) { return x * x; });
      return finish(identity);
    case ReduceOp::kLogSum:
      sum_strip(s, acc, [](F x, int) { return x; });
      return finish([](F v) { return log(v); });
    case ReduceOp::kLogSumExp: {
      extreme(-kInf, [](F a, F x) { return max_nan(a, x); });
      for (int i = 0; i < kStrip; i += kLanes) store(max + i, load(acc + i));
      sum_strip(s, acc, [&](F x, int i) { return exp_not_positive(x - load(max + i)); });
      for_vectors(s.width, [&](int i, int left) {
        const F m = load(max + i);
        const F v = m + log(load(acc + i));
        store_n(y + i, select(lt(abs(m), set1(kInf)), v, m), left);
      });
      return;
    }
  }
}

void reduce(ReduceOp op, const float* x, float* y, int64_t reduced, int64_t inner, int64_t begin,
            int64_t end) {
  if (inner == 1) {
    for (int64_t row = begin; row < end; ++row) y[row] = reduce_row(op, x + row * reduced, reduced);
    return;
  }
  for (int64_t at = begin; at < end;) {
    const int64_t outer = at / inner, column = at % inner;
    int64_t width = inner - column;
    if (width > end - at) width = end - at;
    if (width > kStrip) width = kStrip;
    // Nothing to reduce may be null, which no offset may be added to.
    const Strip strip{.x = reduced == 0 ? x : x + outer * reduced * inner + column,
                      .rows = reduced,
                      .pitch = inner,
                      .width = static_cast<int>(width)};
    reduce_strip(op, strip, y + at);
    at += width;
  }
}

// --- The index of an extreme ---------------------------------------------------------------------

// The first (last) i with x[i] == value, or with x[i] NaN when value is.
int64_t find_value(const float* x, int64_t n, float value, bool last) {
  const F v = set1(value);
  const bool nan = value != value;
  const auto hit = [&](int64_t i) { return nan ? x[i] != x[i] : x[i] == value; };
  if (nan || !last) {
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const F a = load(x + i);
      if (any(nan ? is_nan(a) : eq(a, v))) break;
    }
    for (; i < n; ++i)
      if (hit(i)) return i;
  } else {
    for (int64_t i = n - 1; i >= 0; --i)
      if (hit(i)) return i;
  }
  return 0;
}

template <bool Max>
void arg_extreme(const float* x, int64_t* y, int64_t reduced, int64_t inner, bool last,
                 int64_t begin, int64_t end) {
  if (inner == 1) {
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * reduced;
      y[row] = find_value(in, reduced, Max ? row_max(in, reduced) : row_min(in, reduced), last);
    }
    return;
  }
  alignas(64) float best[kStrip];
  for (int64_t at = begin; at < end;) {
    const int64_t outer = at / inner, column = at % inner;
    int64_t width = inner - column;
    if (width > end - at) width = end - at;
    if (width > kStrip) width = kStrip;
    const float* in = x + outer * reduced * inner + column;
    for (int64_t i = 0; i < width; ++i) {
      best[i] = in[i];
      y[at + i] = 0;
    }
    for (int64_t k = 1; k < reduced; ++k) {
      const float* row = in + k * inner;
      for (int64_t i = 0; i < width; ++i) {
        const bool beats = Max ? row[i] > best[i] : row[i] < best[i];
        const bool ties = last && row[i] == best[i];
        // The first NaN wins and stays.
        const bool nan = row[i] != row[i] && best[i] == best[i];
        const bool take = beats | ties | nan;
        best[i] = take ? row[i] : best[i];
        y[at + i] = take ? k : y[at + i];
      }
    }
    at += width;
  }
}

}  // namespace

extern const ReduceKernels kReduce = {
    .reduce = reduce, .argmax = arg_extreme<true>, .argmin = arg_extreme<false>};

}  // namespace redline::kernels::REDLINE_ISA
