// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/convert.h"
#include "kernels/cpu/pointwise/program.h"
#include "kernels/cpu/vector_math.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

// --- One loop an instruction -------------------------------------------------------------------

template <class R>
struct Operands {
  const R* a;
  const R* b;
  const R* c;
  R* dst;
  int n;
  float alpha, beta;
};

template <class R>
using Step = void (*)(const Operands<R>&);

// F x [, F alpha [, F beta]] -> F
template <F (*Fn)(F)>
void unary(const Operands<float>& o) {
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes) store(o.dst + i, Fn(load(o.a + i)));
  if (i < o.n) store_n(o.dst + i, Fn(load_n(o.a + i, o.n - i)), o.n - i);
}
template <F (*Fn)(F, F, F)>
void unary_with(const Operands<float>& o) {
  const F alpha = set1(o.alpha), beta = set1(o.beta);
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes) store(o.dst + i, Fn(load(o.a + i), alpha, beta));
  if (i < o.n) store_n(o.dst + i, Fn(load_n(o.a + i, o.n - i), alpha, beta), o.n - i);
}
template <F (*Fn)(F, F)>
void binary(const Operands<float>& o) {
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes) store(o.dst + i, Fn(load(o.a + i), load(o.b + i)));
  const int left = o.n - i;
  if (left > 0) store_n(o.dst + i, Fn(load_n(o.a + i, left), load_n(o.b + i, left)), left);
}
template <F (*Fn)(F, F, F)>
void ternary(const Operands<float>& o) {
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes)
    store(o.dst + i, Fn(load(o.a + i), load(o.b + i), load(o.c + i)));
  const int left = o.n - i;
  if (left > 0)
    store_n(o.dst + i, Fn(load_n(o.a + i, left), load_n(o.b + i, left), load_n(o.c + i, left)),
            left);
}
template <float (*Fn)(float, float)>
void scalar_binary(const Operands<float>& o) {
  for (int i = 0; i < o.n; ++i) o.dst[i] = Fn(o.a[i], o.b[i]);
}

REDLINE_INLINE F f_copy(F x) { return x; }
REDLINE_INLINE F f_sign(F x) {
  const F s = select(gt(x, zero()), set1(1.0f), select(lt(x, zero()), set1(-1.0f), zero()));
  return select(is_nan(x), x, s);
}
REDLINE_INLINE F f_not(F x) { return as_one(eq(x, zero())); }
REDLINE_INLINE F f_rsqrt(F x) { return set1(1.0f) / sqrt(x); }
REDLINE_INLINE F f_reciprocal(F x) { return set1(1.0f) / x; }
REDLINE_INLINE F f_square(F x) { return x * x; }
REDLINE_INLINE F f_relu(F x) { return max_raw(zero(), x); }  // NaN: the second operand
REDLINE_INLINE F f_softsign(F x) { return x / (set1(1.0f) + abs(x)); }
REDLINE_INLINE F f_hard_swish(F x) {
  return x * min_raw(set1(6.0f), max_raw(zero(), x + set1(3.0f))) * set1(1.0f / 6.0f);
}
REDLINE_INLINE F f_is_nan(F x) { return as_one(is_nan(x)); }

REDLINE_INLINE F f_leaky_relu(F x, F alpha, F) { return select(lt(x, zero()), alpha * x, x); }
REDLINE_INLINE F f_elu(F x, F alpha, F) { return select(lt(x, zero()), alpha * expm1(x), x); }
REDLINE_INLINE F f_selu(F x, F alpha, F beta) {
  return beta * select(gt(x, zero()), x, alpha * expm1(x));
}
REDLINE_INLINE F f_celu(F x, F alpha, F) {
  return max_raw(zero(), x) + min_raw(zero(), alpha * expm1(x / alpha));
}
REDLINE_INLINE F f_hard_sigmoid(F x, F alpha, F beta) {
  return min_raw(set1(1.0f), max_raw(zero(), fma(alpha, x, beta)));
}
REDLINE_INLINE F f_silu(F x, F alpha, F) { return silu(x, alpha); }
REDLINE_INLINE F f_thresholded_relu(F x, F alpha, F) { return select(gt(x, alpha), x, zero()); }
REDLINE_INLINE F f_shrink(F x, F alpha, F beta) {
  return select(lt(x, neg(alpha)), x + beta, select(gt(x, alpha), x - beta, zero()));
}
REDLINE_INLINE F f_is_inf(F x, F alpha, F beta) {
  return as_one(m_or(m_and(eq(x, set1(kInf)), ne(alpha, zero())),
                     m_and(eq(x, set1(-kInf)), ne(beta, zero()))));
}
REDLINE_INLINE F f_clip_const(F x, F alpha, F beta) {
  return min_raw(beta, max_raw(alpha, x));  // NaN: the second operand
}

