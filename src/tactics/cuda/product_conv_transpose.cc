// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"
#include "kernels/cuda/sources.h"
#include "tactics/cuda/conv_geometry.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"

namespace redline {
namespace {

const std::vector<std::string> kAnchors = {"conv_transpose"};
constexpr int64_t kMostProducts = 4096;  // with splits they must fit a grid's z

// A transposed convolution as products, one for each group and phase: see product/phases.cuh.
struct Parts {
  ProductSpec spec;
  ProductTail tail;
  std::string definitions;
  WindowGeometry window;  // of the convolution that leads back
  int64_t channels = 1;   // of a group
  int64_t taps_y = 1, taps_x = 1;
  KernelSizes sizes;
  int64_t places = 1;  // rows of a phase in one image; kDynamicDim when not known

  int64_t phases() const { return window.y.stride * window.x.stride; }
};

Status check_operands(const Problem& problem, const AnchoredRegion& region) {
  for (size_t i : {0, 1}) {
    const OperandDesc* operand = region.operand(problem, i);
    if (operand == nullptr || !operand->present) return unsupported("an absent operand");
    if (!product_type(operand->dtype)) {
      return unsupported("takes f16, bf16 and f32, not ", dtype_name(operand->dtype));
    }
  }
  if (!region.attrs.as<ConvTransposeAttrs>().channels_last) {
    return unsupported("channels not innermost");
  }
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

// How many places a phase has along an axis.
int64_t phase_size(const WindowAxis& axis) {
  return axis.in == kDynamicDim ? kDynamicDim : divide_up(axis.in, axis.stride);
}

KernelSizes sizes_of(const WindowGeometry& window, int64_t places) {
  KernelSizes sizes;
  sizes.add("height", window.y.out);
  sizes.add("width", window.x.out);
  sizes.add("out_height", window.y.in);
  sizes.add("out_width", window.x.in);
  sizes.add("phase_width", phase_size(window.x));
  sizes.add("phase_places", places);
  sizes.add_quotient("by_phase_width", phase_size(window.x));
  sizes.add_quotient("by_phase_places", places);
  return sizes;
}

std::string geometry_text(const Parts& parts, int64_t pixel) {
  const WindowAxis& y = parts.window.y;
  const WindowAxis& x = parts.window.x;
  std::string text = "struct Geometry {\n" + parts.sizes.members();
  for (auto [name, value] : {std::pair<const char*, int64_t>{"KernelHeight", y.kernel},
                             {"KernelWidth", x.kernel},
                             {"StrideY", y.stride},
                             {"StrideX", x.stride},
                             {"PadY", y.pad_begin},
                             {"PadX", x.pad_begin},
                             {"TapsY", parts.taps_y},
                             {"TapsX", parts.taps_x},
                             {"Pixel", pixel},
                             {"Channels", parts.channels},
                             {"Filters", parts.spec.columns}}) {
    text += str_cat("  static constexpr int k", name, " = ", value, ";\n");
  }
  return text + "};\n";
}

Result<Parts> parts_of(const Problem& problem) {
  REDLINE_ASSIGN(AnchoredRegion region, take_apart(problem, kAnchors));
  REDLINE_TRY(check_operands(problem, region));
  const auto& attrs = region.attrs.as<ConvTransposeAttrs>();
  const OperandDesc& x = *region.operand(problem, 0);
  const OperandDesc& w = *region.operand(problem, 1);
  Dims image = channels_to_front(x.dims);
  Dims out = channels_to_front(problem.outputs[0].dims);
  Parts parts;
  parts.window = geometry_of(conv_transpose_axes(attrs, image, w.dims, out), attrs.auto_pad);
  const WindowAxis& y = parts.window.y;
  const WindowAxis& x_axis = parts.window.x;
  bool known = y.in != kDynamicDim && x_axis.in != kDynamicDim;
  bool all_known = known && y.out != kDynamicDim && x_axis.out != kDynamicDim;
  if (!all_known && (!attrs.output_shape.empty() || !parts.window.has_known_pads())) {
    return unsupported("pads that depend on unknown sizes");
  }
  if (y.dilation != 1 || x_axis.dilation != 1) return unsupported("takes no dilations");
  if (y.stride > kMostProducts || x_axis.stride > kMostProducts ||
      attrs.group > kMostProducts / parts.phases()) {
    return unsupported("more than ", kMostProducts, " groups and phases");
  }
  if (w.dims.count() > INT32_MAX / 64) {
    return unsupported("filters of more than ", INT32_MAX / 64, " elements");
  }
  ProductSpec& spec = parts.spec;
  parts.channels = image[1] / attrs.group;
  parts.taps_y = divide_up(y.kernel, y.stride);
  parts.taps_x = divide_up(x_axis.kernel, x_axis.stride);
  parts.places = known ? phase_size(y) * phase_size(x_axis) : kDynamicDim;
  parts.sizes = sizes_of(parts.window, parts.places);
  spec.dtype = x.dtype;
  spec.tf32 = attrs.tf32;
  spec.batch = attrs.group * parts.phases();
  spec.columns = w.dims[1];
  spec.depth = parts.channels * parts.taps_y * parts.taps_x;
  spec.rows = known && image[0] != kDynamicDim ? image[0] * parts.places : kDynamicDim;
  spec.b_input = static_cast<size_t>(region.operands[1]);
  spec.constant = w.is_constant();
  spec.can_pack = true;
  parts.definitions =
      str_cat(kernels::cuda::source("product/phases.cuh"), geometry_text(parts, image[1]));
  spec.parameters = parts.sizes.parameters();
  spec.statements = parts.sizes.definition();
  std::string_view type = storage_type(spec.dtype);
  std::string group = str_cat("batch / ", parts.phases());
  std::string phase = str_cat("batch % ", parts.phases());
  spec.a = {str_cat("PhaseRows<", type, ", Geometry>"),
            str_cat("in", region.operands[0], " + ", group, " * ", parts.channels, ", rows, ",
                    phase, ", sizes"),
            product_vector(spec.dtype, parts.channels)};
  spec.b = {str_cat("PhaseFilters<", type, ", Geometry>"),
            str_cat("in", spec.b_input, " + (i64)(", group, ") * ", w.dims.count() / attrs.group,
                    ", ", phase),
            1};
  ProductTail::Shape shape;
  shape.parts = attrs.group;
  shape.place = str_cat("    const int row = phase_place(sizes, ", phase,
                        ", row_of_part), column = part_column + ", group, " * ", spec.columns,
                        ";\n    if (row < 0) return;\n");
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

// The filters as the products read them, [group, phase, filter, tap, channel]; zeros for taps
// beyond the kernel.
Result<Tensor> filters_by_phase(const Parts& parts, const Tensor& filters) {
  const ProductSpec& spec = parts.spec;
  const WindowAxis& y = parts.window.y;
  const WindowAxis& x = parts.window.x;
  size_t bytes = dtype_bytes(spec.dtype);
  REDLINE_ASSIGN(Tensor result, Tensor::create(spec.dtype, {spec.batch, spec.columns, spec.depth}));
  const char* from = static_cast<const char*>(filters.raw());
  char* to = static_cast<char*>(result.mutable_raw());
  std::fill_n(to, result.bytes(), char{0});
  for (int64_t batch = 0; batch < spec.batch; ++batch) {
    int64_t group = batch / parts.phases();
    int64_t first_y = (batch % parts.phases() / x.stride + y.pad_begin) % y.stride;
    int64_t first_x = (batch % x.stride + x.pad_begin) % x.stride;
    for (int64_t tap = 0; tap < parts.taps_y * parts.taps_x; ++tap) {
      int64_t tap_y = first_y + tap / parts.taps_x * y.stride;
      int64_t tap_x = first_x + tap % parts.taps_x * x.stride;
      if (tap_y >= y.kernel || tap_x >= x.kernel) continue;
      for (int64_t filter = 0; filter < spec.columns; ++filter) {
        int64_t place = (batch * spec.columns + filter) * spec.depth + tap * parts.channels;
        for (int64_t channel = 0; channel < parts.channels; ++channel) {
          int64_t row = (group * parts.channels + channel) * spec.columns + filter;
          int64_t source = (row * y.kernel + tap_y) * x.kernel + tap_x;
          std::copy_n(from + static_cast<size_t>(source) * bytes, bytes,
                      to + static_cast<size_t>(place + channel) * bytes);
        }
      }
    }
  }
  return result;
}

Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Parts parts, parts_of(problem));
  const ProductSpec& spec = parts.spec;
  OperandDesc operand = problem.inputs[spec.b_input];
  if (operand.constant == nullptr) return std::vector<PackedOperand>();
  REDLINE_ASSIGN(Tensor filters, filters_by_phase(parts, *operand.constant));
  operand.constant = &filters;
  ProductStrides strides;
  strides.batch = spec.columns * spec.depth;
  strides.column = spec.depth;
  strides.inner_count = spec.depth;
  return pack_product(spec, config, operand, strides, args);
}

Result<std::vector<cuda::KernelSource>> sources(const Problem& problem, const Config& config,
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

void register_tactic_product_conv_transpose(TacticRegistry& registry) {
  registry.add({.name = "cuda.conv_transpose",
                .device = "cuda",
                .ops = {"conv_transpose", "fused"},
                .supports = supports,
                .configs = configs,
                .fits = product_fits,
                .overlaps = product_overlaps,
                .pack = pack,
                .kernels = sources,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
