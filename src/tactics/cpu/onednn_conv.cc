// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/channels_last.h"
#include "ops/conv.h"
#include "tactics/cpu/onednn_step.h"
#include "tactics/knob.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;

Result<Region> match_conv(const Problem& problem) {
  Result<Region> region = match_region(problem, "conv");
  if (region.ok()) return region;
  Result<Region> transposed = match_region(problem, "conv_transpose");
  return transposed.ok() ? std::move(transposed) : std::move(region);
}

bool is_transposed(const Region& region) { return region.own_anchor.op->name == "conv_transpose"; }
bool is_channels_last(const Region& region) {
  return is_transposed(region) ? region.own_anchor.attrs.as<ConvTransposeAttrs>().channels_last
                               : region.own_anchor.attrs.as<ConvAttrs>().channels_last;
}
int64_t group_of(const Region& region) {
  return is_transposed(region) ? region.own_anchor.attrs.as<ConvTransposeAttrs>().group
                               : region.own_anchor.attrs.as<ConvAttrs>().group;
}

const OperandDesc& operand(const Problem& problem, const Region& region, size_t i) {
  return problem.inputs[static_cast<size_t>(region.anchor_inputs[i])];
}

bool has_bias(const Region& region) {
  return region.anchor_inputs.size() > 2 && region.anchor_inputs[2] >= 0;
}

// An operand of the tail as [n, c, spatial...] like the output.
Result<Dims> tail_dims(const Dims& dims, int rank, bool channels_last) {
  if (dims.rank() > rank) return unsupported("an operand of a higher rank");
  Dims result;
  for (int i = dims.rank(); i < rank; ++i) result.push_back(1);
  for (int64_t dim : dims) result.push_back(dim);
  return image_dims(result, channels_last);
}

// oneDNN broadcasts one value, or one for each channel. Sizes that are not known yet are taken to
// be the output's; where they turn out otherwise its reference code serves.
bool broadcasts(const Dims& dims, const Dims& out) {
  bool per_channel = true;
  bool whole = true;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i != 1) per_channel &= dims[i] == 1;
    whole &= dims[i] == out[i] || dims[i] == kDynamicDim || out[i] == kDynamicDim;
    if (dims[i] == 1 && out[i] != 1) whole = false;
  }
  return per_channel || whole;
}

Status supports(const Problem& problem) {
  REDLINE_ASSIGN(Region region, match_conv(problem));
  for (const OperandDesc& input : problem.inputs) {
    if (!input.present) continue;
    if (input.dtype != DType::kFloat32 || !input.has_rank || !input.is_tensor) {
      return unsupported("takes f32 of known rank");
    }
  }
  const OperandDesc& out = problem.outputs[0];
  if (out.dtype != DType::kFloat32 || !out.has_rank) return unsupported("makes f32 of known rank");
  const OperandDesc& x = operand(problem, region, 0);
  const OperandDesc& w = operand(problem, region, 1);
  if (x.dims.rank() < 3 || x.dims.rank() > 5 || w.dims.rank() != x.dims.rank() ||
      out.dims.rank() != x.dims.rank()) {
    return unsupported("takes 1 to 3 spatial axes");
  }
  if (!w.is_static() || w.dims.count() == 0) return unsupported("weights of unknown or no size");
  bool last = is_channels_last(region);
  Dims out_dims = image_dims(out.dims, last);
  for (const TailOp& op : region.tail) {
    if (op.input < 0) continue;
    const Dims& dims = problem.inputs[static_cast<size_t>(op.input)].dims;
    REDLINE_ASSIGN(Dims image, tail_dims(dims, out_dims.rank(), last));
    if (!broadcasts(image, out_dims)) {
      return unsupported("an operand ", image.to_string(), " against ", out_dims.to_string());
    }
  }
  return dnnl::load().status();
}

// Whether the images are single columns under a window of one column. As rows, which are the same
// in memory, oneDNN is faster with them (a text model of 512 positions: 8.3 ms of CPU, not 9.0).
// Not with weights packed for images.
bool is_column(const Problem& problem, const Region& region) {
  const OperandDesc& w = operand(problem, region, 1);
  Dims x = image_dims(operand(problem, region, 0).dims, is_channels_last(region));
  Dims out = image_dims(problem.outputs[0].dims, is_channels_last(region));
  return w.packed == nullptr && x.rank() == 4 && x[3] == 1 && out[3] == 1 && w.dims[3] == 1 &&
         w.dims[2] > 1;
}