REDLINE_INLINE F f_add(F x, F y) { return x + y; }
REDLINE_INLINE F f_sub(F x, F y) { return x - y; }
REDLINE_INLINE F f_mul(F x, F y) { return x * y; }
REDLINE_INLINE F f_div(F x, F y) { return x / y; }
REDLINE_INLINE F f_prelu(F x, F y) { return select(lt(x, zero()), x * y, x); }
REDLINE_INLINE F f_equal(F x, F y) { return as_one(eq(x, y)); }
REDLINE_INLINE F f_not_equal(F x, F y) { return as_one(ne(x, y)); }
REDLINE_INLINE F f_less(F x, F y) { return as_one(lt(x, y)); }
REDLINE_INLINE F f_less_equal(F x, F y) { return as_one(le(x, y)); }
REDLINE_INLINE F f_greater(F x, F y) { return as_one(gt(x, y)); }
REDLINE_INLINE F f_greater_equal(F x, F y) { return as_one(ge(x, y)); }
REDLINE_INLINE F f_and(F x, F y) { return as_one(m_and(ne(x, zero()), ne(y, zero()))); }
REDLINE_INLINE F f_or(F x, F y) { return as_one(m_or(ne(x, zero()), ne(y, zero()))); }
REDLINE_INLINE F f_xor(F x, F y) { return as_one(m_xor(ne(x, zero()), ne(y, zero()))); }
REDLINE_INLINE F f_where(F x, F y, F z) { return select(ne(x, zero()), y, z); }
REDLINE_INLINE F f_clip(F x, F y, F z) { return min_nan(max_nan(x, y), z); }

REDLINE_INLINE float s_fmod(float x, float y) { return __builtin_fmodf(x, y); }
REDLINE_INLINE float s_mod(float x, float y) {
  const float r = __builtin_fmodf(x, y);
  if (r == 0) return __builtin_copysignf(0.0f, y);
  return (r < 0) != (y < 0) ? r + y : r;
}

