// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"
#include "tactics/cuda/window.h"

namespace redline {
namespace {

const std::vector<std::string> kAnchors = {"conv"};
constexpr int64_t kMostTaps = 1024;

struct Parts {
  WindowSpec spec;
  ProductTail tail;
  size_t w = 1;  // input of the problem
};

Result<Parts> parts_of(const Problem& problem) {
  REDLINE_ASSIGN(AnchoredRegion region, take_apart(problem, kAnchors));
  const OperandDesc* x = region.operand(problem, 0);
  const OperandDesc* w = region.operand(problem, 1);
  if (x == nullptr || w == nullptr || !x->present || !w->present) {
    return unsupported("an absent operand");
  }
  const auto& attrs = region.attrs.as<ConvAttrs>();
  if (!attrs.channels_last) return unsupported("channels not innermost");
  if (attrs.tf32) return unsupported("does not round to tf32");
  if (!product_type(x->dtype) || x->dtype != w->dtype) {
    return unsupported("takes f16, bf16 and f32, not ", dtype_name(x->dtype));
  }
  REDLINE_TRY(check_image(*x));
  REDLINE_TRY(check_image(problem.outputs[0]));
  if (!w->is_tensor || !w->has_rank || !w->is_static()) {
    return unsupported("takes filters of known sizes");
  }
  Dims image = channels_to_front(x->dims);
  if (attrs.group != image[1] || w->dims[0] != image[1] || w->dims[1] != 1) {
    return unsupported("takes one filter for each channel");
  }
  Parts parts;
  WindowSpec& spec = parts.spec;
  parts.w = static_cast<size_t>(region.operands[1]);
  spec.dtype = x->dtype;
  spec.images = image[0];
  spec.channels = image[1];
  spec.window = geometry_of(
      conv_axes(attrs, image, w->dims, channels_to_front(problem.outputs[0].dims)), attrs.auto_pad);
  if (spec.window.taps() > kMostTaps || spec.window.x.kernel > 16) {
    return unsupported("windows of more than ", kMostTaps, " elements or 16 columns");
  }
  spec.x_input = static_cast<size_t>(region.operands[0]);
  spec.packed_input = region.operands[1];
  spec.op_type = str_cat("DepthwiseSum<", storage_type(spec.dtype), ", Geometry, LANES, PACKED>");
  spec.op_members = str_cat("in", parts.w);
  ProductTail::Shape shape;
  const OperandDesc* bias = region.operand(problem, 2);
  if (bias != nullptr && bias->present) shape.bias = region.operands[2];
  REDLINE_ASSIGN(parts.tail, ProductTail::create(problem, std::move(region), shape));
  return parts;
}

Status supports(const Problem& problem) { return parts_of(problem).status(); }

std::vector<Config> configs(const Problem& problem) {
  Result<Parts> parts = parts_of(problem);
  if (!parts.ok()) return {};
  return window_configs(parts->spec, parts->tail);
}

// [channel][tap] to [tap][channel].
Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs&) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  std::vector<PackedOperand> result;
  const Tensor* filters = problem.inputs[parts.w].constant;
  if (filters == nullptr) return result;
  size_t element = dtype_bytes(parts.spec.dtype);
  auto channels = static_cast<size_t>(parts.spec.channels);
  auto taps = static_cast<size_t>(parts.spec.window.taps());
  REDLINE_ASSIGN(Tensor bytes,
                 Tensor::create(DType::kUInt8, {static_cast<int64_t>(filters->bytes())}));
  const auto* from = static_cast<const char*>(filters->raw());
  auto* to = static_cast<char*>(bytes.mutable_raw());
  for (size_t channel = 0; channel < channels; ++channel) {
    for (size_t tap = 0; tap < taps; ++tap) {
      std::memcpy(to + (tap * channels + channel) * element,
                  from + (channel * taps + tap) * element, element);
    }
  }
  config.push_back({"packed", int64_t{1}});
  result.push_back({parts.w, std::move(bytes), "filters tap by tap"});
  return result;
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

void register_tactic_window_depthwise(TacticRegistry& registry) {
  registry.add({.name = "cuda.depthwise",
                .device = "cuda",
                .ops = {"conv", "fused"},
                .supports = supports,
                .configs = configs,
                .pack = pack,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20,
                .version = 3});
}

}  // namespace redline
