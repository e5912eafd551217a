// SPDX-License-Identifier: Apache-2.0
#include "tune/check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>

#include "core/sub_byte.h"
#include "ops/compare.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "tune/batch_slice.h"
#include "tune/check_inputs.h"
#include "tune/expected_region.h"
#include "tune/trial.h"

namespace redline {
namespace {

constexpr std::string_view kVerdictNames[] = {"unchecked", "right", "wrong", "refused",
                                              "not checkable"};

// References take some 2 ns a multiplication and 20 ns an element they read or write.
constexpr double kMaxFlops = 2e8;
constexpr int64_t kMaxElements = 1 << 24;
constexpr double kEnoughVariety = 0.25;
constexpr int64_t kSamples = 3;  // of a batch that is too large to be computed whole

Status check_known(const Problem& problem) {
  if (problem.has_subgraphs) return unsupported("the step has subgraphs");
  if (problem.op->has(kTraitRandom)) return unsupported("the op is random");
  if (problem.op->has(kTraitDataDependent)) return unsupported("sizes depend on values");
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.is_tensor) return unsupported("an operand is no tensor");
      if (!operand.is_static()) return unsupported("sizes are known only when it runs");
      if (operand.present && operand.dtype == DType::kString) return unsupported("strings");
    }
  }
  for (const OperandDesc& output : problem.outputs) {
    if (!output.present || output.dims.count() == 0) return unsupported("an output is empty");
  }
  return {};
}

std::vector<Type> types_of(const std::vector<OperandDesc>& operands) {
  std::vector<Type> types;
  for (const OperandDesc& operand : operands) {
    types.push_back(operand.present ? Type::tensor(operand.dtype, Shape::of(operand.dims))
                                    : Type());
  }
  return types;
}

// The terms that an element sums: those of the region's op that sums most.
int64_t terms_of(const Problem& problem) {
  std::vector<Type> inputs = types_of(problem.inputs);
  std::vector<Type> outputs = types_of(problem.outputs);
  if (!problem.is("fused")) {
    return reduction_length(*problem.op, problem.attrs, inputs, outputs);
  }
  const Body& body = *problem.attrs.as<FusedAttrs>().body;
  int64_t most = 1;
  static_cast<void>(visit_body(body, inputs, {}, [&](const BodyNode& node, auto own, auto made) {
    if (node.op->name == "constant") return;
    most = std::max(most, reduction_length(*node.op, node.attrs, own, made));
  }));
  return most;
}

// Multiplications and additions of the ops that say how many they need.
double flops_of(const Problem& problem) {
  std::vector<Type> inputs = types_of(problem.inputs);
  std::vector<Type> outputs = types_of(problem.outputs);
  if (!problem.is("fused")) {
    return problem.op->cost == nullptr ? 0 : problem.op->cost(inputs, outputs, problem.attrs).flops;
  }
  const Body& body = *problem.attrs.as<FusedAttrs>().body;
  double flops = 0;
  Status visited = visit_body(body, inputs, {}, [&](const BodyNode& node, auto own, auto made) {
    if (node.op->cost != nullptr) flops += node.op->cost(own, made, node.attrs).flops;
  });
  if (!visited.ok()) return INFINITY;
  return flops;
}

Status check_effort(const Problem& problem) {
  int64_t elements = 0;
  for (const OperandDesc& output : problem.outputs) elements += output.dims.count();
  for (const OperandDesc& input : problem.inputs) {
    if (input.present && !problem.op->has(kTraitMovement)) elements += input.dims.count();
  }
  if (elements > kMaxElements || flops_of(problem) > kMaxFlops) {
    return unsupported("the reference would take too long");
  }
  return {};
}

Result<std::vector<HostValue>> run_whole(const Problem& problem,
                                         const std::vector<Tensor>& inputs) {
  std::vector<HostValue> values;
  for (const Tensor& input : inputs) values.push_back(HostValue::of(input));
  std::vector<const HostValue*> pointers;
  for (const HostValue& value : values) {
    pointers.push_back(value.tensor.defined() ? &value : nullptr);
  }
  REDLINE_ASSIGN(std::vector<HostValue> results,
                 run_reference(*problem.op, problem.attrs, pointers, problem.outputs.size()));
  for (size_t i = 0; i < results.size(); ++i) {
    const OperandDesc& output = problem.outputs[i];
    if (results[i].kind != HostValue::Kind::kTensor || !results[i].tensor.defined() ||
        !(results[i].tensor.dims() == output.dims) || results[i].tensor.dtype() != output.dtype) {
      return unsupported("the output's sizes depend on values");
    }
  }
  return results;
}