Step<float> step_of(PointwiseOp op, float) {
  using Op = PointwiseOp;
  switch (op) {
    case Op::kConst:
    case Op::kCopy:
      return unary<f_copy>;
    case Op::kAbs:
      return unary<abs>;
    case Op::kNeg:
      return unary<neg>;
    case Op::kSign:
      return unary<f_sign>;
    case Op::kNot:
      return unary<f_not>;
    case Op::kExp:
      return unary<exp>;
    case Op::kLog:
      return unary<log>;
    case Op::kLog1p:
      return unary<log1p>;
    case Op::kExpm1:
      return unary<expm1>;
    case Op::kSqrt:
      return unary<sqrt>;
    case Op::kRsqrt:
      return unary<f_rsqrt>;
    case Op::kReciprocal:
      return unary<f_reciprocal>;
    case Op::kSquare:
      return unary<f_square>;
    case Op::kSigmoid:
      return unary<sigmoid>;
    case Op::kTanh:
      return unary<tanh>;
    case Op::kErf:
      return unary<erf>;
    case Op::kRelu:
      return unary<f_relu>;
    case Op::kLeakyRelu:
      return unary_with<f_leaky_relu>;
    case Op::kElu:
      return unary_with<f_elu>;
    case Op::kSelu:
      return unary_with<f_selu>;
    case Op::kCelu:
      return unary_with<f_celu>;
    case Op::kHardSigmoid:
      return unary_with<f_hard_sigmoid>;
    case Op::kHardSwish:
      return unary<f_hard_swish>;
    case Op::kSoftplus:
      return unary<softplus>;
    case Op::kSoftsign:
      return unary<f_softsign>;
    case Op::kGeluErf:
      return unary<gelu_erf>;
    case Op::kGeluTanh:
      return unary<gelu_tanh>;
    case Op::kSilu:
      return unary_with<f_silu>;
    case Op::kMish:
      return unary<mish>;
    case Op::kThresholdedRelu:
      return unary_with<f_thresholded_relu>;
    case Op::kShrink:
      return unary_with<f_shrink>;
    case Op::kFloor:
      return unary<floor>;
    case Op::kCeil:
      return unary<ceil>;
    case Op::kRound:
      return unary<round_even>;
    case Op::kTrunc:
      return unary<trunc>;
    case Op::kSin:
      return unary<sin>;
    case Op::kCos:
      return unary<cos>;
    case Op::kTan:
      return unary<tan>;
    case Op::kAsin:
      return unary<asin>;
    case Op::kAcos:
      return unary<acos>;
    case Op::kAtan:
      return unary<atan>;
    case Op::kSinh:
      return unary<sinh>;
    case Op::kCosh:
      return unary<cosh>;
    case Op::kAsinh:
      return unary<asinh>;
    case Op::kAcosh:
      return unary<acosh>;
    case Op::kAtanh:
      return unary<atanh>;
    case Op::kIsNan:
      return unary<f_is_nan>;
    case Op::kIsInf:
      return unary_with<f_is_inf>;
    case Op::kClipConst:
      return unary_with<f_clip_const>;
    case Op::kAdd:
      return binary<f_add>;
    case Op::kSub:
      return binary<f_sub>;
    case Op::kMul:
      return binary<f_mul>;
    case Op::kDiv:
      return binary<f_div>;
    case Op::kPow:
      return binary<pow>;
    case Op::kMod:
      return scalar_binary<s_mod>;
    case Op::kFmod:
      return scalar_binary<s_fmod>;
    case Op::kMax:
      return binary<max_nan>;
    case Op::kMin:
      return binary<min_nan>;
    case Op::kPrelu:
      return binary<f_prelu>;
    case Op::kEqual:
      return binary<f_equal>;
    case Op::kNotEqual:
      return binary<f_not_equal>;
    case Op::kLess:
      return binary<f_less>;
    case Op::kLessEqual:
      return binary<f_less_equal>;
    case Op::kGreater:
      return binary<f_greater>;
    case Op::kGreaterEqual:
      return binary<f_greater_equal>;
    case Op::kAnd:
      return binary<f_and>;
    case Op::kOr:
      return binary<f_or>;
    case Op::kXor:
      return binary<f_xor>;
    case Op::kWhere:
      return ternary<f_where>;
    case Op::kClip:
      return ternary<f_clip>;
    case Op::kFma:
      return ternary<fma>;
    case Op::kBitAnd:
    case Op::kBitOr:
    case Op::kBitXor:
    case Op::kBitNot:
    case Op::kShiftLeft:
    case Op::kShiftRight:
    case Op::kShiftRightLogical:
    case Op::kCount:
      break;
  }
  __builtin_trap();  // pointwise_compile refuses these
}

// --- An instruction and the activation of its result in one loop ---------------------------------

REDLINE_INLINE F post_relu(F x, F, F) { return f_relu(x); }
REDLINE_INLINE F post_hard_swish(F x, F, F) { return f_hard_swish(x); }
REDLINE_INLINE F post_sigmoid(F x, F, F) { return sigmoid(x); }

template <F (*Fn)(F, F), F (*Post)(F, F, F)>
void binary_then(const Operands<float>& o) {
  const F alpha = set1(o.alpha), beta = set1(o.beta);
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes)
    store(o.dst + i, Post(Fn(load(o.a + i), load(o.b + i)), alpha, beta));
  const int left = o.n - i;
  if (left > 0)
    store_n(o.dst + i, Post(Fn(load_n(o.a + i, left), load_n(o.b + i, left)), alpha, beta), left);
}
template <F (*Post)(F, F, F)>
void fma_then(const Operands<float>& o) {
  const F alpha = set1(o.alpha), beta = set1(o.beta);
  int i = 0;
  for (; i + kLanes <= o.n; i += kLanes)
    store(o.dst + i, Post(fma(load(o.a + i), load(o.b + i), load(o.c + i)), alpha, beta));
  const int left = o.n - i;
  if (left > 0) {
    const F sum = fma(load_n(o.a + i, left), load_n(o.b + i, left), load_n(o.c + i, left));
    store_n(o.dst + i, Post(sum, alpha, beta), left);
  }
}

