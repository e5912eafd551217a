// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/cuda/sources.h"
#include "ops/attention.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/product.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr size_t kMask = 3;
constexpr size_t kLengths = 6;
constexpr std::string_view kEntry = "attention_tiles";
constexpr int64_t kMostSize = 128;  // of a head: its sums are a warp's registers
constexpr double kLog2E = 1.4426950408889634;

// What is known when the kernel is written.
struct Spec {
  DType dtype = DType::kFloat16;
  bool split = true;
  int64_t query_heads = 1, key_heads = 1;
  int64_t size = 0, value_size = 0;
  bool masked = false, lengths = false, packed = false;
};

// The number of heads and the size of one, or kDynamicDim.
struct Heads {
  int64_t heads, size;
};
Heads heads_of(const Problem& problem, size_t i) {
  const auto& attrs = problem.attrs.as<AttentionAttrs>();
  const Dims& dims = problem.inputs[i].dims;
  if (dims.rank() == 4) return {dims[1], dims[3]};
  int64_t size = dims[2] == kDynamicDim ? kDynamicDim : dims[2] / row_heads(attrs, i);
  return {operand_heads(attrs, i), size};
}

bool has(const std::vector<OperandDesc>& operands, size_t i) {
  return i < operands.size() && operands[i].present;
}

Status check_operands(const Problem& problem) {
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& input = problem.inputs[i];
    if (!input.present) continue;
    if (!input.is_tensor || !input.has_rank) return unsupported("takes tensors of known rank");
    if (i > kMask && i != kLengths) return unsupported("takes no past");
  }
  for (size_t i = 1; i < problem.outputs.size(); ++i) {
    if (has(problem.outputs, i)) return unsupported("makes the attention's result only");
  }
  DType dtype = problem.inputs[0].dtype;
  if (!product_type(dtype) || problem.inputs[1].dtype != dtype ||
      problem.inputs[2].dtype != dtype) {
    return unsupported("takes f16, bf16 and f32");
  }
  if (has(problem.inputs, kMask)) {
    DType mask = problem.inputs[kMask].dtype;
    if (mask != DType::kBool && mask != dtype && mask != DType::kFloat32) {
      return unsupported("a mask of ", dtype_name(mask));
    }
  }
  return {};
}

Result<Spec> spec_of(const Problem& problem) {
  REDLINE_TRY(check_operands(problem));
  const auto& attrs = problem.attrs.as<AttentionAttrs>();
  if (attrs.softmax_dtype && *attrs.softmax_dtype != DType::kFloat32) {
    return unsupported("computes its softmax in f32");
  }
  if (attrs.left_window > INT32_MAX / 2 || attrs.right_window > INT32_MAX / 2) {
    return unsupported("a window of more than ", INT32_MAX / 2);
  }
  Spec spec;
  spec.dtype = problem.inputs[0].dtype;
  spec.split = problem.inputs[0].dims.rank() == 4;
  Heads q = heads_of(problem, 0);
  Heads k = heads_of(problem, 1);
  Heads v = heads_of(problem, 2);
  spec.query_heads = q.heads;
  spec.key_heads = k.heads;
  spec.size = q.size;
  spec.value_size = v.size;
  for (int64_t known : {q.heads, k.heads, q.size, v.size}) {
    if (known == kDynamicDim) return unsupported("heads of an unknown number or size");
    if (known == 0) return unsupported("takes no empty heads");
  }
  if (q.size > kMostSize || v.size > kMostSize) {
    return unsupported("heads of more than ", kMostSize, " elements");
  }
  if (q.heads > 4096) return unsupported("more than 4096 heads");
  spec.packed = attrs.packed;
  spec.masked = has(problem.inputs, kMask);
  spec.lengths = has(problem.inputs, kLengths);
  return spec;
}

Status supports(const Problem& problem) { return spec_of(problem).status(); }

struct Knobs {
  int64_t row_warps = 1, key_warps = 1, warp_keys = 32;

  int64_t threads() const { return 32 * row_warps * key_warps; }
  int64_t rows() const { return 16 * row_warps; }
  // As AttentionNumbers counts (kernels/cuda/attention/attention.cuh).
  int64_t shared_bytes(const Spec& spec) const {
    auto elements = static_cast<int64_t>(16 / dtype_bytes(spec.dtype));
    auto chunks = [&](int64_t size) {
      return size <= 4 * elements ? 4 : (size + 8 * elements - 1) / (8 * elements) * 8;
    };
    int64_t stage = warp_keys * key_warps * (chunks(spec.size) + chunks(spec.value_size));
    int64_t tiles = (rows() * chunks(spec.size) + 2 * stage) * 16;
    int64_t pitch = (spec.value_size + 15) / 16 * 16 + 8;
    return std::max(tiles, key_warps * rows() * (pitch + 2) * 4);
  }
};

