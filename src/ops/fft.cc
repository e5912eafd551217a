// SPDX-License-Identifier: Apache-2.0
#include "ops/fft.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace redline {
namespace {

using Complex = std::complex<double>;
using Narrow = std::complex<float>;

constexpr double kTau = 2 * std::numbers::pi;

// Cooley-Tukey for powers of two, in place; sign -1 is forward, +1 inverse (unscaled).
void transform_radix_2(std::vector<Complex>& x, int sign) {
  size_t n = x.size();
  for (size_t i = 1, j = 0; i < n; ++i) {
    size_t bit = n >> 1;
    for (; (j & bit) != 0; bit >>= 1) j ^= bit;
    j |= bit;
    if (i < j) std::swap(x[i], x[j]);
  }
  for (size_t length = 2; length <= n; length *= 2) {
    std::vector<Complex> roots(length / 2);
    for (size_t k = 0; k < roots.size(); ++k) {
      roots[k] =
          std::polar(1.0, sign * kTau * static_cast<double>(k) / static_cast<double>(length));
    }
    for (size_t start = 0; start < n; start += length) {
      for (size_t k = 0; k < length / 2; ++k) {
        Complex even = x[start + k];
        Complex odd = x[start + k + length / 2] * roots[k];
        x[start + k] = even + odd;
        x[start + k + length / 2] = even - odd;
      }
    }
  }
}

}  // namespace

// Lengths that are no power of two: Bluestein writes the transform as a convolution of a
// power-of-two length.
void fft(std::vector<Complex>& x, int sign) {
  size_t n = x.size();
  if (n < 2) return;
  if (std::has_single_bit(n)) return transform_radix_2(x, sign);
  // k^2 modulo 2n keeps the angle exact.
  std::vector<Complex> chirp(n);
  uint64_t square = 0;
  for (size_t k = 0; k < n; ++k) {
    chirp[k] =
        std::polar(1.0, sign * kTau / 2 * static_cast<double>(square) / static_cast<double>(n));
    square = (square + 2 * k + 1) % (2 * n);
  }
  size_t padded = std::bit_ceil(2 * n - 1);
  std::vector<Complex> a(padded);
  std::vector<Complex> b(padded);
  for (size_t k = 0; k < n; ++k) {
    a[k] = x[k] * chirp[k];
    b[k] = std::conj(chirp[k]);
    if (k > 0) b[padded - k] = b[k];
  }
  transform_radix_2(a, -1);
  transform_radix_2(b, -1);
  for (size_t k = 0; k < padded; ++k) a[k] *= b[k];
  transform_radix_2(a, 1);
  for (size_t k = 0; k < n; ++k) x[k] = a[k] * chirp[k] / static_cast<double>(padded);
}

// In the order in which pocketfft takes them.
std::vector<size_t> inverse_fft_f32_factors(size_t n) {
  std::vector<size_t> factors;
  if (n % 8 == 0) return factors;
  for (; n % 4 == 0; n /= 4) factors.push_back(4);
  if (n % 2 == 0) {
    n /= 2;
    factors.push_back(2);
    std::swap(factors.front(), factors.back());
  }
  for (size_t p : {size_t{3}, size_t{5}}) {
    for (; n % p == 0; n /= p) factors.push_back(p);
  }
  if (n != 1) factors.clear();
  return factors;
}

std::vector<Complex> fft_roots(size_t n) {
  std::vector<Complex> roots(n);
  for (size_t k = 0; k < n; ++k) {
    roots[k] = std::polar(1.0, kTau * static_cast<double>(k) / static_cast<double>(n));
  }
  return roots;
}

namespace {

Narrow rotated(Narrow a) { return {-a.imag(), a.real()}; }

void butterfly_3(const Narrow* a, Narrow* r) {
  constexpr float kSine = 0.866025403784438646763723170752936183f;
  Narrow sum = a[1] + a[2];
  Narrow cross = a[1] - a[2];
  r[0] = a[0] + sum;
  Narrow even = a[0] + sum * -0.5f;
  Narrow odd(-cross.imag() * kSine, cross.real() * kSine);
  r[1] = even + odd;
  r[2] = even - odd;
}

void butterfly_4(const Narrow* a, Narrow* r) {
  Narrow t1 = a[0] - a[2];
  Narrow t2 = a[0] + a[2];
  Narrow t3 = a[1] + a[3];
  Narrow t4 = rotated(a[1] - a[3]);
  r[0] = t2 + t3;
  r[1] = t1 + t4;
  r[2] = t2 - t3;
  r[3] = t1 - t4;
}

void butterfly_5(const Narrow* a, Narrow* r) {
  constexpr float kCos1 = 0.3090169943749474241022934171828191f;
  constexpr float kSin1 = 0.9510565162951535721164393333793821f;
  constexpr float kCos2 = -0.8090169943749474241022934171828191f;
  constexpr float kSin2 = 0.5877852522924731291687059546390728f;
  Narrow t1 = a[1] + a[4];
  Narrow t4 = a[1] - a[4];
  Narrow t2 = a[2] + a[3];
  Narrow t3 = a[2] - a[3];
  r[0] = a[0] + t1 + t2;
  auto pair = [&](int u, int v, float cos1, float cos2, float sin1, float sin2) {
    Narrow even(a[0].real() + cos1 * t1.real() + cos2 * t2.real(),
                a[0].imag() + cos1 * t1.imag() + cos2 * t2.imag());
    Narrow odd(-(sin1 * t4.imag() + sin2 * t3.imag()), sin1 * t4.real() + sin2 * t3.real());
    r[u] = even + odd;
    r[v] = even - odd;
  };
  pair(1, 4, kCos1, kCos2, kSin1, kSin2);
  pair(2, 3, kCos2, kCos1, kSin2, -kSin1);
}

void butterfly(size_t factor, const Narrow* a, Narrow* r) {
  switch (factor) {
    case 3:
      return butterfly_3(a, r);
    case 4:
      return butterfly_4(a, r);
    case 5:
      return butterfly_5(a, r);
    default:
      r[0] = a[0] + a[1];
      r[1] = a[0] - a[1];
  }
}

}  // namespace

bool inverse_fft_f32(std::vector<Narrow>& x) {
  size_t n = x.size();
  std::vector<size_t> factors = inverse_fft_f32_factors(n);
  if (factors.empty()) return false;
  std::vector<Complex> exact = fft_roots(n);
  std::vector<Narrow> roots(exact.begin(), exact.end());
  std::vector<Narrow> y(n);
  size_t done = 1;
  for (size_t factor : factors) {
    size_t inner = n / (done * factor);
    for (size_t k = 0; k < done; ++k) {
      for (size_t i = 0; i < inner; ++i) {
        Narrow a[5];
        Narrow r[5];
        for (size_t b = 0; b < factor; ++b) a[b] = x[i + inner * (b + factor * k)];
        butterfly(factor, a, r);
        for (size_t j = 0; j < factor; ++j) {
          Narrow w = roots[j * done * i];
          Narrow v = r[j];
          if (i > 0 && j > 0) {
            v = Narrow(v.real() * w.real() - v.imag() * w.imag(),
                       v.real() * w.imag() + v.imag() * w.real());
          }
          y[i + inner * (k + done * j)] = v;
        }
      }
    }
    x.swap(y);
    done *= factor;
  }
  auto scale = static_cast<float>(1.0 / static_cast<double>(n));
  for (Narrow& v : x) v *= scale;
  return true;
}

}  // namespace redline
