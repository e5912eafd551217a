// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// dft(input [..., 1 or 2], dft_length?, axis?): the discrete Fourier transform along `axis` (-2
// when absent) of values whose last axis is (real) or (real, imaginary). onesided: forward, only
// the first length / 2 + 1 results; inverse, those are the input and the result is real.
struct DftAttrs {
  bool inverse = false;
  bool onesided = false;
  template <class V>
  void fields(V& v) {
    v("inverse", inverse);
    v("onesided", onesided);
  }
};

// stft(signal [batch, length, 1 or 2], frame_step, window?, frame_length?): the transforms of
// overlapping frames, [batch, frames, bins, 2].
struct StftAttrs {
  bool onesided = true;
  template <class V>
  void fields(V& v) {
    v("onesided", onesided);
  }
};

// cosine_window(size): the sum over k of (-1)^k coefficients[k] cos(2 pi k n / N), where N is size
// (periodic) or size - 1. Hann is [0.5, 0.5], Hamming [25/46, 21/46], Blackman [0.42, 0.5, 0.08].
struct CosineWindowAttrs {
  std::vector<float> coefficients;
  bool periodic = true;
  DType dtype = DType::kFloat32;
  template <class V>
  void fields(V& v) {
    v("coefficients", coefficients);
    v("periodic", periodic);
    v("dtype", dtype);
  }
};

// mel_weight_matrix(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz):
// [dft_length / 2 + 1, num_mel_bins].
struct MelWeightMatrixAttrs {
  DType dtype = DType::kFloat32;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
  }
};

}  // namespace redline
