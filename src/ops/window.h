// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "core/dim.h"
#include "core/dims.h"

namespace redline {

// How padding is given: by `pads`; so that output = ceil(input / stride) with the odd element at
// the end or at the beginning; or none.
enum class AutoPad : uint8_t { kNotSet, kSameUpper, kSameLower, kValid };
inline std::span<const std::string_view> enum_names(AutoPad) {
  static constexpr std::string_view kNames[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
  return kNames;
}

// The sliding window of a convolution or pooling, as attributes tell it. Lists have an entry for
// each spatial axis (`pads`: all beginnings, then all ends) or are empty, which is 1 (pads: 0).
struct Window {
  std::span<const int64_t> kernel;
  std::span<const int64_t> strides;
  std::span<const int64_t> dilations;
  std::span<const int64_t> pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;

  size_t rank() const { return kernel.size(); }
  int64_t stride(size_t axis) const { return strides.empty() ? 1 : strides[axis]; }
  int64_t dilation(size_t axis) const { return dilations.empty() ? 1 : dilations[axis]; }
  int64_t pad_begin(size_t axis) const;
  int64_t pad_end(size_t axis) const;
  // From the first to the last element under the window.
  int64_t extent(size_t axis) const { return (kernel[axis] - 1) * dilation(axis) + 1; }
};

// Fails on lists of the wrong length, sizes below 1, negative pads, and numbers so large that sizes
// could overflow.
Status check_window(const Window& window);

// Output size along a spatial axis. Fails when a known input is smaller than the window.
Result<Dim> window_output(const Window& window, size_t axis, const Dim& in);

// One spatial axis with all sizes known.
struct WindowAxis {
  int64_t in = 0;
  int64_t out = 0;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad_begin = 0;
  int64_t pad_end = 0;

  // Input position under element k of window o; may lie in the padding.
  int64_t position(int64_t o, int64_t k) const { return o * stride - pad_begin + k * dilation; }
  // The k whose position is in [0, limit): [first, last).
  int64_t first_tap(int64_t o) const;
  int64_t last_tap(int64_t o, int64_t limit) const;
};

// For input sizes and the output sizes that window_output gave for them.
std::vector<WindowAxis> window_axes(const Window& window, std::span<const int64_t> in,
                                    std::span<const int64_t> out);

// Pairs of flat spatial positions (window, input) that element `k` (one index an axis) joins.
struct TapPair {
  int64_t out;
  int64_t in;
};
std::vector<TapPair> tap_pairs(std::span<const WindowAxis> axes, std::span<const int64_t> k);

// The flat input positions under window `o` (one index an axis), in row-major order; `covered` is
// how many elements of the window lie inside the input or its padding.
void window_taps(std::span<const WindowAxis> axes, std::span<const int64_t> o,
                 std::vector<int64_t>& taps, int64_t& covered);

// Next index in row-major order; false after the last one.
bool next_index(std::span<int64_t> index, std::span<const int64_t> sizes);

}  // namespace redline