Result<Knobs> knobs_of(const Config& config) {
  Knobs knobs;
  for (auto [name, value, most] : {std::tuple{"row_warps", &knobs.row_warps, 8},
                                   {"key_warps", &knobs.key_warps, 8},
                                   {"warp_keys", &knobs.warp_keys, 128}}) {
    const auto* given = find_knob<int64_t>(config, name);
    if (given == nullptr || *given < 1 || *given > most) {
      return incompatible("an attention whose knob ", name, " is missing or not in [1, ", most,
                          "]");
    }
    *value = *given;
  }
  if (knobs.warp_keys % 16 != 0 || knobs.threads() > 512) {
    return incompatible("an attention whose warps and keys do not fit each other");
  }
  return knobs;
}

int64_t known_or(int64_t dim, int64_t usual) { return dim == kDynamicDim ? usual : dim; }

std::vector<Config> configs_of(const std::vector<Knobs>& order) {
  std::vector<Config> result;
  for (const Knobs& knobs : order) {
    result.push_back({{"row_warps", knobs.row_warps},
                      {"key_warps", knobs.key_warps},
                      {"warp_keys", knobs.warp_keys}});
  }
  return result;
}

// As many blocks keep an H100 busy.
constexpr int64_t kBlocks = 160;

// Many queries share the keys they load; few are spread over more blocks, whose warps then share
// the keys.
std::vector<Config> configs(const Problem& problem) {
  Result<Spec> spec = spec_of(problem);
  if (!spec.ok()) return {};
  const Dims& q = problem.inputs[0].dims;
  int64_t products = known_or(q[0], 1) * spec->query_heads;
  int64_t queries = known_or(q[spec->split ? 2 : 1], 256);
  // More keys at a time than that leave too few registers for wide heads.
  int64_t widest = std::max(spec->size, spec->value_size);
  bool wide = widest > 64;
  if (spec->dtype == DType::kFloat32) {
    bool few = products * ((queries + 31) / 32) < kBlocks;
    int64_t keys = widest > 32 ? 16 : 32;
    return few ? configs_of({{1, 4, 16}, {2, 2, keys}, {4, 1, keys}})
               : configs_of({{4, 1, keys}, {2, 2, keys}, {1, 4, 16}});
  }
  int64_t most = wide ? 32 : 64;
  std::vector<Knobs> order = {{1, 4, 32}, {2, 2, 32}, {4, 1, most}, {2, 4, 32}};
  if (products * ((queries + 63) / 64) >= kBlocks) {
    order = {{4, 1, most}, {8, 1, most}, {4, 1, 16}, {2, 2, most}, {1, 4, 32}};
  } else if (products * ((queries + 31) / 32) >= kBlocks) {
    order = {{2, 2, 32}, {4, 1, most}, {2, 2, 16}, {1, 4, 32}};
  }
  return configs_of(order);
}

std::string numbers(const Spec& spec, const Knobs& knobs, const AttentionAttrs& attrs) {
  std::string text =
      str_cat("struct Numbers {\n  typedef ", storage_type(spec.dtype), " Element;\n");
  for (auto [name, value] : {std::pair<const char*, int64_t>{"int kSize", spec.size},
                             {"int kValueSize", spec.value_size},
                             {"int kQueryHeads", spec.query_heads},
                             {"int kKeyHeads", spec.key_heads},
                             {"bool kSplit", spec.split},
                             {"bool kPacked", spec.packed},
                             {"int kRowWarps", knobs.row_warps},
                             {"int kKeyWarps", knobs.key_warps},
                             {"int kWarpKeys", knobs.warp_keys},
                             {"bool kCausal", attrs.causal},
                             {"int kLeft", attrs.left_window},
                             {"int kRight", attrs.right_window},
                             {"bool kMasked", spec.masked},
                             {"bool kLengths", spec.lengths},
                             {"bool kTf32", attrs.tf32}}) {
    text += str_cat("  static constexpr ", name, " = ", value, ";\n");
  }
  return text + "};\n";
}

