// SPDX-License-Identifier: Apache-2.0
#include "ops/channels_last.h"
#include "ops/conv.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/tf32.h"

namespace redline {
namespace {

// An image in memory: the flat index of one element.
struct Image {
  Dims dims;  // [n, c, spatial...]
  bool channels_last = false;

  int64_t area() const { return dims.count(2, dims.rank()); }
  int64_t index(int64_t n, int64_t c, int64_t at) const {
    return channels_last ? (n * area() + at) * dims[1] + c : (n * dims[1] + c) * area() + at;
  }
};

// One element of the output, taken apart.
struct Place {
  int64_t n = 0;
  int64_t channel = 0;
  std::vector<int64_t> spatial;
};

Place place_of(const Image& image, int64_t flat) {
  Place place;
  int64_t at = 0;
  if (image.channels_last) {
    place.channel = flat % image.dims[1];
    at = flat / image.dims[1] % image.area();
  } else {
    at = flat % image.area();
    place.channel = flat / image.area() % image.dims[1];
  }
  place.n = flat / image.area() / image.dims[1];
  place.spatial.resize(image.dims.size() - 2);
  for (size_t i = place.spatial.size(); i-- > 0;) {
    place.spatial[i] = at % image.dims[i + 2];
    at /= image.dims[i + 2];
  }
  return place;
}

// What a tap of the window reads at the place; -1: the padding, or between the strides.
int64_t read_by_conv(const WindowAxis& axis, int64_t place, int64_t k) {
  int64_t position = axis.position(place, k);
  return position >= 0 && position < axis.in ? position : -1;
}
int64_t read_by_transposed(const WindowAxis& axis, int64_t place, int64_t k) {
  int64_t position = place + axis.pad_begin - k * axis.dilation;
  if (position < 0 || position % axis.stride != 0) return -1;
  return position / axis.stride < axis.out ? position / axis.stride : -1;
}

// Calls fn(tap, flat spatial position in the data) for the taps that read data.
template <class Read, class Fn>
void for_each_tap(const std::vector<WindowAxis>& axes, const Dims& w, const Image& data,
                  const Place& place, Read read, Fn&& fn) {
  std::vector<int64_t> kernel(w.begin() + 2, w.end());
  if (w.count(2, w.rank()) == 0) return;
  std::vector<int64_t> k(kernel.size());
  int64_t tap = 0;
  do {
    int64_t at = 0;
    for (size_t i = 0; i < axes.size() && at >= 0; ++i) {
      int64_t position = read(axes[i], place.spatial[i], k[i]);
      at = position < 0 ? -1 : at * data.dims[i + 2] + position;
    }
    if (at >= 0) fn(tap, at);
    ++tap;
  } while (next_index(k, kernel));
}

// Sums each element's products, which `list` tells by (element, indices of x, indices of w).
template <class List>
void sum_products(const ReferenceAt& c, const Image& out, bool tf32, List&& list) {
  with_wide_type(c.result.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> bias;
    if (c.has_input(2)) bias = read_elements<W>(c.inputs[2]);
    std::vector<W> sums(c.elements.size());
    std::vector<int64_t> x_at;
    std::vector<int64_t> w_at;
    for (size_t i = 0; i < sums.size(); ++i) {
      Place place = place_of(out, c.elements[i]);
      x_at.clear();
      w_at.clear();
      list(place, x_at, w_at);
      std::vector<W> x = factors(read_elements_at<W>(c.inputs[0], x_at), tf32);
      std::vector<W> w = factors(read_elements_at<W>(c.inputs[1], w_at), tf32);
      if (!bias.empty()) sums[i] = bias[static_cast<size_t>(place.channel)];
      for (size_t k = 0; k < x.size(); ++k) sums[i] += x[k] * w[k];
    }
    write_elements(sums, c.result);
  });
}

}  // namespace

Status reference_conv_at(const ReferenceAt& c) {
  const auto& attrs = c.attrs.as<ConvAttrs>();
  Image x{image_dims(c.inputs[0].dims, attrs.channels_last), attrs.channels_last};
  Image out{image_dims(c.dims, attrs.channels_last), attrs.channels_last};
  const Dims& w = c.inputs[1].dims;
  std::vector<WindowAxis> axes = conv_axes(attrs, x.dims, w, out.dims);
  int64_t in_group = w[1];
  int64_t out_group = w[0] / attrs.group;
  int64_t kernel_area = w.count(2, w.rank());
  sum_products(c, out, attrs.tf32, [&](const Place& place, std::vector<int64_t>& x_at, auto& w_at) {
    int64_t first = place.channel / out_group * in_group;
    for_each_tap(axes, w, x, place, read_by_conv, [&](int64_t tap, int64_t at) {
      for (int64_t ch = 0; ch < in_group; ++ch) {
        x_at.push_back(x.index(place.n, first + ch, at));
        w_at.push_back((place.channel * in_group + ch) * kernel_area + tap);
      }
    });
  });
  return {};
}

Status reference_conv_transpose_at(const ReferenceAt& c) {
  const auto& attrs = c.attrs.as<ConvTransposeAttrs>();
  Image x{image_dims(c.inputs[0].dims, attrs.channels_last), attrs.channels_last};
  Image out{image_dims(c.dims, attrs.channels_last), attrs.channels_last};
  const Dims& w = c.inputs[1].dims;
  std::vector<WindowAxis> axes = conv_transpose_axes(attrs, x.dims, w, out.dims);
  // These are of the conv that leads back: `in` is this output, `out` this input.
  for (size_t i = 0; i < axes.size(); ++i) axes[i].out = x.dims[i + 2];
  int64_t in_group = w[0] / attrs.group;
  int64_t out_group = w[1];
  int64_t kernel_area = w.count(2, w.rank());
  sum_products(c, out, attrs.tf32, [&](const Place& place, std::vector<int64_t>& x_at, auto& w_at) {
    int64_t first = place.channel / out_group * in_group;
    for_each_tap(axes, w, x, place, read_by_transposed, [&](int64_t tap, int64_t at) {
      for (int64_t ch = first; ch < first + in_group; ++ch) {
        x_at.push_back(x.index(place.n, ch, at));
        w_at.push_back((ch * out_group + place.channel % out_group) * kernel_area + tap);
      }
    });
  });
  return {};
}

}  // namespace redline