template <F (*Post)(F, F, F)>
Step<float> led_by(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kAdd:
      return binary_then<f_add, Post>;
    case PointwiseOp::kSub:
      return binary_then<f_sub, Post>;
    case PointwiseOp::kMul:
      return binary_then<f_mul, Post>;
    case PointwiseOp::kFma:
      return fma_then<Post>;
    default:
      __builtin_trap();  // pointwise_compile joins no others
  }
}

Step<float> joined_step_of(PointwiseOp op, PointwiseOp post) {
  switch (post) {
    case PointwiseOp::kRelu:
      return led_by<post_relu>(op);
    case PointwiseOp::kLeakyRelu:
      return led_by<f_leaky_relu>(op);
    case PointwiseOp::kClipConst:
      return led_by<f_clip_const>(op);
    case PointwiseOp::kHardSigmoid:
      return led_by<f_hard_sigmoid>(op);
    case PointwiseOp::kHardSwish:
      return led_by<post_hard_swish>(op);
    case PointwiseOp::kSigmoid:
      return led_by<post_sigmoid>(op);
    case PointwiseOp::kSilu:
      return led_by<f_silu>(op);
    default:
      __builtin_trap();  // pointwise_compile joins no others
  }
}

// --- int64 registers: plain loops, which the compiler vectorises where it can --------------------

REDLINE_INLINE uint64_t u(int64_t x) { return static_cast<uint64_t>(x); }
REDLINE_INLINE int64_t s(uint64_t x) { return static_cast<int64_t>(x); }

