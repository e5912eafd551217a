// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pool/pool.h"
#include "ops/channels_last.h"
#include "ops/pool.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

Window window_of(const MaxPoolAttrs& attrs) {
  return {attrs.kernel_shape, attrs.strides,  attrs.dilations,
          attrs.pads,         attrs.auto_pad, attrs.ceil_mode};
}

// With one spatial axis the other has size 1.
kernels::Window2d make_window(const MaxPoolAttrs& attrs, const Dims& x, const Dims& out) {
  std::vector<WindowAxis> axes =
      window_axes(window_of(attrs), {x.begin() + 2, x.end()}, {out.begin() + 2, out.end()});
  kernels::Window2d w;
  w.height = w.out_height = 1;
  const WindowAxis& columns = axes.back();
  w.width = columns.in;
  w.out_width = columns.out;
  w.kernel_x = columns.kernel;
  w.stride_x = columns.stride;
  w.dilation_x = columns.dilation;
  w.pad_left = columns.pad_begin;
  w.pad_right = columns.pad_end;
  if (axes.size() == 1) return w;
  const WindowAxis& rows = axes[0];
  w.height = rows.in;
  w.out_height = rows.out;
  w.kernel_y = rows.kernel;
  w.stride_y = rows.stride;
  w.dilation_y = rows.dilation;
  w.pad_top = rows.pad_begin;
  w.pad_bottom = rows.pad_end;
  return w;
}

Status supports(const Problem& problem) {
  if (problem.outputs.size() != 1) return unsupported("makes no indices");
  const OperandDesc& x = problem.inputs[0];
  if (x.dtype != DType::kFloat32 || !x.has_rank) return unsupported("takes f32 of known rank");
  if (x.dims.rank() != 3 && x.dims.rank() != 4) return unsupported("takes 1 or 2 spatial axes");
  const auto& attrs = problem.attrs.as<MaxPoolAttrs>();
  Window window = window_of(attrs);
  for (size_t i = 0; i < window.rank(); ++i) {
    if (window.extent(i) > 256) return unsupported("windows wider than 256");
    if (window.stride(i) > 64) return unsupported("strides above 64");
  }
  return {};
}

class MaxPoolKernel final : public Kernel {
 public:
  MaxPoolKernel(const kernels::Window2d& window, int64_t batch, int64_t channels, bool last)
      : window_(window),
        batch_(batch),
        channels_(channels),
        last_(last),
        kernels_(kernels::pool_kernels(kernels::detect_isa())) {}

  Status run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.inputs[0].data);
    auto* y = static_cast<float*>(args.outputs[0].data);
    if (y == nullptr || args.outputs[0].count() == 0) return {};
    if (last_) {
      args.pool->parallel_for(batch_ * window_.out_height, 4, [&](int64_t begin, int64_t end) {
        kernels_.max_pool_channels_last(window_, channels_, x, y, begin, end);
      });
    } else {
      args.pool->parallel_for(batch_ * channels_, 1, [&](int64_t begin, int64_t end) {
        kernels_.max_pool(window_, x, y, begin, end);
      });
    }
    return {};
  }

 private:
  kernels::Window2d window_;
  int64_t batch_;
  int64_t channels_;
  bool last_;
  const kernels::PoolKernels& kernels_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const auto& attrs = problem.attrs.as<MaxPoolAttrs>();
  Dims x = image_dims(problem.inputs[0].dims, attrs.channels_last);
  Dims out = image_dims(problem.outputs[0].dims, attrs.channels_last);
  kernels::Window2d window = make_window(attrs, x, out);
  if (out.count() > 0) {
    if (const char* error = kernels::window2d_error(window)) return unsupported(error);
  }
  return std::unique_ptr<Kernel>(
      std::make_unique<MaxPoolKernel>(window, x[0], x[1], attrs.channels_last));
}

}  // namespace

void register_tactic_max_pool(TacticRegistry& registry) {
  registry.add({.name = "cpu.max_pool",
                .device = "cpu",
                .ops = {"max_pool"},
                .supports = supports,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