Dims swapped_if(bool column, Dims dims) {
  if (column) std::swap(dims[2], dims[3]);
  return dims;
}

// The weights as the model stores them.
Result<MemoryDesc> stored_weights(const Api& api, const Dims& w, int64_t group, bool transposed) {
  int64_t area = w.count(2, w.rank());
  int64_t rows = transposed ? w[1] : w[0] / group;     // outputs of a group
  int64_t columns = transposed ? w[0] / group : w[1];  // inputs of a group
  std::vector<int64_t> dims = {rows, columns};
  std::vector<int64_t> strides = {columns * area, area};
  if (transposed) strides = {area, rows * area};
  if (group > 1) {
    dims.insert(dims.begin(), group);
    strides.insert(strides.begin(), rows * columns * area);
  }
  int64_t stride = area;
  for (int i = 2; i < w.rank(); ++i) {
    int64_t size = w[static_cast<size_t>(i)];
    stride /= size;
    dims.push_back(size);
    strides.push_back(stride);
  }
  MemoryDesc desc;
  dnnl::Error error;
  dnnl::Code code =
      api.desc_create(dnnl::DataType::kF32, static_cast<int32_t>(dims.size()), dims.data(),
                      dnnl::Format::kPlain, strides.data(), &desc, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return desc;
}

void set_window(const Region& region, const Dims& x, const Dims& w, const Dims& out,
                dnnl::Convolution& conv) {
  bool transposed = is_transposed(region);
  const Attrs& attrs = region.own_anchor.attrs;
  std::vector<WindowAxis> axes =
      transposed ? conv_transpose_axes(attrs.as<ConvTransposeAttrs>(), x, w, out)
                 : conv_axes(attrs.as<ConvAttrs>(), x, w, out);
  for (size_t i = 0; i < axes.size(); ++i) {
    const WindowAxis& axis = axes[i];
    conv.strides[i] = axis.stride;
    conv.dilations[i] = axis.dilation;
    conv.pads_begin[i] = axis.pad_begin;
    // Exactly what the output's size needs: the model's own may leave a remainder.
    int64_t extent = (axis.kernel - 1) * axis.dilation + 1;
    conv.pads_end[i] = (axis.out - 1) * axis.stride + extent - axis.in - axis.pad_begin;
  }
}

struct Created {
  Primitive primitive;
  std::vector<ArgSource> sources;
  MemoryDesc weights;  // as the primitive wants them
  // Winograd: the images as the step has them, and as the primitive wants them.
  MemoryDesc src, dst, blocked_src, blocked_dst;
};

// direct, or Winograd's algorithm: fewer multiplications for a larger rounding error, in a layout
// of its own.
enum class Algorithm { kDirect, kWinograd };

const MemoryDesc* weights_of(const std::vector<dnnl::Arg>& args) {
  for (const dnnl::Arg& arg : args) {
    if (arg.role == dnnl::Role::kWeights) return &arg.desc;
  }
  return nullptr;
}

// The primitive for the problem's sizes, with the layout of weights that suits it.
Result<Created> create(const Api& api, const Problem& problem, const Region& region, int threads,
                       Algorithm algorithm = Algorithm::kDirect) {
  bool winograd = algorithm == Algorithm::kWinograd;
  bool last = is_channels_last(region);
  Dims x = image_dims(operand(problem, region, 0).dims, last);
  Dims w = operand(problem, region, 1).dims;
  REDLINE_ASSIGN(Dims stored_out, anchor_output_dims(problem, region));
  if (stored_out != problem.outputs[0].dims) return unsupported("a tail that enlarges the result");
  Dims out = image_dims(stored_out, last);
  dnnl::Format format = last ? dnnl::Format::kChannelsLast : dnnl::Format::kPlain;
  auto desc = [&](const Dims& dims, dnnl::Format f) {
    return onednn_desc(api, DType::kFloat32, {dims.begin(), dims.size()}, f);
  };
  dnnl::Convolution conv;
  conv.transposed = is_transposed(region);
  conv.groups = group_of(region);
  conv.spatial = x.rank() - 2;
  set_window(region, x, w, out, conv);
  bool column = is_column(problem, region);
  if (column) {
    x = swapped_if(column, x);
    w = swapped_if(column, w);
    out = swapped_if(column, out);
    std::swap(conv.strides[0], conv.strides[1]);
    std::swap(conv.dilations[0], conv.dilations[1]);
    std::swap(conv.pads_begin[0], conv.pads_begin[1]);
    std::swap(conv.pads_end[0], conv.pads_end[1]);
  }
  conv.winograd = winograd;
  REDLINE_ASSIGN(MemoryDesc src, desc(x, format));
  REDLINE_ASSIGN(MemoryDesc dst, desc(out, format));
  conv.src = src;
  conv.dst = dst;
  if (winograd) {
    REDLINE_ASSIGN(conv.src, desc(x, dnnl::Format::kBlocked16));
    REDLINE_ASSIGN(conv.dst, desc(out, dnnl::Format::kBlocked16));
  }
  Dims rows = {out[1] / conv.groups, x[1] / conv.groups};
  if (conv.groups > 1) rows = {conv.groups, out[1] / conv.groups, x[1] / conv.groups};
  for (int i = 2; i < w.rank(); ++i) rows.push_back(w[static_cast<size_t>(i)]);
  REDLINE_ASSIGN(conv.weights, desc(rows, dnnl::Format::kAny));
  std::vector<ArgSource> sources = {{false, static_cast<size_t>(region.anchor_inputs[0])},
                                    {false, static_cast<size_t>(region.anchor_inputs[1])}};
  if (has_bias(region)) {
    conv.has_bias = true;
    REDLINE_ASSIGN(conv.bias, desc({out[1]}, dnnl::Format::kPlain));
    sources.push_back({false, static_cast<size_t>(region.anchor_inputs[2])});
  }
  sources.push_back({true, 0});
  std::vector<dnnl::PostOp> post_ops;
  std::vector<MemoryDesc> operands(region.tail.size());
  bool allow_reference = false;
  for (size_t i = 0; i < region.tail.size(); ++i) {
    dnnl::PostOp op = region.tail[i].post_op;
    if (region.tail[i].input >= 0) {
      auto input = static_cast<size_t>(region.tail[i].input);
      REDLINE_ASSIGN(Dims dims, tail_dims(problem.inputs[input].dims, x.rank(), last));
      dims = swapped_if(column, dims);
      REDLINE_ASSIGN(operands[i], desc(dims, format));
      allow_reference |= !broadcasts(dims, out);
      if (winograd && dims.count() != 1 && dims.count() != out[1]) {
        return unsupported("Winograd with an operand of ", dims.to_string());
      }
      op.operand = &operands[i];
      sources.push_back({false, input});
    }
    post_ops.push_back(op);
  }
  dnnl::Options options;
  options.post_ops = post_ops.data();
  options.post_op_count = static_cast<int32_t>(post_ops.size());
  options.threads = threads;
  options.allow_reference = allow_reference;
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api.convolution(conv, options, &primitive, &error);
  if (code == dnnl::Code::kUnsupported && !allow_reference && !winograd) {
    // An odd case that no generated kernel takes is still right, only slow.
    options.allow_reference = true;
    code = api.convolution(conv, options, &primitive, &error);
  }
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  Created created{Primitive(&api, primitive), std::move(sources), {}, src, dst, conv.src, conv.dst};
  const std::vector<dnnl::Arg> args = created.primitive.args();
  const MemoryDesc* weights = weights_of(args);
  if (weights == nullptr) return internal_error("a convolution without weights");
  created.weights = *weights;
  return created;
}

constexpr std::string_view kAlgorithm = "algorithm";
constexpr std::string_view kWinograd = "winograd";

bool wants_winograd(const Config& config) {
  const auto* algorithm = find_knob<std::string>(config, kAlgorithm);
  return algorithm != nullptr && *algorithm == kWinograd;
}

// Winograd where it may pay: 3x3 windows that move by one, in full blocks of channels.
std::vector<Config> configs(const Problem& problem) {
  std::vector<Config> ways(1);
  Result<Region> region = match_conv(problem);
  if (!region.ok() || is_transposed(*region)) return ways;
  const auto& attrs = region->own_anchor.attrs.as<ConvAttrs>();
  auto all_one = [](const std::vector<int64_t>& list) {
    return std::all_of(list.begin(), list.end(), [](int64_t v) { return v == 1; });
  };
  const OperandDesc& w = operand(problem, *region, 1);
  const Dims& dims = w.dims;
  constexpr int64_t kBlock = 16;
  bool fits = w.constant != nullptr && dims.rank() == 4 && dims[2] == 3 && dims[3] == 3 &&
              attrs.group == 1 && all_one(attrs.strides) && all_one(attrs.dilations) &&
              dims[0] >= kBlock && dims[1] >= kBlock;
  if (fits) ways.push_back({{std::string(kAlgorithm), std::string(kWinograd)}});
  return ways;
}

// The layout of packed weights is not stored: it is what the library chooses for the sizes and
// threads it was asked with, and its name must come out the same.
std::string desc_name(const Api& api, const MemoryDesc& desc) {
  char text[256];
  api.desc_text(desc, text, sizeof text);
  return text;
}

Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs& args) {
  // Winograd's weights are several times as large: they are made from the model's when it loads.
  if (wants_winograd(config)) return std::vector<PackedOperand>();
  REDLINE_ASSIGN(Region region, match_conv(problem));
  const OperandDesc& w = operand(problem, region, 1);
  const OperandDesc& x = operand(problem, region, 0);
  if (w.constant == nullptr || !x.is_static() || !problem.outputs[0].is_static() ||
      x.dims.count() == 0 || problem.outputs[0].dims.count() == 0) {
    return std::vector<PackedOperand>();
  }
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  REDLINE_ASSIGN(Created created, create(*api, problem, region, args.num_threads()));
  if (is_column(problem, region)) return std::vector<PackedOperand>();
  REDLINE_ASSIGN(MemoryDesc stored,
                 stored_weights(*api, w.dims, group_of(region), is_transposed(region)));
  if (api->desc_equal(stored, created.weights)) return std::vector<PackedOperand>();
  REDLINE_ASSIGN(Tensor bytes, reorder_constant(*api, w.constant->raw(), stored, created.weights));
  std::vector<int64_t> sizes;
  for (const OperandDesc& input : problem.inputs) {
    sizes.push_back(input.dims.rank());
    sizes.insert(sizes.end(), input.dims.begin(), input.dims.end());
  }
  sizes.insert(sizes.end(), problem.outputs[0].dims.begin(), problem.outputs[0].dims.end());
  config.push_back({"weights", desc_name(*api, created.weights)});
  config.push_back({"sizes", std::move(sizes)});
  config.push_back({"threads", int64_t{args.num_threads()}});
  std::vector<PackedOperand> packed;
  packed.push_back(
      {static_cast<size_t>(region.anchor_inputs[1]), std::move(bytes), packing_library()});
  return packed;
}