REDLINE_INLINE int64_t i_copy(int64_t x, int64_t, int64_t) { return x; }
REDLINE_INLINE int64_t i_abs(int64_t x, int64_t, int64_t) { return x < 0 ? s(0 - u(x)) : x; }
REDLINE_INLINE int64_t i_neg(int64_t x, int64_t, int64_t) { return s(0 - u(x)); }
REDLINE_INLINE int64_t i_sign(int64_t x, int64_t, int64_t) { return (x > 0) - (x < 0); }
REDLINE_INLINE int64_t i_not(int64_t x, int64_t, int64_t) { return x == 0; }
REDLINE_INLINE int64_t i_square(int64_t x, int64_t, int64_t) { return s(u(x) * u(x)); }
REDLINE_INLINE int64_t i_relu(int64_t x, int64_t, int64_t) { return x > 0 ? x : 0; }
REDLINE_INLINE int64_t i_add(int64_t x, int64_t y, int64_t) { return s(u(x) + u(y)); }
REDLINE_INLINE int64_t i_sub(int64_t x, int64_t y, int64_t) { return s(u(x) - u(y)); }
REDLINE_INLINE int64_t i_mul(int64_t x, int64_t y, int64_t) { return s(u(x) * u(y)); }
REDLINE_INLINE int64_t i_div(int64_t x, int64_t y, int64_t) {
  if (y == 0) return 0;
  return y == -1 ? s(0 - u(x)) : x / y;
}
REDLINE_INLINE int64_t i_fmod(int64_t x, int64_t y, int64_t) {
  return y == 0 || y == -1 ? 0 : x % y;
}
REDLINE_INLINE int64_t i_mod(int64_t x, int64_t y, int64_t z) {
  const int64_t r = i_fmod(x, y, z);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
REDLINE_INLINE int64_t i_pow(int64_t x, int64_t y, int64_t) {
  if (y < 0) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
  uint64_t result = 1, base = u(x);
  for (; y > 0; y >>= 1) {
    if (y & 1) result *= base;
    base *= base;
  }
  return s(result);
}
REDLINE_INLINE int64_t i_max(int64_t x, int64_t y, int64_t) { return x > y ? x : y; }
REDLINE_INLINE int64_t i_min(int64_t x, int64_t y, int64_t) { return x < y ? x : y; }
REDLINE_INLINE int64_t i_equal(int64_t x, int64_t y, int64_t) { return x == y; }
REDLINE_INLINE int64_t i_not_equal(int64_t x, int64_t y, int64_t) { return x != y; }
REDLINE_INLINE int64_t i_less(int64_t x, int64_t y, int64_t) { return x < y; }
REDLINE_INLINE int64_t i_less_equal(int64_t x, int64_t y, int64_t) { return x <= y; }
REDLINE_INLINE int64_t i_greater(int64_t x, int64_t y, int64_t) { return x > y; }
REDLINE_INLINE int64_t i_greater_equal(int64_t x, int64_t y, int64_t) { return x >= y; }
REDLINE_INLINE int64_t i_and(int64_t x, int64_t y, int64_t) { return (x != 0) & (y != 0); }
REDLINE_INLINE int64_t i_or(int64_t x, int64_t y, int64_t) { return (x != 0) | (y != 0); }
REDLINE_INLINE int64_t i_xor(int64_t x, int64_t y, int64_t) { return (x != 0) ^ (y != 0); }
REDLINE_INLINE int64_t i_bit_and(int64_t x, int64_t y, int64_t) { return x & y; }
REDLINE_INLINE int64_t i_bit_or(int64_t x, int64_t y, int64_t) { return x | y; }
REDLINE_INLINE int64_t i_bit_xor(int64_t x, int64_t y, int64_t) { return x ^ y; }
REDLINE_INLINE int64_t i_bit_not(int64_t x, int64_t, int64_t) { return ~x; }
REDLINE_INLINE int64_t i_shift_left(int64_t x, int64_t y, int64_t) {
  return u(y) > 63 ? 0 : s(u(x) << y);
}
REDLINE_INLINE int64_t i_shift_right(int64_t x, int64_t y, int64_t) {
  return u(y) > 63 ? (x < 0 ? -1 : 0) : x >> y;
}
REDLINE_INLINE int64_t i_shift_right_logical(int64_t x, int64_t y, int64_t) {
  return u(y) > 63 ? 0 : s(u(x) >> y);
}
REDLINE_INLINE int64_t i_where(int64_t x, int64_t y, int64_t z) { return x != 0 ? y : z; }
REDLINE_INLINE int64_t i_clip(int64_t x, int64_t y, int64_t z) {
  const int64_t m = x > y ? x : y;
  return m < z ? m : z;
}
REDLINE_INLINE int64_t i_fma(int64_t x, int64_t y, int64_t z) { return s(u(x) * u(y) + u(z)); }

template <int64_t (*Fn)(int64_t, int64_t, int64_t), int Arity>
void integer(const Operands<int64_t>& o) {
  const int64_t* a = o.a;
  const int64_t* b = Arity > 1 ? o.b : o.a;
  const int64_t* c = Arity > 2 ? o.c : o.a;
  for (int i = 0; i < o.n; ++i) o.dst[i] = Fn(a[i], b[i], c[i]);
}

Step<int64_t> step_of(PointwiseOp op, int64_t) {
  using Op = PointwiseOp;
  switch (op) {
    case Op::kConst:
    case Op::kCopy:
      return integer<i_copy, 1>;
    case Op::kAbs:
      return integer<i_abs, 1>;
    case Op::kNeg:
      return integer<i_neg, 1>;
    case Op::kSign:
      return integer<i_sign, 1>;
    case Op::kNot:
      return integer<i_not, 1>;
    case Op::kSquare:
      return integer<i_square, 1>;
    case Op::kRelu:
      return integer<i_relu, 1>;
    case Op::kAdd:
      return integer<i_add, 2>;
    case Op::kSub:
      return integer<i_sub, 2>;
    case Op::kMul:
      return integer<i_mul, 2>;
    case Op::kDiv:
      return integer<i_div, 2>;
    case Op::kPow:
      return integer<i_pow, 2>;
    case Op::kMod:
      return integer<i_mod, 2>;
    case Op::kFmod:
      return integer<i_fmod, 2>;
    case Op::kMax:
      return integer<i_max, 2>;
    case Op::kMin:
      return integer<i_min, 2>;
    case Op::kEqual:
      return integer<i_equal, 2>;
    case Op::kNotEqual:
      return integer<i_not_equal, 2>;
    case Op::kLess:
      return integer<i_less, 2>;
    case Op::kLessEqual:
      return integer<i_less_equal, 2>;
    case Op::kGreater:
      return integer<i_greater, 2>;
    case Op::kGreaterEqual:
      return integer<i_greater_equal, 2>;
    case Op::kAnd:
      return integer<i_and, 2>;
    case Op::kOr:
      return integer<i_or, 2>;
    case Op::kXor:
      return integer<i_xor, 2>;
    case Op::kBitAnd:
      return integer<i_bit_and, 2>;
    case Op::kBitOr:
      return integer<i_bit_or, 2>;
    case Op::kBitXor:
      return integer<i_bit_xor, 2>;
    case Op::kBitNot:
      return integer<i_bit_not, 1>;
    case Op::kShiftLeft:
      return integer<i_shift_left, 2>;
    case Op::kShiftRight:
      return integer<i_shift_right, 2>;
    case Op::kShiftRightLogical:
      return integer<i_shift_right_logical, 2>;
    case Op::kWhere:
      return integer<i_where, 3>;
    case Op::kClip:
      return integer<i_clip, 3>;
    case Op::kFma:
      return integer<i_fma, 3>;
    default:
      __builtin_trap();  // pointwise_compile refuses these
  }
}

// --- Blocks: how operands come in and results go out ---------------------------------------------

// A position in the iteration space: row (all dims but the innermost) and column.
struct Position {
  int64_t index[kMaxPointwiseRank];
  int64_t column;
  int64_t row;
};

Position position_of(const PointwiseLayout& layout, int64_t flat) {
  Position p;
  const int last = layout.rank - 1;
  p.column = flat % layout.dims[last];
  p.row = flat / layout.dims[last];
  int64_t rest = p.row;
  for (int d = last - 1; d >= 0; --d) {
    p.index[d] = rest % layout.dims[d];
    rest /= layout.dims[d];
  }
  return p;
}

int64_t row_offset(const PointwiseLayout& layout, const Position& p, const int64_t* strides) {
  int64_t offset = 0;
  for (int d = 0; d < layout.rank - 1; ++d) offset += p.index[d] * strides[d];
  return offset;
}

// Steps to the next row; returns the change of an operand's offset.
int64_t advance_row(const PointwiseLayout& layout, int64_t* index, const int64_t* strides) {
  int64_t change = 0;
  for (int d = layout.rank - 2; d >= 0; --d) {
    change += strides[d];
    if (++index[d] < layout.dims[d]) return change;
    change -= strides[d] * layout.dims[d];
    index[d] = 0;
  }
  return change;
}

template <class R>
void fill(R* dst, R value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) dst[i] = value;
}