Expectation::Output whole_output(const Tensor& values, int64_t terms) {
  Expectation::Output output;
  output.dtype = values.dtype();
  output.dims = values.dims();
  output.values = values.reshaped(Dims{values.count()});
  output.elements.resize(static_cast<size_t>(values.count()));
  for (size_t i = 0; i < output.elements.size(); ++i) output.elements[i] = static_cast<int64_t>(i);
  output.limits.resize(output.elements.size());
  if (!is_float(values.dtype())) return output;
  Tolerance tolerance = rounding_tolerance(values.dtype(), terms);
  std::vector<double> wide = read_elements<double>(values.view());
  double largest = 0;
  for (double v : wide) largest = std::max(largest, std::isfinite(v) ? std::abs(v) : 0);
  for (size_t i = 0; i < wide.size(); ++i) output.limits[i] = tolerance.limit(wide[i], largest);
  return output;
}

// How many of the values differ from each other: those that an activation made all the same would
// hide what came before it. 1 for types of few values.
double variety(const Expectation::Output& output) {
  if (!is_float(output.dtype) || dtype_bits(output.dtype) < 16 || output.elements.size() < 16) {
    return 1;
  }
  std::vector<double> values = read_elements<double>(output.values.view());
  std::erase_if(values, [](double v) { return !std::isfinite(v); });
  std::sort(values.begin(), values.end());
  auto end = std::unique(values.begin(), values.end());
  return static_cast<double>(end - values.begin()) / static_cast<double>(output.elements.size());
}

std::string show(double v) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.9g", v);
  return buffer;
}

std::string place_of(const Dims& dims, int64_t flat) {
  Dims index = dims;
  for (size_t axis = dims.size(); axis-- > 0; flat /= dims[axis]) index[axis] = flat % dims[axis];
  return index.to_string();
}

// Whether an element is what a trial put there before it ran the kernel.
bool is_poison(const TensorView& view, int64_t element) {
  if (is_sub_byte(view.dtype)) return false;
  auto size = static_cast<size_t>(dtype_bits(view.dtype)) / 8;
  const auto* bytes =
      static_cast<const unsigned char*>(view.data) + static_cast<size_t>(element) * size;
  return std::all_of(bytes, bytes + size, [](unsigned char b) { return b == kPoison; });
}

template <class W>
CheckResult compare_output(const Expectation::Output& want, const TensorView& actual) {
  std::vector<W> expected = read_elements<W>(want.values.view());
  std::vector<W> got = read_elements_at<W>(actual, want.elements);
  CheckResult result{Verdict::kRight, {}, 0};
  double largest = 0;
  double farthest = 0;
  double worst_ratio = 0;
  size_t worst = 0;
  int64_t compared = 0;
  int64_t wrong = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isinf(want.limits[i])) continue;
    ++compared;
    auto a = static_cast<double>(expected[i]);
    auto b = static_cast<double>(got[i]);
    if (std::isfinite(a)) largest = std::max(largest, std::abs(a));
    if (expected[i] == got[i] || (a != a && b != b)) continue;
    bool finite = std::isfinite(a) && std::isfinite(b);
    double distance = finite ? std::max(std::abs(a - b), 0x1p-1074) : INFINITY;
    if (finite) farthest = std::max(farthest, distance);
    if (distance <= want.limits[i]) continue;
    ++wrong;
    double ratio = distance / std::max(want.limits[i], 1e-300);
    if (wrong > 1 && ratio <= worst_ratio) continue;
    worst_ratio = ratio;
    worst = i;
  }
  if (compared == 0) return {Verdict::kNotCheckable, "rounding decides each checked element", 0};
  result.error = farthest == 0 ? 0 : farthest / std::max(largest, 0x1p-1000);
  if (wrong > 0) {
    result.verdict = Verdict::kWrong;
    result.reason =
        str_cat(wrong, " of ", compared, " checked elements, most of all at ",
                place_of(want.dims, want.elements[worst]), ": ",
                show(static_cast<double>(got[worst])), ", expected ",
                show(static_cast<double>(expected[worst])), " within ", show(want.limits[worst]),
                is_poison(actual, want.elements[worst]) ? "; as it was before the run" : "");
  }
  return result;
}

