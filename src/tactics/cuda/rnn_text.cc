// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/sources.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/rnn_plan.h"

namespace redline {
namespace {

using Constants = std::vector<std::pair<const char*, int64_t>>;

std::string constants_text(std::string_view name, std::string_view types,
                           const Constants& constants) {
  std::string text = str_cat("struct ", name, " {\n", types);
  for (auto [what, value] : constants) {
    text += str_cat("  static constexpr ", what, " = ", value, ";\n");
  }
  return text + "};\n";
}

// An expression of x.
std::string activation_text(const RecurrentActivation& activation, std::string_view type) {
  auto number = [&](double value) { return float_literal(value, type); };
  auto call = [&](std::string_view function, const std::string& argument) {
    return str_cat(function, type == "float" ? "f(" : "(", argument, ")");
  };
  std::string a = number(activation.alpha);
  std::string b = number(activation.beta);
  std::string zero = number(0);
  std::string one = number(1);
  std::string_view name = activation.name;
  if (name == "sigmoid") return str_cat(one, " / (", one, " + ", call("exp", "-x"), ")");
  if (name == "tanh") return call("tanh", "x");
  if (name == "relu") return str_cat("x < ", zero, " ? ", zero, " : x");
  if (name == "affine") return str_cat(a, " * x + ", b);
  if (name == "leakyrelu") return str_cat("x >= ", zero, " ? x : ", a, " * x");
  if (name == "thresholdedrelu") return str_cat("x >= ", a, " ? x : ", zero);
  if (name == "scaledtanh") return str_cat(a, " * ", call("tanh", b + " * x"));
  if (name == "hardsigmoid")
    return str_cat("clamped(", a, " * x + ", b, ", ", zero, ", ", one, ")");
  if (name == "elu") return str_cat("x >= ", zero, " ? x : ", a, " * ", call("expm1", "x"));
  if (name == "softsign") return str_cat("x / (", one, " + ", call("fabs", "x"), ")");
  std::string tail = call("log1p", call("exp", "-" + call("fabs", "x")));
  return str_cat("(x > ", zero, " ? x : x < ", zero, " ? ", zero, " : x) + ", tail);  // softplus
}

std::string files(std::initializer_list<const char*> names) {
  std::string text;
  for (const char* name : names) text += kernels::cuda::source(name);
  return text;
}

constexpr size_t kWeights = 1, kBias = 3;  // inputs

// The gates of all steps; besides, what blocks will hand to each other gets the number 0.
std::string gates_text(const Problem& problem, const RecurrentSpec& spec, const ProductKnobs& knobs,
                       bool last_bias) {
  const OperandDesc& weights = problem.inputs[kWeights];
  const OperandDesc bias = problem.inputs.size() > kBias ? problem.inputs[kBias] : OperandDesc();
  std::string_view type = storage_type(spec.dtype);
  int64_t columns = spec.gates * spec.hidden;
  int lanes = product_vector(DType::kFloat32, columns);
  std::string text = product_text() + files({"recurrent/gates.cuh"});
  text += constants_text("Numbers", str_cat("  typedef ", type, " Element;\n"),
                         {{"int kTileRows", knobs.tile_rows},
                          {"int kTileColumns", knobs.tile_columns},
                          {"int kTileDepth", knobs.tile_depth},
                          {"int kWarpsRows", knobs.warps_rows},
                          {"int kWarpsColumns", knobs.warps_columns},
                          {"int kWarpsDepth", knobs.warps_depth},
                          {"int kStages", knobs.stages},
                          {"int kSplits", 1},
                          {"bool kCluster", 0},
                          {"bool kMatrix", knobs.matrix},
                          {"bool kWarpgroups", 0},
                          {"int kResident", 1},
                          {"int kTrigger", 0},
                          {"int kColumns", columns},
                          {"int kDepth", spec.input},
                          {"bool kColumnsTogether", 0},
                          {"bool kConstant", weights.is_constant()},
                          {"int kLanes", lanes}});
  int vector = product_vector(spec.dtype, spec.input);
  text += "typedef ProductNumbers<Numbers> N;\n";
  std::string source = str_cat("DenseRows<", type, ", ", spec.input, ", ", spec.input, "LL>> ");
  text += str_cat("typedef AlongRows<Numbers::kTileRows, N::kDepthChunks, ", vector,
                  ", N::kThreads, ", source, "A;\n");
  text += str_cat("typedef AlongRows<Numbers::kTileColumns, N::kDepthChunks, ", vector,
                  ", N::kThreads, ", source, "B;\n");
  text += str_cat(
      "extern \"C\" __global__ void __launch_bounds__(", knobs.threads(), ", 1) ", kGatesEntry,
      "(const ", type, "* x, ", pointer_to(weights, type), "in", kWeights, ", ",
      pointer_to(bias, type), "in", kBias,
      ", float* __restrict__ gates, u64* exchange, i64 exchanged, int rows) {\n"
      "  const ProductPlace at = product_place<Numbers>(rows, (int)blockIdx.x, (int)blockIdx.z);\n"
      "  A a{{x, rows}};\n  B b{{in",
      kWeights, " + (i64)at.batch * ", columns * spec.input, "LL, ", columns, "}};\n  GatesTail<",
      type, ", ", columns, ", ", lanes, ", ", last_bias ? "true" : "false", "> tail{gates, in",
      kBias,
      ", rows};\n  product<Numbers>(a, b, tail, at, rows);\n"
      "  clear_exchange(exchange, exchanged);\n}\n");
  return text;
}

Result<std::string> steps_text(const Problem& problem, const RecurrentSpec& spec,
                               const RecurrentKnobs& knobs, const RecurrentLayout& layout) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  std::string_view type = storage_type(spec.dtype);
  std::string_view length = storage_type(spec.length_dtype);
  std::string text =
      files({"types.cuh", "math.cuh", "index.cuh", "lanes.cuh", "arch/pdl.cuh", "arch/mma.cuh",
             "arch/tagged.cuh", "recurrent/cores.cuh", "recurrent/steps.cuh"});
  REDLINE_ASSIGN(std::string activations, recurrent_activations_text(problem, "float"));
  text += activations;
  int64_t kind = spec.gates == 1 ? 0 : spec.gates == 3 ? 1 : 2;
  text += constants_text("Numbers",
                         str_cat("  typedef ", type, " Element;\n  typedef ", length, " Length;\n"),
                         {{"int kKind", kind},
                          {"int kHidden", spec.hidden},
                          {"int kDirections", spec.directions},
                          {"int kUnits", knobs.units},
                          {"int kBatch", knobs.batch},
                          {"int kWarps", kRecurrentWarps},
                          {"int kGroups", layout.groups},
                          {"int kParts", layout.parts},
                          {"bool kNarrow", spec.dtype == DType::kFloat16},
                          {"int kRegisterDepth", layout.register_depth},
                          {"int kSharedDepth", layout.shared_depth},
                          {"bool kBatchFirst", attrs.batch_first},
                          {"bool kReverse", attrs.direction == RecurrentDirection::kReverse},
                          {"bool kLinear", attrs.linear_before_reset},
                          {"bool kInputForget", attrs.input_forget},
                          {"bool kConstant", spec.constant}});
  std::string in = str_cat("const ", type, "* ");
  return str_cat(
      text, "extern \"C\" __global__ void __launch_bounds__(", kRecurrentWarps * 32, ", 1) ",
      recurrent_steps_entry(knobs), "(const float* gates, ", in, "r, ", in, "bias, const ", length,
      "* lengths, ", in, "h, ", in, "c, ", in, "peepholes, ", type, "* y, ", type, "* y_h, ", type,
      "* y_c, u64* exchange, int sequence, int batch, u32* refused) {\n  recurrent_steps<Numbers, "
      "Activations>({gates, r, bias, lengths, h, c, peepholes, y, y_h, y_c, exchange, "
      "sequence, batch, refused});\n}\n");
}

// All blocks must run at once.
Status fit_units(const RecurrentSpec& spec, RecurrentKnobs& knobs, int multiprocessors) {
  for (int64_t units : recurrent_units(spec)) {
    if (units < knobs.units) continue;
    RecurrentKnobs more = knobs;
    more.units = units;
    if (recurrent_blocks(spec, more) > multiprocessors) continue;
    knobs = more;
    return {};
  }
  return unsupported("a state of ", spec.hidden, " elements on ", multiprocessors,
                     " multiprocessors");
}

}  // namespace

