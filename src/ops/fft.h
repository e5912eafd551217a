// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <complex>
#include <vector>

namespace redline {

// The discrete Fourier transform of x in place, for any length, without scaling; sign -1 is
// forward, +1 inverse.
void fft(std::vector<std::complex<double>>& x, int sign);

// The scaled inverse transform in f32 arithmetic with the butterflies of pocketfft (numpy, SciPy,
// PyTorch): where the true result is zero, the rounding errors are then theirs, which is what
// ONNX's expected values hold. False, and x as before, unless the length is a product of 2 to 5
// without a factor 8.
bool inverse_fft_f32(std::vector<std::complex<float>>& x);

// What it is made of, for those who do the same elsewhere: the factors in their order, none for
// lengths that it does not take, and exp(2 pi i k / n) for all k < n.
std::vector<size_t> inverse_fft_f32_factors(size_t n);
std::vector<std::complex<double>> fft_roots(size_t n);

}  // namespace redline