// Calls visit(offset of the segment's first element, position in the block, length) for each run
// of the innermost dim in [p, p + n).
template <class Visit>
REDLINE_INLINE void for_segments(const PointwiseLayout& layout, const Position& p,
                                 const int64_t* strides, int n, Visit visit) {
  const int last = layout.rank - 1;
  Position at = p;
  int64_t offset = row_offset(layout, p, strides);
  for (int done = 0; done < n;) {
    const int64_t left = layout.dims[last] - at.column;
    const int length = left < n - done ? static_cast<int>(left) : n - done;
    visit(offset + at.column * strides[last], done, length);
    done += length;
    at.column = 0;
    if (done < n) offset += advance_row(layout, at.index, strides);
  }
}

template <class R>
void load_segments(const PointwiseLayout& layout, const Position& p, const int64_t* strides,
                   const void* base, ElemType type, R* dst, int n) {
  const int64_t inner = strides[layout.rank - 1];
  const char* bytes = static_cast<const char*>(base);
  const int size = elem_bytes(type);
  for_segments(layout, p, strides, n, [&](int64_t offset, int at, int length) {
    if (inner == 0) {
      fill(dst + at, load_one<R>(base, type, offset), length);
    } else if (inner == 1) {
      load_block(bytes + offset * size, type, dst + at, length);
    } else if (type == ElemType::kF32 && sizeof(R) == 4) {
      const float* s = static_cast<const float*>(base) + offset;
      for (int i = 0; i < length; ++i) dst[at + i] = static_cast<R>(s[i * inner]);
    } else {
      for (int i = 0; i < length; ++i) dst[at + i] = load_one<R>(base, type, offset + i * inner);
    }
  });
}

template <class R>
void store_segments(const PointwiseLayout& layout, const Position& p, const int64_t* strides,
                    void* base, ElemType type, const R* src, int n) {
  const int64_t inner = strides[layout.rank - 1];
  char* bytes = static_cast<char*>(base);
  const int size = elem_bytes(type);
  for_segments(layout, p, strides, n, [&](int64_t offset, int at, int length) {
    if (inner == 1) {
      store_block(src + at, type, bytes + offset * size, length);
    } else {
      for (int i = 0; i < length; ++i)
        store_block(src + at + i, type, bytes + (offset + i * inner) * size, 1);
    }
  });
}

