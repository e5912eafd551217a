// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pool/pool.h"
#include "ops/channels_last.h"
#include "ops/pool.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Window window_of(const AveragePoolAttrs& attrs) {
  return {attrs.kernel_shape, attrs.strides,  attrs.dilations,
          attrs.pads,         attrs.auto_pad, attrs.ceil_mode};
}

Status supports(const Problem& problem) {
  REDLINE_TRY(expect_f32(problem.inputs[0]));
  int rank = problem.inputs[0].dims.rank();
  if (rank != 3 && rank != 4) return unsupported("takes 1 or 2 spatial axes");
  Window window = window_of(problem.attrs.as<AveragePoolAttrs>());
  for (size_t i = 0; i < window.rank(); ++i) {
    // So that no window lies in the padding alone, whatever the sizes.
    if (window.pad_begin(i) >= window.kernel[i] || window.pad_end(i) >= window.kernel[i]) {
      return unsupported("padding as wide as the window");
    }
    if (window.dilation(i) != 1) return unsupported("dilated windows");
    if (window.auto_pad != AutoPad::kNotSet && window.stride(i) > window.kernel[i]) {
      return unsupported("windows apart from each other with automatic padding");
    }
  }
  return {};
}

struct Sizes {
  int64_t batch = 0, channels = 0;
  WindowAxis rows, columns;  // rows: one, with one spatial axis
  bool include_pad = false;
};

// The elements of the window of output o that lie in the input: [first, last); and how many count.
struct Span {
  int64_t first, last, counted;
};
Span span_of(const WindowAxis& axis, int64_t o, bool include_pad) {
  int64_t begin = axis.position(o, 0);
  int64_t end = begin + axis.kernel;
  int64_t first = std::max<int64_t>(begin, 0);
  int64_t last = std::max(first, std::min(end, axis.in));
  return {first, last, include_pad ? std::min(end, axis.in + axis.pad_end) - begin : last - first};
}

// One output row with the channels innermost.
void average_row(const Sizes& s, const float* x, float* y, int64_t row) {
  const float* image = x + row / s.rows.out * s.rows.in * s.columns.in * s.channels;
  float* to = y + row * s.columns.out * s.channels;
  Span down = span_of(s.rows, row % s.rows.out, s.include_pad);
  for (int64_t o = 0; o < s.columns.out; ++o, to += s.channels) {
    Span across = span_of(s.columns, o, s.include_pad);
    std::fill_n(to, s.channels, 0.0f);
    for (int64_t iy = down.first; iy < down.last; ++iy) {
      for (int64_t ix = across.first; ix < across.last; ++ix) {
        const float* from = image + (iy * s.columns.in + ix) * s.channels;
        for (int64_t c = 0; c < s.channels; ++c) to[c] += from[c];
      }
    }
    auto count = static_cast<float>(down.counted * across.counted);
    for (int64_t c = 0; c < s.channels; ++c) to[c] /= count;
  }
}

kernels::Window2d window_of(const Sizes& s) {
  kernels::Window2d w;
  w.height = s.rows.in;
  w.width = s.columns.in;
  w.out_height = s.rows.out;
  w.out_width = s.columns.out;
  w.kernel_y = s.rows.kernel;
  w.kernel_x = s.columns.kernel;
  w.stride_y = s.rows.stride;
  w.stride_x = s.columns.stride;
  w.pad_top = s.rows.pad_begin;
  w.pad_left = s.columns.pad_begin;
  w.pad_bottom = s.rows.pad_end;
  w.pad_right = s.columns.pad_end;
  return w;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const auto& attrs = problem.attrs.as<AveragePoolAttrs>();
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  Dims x = image_dims(problem.inputs[0].dims, attrs.channels_last);
  Dims out = image_dims(problem.outputs[0].dims, attrs.channels_last);
  std::vector<WindowAxis> axes =
      window_axes(window_of(attrs), {x.begin() + 2, x.end()}, {out.begin() + 2, out.end()});
  Sizes s{x[0], x[1], {}, axes.back(), attrs.count_include_pad};
  s.rows.in = s.rows.out = 1;
  if (axes.size() == 2) s.rows = axes[0];
  kernels::Window2d window = window_of(s);
  bool wide = kernels::window2d_error(window) != nullptr;
  if (attrs.channels_last || wide) {
    // Planes whose window is too wide for the kernel are images of one channel.
    if (!attrs.channels_last) {
      s.batch *= s.channels;
      s.channels = 1;
    }
    int64_t grain = loop_grain(s.columns.out * s.channels * s.rows.kernel * s.columns.kernel);
    return make_loop_kernel([s, grain](const KernelArgs& args) {
      const auto* from = args.inputs[0].as<const float>();
      auto* to = args.outputs[0].as<float>();
      args.pool->parallel_for(s.batch * s.rows.out, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) average_row(s, from, to, i);
      });
      return Status();
    });
  }
  auto run = kernels::pool_kernels(kernels::detect_isa()).average_pool;
  return make_loop_kernel([=](const KernelArgs& args) {
    const auto* from = args.inputs[0].as<const float>();
    auto* to = args.outputs[0].as<float>();
    args.pool->parallel_for(
        s.batch * s.channels, loop_grain(window.height * window.width),
        [&](int64_t begin, int64_t end) { run(window, s.include_pad, from, to, begin, end); });
    return Status();
  });
}

}  // namespace

void register_tactic_average_pool(TacticRegistry& registry) {
  registry.add({.name = "cpu.average_pool",
                .device = "cpu",
                .ops = {"average_pool"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
