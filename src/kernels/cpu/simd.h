// SPDX-License-Identifier: Apache-2.0
#pragma once

// The vector types and primitives of one instruction set. Only for *.isa.cc files, which are
// compiled once for each value of REDLINE_ISA (sse4, avx2, avx512). All names are in a namespace of
// that instruction set and always inlined: a shared inline function compiled with AVX-512 could
// otherwise be the copy that the linker keeps for every caller. For the same reason these files
// call no function template of the standard library.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#ifndef REDLINE_ISA
#error "REDLINE_ISA must be sse4, avx2 or avx512: this header is for *.isa.cc files"
#endif

#define REDLINE_INLINE static inline __attribute__((always_inline))

namespace redline::kernels::REDLINE_ISA {

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;
using F = __m512;
using I = __m512i;
using M = __mmask16;

REDLINE_INLINE F set1(float x) { return _mm512_set1_ps(x); }
REDLINE_INLINE I iset1(int32_t x) { return _mm512_set1_epi32(x); }
REDLINE_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
REDLINE_INLINE void store(float* p, F v) { _mm512_storeu_ps(p, v); }
REDLINE_INLINE M first(int n) { return static_cast<M>((1u << n) - 1); }
REDLINE_INLINE F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
REDLINE_INLINE void store_n(float* p, F v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
REDLINE_INLINE I iload(const int32_t* p) { return _mm512_loadu_si512(p); }
REDLINE_INLINE void istore(int32_t* p, I v) { _mm512_storeu_si512(p, v); }
REDLINE_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
REDLINE_INLINE F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
REDLINE_INLINE F min_raw(F a, F b) { return _mm512_min_ps(a, b); }
REDLINE_INLINE F max_raw(F a, F b) { return _mm512_max_ps(a, b); }
REDLINE_INLINE F sqrt(F a) { return _mm512_sqrt_ps(a); }
REDLINE_INLINE F round_even(F a) { return _mm512_roundscale_ps(a, 8); }
REDLINE_INLINE F floor(F a) { return _mm512_roundscale_ps(a, 9); }
REDLINE_INLINE F ceil(F a) { return _mm512_roundscale_ps(a, 10); }
REDLINE_INLINE F trunc(F a) { return _mm512_roundscale_ps(a, 11); }
REDLINE_INLINE F bit_and(F a, F b) { return _mm512_and_ps(a, b); }
REDLINE_INLINE F bit_or(F a, F b) { return _mm512_or_ps(a, b); }
REDLINE_INLINE F bit_xor(F a, F b) { return _mm512_xor_ps(a, b); }
REDLINE_INLINE F bit_andnot(F a, F b) { return _mm512_andnot_ps(a, b); }  // ~a & b
REDLINE_INLINE M lt(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
REDLINE_INLINE M le(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
REDLINE_INLINE M gt(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
REDLINE_INLINE M ge(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
REDLINE_INLINE M eq(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
REDLINE_INLINE M ne(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
REDLINE_INLINE M is_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
REDLINE_INLINE F select(M m, F a, F b) { return _mm512_mask_blend_ps(m, b, a); }  // m ? a : b
REDLINE_INLINE M m_and(M a, M b) { return a & b; }
REDLINE_INLINE M m_or(M a, M b) { return a | b; }
REDLINE_INLINE M m_xor(M a, M b) { return a ^ b; }
REDLINE_INLINE M m_not(M a) { return static_cast<M>(~a); }
REDLINE_INLINE bool any(M m) { return m != 0; }
REDLINE_INLINE I as_int(F a) { return _mm512_castps_si512(a); }
REDLINE_INLINE F as_float(I a) { return _mm512_castsi512_ps(a); }
REDLINE_INLINE I to_int(F a) { return _mm512_cvtps_epi32(a); }  // half to even
REDLINE_INLINE I to_int_trunc(F a) { return _mm512_cvttps_epi32(a); }
REDLINE_INLINE F to_float(I a) { return _mm512_cvtepi32_ps(a); }
REDLINE_INLINE I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
REDLINE_INLINE I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
REDLINE_INLINE I iand(I a, I b) { return _mm512_and_si512(a, b); }
REDLINE_INLINE I ior(I a, I b) { return _mm512_or_si512(a, b); }
REDLINE_INLINE M ieq(I a, I b) { return _mm512_cmpeq_epi32_mask(a, b); }
REDLINE_INLINE M igt(I a, I b) { return _mm512_cmpgt_epi32_mask(a, b); }
REDLINE_INLINE I iselect(M m, I a, I b) { return _mm512_mask_blend_epi32(m, b, a); }
template <int N>
REDLINE_INLINE I shl(I a) {
  return _mm512_slli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I shr(I a) {
  return _mm512_srli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I sra(I a) {
  return _mm512_srai_epi32(a, N);
}
REDLINE_INLINE F gather(const float* p, I idx) { return _mm512_i32gather_ps(idx, p, 4); }
REDLINE_INLINE F even(F a, F b) {  // lanes 0, 2, 4 ... of a then b
  const I idx = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_ps(a, idx, b);
}

using D = __m512d;
REDLINE_INLINE D dset1(double x) { return _mm512_set1_pd(x); }
REDLINE_INLINE D dfma(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
REDLINE_INLINE D widen_low(F a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
REDLINE_INLINE D widen_high(F a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
REDLINE_INLINE F narrow(D low, D high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}
REDLINE_INLINE D dmin_raw(D a, D b) { return _mm512_min_pd(a, b); }
REDLINE_INLINE D dmax_raw(D a, D b) { return _mm512_max_pd(a, b); }

#elif defined(__AVX2__)

inline constexpr int kLanes = 8;
using F = __m256;
using I = __m256i;
using M = __m256;

REDLINE_INLINE F set1(float x) { return _mm256_set1_ps(x); }
REDLINE_INLINE I iset1(int32_t x) { return _mm256_set1_epi32(x); }
REDLINE_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
REDLINE_INLINE void store(float* p, F v) { _mm256_storeu_ps(p, v); }
REDLINE_INLINE I first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
REDLINE_INLINE F load_n(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
REDLINE_INLINE void store_n(float* p, F v, int n) { _mm256_maskstore_ps(p, first(n), v); }
REDLINE_INLINE I iload(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
REDLINE_INLINE void istore(int32_t* p, I v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
REDLINE_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
REDLINE_INLINE F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
REDLINE_INLINE F min_raw(F a, F b) { return _mm256_min_ps(a, b); }
REDLINE_INLINE F max_raw(F a, F b) { return _mm256_max_ps(a, b); }
REDLINE_INLINE F sqrt(F a) { return _mm256_sqrt_ps(a); }
REDLINE_INLINE F round_even(F a) { return _mm256_round_ps(a, 8); }
REDLINE_INLINE F floor(F a) { return _mm256_round_ps(a, 9); }
REDLINE_INLINE F ceil(F a) { return _mm256_round_ps(a, 10); }
REDLINE_INLINE F trunc(F a) { return _mm256_round_ps(a, 11); }
REDLINE_INLINE F bit_and(F a, F b) { return _mm256_and_ps(a, b); }
REDLINE_INLINE F bit_or(F a, F b) { return _mm256_or_ps(a, b); }
REDLINE_INLINE F bit_xor(F a, F b) { return _mm256_xor_ps(a, b); }
REDLINE_INLINE F bit_andnot(F a, F b) { return _mm256_andnot_ps(a, b); }  // ~a & b
REDLINE_INLINE M lt(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
REDLINE_INLINE M le(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
REDLINE_INLINE M gt(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
REDLINE_INLINE M ge(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
REDLINE_INLINE M eq(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
REDLINE_INLINE M ne(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
REDLINE_INLINE M is_nan(F a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
REDLINE_INLINE F select(M m, F a, F b) { return _mm256_blendv_ps(b, a, m); }  // m ? a : b
REDLINE_INLINE M m_and(M a, M b) { return _mm256_and_ps(a, b); }
REDLINE_INLINE M m_or(M a, M b) { return _mm256_or_ps(a, b); }
REDLINE_INLINE M m_xor(M a, M b) { return _mm256_xor_ps(a, b); }
REDLINE_INLINE M m_not(M a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
REDLINE_INLINE bool any(M m) { return _mm256_movemask_ps(m) != 0; }
REDLINE_INLINE I as_int(F a) { return _mm256_castps_si256(a); }
REDLINE_INLINE F as_float(I a) { return _mm256_castsi256_ps(a); }
REDLINE_INLINE I to_int(F a) { return _mm256_cvtps_epi32(a); }  // half to even
REDLINE_INLINE I to_int_trunc(F a) { return _mm256_cvttps_epi32(a); }
REDLINE_INLINE F to_float(I a) { return _mm256_cvtepi32_ps(a); }
REDLINE_INLINE I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
REDLINE_INLINE I isub(I a, I b) { return _mm256_sub_epi32(a, b); }
REDLINE_INLINE I iand(I a, I b) { return _mm256_and_si256(a, b); }
REDLINE_INLINE I ior(I a, I b) { return _mm256_or_si256(a, b); }
REDLINE_INLINE M ieq(I a, I b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
REDLINE_INLINE M igt(I a, I b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)); }
REDLINE_INLINE I iselect(M m, I a, I b) { return _mm256_blendv_epi8(b, a, _mm256_castps_si256(m)); }
template <int N>
REDLINE_INLINE I shl(I a) {
  return _mm256_slli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I shr(I a) {
  return _mm256_srli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I sra(I a) {
  return _mm256_srai_epi32(a, N);
}
REDLINE_INLINE F gather(const float* p, I idx) { return _mm256_i32gather_ps(p, idx, 4); }
REDLINE_INLINE F even(F a, F b) {  // lanes 0, 2, 4 ... of a then b
  const __m256 mixed = _mm256_shuffle_ps(a, b, 0x88);
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}

using D = __m256d;
REDLINE_INLINE D dset1(double x) { return _mm256_set1_pd(x); }
REDLINE_INLINE D dfma(D a, D b, D c) { return _mm256_fmadd_pd(a, b, c); }
REDLINE_INLINE D widen_low(F a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
REDLINE_INLINE D widen_high(F a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
REDLINE_INLINE F narrow(D low, D high) {
  return _mm256_set_m128(_mm256_cvtpd_ps(high), _mm256_cvtpd_ps(low));
}
REDLINE_INLINE D dmin_raw(D a, D b) { return _mm256_min_pd(a, b); }
REDLINE_INLINE D dmax_raw(D a, D b) { return _mm256_max_pd(a, b); }

#else

inline constexpr int kLanes = 4;
using F = __m128;
using I = __m128i;
using M = __m128;

REDLINE_INLINE F set1(float x) { return _mm_set1_ps(x); }
REDLINE_INLINE I iset1(int32_t x) { return _mm_set1_epi32(x); }
REDLINE_INLINE F load(const float* p) { return _mm_loadu_ps(p); }
REDLINE_INLINE void store(float* p, F v) { _mm_storeu_ps(p, v); }
REDLINE_INLINE F load_n(const float* p, int n) {
  alignas(16) float lanes[4] = {};
  for (int i = 0; i < n && i < 4; ++i) lanes[i] = p[i];
  return _mm_load_ps(lanes);
}
REDLINE_INLINE void store_n(float* p, F v, int n) {
  alignas(16) float lanes[4];
  _mm_store_ps(lanes, v);
  for (int i = 0; i < n && i < 4; ++i) p[i] = lanes[i];
}
REDLINE_INLINE I iload(const int32_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
REDLINE_INLINE void istore(int32_t* p, I v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), v); }
REDLINE_INLINE F fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
REDLINE_INLINE F fnma(F a, F b, F c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
REDLINE_INLINE F min_raw(F a, F b) { return _mm_min_ps(a, b); }
REDLINE_INLINE F max_raw(F a, F b) { return _mm_max_ps(a, b); }
REDLINE_INLINE F sqrt(F a) { return _mm_sqrt_ps(a); }
REDLINE_INLINE F round_even(F a) { return _mm_round_ps(a, 8); }
REDLINE_INLINE F floor(F a) { return _mm_round_ps(a, 9); }
REDLINE_INLINE F ceil(F a) { return _mm_round_ps(a, 10); }
REDLINE_INLINE F trunc(F a) { return _mm_round_ps(a, 11); }
REDLINE_INLINE F bit_and(F a, F b) { return _mm_and_ps(a, b); }
REDLINE_INLINE F bit_or(F a, F b) { return _mm_or_ps(a, b); }
REDLINE_INLINE F bit_xor(F a, F b) { return _mm_xor_ps(a, b); }
REDLINE_INLINE F bit_andnot(F a, F b) { return _mm_andnot_ps(a, b); }  // ~a & b
REDLINE_INLINE M lt(F a, F b) { return _mm_cmplt_ps(a, b); }
REDLINE_INLINE M le(F a, F b) { return _mm_cmple_ps(a, b); }
REDLINE_INLINE M gt(F a, F b) { return _mm_cmpgt_ps(a, b); }
REDLINE_INLINE M ge(F a, F b) { return _mm_cmpge_ps(a, b); }
REDLINE_INLINE M eq(F a, F b) { return _mm_cmpeq_ps(a, b); }
REDLINE_INLINE M ne(F a, F b) { return _mm_cmpneq_ps(a, b); }
REDLINE_INLINE M is_nan(F a) { return _mm_cmpunord_ps(a, a); }
REDLINE_INLINE F select(M m, F a, F b) { return _mm_blendv_ps(b, a, m); }  // m ? a : b
REDLINE_INLINE M m_and(M a, M b) { return _mm_and_ps(a, b); }
REDLINE_INLINE M m_or(M a, M b) { return _mm_or_ps(a, b); }
REDLINE_INLINE M m_xor(M a, M b) { return _mm_xor_ps(a, b); }
REDLINE_INLINE M m_not(M a) { return _mm_xor_ps(a, _mm_castsi128_ps(_mm_set1_epi32(-1))); }
REDLINE_INLINE bool any(M m) { return _mm_movemask_ps(m) != 0; }
REDLINE_INLINE I as_int(F a) { return _mm_castps_si128(a); }
REDLINE_INLINE F as_float(I a) { return _mm_castsi128_ps(a); }
REDLINE_INLINE I to_int(F a) { return _mm_cvtps_epi32(a); }  // half to even
REDLINE_INLINE I to_int_trunc(F a) { return _mm_cvttps_epi32(a); }
REDLINE_INLINE F to_float(I a) { return _mm_cvtepi32_ps(a); }
REDLINE_INLINE I iadd(I a, I b) { return _mm_add_epi32(a, b); }
REDLINE_INLINE I isub(I a, I b) { return _mm_sub_epi32(a, b); }
REDLINE_INLINE I iand(I a, I b) { return _mm_and_si128(a, b); }
REDLINE_INLINE I ior(I a, I b) { return _mm_or_si128(a, b); }
REDLINE_INLINE M ieq(I a, I b) { return _mm_castsi128_ps(_mm_cmpeq_epi32(a, b)); }
REDLINE_INLINE M igt(I a, I b) { return _mm_castsi128_ps(_mm_cmpgt_epi32(a, b)); }
REDLINE_INLINE I iselect(M m, I a, I b) { return _mm_blendv_epi8(b, a, _mm_castps_si128(m)); }
template <int N>
REDLINE_INLINE I shl(I a) {
  return _mm_slli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I shr(I a) {
  return _mm_srli_epi32(a, N);
}
template <int N>
REDLINE_INLINE I sra(I a) {
  return _mm_srai_epi32(a, N);
}
REDLINE_INLINE F gather(const float* p, I idx) {
  return _mm_setr_ps(p[_mm_extract_epi32(idx, 0)], p[_mm_extract_epi32(idx, 1)],
                     p[_mm_extract_epi32(idx, 2)], p[_mm_extract_epi32(idx, 3)]);
}

REDLINE_INLINE F even(F a, F b) { return _mm_shuffle_ps(a, b, 0x88); }  // lanes 0, 2 of a then b

using D = __m128d;
REDLINE_INLINE D dset1(double x) { return _mm_set1_pd(x); }
REDLINE_INLINE D dfma(D a, D b, D c) { return _mm_add_pd(_mm_mul_pd(a, b), c); }
REDLINE_INLINE D widen_low(F a) { return _mm_cvtps_pd(a); }
REDLINE_INLINE D widen_high(F a) { return _mm_cvtps_pd(_mm_movehl_ps(a, a)); }
REDLINE_INLINE F narrow(D low, D high) {
  return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
}
REDLINE_INLINE D dmin_raw(D a, D b) { return _mm_min_pd(a, b); }
REDLINE_INLINE D dmax_raw(D a, D b) { return _mm_max_pd(a, b); }

#endif

REDLINE_INLINE F zero() { return set1(0.0f); }
REDLINE_INLINE F sign_mask() { return set1(-0.0f); }
REDLINE_INLINE F abs(F a) { return bit_andnot(sign_mask(), a); }
REDLINE_INLINE F neg(F a) { return bit_xor(sign_mask(), a); }
REDLINE_INLINE F copysign(F magnitude, F sign) {
  return bit_or(bit_andnot(sign_mask(), magnitude), bit_and(sign_mask(), sign));
}
// NaN when either is; the processor's instructions return their second operand then.
REDLINE_INLINE F max_nan(F a, F b) { return select(is_nan(a), a, max_raw(a, b)); }
REDLINE_INLINE F min_nan(F a, F b) { return select(is_nan(a), a, min_raw(a, b)); }
REDLINE_INLINE F as_one(M m) { return select(m, set1(1.0f), zero()); }

// Across the lanes. The maximum and minimum are unspecified when a lane is NaN.
#if defined(__AVX512F__)
REDLINE_INLINE __m256 low_half(F v) { return _mm512_castps512_ps256(v); }
REDLINE_INLINE __m256 high_half(F v) { return _mm512_extractf32x8_ps(v, 1); }
#define REDLINE_FOLD(op, v)                                      \
  const __m256 v8 = _mm256_##op##_ps(low_half(v), high_half(v)); \
  __m128 r = _mm_##op##_ps(_mm256_castps256_ps128(v8), _mm256_extractf128_ps(v8, 1));
#elif defined(__AVX2__)
#define REDLINE_FOLD(op, v) \
  __m128 r = _mm_##op##_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
#define REDLINE_FOLD(op, v) __m128 r = v;
#endif
#define REDLINE_REDUCE(name, op)                                        \
  REDLINE_INLINE float name(F v) {                                      \
    REDLINE_FOLD(op, v)                                                 \
    r = _mm_##op##_ps(r, _mm_movehl_ps(r, r));                          \
    return _mm_cvtss_f32(_mm_##op##_ss(r, _mm_shuffle_ps(r, r, 0x55))); \
  }
REDLINE_REDUCE(reduce_add, add)
REDLINE_REDUCE(reduce_mul, mul)
REDLINE_REDUCE(reduce_max, max)
REDLINE_REDUCE(reduce_min, min)
#undef REDLINE_FOLD
#undef REDLINE_REDUCE

// load_n whose missing lanes are `rest`.
REDLINE_INLINE F load_n_or(const float* p, int n, F rest) {
#if defined(__AVX512F__)
  return _mm512_mask_loadu_ps(rest, first(n), p);
#elif defined(__AVX2__)
  const I mask = first(n);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
#else
  alignas(16) float lanes[4];
  _mm_store_ps(lanes, rest);
  for (int i = 0; i < n && i < 4; ++i) lanes[i] = p[i];
  return _mm_load_ps(lanes);
#endif
}

}  // namespace redline::kernels::REDLINE_ISA
