// SPDX-License-Identifier: Apache-2.0
#include "ops/window.h"

#include <algorithm>

namespace redline {
namespace {

// Products of a few of these stay far from overflow.
constexpr int64_t kMaxParameter = int64_t{1} << 24;

Status check_list(std::string_view name, std::span<const int64_t> list, size_t expected,
                  int64_t lowest) {
  if (list.size() != expected && !list.empty()) {
    return invalid_argument(name, " has ", list.size(), " entries, expected ", expected);
  }
  for (int64_t v : list) {
    if (v < lowest || v > kMaxParameter) {
      return invalid_argument(name, " holds ", v, ", which is not in [", lowest, ", ",
                              kMaxParameter, "]");
    }
  }
  return {};
}

int64_t ceil_quotient(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

}  // namespace

int64_t Window::pad_begin(size_t axis) const {
  return auto_pad == AutoPad::kNotSet && !pads.empty() ? pads[axis] : 0;
}

int64_t Window::pad_end(size_t axis) const {
  return auto_pad == AutoPad::kNotSet && !pads.empty() ? pads[axis + rank()] : 0;
}

Status check_window(const Window& w) {
  if (w.rank() > kMaxRank - 2) return invalid_argument(w.rank(), " spatial axes are too many");
  REDLINE_TRY(check_list("kernel_shape", w.kernel, w.rank(), 1));
  REDLINE_TRY(check_list("strides", w.strides, w.rank(), 1));
  REDLINE_TRY(check_list("dilations", w.dilations, w.rank(), 1));
  REDLINE_TRY(check_list("pads", w.pads, 2 * w.rank(), 0));
  for (size_t axis = 0; axis < w.rank(); ++axis) {
    if (w.extent(axis) > kMaxParameter) {
      return invalid_argument("the dilated window spans ", w.extent(axis), " elements");
    }
  }
  return {};
}

Result<Dim> window_output(const Window& w, size_t axis, const Dim& in) {
  Dim stride(w.stride(axis));
  if (w.auto_pad == AutoPad::kSameUpper || w.auto_pad == AutoPad::kSameLower) {
    return ceil_div(in, stride);
  }
  Dim room = in + Dim(w.pad_begin(axis) + w.pad_end(axis) - w.extent(axis));
  if (room.is_const() && room.value() < 0) {
    if (in == Dim(0)) return Dim(0);
    return invalid_argument("the window spans ", w.extent(axis), " elements, the padded input has ",
                            room.value() + w.extent(axis));
  }
  if (!w.ceil_mode) return floor_div(room, stride) + Dim(1);
  // A last window that would start beyond the input (in the padding at its end) is dropped.
  return min(ceil_div(room, stride) + Dim(1), ceil_div(in + Dim(w.pad_begin(axis)), stride));
}

int64_t WindowAxis::first_tap(int64_t o) const {
  int64_t start = o * stride - pad_begin;
  return start >= 0 ? 0 : std::min(kernel, ceil_quotient(-start, dilation));
}

int64_t WindowAxis::last_tap(int64_t o, int64_t limit) const {
  int64_t start = o * stride - pad_begin;
  return std::clamp<int64_t>(ceil_quotient(limit - start, dilation), 0, kernel);
}

std::vector<WindowAxis> window_axes(const Window& w, std::span<const int64_t> in,
                                    std::span<const int64_t> out) {
  std::vector<WindowAxis> axes;
  for (size_t i = 0; i < w.rank(); ++i) {
    WindowAxis axis{in[i],         out[i],         w.kernel[i], w.stride(i),
                    w.dilation(i), w.pad_begin(i), w.pad_end(i)};
    if (w.auto_pad == AutoPad::kSameUpper || w.auto_pad == AutoPad::kSameLower) {
      int64_t total = std::max<int64_t>(0, (out[i] - 1) * axis.stride + w.extent(i) - in[i]);
      axis.pad_begin = w.auto_pad == AutoPad::kSameUpper ? total / 2 : total - total / 2;
      axis.pad_end = total - axis.pad_begin;
    }
    axes.push_back(axis);
  }
  return axes;
}

std::vector<TapPair> tap_pairs(std::span<const WindowAxis> axes, std::span<const int64_t> k) {
  std::vector<TapPair> pairs = {{0, 0}};
  for (size_t i = 0; i < axes.size(); ++i) {
    const WindowAxis& axis = axes[i];
    std::vector<TapPair> next;
    next.reserve(pairs.size() * static_cast<size_t>(axis.out));
    for (const TapPair& pair : pairs) {
      for (int64_t o = 0; o < axis.out; ++o) {
        int64_t position = axis.position(o, k[i]);
        if (position < 0 || position >= axis.in) continue;
        next.push_back({pair.out * axis.out + o, pair.in * axis.in + position});
      }
    }
    pairs = std::move(next);
  }
  return pairs;
}

void window_taps(std::span<const WindowAxis> axes, std::span<const int64_t> o,
                 std::vector<int64_t>& taps, int64_t& covered) {
  taps.assign(1, 0);
  covered = 1;
  std::vector<int64_t> next;
  for (size_t i = 0; i < axes.size(); ++i) {
    const WindowAxis& axis = axes[i];
    int64_t first = axis.first_tap(o[i]);
    int64_t last = axis.last_tap(o[i], axis.in);
    covered *= axis.last_tap(o[i], axis.in + axis.pad_end);
    next.clear();
    for (int64_t base : taps) {
      for (int64_t k = first; k < last; ++k) {
        next.push_back(base * axis.in + axis.position(o[i], k));
      }
    }
    taps.swap(next);
  }
}

bool next_index(std::span<int64_t> index, std::span<const int64_t> sizes) {
  for (size_t i = index.size(); i-- > 0;) {
    if (++index[i] < sizes[i]) return true;
    index[i] = 0;
  }
  return false;
}

}  // namespace redline