Result<std::string> recurrent_activations_text(const Problem& problem, std::string_view type) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  REDLINE_ASSIGN(std::vector<RecurrentActivation> all,
                 recurrent_activations(attrs, problem.op->name));
  size_t count = all.size() / static_cast<size_t>(recurrent_directions(attrs));
  std::string text =
      str_cat("__device__ inline ", type, " clamped(", type, " x, ", type, " low, ", type,
              " high) {\n  return x < low ? low : x > high ? high : x;\n}\nstruct Activations {\n");
  for (size_t i = 0; i < count; ++i) {
    text += str_cat("  __device__ inline static ", type, " ", std::string_view("fgh").substr(i, 1),
                    "(int direction, ", type, " x) {\n");
    if (attrs.clip) {
      std::string most = float_literal(*attrs.clip, type);
      text += str_cat("    x = clamped(x, -", most, ", ", most, ");\n");
    }
    std::string first = activation_text(all[i], type);
    std::string last = activation_text(all[all.size() - count + i], type);
    if (first != last) text += str_cat("    if (direction == 1) return ", last, ";\n");
    text += str_cat("    return ", first, ";\n  }\n");
  }
  return text + "};\n";
}

std::string recurrent_steps_entry(const RecurrentKnobs& knobs) {
  return str_cat("recurrent_steps_", knobs.units);
}

Result<std::vector<cuda::KernelSource>> recurrent_kernels(const Problem& problem,
                                                          const RecurrentSpec& spec,
                                                          RecurrentKnobs knobs,
                                                          const ProductKnobs& product,
                                                          const cuda::DeviceInfo& device) {
  if (product.shared_bytes(spec.dtype) > device.shared_bytes_per_block) {
    return unsupported("its tiles take ", product.shared_bytes(spec.dtype),
                       " bytes of shared memory");
  }
  REDLINE_TRY(fit_units(spec, knobs, device.multiprocessors));
  REDLINE_ASSIGN(RecurrentLayout layout,
                 recurrent_layout(spec, knobs, device.shared_bytes_per_block));
  bool last_bias = spec.gates == 3 && !spec.twice;
  std::vector<std::string> options = {"-DREDLINE_INDEX=int"};
  std::vector<cuda::KernelSource> sources;
  sources.push_back({std::string(kGatesEntry), gates_text(problem, spec, product, last_bias),
                     device.arch(), options, static_cast<int>(product.shared_bytes(spec.dtype))});
  REDLINE_ASSIGN(std::string steps, steps_text(problem, spec, knobs, layout));
  sources.push_back({recurrent_steps_entry(knobs), std::move(steps), device.arch(), options,
                     static_cast<int>(layout.shared_bytes)});
  return sources;
}

}  // namespace redline
