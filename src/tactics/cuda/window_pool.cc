// SPDX-License-Identifier: Apache-2.0
#include "ops/pool.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"
#include "tactics/cuda/window.h"

namespace redline {
namespace {

const std::vector<std::string> kAnchors = {"max_pool", "average_pool"};

struct Parts {
  WindowSpec spec;
  ProductTail tail;
};

// What max_pool and average_pool have alike.
template <class A>
Result<WindowSpec> spec_of(const Problem& problem, const AnchoredRegion& region) {
  const auto& attrs = region.attrs.as<A>();
  const OperandDesc& x = *region.operand(problem, 0);
  if (!attrs.channels_last) return unsupported("channels not innermost");
  if (!product_type(x.dtype)) {
    return unsupported("takes f16, bf16 and f32, not ", dtype_name(x.dtype));
  }
  REDLINE_TRY(check_image(x));
  REDLINE_TRY(check_image(problem.outputs[0]));
  Dims in = channels_to_front(x.dims);
  Dims out = channels_to_front(problem.outputs[0].dims);
  Window window{attrs.kernel_shape, attrs.strides,  attrs.dilations,
                attrs.pads,         attrs.auto_pad, attrs.ceil_mode};
  WindowSpec spec;
  spec.dtype = x.dtype;
  spec.images = in[0];
  spec.channels = in[1];
  spec.window =
      geometry_of(window_axes(window, {in.begin() + 2, in.end()}, {out.begin() + 2, out.end()}),
                  attrs.auto_pad);
  if (spec.window.x.kernel > 16 || spec.window.y.kernel > 1024) {
    return unsupported("windows of more than 1024 rows or 16 columns");
  }
  spec.x_input = static_cast<size_t>(region.operands[0]);
  return spec;
}

Result<Parts> parts_of(const Problem& problem) {
  REDLINE_ASSIGN(AnchoredRegion region, take_apart(problem, kAnchors));
  Parts parts;
  if (region.op->name == "max_pool") {
    REDLINE_ASSIGN(parts.spec, spec_of<MaxPoolAttrs>(problem, region));
    parts.spec.op_type = str_cat("WindowMaximum<", storage_type(parts.spec.dtype), ", LANES>");
  } else {
    REDLINE_ASSIGN(parts.spec, spec_of<AveragePoolAttrs>(problem, region));
    bool padding = region.attrs.as<AveragePoolAttrs>().count_include_pad;
    parts.spec.op_type = str_cat("WindowAverage<", storage_type(parts.spec.dtype),
                                 ", Geometry, LANES, ", padding ? "true" : "false", ">");
    parts.spec.op_members = "sizes";
  }
  REDLINE_ASSIGN(parts.tail, ProductTail::create(problem, std::move(region), {}));
  return parts;
}

Status supports(const Problem& problem) { return parts_of(problem).status(); }

std::vector<Config> configs(const Problem& problem) {
  Result<Parts> parts = parts_of(problem);
  if (!parts.ok()) return {};
  return window_configs(parts->spec, parts->tail);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  return window_kernels(problem, parts.spec, parts.tail, config, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  REDLINE_ASSIGN(Parts written, parts_of(*args.written));
  return prepare_window(problem, parts.spec, written.spec, parts.tail, config, args);
}

}  // namespace

void register_tactic_window_pool(TacticRegistry& registry) {
  registry.add({.name = "cuda.pool",
                .device = "cuda",
                .ops = {"max_pool", "average_pool", "fused"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20,
                .version = 3});
}

}  // namespace redline