// The problem that the weights were packed for.
std::optional<Problem> packing_problem(const Problem& problem, const Config& config) {
  const auto* sizes = find_knob<std::vector<int64_t>>(config, "sizes");
  if (sizes == nullptr) return std::nullopt;
  Problem result = problem;
  size_t at = 0;
  auto read = [&](int64_t rank, Dims& dims) {
    if (rank < 0 || rank > kMaxRank || sizes->size() - at < static_cast<size_t>(rank)) return false;
    dims = Dims(std::span(*sizes).subspan(at, static_cast<size_t>(rank)));
    at += static_cast<size_t>(rank);
    return std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d >= 0; }) &&
           checked_count({dims.begin(), dims.size()}).has_value();
  };
  for (OperandDesc& input : result.inputs) {
    if (at >= sizes->size()) return std::nullopt;
    int64_t rank = (*sizes)[at++];
    if (rank != input.dims.rank() || !read(rank, input.dims)) return std::nullopt;
  }
  if (!read(result.outputs[0].dims.rank(), result.outputs[0].dims)) return std::nullopt;
  return result;
}

Result<MemoryDesc> packed_desc(const Api& api, const Problem& problem, const Region& region,
                               const Config& config, const Created& created, const Tensor& packed) {
  const auto* name = find_knob<std::string>(config, "weights");
  const auto* threads = find_knob<int64_t>(config, "threads");
  if (name == nullptr || threads == nullptr || *threads < 1 || *threads > 4096) {
    return invalid_argument("the engine does not tell how weights were packed");
  }
  auto fits = [&](const MemoryDesc& desc) {
    return desc_name(api, desc) == *name && api.desc_bytes(desc) == packed.count();
  };
  if (fits(created.weights)) return created.weights;
  std::optional<Problem> before = packing_problem(problem, config);
  if (!before || operand(*before, region, 1).dims != operand(problem, region, 1).dims) {
    return invalid_argument("the engine does not tell what sizes weights were packed for");
  }
  REDLINE_ASSIGN(Created other, create(api, *before, region, static_cast<int>(*threads)));
  if (fits(other.weights)) return other.weights;
  return incompatible("weights were packed as ", *name, ", which oneDNN ", api.version, " for ",
                      api.isa, " does not use; build the engine again");
}

