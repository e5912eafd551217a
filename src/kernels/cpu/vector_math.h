// SPDX-License-Identifier: Apache-2.0
#pragma once

// Elementary functions on vectors of floats. Accuracy (asserted by vector_math_test against
// double): 2 ulp for exp, expm1, log, log1p, sigmoid (3 without FMA), erf, sqrt, sin, cos, atan,
// pow; 3 to 4 ulp for the rest, over all floats including subnormal ones. Infinities and NaN as in
// C.
//
// Argument reductions follow J.-M. Muller, "Elementary Functions", 3rd ed., ch. 11, and the Cephes
// and fdlibm libraries; the polynomials were fitted for this file (minimax by Lawson's iteration,
// relative weight), so that each is as short as float32 allows.

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {

template <int N>
REDLINE_INLINE F polynomial(F x, const float (&c)[N]) {
  F y = set1(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, set1(c[i]));
  return y;
}

template <int N>
REDLINE_INLINE D dpolynomial(D x, const double (&c)[N]) {
  D y = dset1(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) y = dfma(y, x, dset1(c[i]));
  return y;
}

inline constexpr float kInf = __builtin_inff();
inline constexpr float kNan = __builtin_nanf("");
// ln 2 in two parts; the product of the first and an integer below 2^14 is exact.
inline constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// 2^n for integers -126 <= n <= 127.
REDLINE_INLINE F power_of_two(F n) { return as_float(shl<23>(iadd(to_int(n), iset1(127)))); }

// p * 2^n, |n| < 252, rounded once: into subnormals and infinity too.
REDLINE_INLINE F scale(F p, F n) {
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  const F half = floor(n * set1(0.5f));
  return p * power_of_two(half) * power_of_two(n - half);
#endif
}

inline constexpr float kExpPoly[] = {1.0f,          1.0f,           0.499999934f,  0.166665201f,
                                     0.0416683942f, 0.00836878041f, 0.00138144669f};

// exp(x) * 2^shift without intermediate overflow.
REDLINE_INLINE F exp_shifted(F x, float shift) {
  x = min_raw(set1(90.0f), max_raw(set1(-105.0f), x));  // keeps NaN
  const F n = round_even(x * set1(1.44269504f));
  F r = fnma(n, set1(kLn2High), x);
  r = fnma(n, set1(kLn2Low), r);
  return scale(polynomial(r, kExpPoly), n + set1(shift));
}

REDLINE_INLINE F exp(F x) { return exp_shifted(x, 0.0f); }

// exp(x) for |x| <= 87.3, where results are normal.
REDLINE_INLINE F exp_in_range(F x) {
  const F n = round_even(x * set1(1.44269504f));
  F r = fnma(n, set1(kLn2High), x);
  r = fnma(n, set1(kLn2Low), r);
  return polynomial(r, kExpPoly) * power_of_two(n);
}

// exp(x) for x <= 0, where a result below 2^-126 becomes 0: for softmax and the like.
REDLINE_INLINE F exp_not_positive(F x) {
  const F y = exp_in_range(max_raw(set1(-87.3f), x));  // keeps NaN
  return select(lt(x, set1(-87.3f)), zero(), y);
}

// (exp(r) - 1 - r) / r^2
inline constexpr float kExpm1Poly[] = {0.5f,           0.166666664f, 0.0416663598f,
                                       0.00833338957f, 0.001394072f, 0.000198458853f};

REDLINE_INLINE F expm1(F x) {
  const F c = min_raw(set1(89.0f), max_raw(set1(-30.0f), x));
  const F n = round_even(c * set1(1.44269504f));
  F r = fnma(n, set1(kLn2High), c);
  r = fnma(n, set1(kLn2Low), r);
  const F p = fma(r * r, polynomial(r, kExpm1Poly), r);
  // 2^n (p + 1) - 1, halved so that 2^128 does not overflow early.
  const F half = power_of_two(n - set1(1.0f));
  const F y = fma(half, p, half - set1(0.5f)) * set1(2.0f);
  return select(eq(x, zero()), x, select(eq(n, zero()), p, y));
}

inline constexpr float kLogPoly[] = {0.333333126f,  -0.250000096f, 0.200021187f,
                                     -0.166679959f, 0.142195524f,  -0.124055889f,
                                     0.118881621f,  -0.11675652f,  0.0674664106f};

// x = m * 2^e with m in [sqrt(1/2), sqrt(2)), for finite x > 0.
REDLINE_INLINE void split_exponent(F x, F* m, F* e) {
  const M tiny = lt(x, set1(1.17549435e-38f));
  const I bits = as_int(select(tiny, x * set1(8388608.0f), x));
  const I exponent = sra<23>(isub(bits, iset1(0x3f3504f3)));
  *m = as_float(isub(bits, shl<23>(exponent)));
  *e = to_float(exponent) - select(tiny, set1(23.0f), zero());
}

// log(x) + low for finite x > 0 and a small correction low.
REDLINE_INLINE F log_positive(F x, F low) {
  F m, e;
  split_exponent(x, &m, &e);
  const F f = m - set1(1.0f);
  const F z = f * f;
  F y = f * z * polynomial(f, kLogPoly);
  y = fma(e, set1(kLn2Low), y) + low;
  y = fnma(set1(0.5f), z, y);
  return fma(e, set1(kLn2High), f + y);
}

// The values of log at 0, below 0, at infinity and NaN.
REDLINE_INLINE F log_special(F x, F y) {
  const F special = select(eq(x, zero()), set1(-kInf), select(lt(x, zero()), set1(kNan), x));
  return select(m_and(gt(x, zero()), lt(x, set1(kInf))), y, special);
}

REDLINE_INLINE F log(F x) { return log_special(x, log_positive(x, zero())); }

REDLINE_INLINE F log1p(F x) {
  const F one = set1(1.0f);
  const F u = one + x;
  // What rounding 1 + x lost, relative to u.
  const F lost = select(lt(x, one), x - (u - one), one - (u - x));
  const F low = select(lt(u, set1(16777216.0f)), lost / u, zero());
  const F y = log_special(u, log_positive(u, low));
  return select(eq(x, zero()), x, y);
}

// e / (e + 2) with e = expm1(2 |x|)
REDLINE_INLINE F tanh(F x) {
  const F a = min_raw(set1(10.0f), abs(x));  // keeps NaN
  const F t = a + a;
  const F n = round_even(t * set1(1.44269504f));
  F r = fnma(n, set1(kLn2High), t);
  r = fnma(n, set1(kLn2Low), r);
  const F p = fma(r * r, polynomial(r, kExpm1Poly), r);
  const F power = power_of_two(n);
  const F e = fma(power, p, power - set1(1.0f));
  return copysign(e / (e + set1(2.0f)), x);
}

REDLINE_INLINE F sigmoid(F x) {
  const F e = exp(neg(abs(x)));
  return select(ge(x, zero()), set1(1.0f), e) / (set1(1.0f) + e);
}

// For |x| < 15/16 an odd polynomial, else 1 - exp(polynomial): the split of N. Juffa's erff.
REDLINE_INLINE F erf(F x) {
  constexpr float kNear[] = {0.128379167f,   -0.376126326f,    0.11283679f,    -0.0268584971f,
                             0.00519882985f, -0.000811807544f, 8.26746172e-05f};
  constexpr float kFar[] = {-0.128508551f, -0.63573782f,    -0.105236311f,
                            0.0228736882f, -0.00320990539f, 0.000213374993f};
  const F a = min_raw(set1(3.95f), abs(x));
  const F near = fma(x, polynomial(x * x, kNear), x);
  const F tail = exp_not_positive(fma(a, polynomial(a, kFar), neg(a)));
  const F far = copysign(set1(1.0f) - tail, x);
  return select(lt(a, set1(0.9375f)), near, far);
}

REDLINE_INLINE F softplus(F x) { return max_nan(x, zero()) + log1p(exp(neg(abs(x)))); }

REDLINE_INLINE F gelu_erf(F x) {
  return set1(0.5f) * x * (set1(1.0f) + erf(x * set1(0.707106781f)));
}

// x / 2 (1 + tanh(u)) = x sigmoid(2 u)
REDLINE_INLINE F gelu_tanh(F x) {
  const F u = x * fma(x * x, set1(2 * 0.79788456f * 0.044715f), set1(2 * 0.79788456f));
  const F y = x * sigmoid(u);
  return select(eq(x, set1(-kInf)), set1(-0.0f), y);
}

REDLINE_INLINE F silu(F x, F alpha) { return x * sigmoid(alpha * x); }

// tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2) with e = exp(x)
REDLINE_INLINE F mish(F x) {
  const F e = exp(min_raw(set1(20.0f), x));
  const F n = e * (e + set1(2.0f));
  return x * (n / (n + set1(2.0f)));
}

// For large arguments, lane by lane with the C library.
template <float (*Scalar)(float)>
REDLINE_INLINE F patch_large(F x, F y, F limit) {
  const M large = m_not(le(abs(x), limit));
  if (__builtin_expect(any(large), 0)) {
    alignas(64) float in[kLanes], out[kLanes];
    store(in, x);
    store(out, y);
    for (int i = 0; i < kLanes; ++i)
      if (!(__builtin_fabsf(in[i]) <= 3.0e4f)) out[i] = Scalar(in[i]);
    return load(out);
  }
  return y;
}

// x - n pi/2 for |x| <= 30000, in double: pi/2 in two parts, of which the first has 33 bits.
REDLINE_INLINE D reduce_half(D x, D n) {
  return dfma(n, dset1(-6.07710050650619224932e-11), dfma(n, dset1(-1.57079632673412561417), x));
}
REDLINE_INLINE F reduce_quadrant(F x, I* quadrant) {
  const F c = min_raw(set1(3.0e4f), max_raw(set1(-3.0e4f), x));
  const F n = round_even(c * set1(0.636619772f));
  *quadrant = to_int(n);
  return narrow(reduce_half(widen_low(c), widen_low(n)), reduce_half(widen_high(c), widen_high(n)));
}

REDLINE_INLINE F sin_quadrant(F r, I quadrant) {
  constexpr float kSin[] = {-0.166666546f, 0.00833216029f, -0.000195152181f};
  constexpr float kCos[] = {0.0416666457f, -0.00138873156f, 2.44330826e-05f};
  const F t = r * r;
  const F s = fma(r * t, polynomial(t, kSin), r);
  const F c = fma(t * t, polynomial(t, kCos), fnma(set1(0.5f), t, set1(1.0f)));
  const M odd = ieq(iand(quadrant, iset1(1)), iset1(1));
  return bit_xor(select(odd, c, s), as_float(shl<30>(iand(quadrant, iset1(2)))));
}

REDLINE_INLINE float scalar_sin(float x) { return __builtin_sinf(x); }
REDLINE_INLINE float scalar_cos(float x) { return __builtin_cosf(x); }
REDLINE_INLINE float scalar_tan(float x) { return __builtin_tanf(x); }

REDLINE_INLINE F sin(F x) {
  I quadrant;
  const F r = reduce_quadrant(x, &quadrant);
  const F y = select(eq(x, zero()), x, sin_quadrant(r, quadrant));
  return patch_large<scalar_sin>(x, y, set1(3.0e4f));
}

REDLINE_INLINE F cos(F x) {
  I quadrant;
  const F r = reduce_quadrant(x, &quadrant);
  return patch_large<scalar_cos>(x, sin_quadrant(r, iadd(quadrant, iset1(1))), set1(3.0e4f));
}

REDLINE_INLINE F tan(F x) {
  constexpr float kTan[] = {0.333333498f,  0.133326623f,    0.0540600352f, 0.0212815579f,
                            0.0108374855f, 8.73660479e-05f, 0.00437736923f};
  I quadrant;
  const F r = reduce_quadrant(x, &quadrant);
  const F z = r * r;
  const F t = fma(r * z, polynomial(z, kTan), r);
  const M odd = ieq(iand(quadrant, iset1(1)), iset1(1));
  const F y = select(odd, set1(-1.0f) / t, t);
  return patch_large<scalar_tan>(x, select(eq(x, zero()), x, y), set1(3.0e4f));
}

inline constexpr float kHalfPi = 1.57079633f, kHalfPiLow = -4.37113883e-8f;

// asin of s where s^2 = z <= 1/4.
REDLINE_INLINE F asin_small(F s, F z) {
  constexpr float kAsin[] = {0.166667525f, 0.0749529764f, 0.0454703759f, 0.0241795148f,
                             0.0421663083f};
  return fma(s * z, polynomial(z, kAsin), s);
}

// asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)) above 1/2.
REDLINE_INLINE F asin(F x) {
  const F a = abs(x);
  const M large = gt(a, set1(0.5f));
  const F half = set1(0.5f) * (set1(1.0f) - a);
  const F p = asin_small(select(large, sqrt(half), a), select(large, half, a * a));
  const F far = set1(kHalfPi) - (p + p - set1(kHalfPiLow));
  return copysign(select(large, far, p), x);
}

REDLINE_INLINE F acos(F x) {
  const F a = abs(x);
  const M large = gt(a, set1(0.5f));
  const F half = set1(0.5f) * (set1(1.0f) - a);
  const F p = asin_small(select(large, sqrt(half), x), select(large, half, a * a));
  const F near = set1(kHalfPi) - (p - set1(kHalfPiLow));
  const F far = select(gt(x, zero()), p + p, set1(2 * kHalfPi) - (p + p - set1(2 * kHalfPiLow)));
  return select(large, far, near);
}

// atan(x) = pi/2 - atan(1 / x) above 1.
REDLINE_INLINE F atan(F x) {
  constexpr float kAtan[] = {-0.333332991f,  0.199985483f,   -0.142642417f,
                             0.109521859f,   -0.0840345066f, 0.057957599f,
                             -0.0311778511f, 0.0109146085f,  -0.0017936223f};
  const F a = abs(x);
  const M large = gt(a, set1(1.0f));
  const F t = select(large, set1(1.0f) / a, a);
  const F z = t * t;
  const F p = fma(t * z, polynomial(z, kAtan), t);
  return copysign(select(large, set1(kHalfPi) - (p - set1(kHalfPiLow)), p), x);
}

REDLINE_INLINE F sinh(F x) {
  constexpr float kSinh[] = {0.166666665f, 0.00833335006f, 0.000198361598f, 2.81695123e-06f};
  const F a = abs(x);
  const F z = x * x;
  const F near = fma(x * z, polynomial(z, kSinh), x);
  const F e = exp_shifted(a, -1.0f);
  const F far = copysign(e - set1(0.25f) / e, x);
  return select(lt(a, set1(1.0f)), near, far);
}

REDLINE_INLINE F cosh(F x) {
  const F e = exp_shifted(abs(x), -1.0f);
  return e + set1(0.25f) / e;
}

inline constexpr float kLn2 = 0.693147181f;

// log1p(a + a^2 / (1 + sqrt(1 + a^2))); log(a) + ln 2 where a^2 would overflow.
REDLINE_INLINE F asinh(F x) {
  const F a = abs(x);
  const M large = gt(a, set1(1.0e9f));
  const F z = a * a;
  const F v = a + z / (set1(1.0f) + sqrt(z + set1(1.0f)));
  const F y = log1p(select(large, a, v)) + select(large, set1(kLn2), zero());
  return copysign(y, x);
}

REDLINE_INLINE F acosh(F x) {
  const M large = gt(x, set1(1.0e9f));
  const F t = x - set1(1.0f);
  const F v = t + sqrt(fma(t, t, t + t));
  const F y = log1p(select(large, x, v)) + select(large, set1(kLn2), zero());
  return select(lt(x, set1(1.0f)), set1(kNan), y);
}

REDLINE_INLINE F atanh(F x) {
  const F a = abs(x);
  return copysign(set1(0.5f) * log1p((a + a) / (set1(1.0f) - a)), x);
}

// log2(m) + e for m in [sqrt(1/2), sqrt(2)): the atanh series in s = (m - 1) / (m + 1), 2^-43.
REDLINE_INLINE D log2_parts(D m, D e) {
  constexpr double kLog2[] = {2.8853900817778495,  0.9617966941142453,  0.5770779421055775,
                              0.41220927857296474, 0.31990462102985023, 0.28291553912698475};
  const D s = (m - dset1(1.0)) / (m + dset1(1.0));
  return dfma(s, dpolynomial(s * s, kLog2), e);
}

REDLINE_INLINE D exp2_fraction(D r) {
  constexpr double kExp2[] = {1.000000000554166,     0.6931472057372641,   0.24022646890626842,
                              0.05550328776969813,   0.009618488957904207, 0.0013399931217459458,
                              0.00015345811793376874};
  return dpolynomial(r, kExp2);
}

// 2^(y log2 |x|) in double, then the cases of C's pow, Annex F.
REDLINE_INLINE F pow(F x, F y) {
  const F a = abs(x), one = set1(1.0f), inf = set1(kInf);
  F m, e;
  split_exponent(a, &m, &e);
  e = select(eq(a, zero()), neg(inf), select(eq(a, inf), inf, e));
  m = select(m_or(eq(a, zero()), eq(a, inf)), one, m);
  D low = widen_low(y) * log2_parts(widen_low(m), widen_low(e));
  D high = widen_high(y) * log2_parts(widen_high(m), widen_high(e));
  low = dmin_raw(dset1(200.0), dmax_raw(dset1(-200.0), low));
  high = dmin_raw(dset1(200.0), dmax_raw(dset1(-200.0), high));
  const F n = round_even(narrow(low, high));
  const F fraction = narrow(exp2_fraction(low - widen_low(n)), exp2_fraction(high - widen_high(n)));
  F r = scale(fraction, n);
  const M integer = eq(trunc(y), y);
  const F half = y * set1(0.5f);
  const M odd = m_and(integer, ne(trunc(half), half));
  r = select(odd, bit_xor(r, bit_and(x, sign_mask())), r);
  const M undefined = m_and(m_and(lt(x, zero()), gt(x, neg(inf))), m_not(integer));
  r = select(undefined, set1(kNan), r);
  r = select(m_or(is_nan(x), is_nan(y)), set1(kNan), r);
  const M unit = m_or(m_or(eq(y, zero()), eq(x, one)), m_and(eq(a, one), eq(abs(y), inf)));
  return select(unit, one, r);
}

}  // namespace redline::kernels::REDLINE_ISA
