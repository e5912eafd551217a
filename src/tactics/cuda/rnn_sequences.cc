// SPDX-License-Identifier: Apache-2.0
#include <climits>

#include "base/checked.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/rnn_plan.h"
#include "tactics/cuda/staged_kernel.h"
#include "tactics/knob.h"

// rnn, gru and lstm of what cuda.rnn does not take (f64, weights of unknown sizes, states too large
// to lie in all multiprocessors), and on GPUs too small for it: a block for each sequence.
namespace redline {
namespace {

constexpr const char* kEntry = "recurrent_sequence";
// GPUs of up to so many multiprocessors need this.
constexpr const char* kMost = "multiprocessors";

enum Number : size_t { kSteps, kBatch, kInput, kHidden, kSpace, kNumbers };

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  for (size_t i : {0, 1, 2}) {
    if (problem.inputs[i].dims.rank() != 3) return unsupported("takes x and weights of rank 3");
  }
  return {};
}

std::vector<Config> configs(const Problem& problem) {
  Result<RecurrentSpec> spec = recurrent_spec(problem);
  int64_t most = INT_MAX;
  if (spec.ok()) most = recurrent_blocks(*spec, {recurrent_units(*spec).back(), 1}) - 1;
  return {Config{NamedAttr{kMost, most}}};
}

bool fits(const Config& config, const cuda::DeviceInfo& device) {
  const auto* most = find_knob<int64_t>(config, kMost);
  return most == nullptr || device.multiprocessors <= *most;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  DType dtype = problem.inputs[0].dtype;
  std::string compute(compute_type(dtype));
  auto present = [&](size_t i) { return i < problem.inputs.size() && problem.inputs[i].present; };
  auto input = [&](size_t i) { return present(i) ? str_cat("in", i) : std::string("nullptr"); };
  auto output = [&](size_t i) {
    return i < problem.outputs.size() ? str_cat("out", i) : std::string("nullptr");
  };
  REDLINE_ASSIGN(std::string functions, recurrent_activations_text(problem, compute));
  DType lengths = present(4) ? problem.inputs[4].dtype : DType::kInt64;
  int64_t gates = recurrent_gates(problem);
  functions += str_cat("struct Numbers {\n  typedef ", storage_type(dtype), " Element;\n  typedef ",
                       compute, " Compute;\n  typedef ", storage_type(lengths), " Length;\n");
  auto number = [&](const char* what, int64_t value) {
    functions += str_cat("  static constexpr ", what, " = ", value, ";\n");
  };
  number("int kKind", gates == 1 ? 0 : gates == 3 ? 1 : 2);
  number("int kDirections", recurrent_directions(attrs));
  number("bool kBatchFirst", attrs.batch_first);
  number("bool kReverse", attrs.direction == RecurrentDirection::kReverse);
  number("bool kLinear", attrs.linear_before_reset);
  number("bool kInputForget", attrs.input_forget);
  functions += "};\n";
  std::string text =
      str_cat("  run_sequence<Numbers, Activations>({in0, in1, in2, ", input(3), ", ", input(4),
              ", ", input(5), ", ", input(6), ", ", input(7), ", ", output(0), ", ", output(1),
              ", ", output(2), ", (", compute, "*)(workspace + ", n(kSpace), "), ", n(kSteps), ", ",
              n(kBatch), ", ", n(kInput), ", ", n(kHidden), "}, refused);\n");
  return staged_sources(
      problem, {{kEntry, text}},
      {.files = {"recurrent/sequence.cuh"}, .numbers = kNumbers, .functions = functions}, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_TRY(supports(problem));
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  const Dims& x = problem.inputs[0].dims;
  const Dims& r = problem.inputs[2].dims;
  std::vector<int64_t> numbers(kNumbers);
  numbers[kSteps] = x[attrs.batch_first ? 1 : 0];
  numbers[kBatch] = x[attrs.batch_first ? 0 : 1];
  numbers[kInput] = x[2];
  numbers[kHidden] = r[2];
  int64_t blocks = recurrent_directions(attrs) * numbers[kBatch];
  int64_t values = 2 * recurrent_gates(problem) + 3;
  const int64_t sizes[] = {blocks, values, numbers[kHidden], int64_t{sizeof(double)}};
  std::optional<int64_t> bytes = checked_product<int64_t>(sizes);
  if (!bytes) return unsupported("a state of ", numbers[kHidden], " elements");
  WorkspaceLayout layout;
  numbers[kSpace] = layout.add(*bytes);
  auto kernel =
      std::make_unique<StagedKernel>("cuda.rnn_sequences", static_cast<size_t>(layout.bytes()));
  REDLINE_TRY(kernel->add_run(args, 0, kEntry, blocks, -1, std::move(numbers)));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_rnn_sequences(TacticRegistry& registry) {
  registry.add({.name = "cuda.rnn_sequences",
                .device = "cuda",
                .ops = {"rnn", "gru", "lstm"},
                .supports = supports,
                .configs = configs,
                .fits = fits,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