constexpr size_t kMaxConvArgs = 16;

Status execute(const Primitive& primitive, void* const* pointers, void* scratchpad) {
  dnnl::Error error;
  dnnl::Code code = primitive.api().execute(primitive.get(), pointers, scratchpad, &error);
  return code == dnnl::Code::kOk ? Status() : dnnl::to_status(code, error);
}

class ConvKernel final : public Kernel {
 public:
  ConvKernel(Created created, Tensor own_weights, std::optional<Primitive> reorder, size_t bytes)
      : primitive_(std::move(created.primitive)),
        sources_(std::move(created.sources)),
        own_weights_(std::move(own_weights)),
        reorder_(std::move(reorder)),
        weights_bytes_((bytes + 63) / 64 * 64),
        scratchpad_(primitive_.scratchpad_bytes()) {
    if (reorder_) scratchpad_ = std::max(scratchpad_, reorder_->scratchpad_bytes());
  }

  size_t workspace_bytes() const override { return scratchpad_ + (reorder_ ? weights_bytes_ : 0); }
  std::string slow_because() const override { return primitive_.slow_because(); }

  Status run(const KernelArgs& args) const override {
    void* pointers[kMaxConvArgs];
    for (size_t i = 0; i < sources_.size(); ++i) {
      const ArgSource& source = sources_[i];
      pointers[i] =
          source.output ? args.outputs[source.index].data : args.inputs[source.index].data;
    }
    if (args.pool) args.pool->use_team(primitive_.api().parallel);
    char* scratchpad = static_cast<char*>(args.workspace);
    if (own_weights_.defined()) {
      pointers[1] = const_cast<void*>(own_weights_.raw());
    } else if (reorder_) {
      void* reordered[2] = {pointers[1], scratchpad};
      scratchpad += weights_bytes_;
      REDLINE_TRY(execute(*reorder_, reordered, scratchpad));
      pointers[1] = reordered[1];
    }
    return execute(primitive_, pointers, scratchpad);
  }