// Blocks end at row ends where rows are long, so that row and column operands need no copy, and
// hold whole rows where rows are short, so that a column operand is laid out once for all blocks.
struct Blocking {
  bool by_rows = false;
  int size = 0;
};

Blocking blocking_of(const PointwiseLayout& layout, int block_elems) {
  Blocking b{.by_rows = false, .size = block_elems};
  bool walks = false;
  for (int i = 0; i < layout.num_operands; ++i)
    walks |= layout.modes[i] != PointwiseLayout::Mode::kContiguous &&
             layout.modes[i] != PointwiseLayout::Mode::kScalar;
  if (!walks || layout.rank == 0) return b;
  const int64_t inner = layout.dims[layout.rank - 1];
  if (inner > block_elems / 2) {
    b.by_rows = true;
    const int64_t pieces = (inner + block_elems - 1) / block_elems;
    const int64_t size = ((inner + pieces - 1) / pieces + 63) / 64 * 64;
    b.size = size < block_elems ? static_cast<int>(size) : block_elems;
  } else {
    b.size = static_cast<int>(block_elems / inner * inner);
  }
  return b;
}

constexpr int kRegisterFileBytes = 32 * 1024;

template <class R>
void run_registers(const PointwiseCode& code, const PointwiseLayout& layout,
                   const void* const* inputs, void* const* outputs, int64_t begin, int64_t end) {
  using Mode = PointwiseLayout::Mode;
  constexpr ElemType kOwnType = sizeof(R) == 4 ? ElemType::kF32 : ElemType::kI64;
  alignas(64) R file[kRegisterFileBytes / sizeof(R)];
  const int num_inputs = static_cast<int>(code.input_types.size());
  const int num_outputs = static_cast<int>(code.output_types.size());
  const int num_instrs = static_cast<int>(code.instrs.size());
  const int block = code.block_elems;
  const Blocking blocking = blocking_of(layout, block);

  const R* slots[kMaxPointwiseSlots];
  R* writable[kMaxPointwiseSlots];
  for (int i = 0; i < code.num_slots; ++i) {
    writable[i] = file + static_cast<int64_t>(i) * block;
    slots[i] = writable[i];
  }
  for (const PointwiseCode::Instr& c : code.constants) {
    if constexpr (sizeof(R) == 4) {
      fill(writable[c.dst], static_cast<R>(c.alpha), block);
    } else {
      fill(writable[c.dst], static_cast<R>(c.imm), block);
    }
  }
  for (int i = 0; i < num_inputs; ++i)
    if (layout.modes[i] == Mode::kScalar)
      fill(writable[i], load_one<R>(inputs[i], code.input_types[i], 0), block);

  int64_t filled_row[kMaxPointwiseOperands];
  bool column_ready[kMaxPointwiseOperands] = {};
  for (int i = 0; i < num_inputs; ++i) filled_row[i] = -1;

  for (int64_t at = begin; at < end;) {
    Position p{};
    int n = end - at < blocking.size ? static_cast<int>(end - at) : blocking.size;
    if (layout.rank > 0) {
      p = position_of(layout, at);
      const int64_t inner = layout.dims[layout.rank - 1];
      if (blocking.by_rows && inner - p.column < n) n = static_cast<int>(inner - p.column);
    }

    for (int i = 0; i < num_inputs; ++i) {
      const ElemType type = code.input_types[i];
      const int64_t* strides = layout.strides[i];
      switch (layout.modes[i]) {
        case Mode::kScalar:
          break;
        case Mode::kContiguous: {
          const char* src = static_cast<const char*>(inputs[i]) + at * elem_bytes(type);
          if (type == kOwnType) {
            slots[i] = reinterpret_cast<const R*>(src);
          } else {
            load_block(src, type, writable[i], n);
          }
          break;
        }
        case Mode::kRow:
          if (!blocking.by_rows) {
            load_segments(layout, p, strides, inputs[i], type, writable[i], n);
          } else if (filled_row[i] != p.row) {
            fill(writable[i], load_one<R>(inputs[i], type, row_offset(layout, p, strides)),
                 blocking.size);
            filled_row[i] = p.row;
          }
          break;
        case Mode::kColumn:
        case Mode::kStrided: {
          const bool straight = blocking.by_rows && strides[layout.rank - 1] == 1;
          if (straight && type == kOwnType) {
            slots[i] = static_cast<const R*>(inputs[i]) + row_offset(layout, p, strides) + p.column;
          } else if (!blocking.by_rows && layout.modes[i] == Mode::kColumn) {
            // Blocks are whole rows, so that each starts at the column where the first one did.
            if (!column_ready[i])
              load_segments(layout, p, strides, inputs[i], type, writable[i], n);
            column_ready[i] = true;
          } else {
            load_segments(layout, p, strides, inputs[i], type, writable[i], n);
          }
          break;
        }
      }
    }

    R* direct[kMaxPointwiseOperands];
    for (int k = 0; k < num_outputs; ++k) {
      const int64_t* strides = layout.strides[num_inputs + k];
      const Mode mode = layout.modes[num_inputs + k];
      direct[k] = nullptr;
      if (code.output_writers[k] < 0) continue;
      if (mode == Mode::kContiguous) {
        direct[k] = static_cast<R*>(outputs[k]) + at;
      } else if (blocking.by_rows && strides[layout.rank - 1] == 1) {
        direct[k] = static_cast<R*>(outputs[k]) + row_offset(layout, p, strides) + p.column;
      }
    }

    for (int j = 0; j < num_instrs; ++j) {
      const PointwiseCode::Instr& instr = code.instrs[j];
      R* dst = writable[instr.dst];
      for (int k = 0; k < num_outputs; ++k)
        if (code.output_writers[k] == j && direct[k]) dst = direct[k];
      const Operands<R> operands{.a = slots[instr.a],
                                 .b = slots[instr.b],
                                 .c = slots[instr.c],
                                 .dst = dst,
                                 .n = n,
                                 .alpha = instr.alpha,
                                 .beta = instr.beta};
      if constexpr (sizeof(R) == 4) {
        if (instr.post != PointwiseOp::kCopy) {
          joined_step_of(instr.op, instr.post)(operands);
          slots[instr.dst] = dst;
          continue;
        }
      }
      step_of(instr.op, R{})(operands);
      slots[instr.dst] = dst;
    }

    for (int k = 0; k < num_outputs; ++k) {
      if (direct[k]) continue;
      const R* src = slots[code.output_slots[k]];
      const ElemType type = code.output_types[k];
      if (layout.modes[num_inputs + k] == Mode::kContiguous) {
        store_block(src, type, static_cast<char*>(outputs[k]) + at * elem_bytes(type), n);
      } else {
        store_segments(layout, p, layout.strides[num_inputs + k], outputs[k], type, src, n);
      }
    }
    at += n;
  }
}

