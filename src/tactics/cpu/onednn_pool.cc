// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/channels_last.h"
#include "ops/pool.h"
#include "tactics/cpu/onednn_step.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;

Window window_of(const AveragePoolAttrs& attrs) {
  return {attrs.kernel_shape, attrs.strides,  attrs.dilations,
          attrs.pads,         attrs.auto_pad, attrs.ceil_mode};
}

struct Settings {
  Window window;
  bool channels_last = false;
  dnnl::PoolKind kind = dnnl::PoolKind::kMax;
};

// Not max_pool: oneDNN's drops NaN.
Settings settings_of(const Problem& problem) {
  const auto& attrs = problem.attrs.as<AveragePoolAttrs>();
  return {window_of(attrs), attrs.channels_last,
          attrs.count_include_pad ? dnnl::PoolKind::kAverageIncludePad
                                  : dnnl::PoolKind::kAverageExcludePad};
}

Status supports(const Problem& problem) {
  const OperandDesc& x = problem.inputs[0];
  if (x.dtype != DType::kFloat32 || !x.has_rank) return unsupported("takes f32 of known rank");
  if (x.dims.rank() < 3 || x.dims.rank() > 5) return unsupported("takes 1 to 3 spatial axes");
  Settings s = settings_of(problem);
  if (s.kind == dnnl::PoolKind::kAverageIncludePad && s.window.ceil_mode) {
    return unsupported("an average with padding in ceil mode");
  }
  for (size_t i = 0; i < s.window.rank(); ++i) {
    if (s.window.dilation(i) != 1) return unsupported("dilated windows");
    // So that no window lies in the padding alone, whatever the sizes.
    if (s.window.pad_begin(i) >= s.window.kernel[i] || s.window.pad_end(i) >= s.window.kernel[i]) {
      return unsupported("padding as wide as the window");
    }
    if (s.window.auto_pad != AutoPad::kNotSet && s.window.stride(i) > s.window.kernel[i]) {
      return unsupported("windows apart from each other with automatic padding");
    }
  }
  return dnnl::load().status();
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) return make_empty_kernel();
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  Settings s = settings_of(problem);
  Dims x = image_dims(problem.inputs[0].dims, s.channels_last);
  Dims out = image_dims(problem.outputs[0].dims, s.channels_last);
  dnnl::Format format = s.channels_last ? dnnl::Format::kChannelsLast : dnnl::Format::kPlain;
  dnnl::Pool pool;
  pool.kind = s.kind;
  pool.spatial = x.rank() - 2;
  REDLINE_ASSIGN(pool.src, onednn_desc(*api, DType::kFloat32, {x.begin(), x.size()}, format));
  REDLINE_ASSIGN(pool.dst, onednn_desc(*api, DType::kFloat32, {out.begin(), out.size()}, format));
  std::vector<WindowAxis> axes =
      window_axes(s.window, {x.begin() + 2, x.end()}, {out.begin() + 2, out.end()});
  for (size_t i = 0; i < axes.size(); ++i) {
    const WindowAxis& axis = axes[i];
    pool.kernel[i] = axis.kernel;
    pool.strides[i] = axis.stride;
    pool.pads_begin[i] = axis.pad_begin;
    // Exactly what the output's size needs: more in ceil mode, less where a remainder is left.
    pool.pads_end[i] = (axis.out - 1) * axis.stride + axis.kernel - axis.in - axis.pad_begin;
  }
  dnnl::Options options;
  options.threads = args.num_threads();
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api->pool(pool, options, &primitive, &error);
  if (code == dnnl::Code::kUnsupported) {
    // An odd case that no generated kernel takes is still right, only slow.
    options.allow_reference = true;
    code = api->pool(pool, options, &primitive, &error);
  }
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return make_primitive_kernel(Primitive(api, primitive), {{false, 0}, {true, 0}});
}

}  // namespace

void register_tactic_onednn_pool(TacticRegistry& registry) {
  registry.add({.name = "cpu.onednn.pool",
                .device = "cpu",
                .ops = {"average_pool"},
                .supports = supports,
                .prepare = prepare,
                .preference = 20,
                .library = packing_library});
}

}  // namespace redline