 private:
  Primitive primitive_;
  std::vector<ArgSource> sources_;
  Tensor own_weights_;                // another layout than the stored one, made once
  std::optional<Primitive> reorder_;  // weights that are not constant, in each run
  size_t weights_bytes_;
  size_t scratchpad_;
};

Result<Primitive> make_reorder(const Api& api, const MemoryDesc& from, const MemoryDesc& to,
                               int threads) {
  dnnl::Options options;
  options.threads = threads;
  options.allow_reference = true;
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api.reorder({from, to}, options, &primitive, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return Primitive(&api, primitive);
}

// A convolution between two reorders: the images of the step are not in its layout.
class WinogradKernel final : public Kernel {
 public:
  WinogradKernel(const Api& api, Created created, Tensor weights, Primitive in, Primitive out)
      : primitive_(std::move(created.primitive)),
        sources_(std::move(created.sources)),
        weights_(std::move(weights)),
        in_(std::move(in)),
        out_(std::move(out)),
        src_bytes_(padded(api.desc_bytes(created.blocked_src))),
        dst_bytes_(padded(api.desc_bytes(created.blocked_dst))),
        scratchpad_(std::max(
            {primitive_.scratchpad_bytes(), in_.scratchpad_bytes(), out_.scratchpad_bytes()})) {}

  size_t workspace_bytes() const override { return src_bytes_ + dst_bytes_ + scratchpad_; }

  Status run(const KernelArgs& args) const override {
    char* src = static_cast<char*>(args.workspace);
    char* dst = src + src_bytes_;
    char* scratchpad = dst + dst_bytes_;
    void* pointers[kMaxConvArgs];
    void* result = nullptr;
    for (size_t i = 0; i < sources_.size(); ++i) {
      const ArgSource& source = sources_[i];
      if (source.output) result = args.outputs[source.index].data;
      pointers[i] = source.output ? dst : args.inputs[source.index].data;
    }
    if (args.pool) args.pool->use_team(primitive_.api().parallel);
    void* in[2] = {pointers[0], src};
    REDLINE_TRY(execute(in_, in, scratchpad));
    pointers[0] = src;
    pointers[1] = const_cast<void*>(weights_.raw());
    REDLINE_TRY(execute(primitive_, pointers, scratchpad));
    void* out[2] = {dst, result};
    return execute(out_, out, scratchpad);
  }

 private:
  static size_t padded(int64_t bytes) { return (static_cast<size_t>(bytes) + 63) / 64 * 64; }

  Primitive primitive_;
  std::vector<ArgSource> sources_;
  Tensor weights_;
  Primitive in_, out_;
  size_t src_bytes_, dst_bytes_, scratchpad_;
};

Result<std::unique_ptr<Kernel>> prepare_winograd(const Api& api, const Problem& problem,
                                                 const Region& region, int threads) {
  const OperandDesc& w = operand(problem, region, 1);
  // An engine file may ask for anything.
  if (configs(problem).size() < 2) return unsupported("Winograd for such a convolution");
  REDLINE_ASSIGN(Created created, create(api, problem, region, threads, Algorithm::kWinograd));
  if (created.sources.size() > kMaxConvArgs ||
      created.primitive.args().size() != created.sources.size()) {
    return internal_error("a convolution of ", created.primitive.args().size(), " arguments");
  }
  REDLINE_ASSIGN(MemoryDesc stored, stored_weights(api, w.dims, group_of(region), false));
  REDLINE_ASSIGN(Tensor weights, reorder_constant(api, w.constant->raw(), stored, created.weights));
  REDLINE_ASSIGN(Primitive in, make_reorder(api, created.src, created.blocked_src, threads));
  REDLINE_ASSIGN(Primitive out, make_reorder(api, created.blocked_dst, created.dst, threads));
  return std::unique_ptr<Kernel>(std::make_unique<WinogradKernel>(
      api, std::move(created), std::move(weights), std::move(in), std::move(out)));
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) return make_empty_kernel();
  REDLINE_ASSIGN(Region region, match_conv(problem));
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  if (wants_winograd(config)) {
    Result<std::unique_ptr<Kernel>> kernel =
        prepare_winograd(*api, problem, region, args.num_threads());
    bool refused = !kernel.ok() && kernel.status().code() == StatusCode::kUnsupported;
    if (!refused || args.strict) return kernel;
  }
  REDLINE_ASSIGN(Created created, create(*api, problem, region, args.num_threads()));
  if (created.sources.size() > kMaxConvArgs ||
      created.primitive.args().size() != created.sources.size()) {
    return internal_error("a convolution of ", created.primitive.args().size(), " arguments");
  }
  const OperandDesc& w = operand(problem, region, 1);
  MemoryDesc have;
  const Tensor* constant = w.packed ? w.packed : w.constant;
  if (w.packed) {
    REDLINE_ASSIGN(have, packed_desc(*api, problem, region, config, created, *w.packed));
  } else {
    REDLINE_ASSIGN(have, stored_weights(*api, swapped_if(is_column(problem, region), w.dims),
                                        group_of(region), is_transposed(region)));
  }
  Tensor own;
  std::optional<Primitive> reorder;
  if (!api->desc_equal(have, created.weights)) {
    if (constant) {
      REDLINE_ASSIGN(own, reorder_constant(*api, constant->raw(), have, created.weights));
    } else {
      REDLINE_ASSIGN(Primitive made, make_reorder(*api, have, created.weights, args.num_threads()));
      reorder.emplace(std::move(made));
    }
  }
  auto bytes = static_cast<size_t>(api->desc_bytes(created.weights));
  return std::unique_ptr<Kernel>(
      std::make_unique<ConvKernel>(std::move(created), std::move(own), std::move(reorder), bytes));
}

}  // namespace

void register_tactic_onednn_conv(TacticRegistry& registry) {
  registry.add({.name = "cpu.onednn.conv",
                .device = "cpu",
                .ops = {"conv", "conv_transpose", "fused"},
                .supports = supports,
                .configs = configs,
                .pack = pack,
                .prepare = prepare,
                .preference = 20,
                .library = packing_library});
}

}  // namespace redline