Result<std::vector<cuda::KernelSource>> texts(const Problem& problem, const Config& config,
                                              const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Spec spec, spec_of(problem));
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  if (knobs.shared_bytes(spec) > device.shared_bytes_per_block) {
    return unsupported("its tiles take ", knobs.shared_bytes(spec), " bytes of shared memory");
  }
  std::string text;
  for (const char* file :
       {"types.cuh", "math.cuh", "index.cuh", "lanes.cuh", "arch/pdl.cuh", "arch/async_copy.cuh",
        "arch/mma.cuh", "product/chunks.cuh", "arch/bulk_copy.cuh", "arch/copy_box.cuh",
        "product/sources.cuh", "product/tiles.cuh", "attention/attention.cuh"}) {
    text += kernels::cuda::source(file);
  }
  const auto& attrs = problem.attrs.as<AttentionAttrs>();
  text += numbers(spec, knobs, attrs);
  std::string_view type = storage_type(spec.dtype);
  std::string_view mask = spec.masked ? storage_type(problem.inputs[kMask].dtype) : "b8";
  double scale = attrs.scale ? *attrs.scale : 1 / std::sqrt(static_cast<double>(spec.size));
  bool cap = attrs.softcap > 0;
  double factor = cap ? scale / attrs.softcap : scale * kLog2E;
  text += str_cat("extern \"C\" __global__ void __launch_bounds__(", knobs.threads(), ", 1) ",
                  kEntry, "(const ", type, "* q, const ", type, "* k, const ", type, "* v, const ",
                  mask, "* mask, const i64* lengths, ", type,
                  "* __restrict__ y, int queries, int keys, i64 batch_step, i64 head_step, i64 "
                  "query_step, int mask_keys) {\n  AttentionMask<",
                  mask,
                  "> bias{mask, batch_step, head_step, query_step, mask_keys};\n  AttentionSizes "
                  "sizes{queries, "
                  "keys, ",
                  float_literal(factor, "float"), ", ",
                  float_literal(cap ? attrs.softcap * kLog2E : 0, "float"),
                  "};\n  attention<Numbers, ", product_vector(spec.dtype, spec.size), ", ",
                  product_vector(spec.dtype, spec.value_size),
                  ">(q, k, v, bias, lengths, y, sizes);\n}\n");
  return std::vector<cuda::KernelSource>{{std::string(kEntry),
                                          std::move(text),
                                          device.arch(),
                                          {"-DREDLINE_INDEX=int"},
                                          static_cast<int>(knobs.shared_bytes(spec))}};
}

class AttentionLaunch final : public Kernel {
 public:
  AttentionLaunch(cuda::Function function, cuda::LaunchShape shape)
      : function_(std::move(function)), shape_(shape) {}
  Status run(const KernelArgs& args) const override {
    if (shape_.grid.x == 0) return {};
    auto input = [&](size_t i) { return i < args.inputs.size() ? args.inputs[i].data : nullptr; };
    const void* pointers[6] = {input(0),     input(1),        input(2),
                               input(kMask), input(kLengths), args.outputs[0].data};
    void* parameters[12];
    size_t count = 0;
    for (const void*& pointer : pointers) parameters[count++] = &pointer;
    for (const int* size : {&queries, &keys}) parameters[count++] = const_cast<int*>(size);
    for (const int64_t* step : {&mask_steps[0], &mask_steps[1], &mask_steps[2]}) {
      parameters[count++] = const_cast<int64_t*>(step);
    }
    parameters[count++] = const_cast<int*>(&mask_keys);
    return cuda::launch(*args.stream, function_, shape_, {parameters, count}, "attention");
  }

  int queries = 0, keys = 0, mask_keys = 0;
  int64_t mask_steps[3] = {0, 0, 0};  // of a batch, a head and a query

 private:
  cuda::Function function_;
  cuda::LaunchShape shape_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Spec spec, spec_of(problem));
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  if (args.modules.size() != 1) return incompatible("an attention without its kernel");
  const Dims& q = problem.inputs[0].dims;
  const Dims& k = problem.inputs[1].dims;
  int64_t queries = q[spec.split ? 2 : 1];
  int64_t keys = k[spec.split ? 2 : 1];
  int64_t blocks = (queries + knobs.rows() - 1) / knobs.rows() * q[0] * spec.query_heads;
  if (queries > INT32_MAX / 2 || keys > INT32_MAX / 2 || blocks > INT32_MAX) {
    return unsupported("an attention of ", queries, " queries and ", keys, " keys");
  }
  auto shared = static_cast<int>(knobs.shared_bytes(spec));
  REDLINE_ASSIGN(cuda::Function function,
                 cuda::Function::create(args.modules[0], std::string(kEntry), shared));
  cuda::LaunchShape shape;
  shape.grid.x = static_cast<unsigned int>(blocks);
  shape.block.x = static_cast<unsigned int>(knobs.threads());
  shape.shared_bytes = static_cast<unsigned int>(shared);
  shape.programmatic = args.context->info().has_programmatic_launch();
  auto launch = std::make_unique<AttentionLaunch>(std::move(function), shape);
  launch->queries = static_cast<int>(queries);
  launch->keys = static_cast<int>(keys);
  if (spec.masked) {
    const Dims& mask = problem.inputs[kMask].dims;
    launch->mask_keys = static_cast<int>(std::min<int64_t>(mask.back(), INT32_MAX));
    Dims strides = mask.strides();
    for (int axis = 0; axis + 1 < mask.rank(); ++axis) {
      auto i = static_cast<size_t>(axis);
      if (mask[i] != 1) launch->mask_steps[4 - mask.rank() + axis] = strides[i];
    }
  }
  return std::unique_ptr<Kernel>(std::move(launch));
}

}  // namespace

void register_tactic_flash_attention(TacticRegistry& registry) {
  registry.add({.name = "cuda.attention",
                .device = "cuda",
                .ops = {"attention"},
                .supports = supports,
                .configs = configs,
                .kernels = texts,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