// What some of the samples of a large batch must be.
Result<Expectation> expect_samples(const Problem& problem, uint64_t seed) {
  std::optional<BatchSlice> slice;
  for (int64_t count = kSamples; count > 0; --count) {
    slice = slice_batch(problem, count, seed);
    if (!slice) return unsupported("the reference would take too long");
    if (check_effort(slice->problem).ok()) break;
    if (count == 1) return unsupported("the reference would take too long");
  }
  Expectation expected;
  REDLINE_ASSIGN(expected.inputs, make_check_inputs(problem, seed, false));
  std::vector<Tensor> inputs = expected.inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!slice->sliced[i]) continue;
    REDLINE_ASSIGN(inputs[i], take_samples(inputs[i], slice->samples));
  }
  REDLINE_ASSIGN(std::vector<HostValue> results, run_whole(slice->problem, inputs));
  int64_t terms = terms_of(slice->problem);
  for (size_t i = 0; i < results.size(); ++i) {
    Expectation::Output output = whole_output(results[i].tensor, terms);
    output.dims = problem.outputs[i].dims;
    int64_t each = output.dims.count() / output.dims[0];
    for (int64_t& at : output.elements) {
      at = slice->samples[static_cast<size_t>(at / each)] * each + at % each;
    }
    expected.outputs.push_back(std::move(output));
  }
  return expected;
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  return kVerdictNames[static_cast<size_t>(verdict)];
}

std::optional<Verdict> parse_verdict(std::string_view name) {
  for (size_t i = 0; i < std::size(kVerdictNames); ++i) {
    if (kVerdictNames[i] == name) return static_cast<Verdict>(i);
  }
  return std::nullopt;
}

bool takes_too_long(const Problem& problem) {
  return check_known(problem).ok() && !check_effort(problem).ok();
}

Result<Expectation> make_expectation(const Problem& problem, uint64_t seed) {
  REDLINE_TRY(check_known(problem));
  Expectation expected;
  double most = -1;
  // Biases of a trained model may push small values all to one side of an activation.
  for (double scale : {1.0, 16.0, 256.0}) {
    REDLINE_ASSIGN(std::vector<Tensor> inputs, make_check_inputs(problem, seed, false, scale));
    REDLINE_ASSIGN(std::optional<std::vector<Expectation::Output>> sampled,
                   expect_elements(problem, inputs, seed));
    if (!sampled) break;
    double varied = variety((*sampled)[0]);
    if (varied <= most) continue;
    most = varied;
    expected = {std::move(inputs), *std::move(sampled)};
    if (varied >= kEnoughVariety) break;
  }
  if (most >= 0) return expected;
  if (!check_effort(problem).ok()) return expect_samples(problem, seed);
  REDLINE_ASSIGN(expected.inputs, make_check_inputs(problem, seed, false));
  Result<std::vector<HostValue>> results = run_whole(problem, expected.inputs);
  if (!results.ok()) {
    REDLINE_ASSIGN(expected.inputs, make_check_inputs(problem, seed, true));
    results = run_whole(problem, expected.inputs);
  }
  if (!results.ok()) {
    return unsupported("the reference refuses random inputs: ", results.status().message());
  }
  int64_t terms = terms_of(problem);
  for (const HostValue& result : *results) {
    expected.outputs.push_back(whole_output(result.tensor, terms));
  }
  return expected;
}

CheckResult compare_to(const Expectation& expected, std::span<const TensorView> outputs) {
  CheckResult result{Verdict::kRight, {}, 0};
  for (size_t i = 0; i < expected.outputs.size(); ++i) {
    const Expectation::Output& want = expected.outputs[i];
    CheckResult own = with_wide_type(
        want.dtype, [&](auto wide) { return compare_output<decltype(wide)>(want, outputs[i]); });
    result.error = std::max(result.error, own.error);
    if (result.verdict == Verdict::kWrong || own.verdict == Verdict::kRight) continue;
    result.verdict = own.verdict;
    result.reason =
        expected.outputs.size() > 1 ? str_cat("output ", i, ": ", own.reason) : own.reason;
  }
  return result;
}

}  // namespace redline