void run(const PointwiseCode& code, const PointwiseLayout& layout, const void* const* inputs,
         void* const* outputs, int64_t begin, int64_t end) {
  if (begin >= end) return;
  if (code.registers == PointwiseRegister::kInt) {
    run_registers<int64_t>(code, layout, inputs, outputs, begin, end);
  } else {
    run_registers<float>(code, layout, inputs, outputs, begin, end);
  }
}

bool is_integer(ElemType type) {
  return type != ElemType::kF32 && type != ElemType::kF16 && type != ElemType::kBf16;
}

template <class R>
void convert_by(const void* src, ElemType src_type, void* dst, ElemType dst_type, int64_t n) {
  constexpr int kBlock = 1024;
  alignas(64) R block[kBlock];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int count = n - i < kBlock ? static_cast<int>(n - i) : kBlock;
    load_block(static_cast<const char*>(src) + i * elem_bytes(src_type), src_type, block, count);
    store_block(block, dst_type, static_cast<char*>(dst) + i * elem_bytes(dst_type), count);
  }
}

void convert(const void* src, ElemType src_type, void* dst, ElemType dst_type, int64_t n) {
  if (n <= 0) return;
  if (src_type == dst_type) {
    if (src != dst) std::memmove(dst, src, static_cast<size_t>(n) * elem_bytes(src_type));
  } else if (is_integer(src_type) && is_integer(dst_type)) {
    convert_by<int64_t>(src, src_type, dst, dst_type, n);
  } else {
    convert_by<float>(src, src_type, dst, dst_type, n);
  }
}

}  // namespace

extern const PointwiseKernels kPointwise = {.run = run, .convert = convert};

}  // namespace redline::kernels::REDLINE_ISA
