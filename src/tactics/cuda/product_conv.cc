// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/conv_geometry.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"

namespace redline {
namespace {

const std::vector<std::string> kAnchors = {"conv"};
constexpr int64_t kMostGroups = 4096;  // with splits they must fit a grid's z

// A convolution as a product: its rows are windows, its columns filters, its depth goes tap by tap
// over the channels of a group; groups are a batch.
struct Parts {
  ProductSpec spec;
  ProductTail tail;
  std::string definitions;
  KernelSizes sizes;
  int64_t places = 1;    // windows of an image; kDynamicDim when not known
  int64_t channels = 1;  // of a group
  int64_t taps = 1;
};

Status check_operands(const Problem& problem, const AnchoredRegion& region) {
  for (size_t i : {0, 1}) {
    const OperandDesc* operand = region.operand(problem, i);
    if (operand == nullptr || !operand->present) return unsupported("an absent operand");
    if (!product_type(operand->dtype)) {
      return unsupported("takes f16, bf16 and f32, not ", dtype_name(operand->dtype));
    }
  }
  if (!region.attrs.as<ConvAttrs>().channels_last) return unsupported("channels not innermost");
  const OperandDesc& x = *region.operand(problem, 0);
  const OperandDesc& w = *region.operand(problem, 1);
  REDLINE_TRY(check_image(x));
  REDLINE_TRY(check_image(problem.outputs[0]));
  if (!w.is_tensor || !w.has_rank || !w.is_static() || w.dims.count() == 0) {
    return unsupported("takes filters of known sizes");
  }
  if (x.dtype != w.dtype) return unsupported("takes operands of one type");
  return {};
}

Result<Parts> parts_of(const Problem& problem) {
  REDLINE_ASSIGN(AnchoredRegion region, take_apart(problem, kAnchors));
  REDLINE_TRY(check_operands(problem, region));
  const auto& attrs = region.attrs.as<ConvAttrs>();
  const OperandDesc& x = *region.operand(problem, 0);
  const OperandDesc& w = *region.operand(problem, 1);
  Dims image = channels_to_front(x.dims);
  Dims out = channels_to_front(problem.outputs[0].dims);
  WindowGeometry window = geometry_of(conv_axes(attrs, image, w.dims, out), attrs.auto_pad);
  Parts parts;
  ProductSpec& spec = parts.spec;
  parts.channels = w.dims[1];
  parts.taps = window.taps();
  parts.places = window.places();
  spec.dtype = x.dtype;
  spec.tf32 = attrs.tf32;
  spec.batch = attrs.group;
  spec.columns = w.dims[0] / attrs.group;
  spec.depth = parts.channels * parts.taps;
  bool known = image[0] != kDynamicDim && parts.places != kDynamicDim;
  spec.rows = known ? image[0] * parts.places : kDynamicDim;
  spec.b_input = static_cast<size_t>(region.operands[1]);
  spec.constant = w.is_constant();
  spec.can_pack = true;
  if (parts.channels == 1 && spec.columns == 1 && attrs.group > 1) {
    return unsupported("one channel a group has a kernel of its own");
  }
  if (spec.batch > kMostGroups) return unsupported("more than ", kMostGroups, " groups");
  if (w.dims.count() > INT32_MAX / 64)
    return unsupported("filters of more than ", INT32_MAX / 64, " elements");
  std::string_view type = storage_type(spec.dtype);
  int vector = product_vector(spec.dtype, parts.channels);
  std::string first = str_cat("in", region.operands[0], " + batch * ", parts.channels, ", rows");
  if (window.is_pointwise()) {
    spec.a = {str_cat("DenseRows<", type, ", ", parts.channels, ", ", image[1], "LL>"), first,
              vector, static_cast<size_t>(region.operands[0]), image[1]};
  } else {
    parts.sizes = window.sizes();
    parts.definitions =
        str_cat("struct Geometry {\n", window.numbers(), parts.sizes.members(),
                "  static constexpr int kPixel = ", image[1], ", kChannels = ", parts.channels,
                ", kTaps = ", parts.taps, ";\n};\n");
    spec.parameters = parts.sizes.parameters();
    spec.statements = parts.sizes.definition();
    spec.a = {str_cat("WindowRows<", type, ", Geometry>"), first + ", sizes", vector};
  }
  std::string filters = str_cat("in", spec.b_input, " + (i64)batch * ", spec.columns * spec.depth,
                                ", ", spec.columns);
  if (parts.taps == 1) {
    spec.b = {str_cat("DenseRows<", type, ", ", spec.depth, ", ", spec.depth, "LL>"), filters,
              vector};
  } else {
    spec.b = {str_cat("FilterRows<", type, ", ", parts.channels, ", ", parts.taps, ">"), filters,
              1};
  }
  ProductTail::Shape shape;
  shape.parts = attrs.group;
  const OperandDesc* bias = region.operand(problem, 2);
  if (bias != nullptr && bias->present) shape.bias = region.operands[2];
  REDLINE_ASSIGN(parts.tail, ProductTail::create(problem, std::move(region), shape));
  return parts;
}

Status supports(const Problem& problem) { return parts_of(problem).status(); }

std::vector<Config> configs(const Problem& problem) {
  Result<Parts> parts = parts_of(problem);
  if (!parts.ok()) return {};
  return product_configs(parts->spec, usual_rows(parts->spec.rows, parts->places));
}

Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  const ProductSpec& spec = parts.spec;
  ProductStrides strides;
  strides.batch = spec.columns * spec.depth;
  strides.column = spec.depth;
  strides.inner_count = parts.channels;
  strides.inner = parts.taps;
  return pack_product(spec, config, problem.inputs[spec.b_input], strides, args);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  REDLINE_ASSIGN(ProductKnobs knobs, product_knobs(config, parts.spec.dtype));
  return product_kernels(problem, parts.spec, parts.tail, parts.definitions, knobs, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  REDLINE_ASSIGN(ProductKnobs knobs, product_knobs(config, parts.spec.dtype));
  REDLINE_ASSIGN(Parts written, parts_of(*args.written));
  parts.spec.values = parts.sizes.values(written.sizes);
  return prepare_product(problem, parts.spec, parts.tail, knobs, args);
}

}  // namespace

void register_tactic_product_conv(TacticRegistry& registry) {
  registry.add({.name = "cuda.conv",
                .device = "cuda",
                .ops = {"conv", "fused"},
                .supports = supports,
                .configs = configs,
                .fits = product_fits,
                .overlaps = product_overlaps,
                .pack = pack,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
