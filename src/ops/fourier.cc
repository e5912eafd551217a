// SPDX-License-Identifier: Apache-2.0
#include "ops/fourier.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "ops/elements.h"
#include "ops/fft.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

using Complex = std::complex<double>;

constexpr int64_t kMaxLength = int64_t{1} << 28;
constexpr double kTau = 2 * std::numbers::pi;

// A scalar operand as an integer Dim.
Result<std::optional<Dim>> scalar_contents(const InferContext& c, size_t i) {
  REDLINE_TRY(c.expect_tensor(i));
  std::optional<SymDims> contents = c.contents(i);
  if (!contents) return std::optional<Dim>();
  if (contents->size() != 1) return c.input_error(i, "must have one element");
  return std::optional<Dim>(contents->front());
}

Status check_length(const InferContext& c, size_t i, const Dim& length, int64_t lowest) {
  if (length.is_const() && (length.value() < lowest || length.value() > kMaxLength)) {
    return c.input_error(i, str_cat("is ", length.value()));
  }
  return {};
}

Status infer_dft(InferContext& c) {
  const auto& attrs = c.attrs<DftAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  if (in.rank() < 2) return c.input_error(0, "must have rank 2 or more");
  const Dim& parts = in[in.rank() - 1];
  if (parts.is_const() && parts != Dim(1) && parts != Dim(2)) {
    return c.input_error(0, "must have a last axis of size 1 or 2");
  }
  SymDims out = in.dims();
  out.back() = Dim(attrs.inverse && attrs.onesided ? 1 : 2);
  int64_t axis = -2;
  if (c.has_input(2)) {
    REDLINE_ASSIGN(std::optional<Dim> given, scalar_contents(c, 2));
    if (!given || !given->is_const()) {
      for (size_t i = 0; i + 1 < out.size(); ++i) out[i] = c.fresh_symbol("dft");
      c.set_output(0, c.dtype(0), std::move(out));
      return {};
    }
    axis = given->value();
  }
  REDLINE_ASSIGN(int at, c.normalize_axis(axis, in.rank()));
  if (at == in.rank() - 1) return c.error("the last axis holds real and imaginary parts");
  Dim length = attrs.inverse && attrs.onesided ? (in[at] - Dim(1)) * Dim(2) : in[at];
  if (c.has_input(1)) {
    REDLINE_ASSIGN(std::optional<Dim> given, scalar_contents(c, 1));
    length = given ? *given : c.fresh_symbol("dft");
  }
  REDLINE_TRY(check_length(c, c.has_input(1) ? 1 : 0, length, attrs.onesided ? 1 : 0));
  if (attrs.onesided && !attrs.inverse) length = floor_div(length, Dim(2)) + Dim(1);
  out[static_cast<size_t>(at)] = std::move(length);
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

// Mirrors the first half of the spectrum of a real signal into the second.
void complete_spectrum(std::vector<Complex>& line) {
  size_t n = line.size();
  if (n == 0) return;
  line[0] = line[0].real();
  if (n % 2 == 0) line[n / 2] = line[n / 2].real();
  for (size_t k = n / 2 + 1; k < n; ++k) line[k] = std::conj(line[n - k]);
}

// The transform of one line, scaled.
void transform(std::vector<Complex>& line, const DftAttrs& attrs, bool in_f32) {
  if (attrs.inverse && in_f32) {
    std::vector<std::complex<float>> narrow(line.begin(), line.end());
    if (inverse_fft_f32(narrow)) {
      line.assign(narrow.begin(), narrow.end());
      return;
    }
  }
  fft(line, attrs.inverse ? 1 : -1);
  if (!attrs.inverse) return;
  for (Complex& value : line) value /= static_cast<double>(line.size());
}

Status reference_dft(ReferenceContext& c) {
  const auto& attrs = c.attrs<DftAttrs>();
  const Dims& in = c.input(0).dims;
  const Dims& out = c.output(0).dims;
  int64_t axis = c.has_input(2) ? read_ints(c.input(2))[0] : -2;
  auto at = static_cast<size_t>(axis < 0 ? axis + in.rank() : axis);
  bool real_result = attrs.inverse && attrs.onesided;
  int64_t length = real_result ? 2 * (in[at] - 1) : in[at];
  if (c.has_input(1)) length = read_ints(c.input(1))[0];
  if (c.output(0).count() == 0) return {};
  int64_t outer = in.count(0, static_cast<int>(at));
  int64_t inner = in.count(static_cast<int>(at) + 1, in.rank() - 1);
  int64_t parts = in.back();
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  std::vector<Complex> line;
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      line.assign(static_cast<size_t>(length), 0);
      for (int64_t k = 0; k < std::min(length, in[at]); ++k) {
        const double* from = x.data() + ((o * in[at] + k) * inner + i) * parts;
        line[static_cast<size_t>(k)] = {from[0], parts == 2 ? from[1] : 0};
      }
      if (real_result) complete_spectrum(line);
      transform(line, attrs, !real_result && c.input(0).dtype == DType::kFloat32);
      for (int64_t k = 0; k < out[at]; ++k) {
        double* to = y.data() + ((o * out[at] + k) * inner + i) * out.back();
        Complex value = line[static_cast<size_t>(k)];
        to[0] = value.real();
        if (!real_result) to[1] = value.imag();
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

Status infer_stft(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 3));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  REDLINE_ASSIGN(std::optional<Dim> step, scalar_contents(c, 1));
  if (step) REDLINE_TRY(check_length(c, 1, *step, 1));
  const Shape& signal = c.shape(0);
  Dim batch = signal.has_rank() ? signal[0] : c.fresh_symbol("batch");
  Dim total = signal.has_rank() ? signal[1] : c.fresh_symbol("length");
  if (signal.has_rank() && signal[2].is_const() && signal[2] != Dim(1) && signal[2] != Dim(2)) {
    return c.input_error(0, "must have a last axis of size 1 or 2");
  }
  Dim length = total;
  if (c.has_input(2)) {
    REDLINE_TRY(c.expect_rank(2, 1));
    length = c.shape(2).has_rank() ? c.shape(2)[0] : c.fresh_symbol("frame");
  }
  if (c.has_input(3)) {
    REDLINE_ASSIGN(std::optional<Dim> given, scalar_contents(c, 3));
    if (given) {
      if (c.has_input(2) && length.is_const() && given->is_const() && length != *given) {
        return c.input_error(3,
                             str_cat("is ", given->value(), ", the window has ", length.value()));
      }
      length = *given;
    } else if (!c.has_input(2)) {
      length = c.fresh_symbol("frame");
    }
  }
  REDLINE_TRY(check_length(c, 0, length, 1));
  if (length.is_const() && total.is_const() && length.value() > total.value()) {
    return c.error(str_cat("a frame has ", length.value(), " samples, the signal ", total.value()));
  }
  Dim frames = step ? floor_div(total - length, *step) + Dim(1) : c.fresh_symbol("frames");
  Dim bins = c.attrs<StftAttrs>().onesided ? floor_div(length, Dim(2)) + Dim(1) : length;
  c.set_output(0, c.dtype(0), SymDims{batch, frames, bins, Dim(2)});
  return {};
}

Status reference_stft(ReferenceContext& c) {
  const Dims& in = c.input(0).dims;
  const Dims& out = c.output(0).dims;
  int64_t step = read_ints(c.input(1))[0];
  int64_t length = in[1];
  if (c.has_input(2)) length = c.input(2).dims[0];
  if (c.has_input(3)) length = read_ints(c.input(3))[0];
  std::vector<double> window(static_cast<size_t>(length), 1);
  if (c.has_input(2)) window = read_elements<double>(c.input(2));
  if (static_cast<int64_t>(window.size()) != length) {
    return invalid_argument("frame_length is ", length, ", the window has ", window.size());
  }
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  std::vector<Complex> line;
  for (int64_t n = 0; n < out[0]; ++n) {
    for (int64_t frame = 0; frame < out[1]; ++frame) {
      line.assign(static_cast<size_t>(length), 0);
      for (int64_t k = 0; k < length; ++k) {
        const double* from = x.data() + (n * in[1] + frame * step + k) * in[2];
        double weight = window[static_cast<size_t>(k)];
        line[static_cast<size_t>(k)] = {from[0] * weight, in[2] == 2 ? from[1] * weight : 0};
      }
      fft(line, -1);
      for (int64_t k = 0; k < out[2]; ++k) {
        double* to = y.data() + ((n * out[1] + frame) * out[2] + k) * 2;
        to[0] = line[static_cast<size_t>(k)].real();
        to[1] = line[static_cast<size_t>(k)].imag();
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

Status infer_cosine_window(InferContext& c) {
  const auto& attrs = c.attrs<CosineWindowAttrs>();
  REDLINE_ASSIGN(std::optional<Dim> size, scalar_contents(c, 0));
  if (!is_float(attrs.dtype) && !is_int(attrs.dtype)) {
    return c.error(str_cat("cannot make ", dtype_name(attrs.dtype)));
  }
  Dim length = size ? *size : c.fresh_symbol("window");
  REDLINE_TRY(check_length(c, 0, length, 0));
  c.set_output(0, attrs.dtype, SymDims{length});
  return {};
}

// Integer types truncate, as a cast does.
void write_numbers(const std::vector<double>& values, const TensorView& out) {
  if (!is_int(out.dtype)) return write_elements(values, out);
  std::vector<int64_t> whole;
  for (double v : values)
    whole.push_back(saturating_int64(v, int_min(out.dtype), int_max(out.dtype)));
  write_elements(whole, out);
}

Status reference_cosine_window(ReferenceContext& c) {
  const auto& attrs = c.attrs<CosineWindowAttrs>();
  int64_t size = c.output(0).count();
  auto period = static_cast<double>(attrs.periodic ? size : size - 1);
  std::vector<double> y(static_cast<size_t>(size));
  for (size_t n = 0; n < y.size(); ++n) {
    double sign = 1;
    for (size_t k = 0; k < attrs.coefficients.size(); ++k, sign = -sign) {
      // One sample has no period: the peak, where all terms add up.
      double angle = period == 0 ? std::numbers::pi * static_cast<double>(k)
                                 : kTau * static_cast<double>(k * n) / period;
      y[n] += sign * attrs.coefficients[k] * std::cos(angle);
    }
  }
  write_numbers(y, c.output(0));
  return {};
}

Status infer_mel_weight_matrix(InferContext& c) {
  Dim sizes[2];
  for (size_t i = 0; i < 2; ++i) {
    REDLINE_ASSIGN(std::optional<Dim> given, scalar_contents(c, i));
    sizes[i] = given ? *given : c.fresh_symbol("mel");
    REDLINE_TRY(check_length(c, i, sizes[i], 0));
  }
  for (size_t i = 2; i < 5; ++i) REDLINE_TRY(c.expect_tensor(i));
  DType dtype = c.attrs<MelWeightMatrixAttrs>().dtype;
  if (!is_float(dtype) && !is_int(dtype))
    return c.error(str_cat("cannot make ", dtype_name(dtype)));
  c.set_output(0, dtype, SymDims{floor_div(sizes[1], Dim(2)) + Dim(1), sizes[0]});
  return {};
}

double hertz_to_mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double mel_to_hertz(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

Status reference_mel_weight_matrix(ReferenceContext& c) {
  double operands[5];
  for (size_t i = 0; i < 5; ++i) {
    if (c.input(i).count() != 1) {
      return invalid_argument("input ", i, " has ", c.input(i).count(), " elements, expected 1");
    }
    operands[i] = read_elements<double>(c.input(i))[0];
  }
  auto [mel_bins, dft_length, sample_rate, lower, upper] = operands;
  if (!(sample_rate > 0)) return invalid_argument("sample_rate is ", sample_rate);
  int64_t rows = c.output(0).dims[0];
  auto columns = static_cast<size_t>(c.output(0).dims[1]);
  double low = hertz_to_mel(lower);
  double step = (hertz_to_mel(upper) - low) / (mel_bins + 2);
  std::vector<int64_t> edges;
  for (size_t i = 0; i < columns + 2; ++i) {
    double hertz = mel_to_hertz(low + static_cast<double>(i) * step);
    double bin = std::floor((dft_length + 1) * hertz / sample_rate);
    edges.push_back(saturating_int64(bin, -1, rows));
    if (edges.back() < 0 || edges.back() >= rows) {
      return invalid_argument("the frequency ", hertz, " lies outside of the ", rows, " bins");
    }
  }
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  for (size_t i = 0; i < columns; ++i) {
    auto at = [&](int64_t row) -> double& { return y[static_cast<size_t>(row) * columns + i]; };
    int64_t left = edges[i];
    int64_t centre = edges[i + 1];
    int64_t right = edges[i + 2];
    if (left == centre) at(centre) = 1;
    for (int64_t j = left; j <= centre && left < centre; ++j) {
      at(j) = static_cast<double>(j - left) / static_cast<double>(centre - left);
    }
    for (int64_t j = centre; j < right; ++j) {
      at(j) = static_cast<double>(right - j) / static_cast<double>(right - centre);
    }
  }
  write_numbers(y, c.output(0));
  return {};
}

}  // namespace

void register_op_fourier(OpRegistry& registry) {
  registry.add({.name = "dft",
                .inputs = {{"input"}, {"dft_length", Arity::kOptional}, {"axis", Arity::kOptional}},
                .outputs = {{"output"}},
                .attrs = attrs_type<DftAttrs>(),
                .infer = infer_dft,
                .reference = reference_dft});
  registry.add({.name = "stft",
                .inputs = {{"signal"},
                           {"frame_step"},
                           {"window", Arity::kOptional},
                           {"frame_length", Arity::kOptional}},
                .outputs = {{"output"}},
                .attrs = attrs_type<StftAttrs>(),
                .infer = infer_stft,
                .reference = reference_stft});
  registry.add({.name = "cosine_window",
                .inputs = {{"size"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<CosineWindowAttrs>(),
                .infer = infer_cosine_window,
                .reference = reference_cosine_window});
  registry.add({.name = "mel_weight_matrix",
                .inputs = {{"num_mel_bins"},
                           {"dft_length"},
                           {"sample_rate"},
                           {"lower_edge_hertz"},
                           {"upper_edge_hertz"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<MelWeightMatrixAttrs>(),
                .infer = infer_mel_weight_matrix,
                .reference = reference_mel_weight_matrix});
}

}  // namespace redline
