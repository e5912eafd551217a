// SPDX-License-Identifier: Apache-2.0
// ops_test [-v] [--device cpu|cuda|emulated|ARCH] [--tactic NAME] [--wide] [--types TYPE,...]
// [--time | --late | --spills LIST] FILE.cases ...: runs conformance cases, one a line:
//
//   op(inputs) {attributes} -> outputs          softmax(f32[2,3,0]) {axis=1} -> f32[2,3,0]
//
// An input is dtype[sizes] (random values), dtype[sizes]=[values], dtype[sizes]=range(lo, hi)
// (lo, lo+1, ...), seq{tensors}, opt{} or opt{tensor}, or _ (absent). An output is written the same
// way: without values only its type is compared; _ is not compared. `-> error "part"` expects the
// reference or the shape rule to fail with a message that holds the part.
//
// For each case: the shape rule sees static sizes with and without the given values, symbols in
// place of all sizes, and unknown ranks; it must never contradict what the reference makes. Then
// every tactic of the device that takes the problem must agree with the reference. An ARCH
// ("sm_80") compiles its GPU kernels, which needs no GPU, and runs none. --time says how long GPU
// kernels take, and checks nothing. --late also runs GPU kernels behind a producer that lets them
// start long before their inputs are there; see slow_producer.h. --every-tactic fails when a GPU
// tactic took none of the cases. --types f16,bf16 runs, in place of
// the cases, what those whose float operands are all f32 become in these types: operands and
// attributes are retyped, and the result must be what the reference makes in f32 of the same
// rounded operands. -v names those that have no such form, and why. --spills compiles all configs
// of the first file's cases and the likeliest of the others', each kind of kernel once (is_first),
// and fails unless those that spill are those of the LIST (spills.h), if it was made with this
// compiler; --update rewrites the list.

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "base/thread_pool.h"
#include "gpu_runner.h"
#include "ir/text_reader.h"
#include "ops/compare.h"
#include "ops/elements.h"
#include "ops/random_tensor.h"
#include "retype.h"
#include "tactics/cuda/element.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

// Expected values are written with about seven digits.
constexpr double kWrittenDigits = 2e-6;
constexpr size_t kUsualConfigs = 4;  // of a tactic
constexpr std::string_view kConstantOperands = ", constant operands";
constexpr int kNotRun = 77;  // what CTest takes for skipped

struct CaseValue {
  bool present = true;
  bool has_values = false;
  HostValue value;
};

struct Case {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<CaseValue> inputs;
  std::vector<CaseValue> outputs;
  std::optional<std::string> error;
};

struct Totals {
  int cases = 0;
  int failures = 0;
  int tactic_runs = 0;
  std::map<std::string, int> skips;      // why a tactic did not run
  std::map<std::string, int> underived;  // why a case has no form in another type
};

class CaseParser {
 public:
  CaseParser(const OpRegistry& ops, std::string_view line, uint64_t seed)
      : reader_(ops, line), seed_(seed) {}

  Result<Case> parse() {
    Case result;
    REDLINE_ASSIGN(std::string name, reader_.read_word("an op"));
    result.op = reader_.registry().find(name);
    if (result.op == nullptr) return reader_.error_at(0, str_cat("no op is named '", name, "'"));
    REDLINE_TRY(reader_.expect("("));
    if (!reader_.accept(")")) {
      REDLINE_ASSIGN(result.inputs, parse_values());
      REDLINE_TRY(reader_.expect(")"));
    }
    REDLINE_ASSIGN(AttrMap map, reader_.read_attr_map());
    Result<Attrs> attrs = Attrs::load(result.op->attrs, map);
    REDLINE_TRY(reader_.expect("->"));
    if (reader_.accept("error")) {
      REDLINE_ASSIGN(result.error, reader_.read_quoted("part of the error"));
    } else {
      REDLINE_ASSIGN(result.outputs, parse_values());
    }
    if (!reader_.at_end()) return reader_.error("expected the end of the case");
    if (!attrs.ok()) {
      // Bad attributes fail when they are loaded.
      if (!result.error || attrs.status().message().find(*result.error) == std::string::npos) {
        return attrs.status();
      }
      result.op = nullptr;
      return result;
    }
    result.attrs = *std::move(attrs);
    return result;
  }

 private:
  Result<std::vector<CaseValue>> parse_values() {
    std::vector<CaseValue> values;
    do {
      REDLINE_ASSIGN(CaseValue value, parse_value());
      values.push_back(std::move(value));
    } while (reader_.accept(","));
    return values;
  }

  Result<CaseValue> parse_value() {
    CaseValue result;
    if (reader_.accept("_")) {
      result.present = false;
      return result;
    }
    for (std::string_view kind : {"seq", "opt"}) {
      if (!reader_.accept(kind)) continue;
      REDLINE_TRY(reader_.expect("{"));
      std::vector<HostValue> elements;
      result.has_values = true;
      if (!reader_.accept("}")) {
        REDLINE_ASSIGN(std::vector<CaseValue> items, parse_values());
        for (CaseValue& item : items) {
          result.has_values &= item.has_values;
          elements.push_back(std::move(item.value));
        }
        REDLINE_TRY(reader_.expect("}"));
      }
      result.value = kind == "seq" ? HostValue::sequence(std::move(elements))
                                   : HostValue::optional(std::move(elements));
      return result;
    }
    REDLINE_ASSIGN(Type type, reader_.read_type());
    std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
    if (!dims) return reader_.error("expected sizes that are numbers");
    Tensor tensor;
    result.has_values = reader_.accept("=");
    if (!result.has_values) {
      REDLINE_ASSIGN(tensor, random_tensor(type.dtype, *dims, seed_++));
    } else if (reader_.accept("range")) {
      REDLINE_ASSIGN(tensor, parse_range(type.dtype, *dims));
    } else {
      REDLINE_ASSIGN(tensor, reader_.read_elements_of(type.dtype, *dims));
    }
    result.value = HostValue::of(std::move(tensor));
    return result;
  }

  Result<Tensor> parse_range(DType dtype, const Dims& dims) {
    REDLINE_TRY(reader_.expect("("));
    REDLINE_ASSIGN(int64_t low, reader_.read_int("the first element"));
    REDLINE_TRY(reader_.expect(","));
    REDLINE_ASSIGN(int64_t high, reader_.read_int("the end of the range"));
    REDLINE_TRY(reader_.expect(")"));
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
    if (high - low != tensor.count()) {
      return reader_.error(str_cat("the range does not have ", tensor.count(), " elements"));
    }
    with_wide_type(dtype, [&](auto wide) {
      std::vector<decltype(wide)> values;
      for (int64_t v = low; v < high; ++v) values.push_back(static_cast<decltype(wide)>(v));
      write_elements(values, tensor.view());
    });
    return tensor;
  }

  TextReader reader_;
  uint64_t seed_;
};

// How the shape rule is asked.
enum class Question { kGivenValues, kTypesOnly, kSymbols, kUnknownRanks };

std::string_view name_of(Question question) {
  switch (question) {
    case Question::kGivenValues:
      return "with the given values as constants";
    case Question::kTypesOnly:
      return "without values";
    case Question::kSymbols:
      return "with symbols for sizes";
    case Question::kUnknownRanks:
      return "with unknown ranks";
  }
  return "";
}

struct Inferred {
  std::vector<Type> types;
  std::vector<std::optional<SymDims>> contents;
  std::map<std::string, int64_t, std::less<>> symbols;
};

Type symbolic(const Type& type, size_t input, Inferred& result) {
  if (!type.is_tensor()) return type;
  SymDims dims;
  for (int i = 0; i < type.shape.rank(); ++i) {
    std::string name = str_cat("d", input, "_", i);
    result.symbols[name] = type.shape[i].value();
    dims.push_back(Dim::symbol(name));
  }
  return Type::tensor(type.dtype, std::move(dims));
}

Type without_rank(const Type& type) { return type.is_tensor() ? Type::tensor(type.dtype) : type; }

Result<Inferred> infer(const Case& c, Question question, size_t num_outputs) {
  Inferred result;
  std::vector<Type> types(c.inputs.size());
  std::vector<InferInput> inputs(c.inputs.size());
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const CaseValue& input = c.inputs[i];
    if (!input.present) continue;
    types[i] = type_of(input.value);
    bool constant = input.has_values && types[i].is_tensor() && question != Question::kTypesOnly;
    if (constant) {
      inputs[i].constant = &input.value.tensor;
    } else if (question == Question::kSymbols) {
      types[i] = symbolic(types[i], i, result);
    } else if (question == Question::kUnknownRanks) {
      types[i] = without_rank(types[i]);
    }
    inputs[i].type = &types[i];
  }
  InferContext context(*c.op, c.attrs, inputs, num_outputs);
  int fresh = 0;
  context.make_symbol = [&fresh](std::string_view) {
    return Dim::symbol(str_cat("fresh.", fresh++));
  };
  context.subgraph = [](size_t, std::span<const Type>) -> Result<std::vector<Type>> {
    return unsupported("cases have no subgraphs");
  };
  REDLINE_TRY(c.op->infer(context));
  result.types = context.outputs();
  result.contents = context.output_contents();
  return result;
}

// OK unless the size is known at these symbols and differs.
Status check_dim(const Dim& dim, int64_t actual, const Inferred& inferred, std::string_view what) {
  Result<int64_t> value = dim.evaluate([&](std::string_view name) -> std::optional<int64_t> {
    auto it = inferred.symbols.find(name);
    return it == inferred.symbols.end() ? std::nullopt : std::optional(it->second);
  });
  bool unknown = !value.ok() && dim.to_string().find("fresh.") != std::string::npos;
  if (unknown || (value.ok() && *value == actual)) return {};
  return internal_error("the rule says ", what, " = ", dim.to_string(), " = ",
                        value.ok() ? std::to_string(*value) : std::string(value.status().message()),
                        ", the reference makes ", actual);
}

Status check_type(const Type& type, const HostValue& actual, const Inferred& inferred) {
  Type made = type_of(actual);
  if (type.kind != made.kind) {
    return internal_error("the rule says ", type.to_string(), ", the reference makes ",
                          made.to_string());
  }
  if (!type.is_tensor()) {
    for (const HostValue& element : actual.elements) {
      REDLINE_TRY(check_type(*type.element, element, inferred));
    }
    return {};
  }
  bool same_rank = !type.shape.has_rank() || type.shape.rank() == made.shape.rank();
  if (type.dtype != made.dtype || !same_rank) {
    return internal_error("the rule says ", type.to_string(), ", the reference makes ",
                          made.to_string());
  }
  for (int i = 0; type.shape.has_rank() && i < type.shape.rank(); ++i) {
    REDLINE_TRY(check_dim(type.shape[i], made.shape[i].value(), inferred, str_cat("size ", i)));
  }
  return {};
}

Status check_rule(const Case& c, Question question, const std::vector<HostValue>& results) {
  REDLINE_ASSIGN(Inferred inferred, infer(c, question, results.size()));
  for (size_t i = 0; i < results.size(); ++i) {
    REDLINE_TRY(
        check_type(inferred.types[i], results[i], inferred).with_context(str_cat("output ", i)));
    if (!inferred.contents[i]) continue;
    std::vector<int64_t> actual = read_ints(results[i].tensor.view());
    if (actual.size() != inferred.contents[i]->size()) {
      return internal_error("output ", i, ": the rule tells ", inferred.contents[i]->size(),
                            " elements of ", actual.size());
    }
    for (size_t k = 0; k < actual.size(); ++k) {
      REDLINE_TRY(check_dim((*inferred.contents[i])[k], actual[k], inferred,
                            str_cat("output ", i, "'s element ", k)));
    }
  }
  return {};
}

Status check_output(const CaseValue& expected, const HostValue& actual) {
  if (!expected.present) return {};
  const HostValue& want = expected.value;
  if (want.kind != actual.kind) return internal_error("is of another kind than expected");
  if (want.kind != HostValue::Kind::kTensor) {
    if (want.elements.size() != actual.elements.size()) {
      return internal_error("has ", actual.elements.size(), " elements, expected ",
                            want.elements.size());
    }
    for (size_t i = 0; i < want.elements.size(); ++i) {
      REDLINE_TRY(check_output({true, expected.has_values, want.elements[i]}, actual.elements[i])
                      .with_context(str_cat("element ", i)));
    }
    return {};
  }
  if (!actual.tensor.defined()) return internal_error("was not produced");
  if (!(type_of(want) == type_of(actual))) {
    return internal_error("is ", type_of(actual).to_string(), ", expected ",
                          type_of(want).to_string());
  }
  if (!expected.has_values) return {};
  Tolerance tolerance = rounding_tolerance(want.tensor.dtype());
  if (is_float(want.tensor.dtype())) tolerance.relative += kWrittenDigits;
  if (is_float(want.tensor.dtype())) tolerance.to_largest += kWrittenDigits / 4;
  return compare_tensors(want.tensor, actual.tensor, tolerance);
}

// Terms that an output element sums, for the tolerance.
int64_t reduction_length(const Case& c, const std::vector<HostValue>& results) {
  std::vector<Type> inputs;
  std::vector<Type> outputs;
  for (const CaseValue& input : c.inputs) {
    inputs.push_back(input.present ? type_of(input.value) : Type());
  }
  for (const HostValue& result : results) outputs.push_back(type_of(result));
  return redline::reduction_length(*c.op, c.attrs, inputs, outputs);
}

// Every element, asked for alone, must be what the whole reference makes, up to the order of sums.
Status check_reference_at(const Case& c, const std::vector<HostValue>& results) {
  if (c.op->reference_at == nullptr) return {};
  const Tensor& want = results[0].tensor;
  std::vector<TensorView> inputs;
  for (const CaseValue& input : c.inputs) {
    inputs.push_back(input.present ? input.value.tensor.view() : TensorView());
  }
  std::vector<int64_t> elements;
  for (int64_t i = want.count(); i-- > 0;) elements.push_back(i);  // any order goes
  REDLINE_ASSIGN(Tensor got, Tensor::create(want.dtype(), Dims{want.count()}));
  REDLINE_TRY(c.op->reference_at({c.attrs, inputs, want.dims(), elements, got.view()}));
  REDLINE_ASSIGN(Tensor expected, Tensor::create(want.dtype(), Dims{want.count()}));
  with_wide_type(want.dtype(), [&](auto wide) {
    write_elements(read_elements_at<decltype(wide)>(want.view(), elements), expected.view());
  });
  return compare_tensors(expected, got, rounding_tolerance(want.dtype()))
      .with_context("reference_at");
}

size_t num_outputs_of(const Case& c) {
  return c.error ? std::max<size_t>(1, c.op->min_outputs()) : c.outputs.size();
}

bool has_other_float(const HostValue& value) {
  if (value.kind == HostValue::Kind::kTensor) {
    return is_float(value.tensor.dtype()) && value.tensor.dtype() != DType::kFloat32;
  }
  return std::any_of(value.elements.begin(), value.elements.end(), has_other_float);
}

// Retypes the attributes, and the operands where `retypes` says so; the others are only rounded.
Result<Case> retyped(const Case& c, const Retype& retype,
                     const std::function<bool(size_t)>& retypes) {
  Case result = c;
  REDLINE_ASSIGN(result.attrs, retyped(c.attrs, retype));
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    Retype own{retype.half, retypes(i) ? retype.kept : DType::kFloat32};
    REDLINE_ASSIGN(result.inputs[i].value, retyped(c.inputs[i].value, own));
  }
  return result;
}

// In the type as far as the op's rule lets it: some operands are f32 beside any type, as the scales
// of resize.
Result<Case> retyped_for_rule(const Case& c, DType half) {
  auto with = [&](const std::function<bool(size_t)>& retypes) -> Result<Case> {
    REDLINE_ASSIGN(Case made, retyped(c, {half, half}, retypes));
    REDLINE_TRY(infer(made, Question::kTypesOnly, num_outputs_of(made)).status());
    return made;
  };
  Result<Case> all = with([](size_t) { return true; });
  if (all.ok() || c.inputs.size() < 2) return all;
  for (size_t kept = 1; kept < c.inputs.size(); ++kept) {
    Result<Case> made = with([&](size_t i) { return i != kept; });
    if (made.ok()) return made;
  }
  Result<Case> first = with([](size_t i) { return i == 0; });
  return first.ok() ? first : all;
}

// The case in another type than f32, whose results are those in f32 for the same rounded operands.
Result<Case> derive(const Case& c, DType half) {
  for (const CaseValue& input : c.inputs) {
    if (has_other_float(input.value)) return unsupported("an operand is of another float type");
  }
  REDLINE_ASSIGN(Case wide, retyped(c, {half, DType::kFloat32}, [](size_t) { return true; }));
  if (!infer(c, Question::kTypesOnly, num_outputs_of(c)).ok()) {
    return unsupported("its rule refuses it in f32");
  }
  Result<Case> made = retyped_for_rule(c, half);
  if (!made.ok())
    return made.status().with_context(str_cat(c.op->name, " takes no ", dtype_name(half)));
  if (c.error) return made;
  std::vector<const HostValue*> inputs;
  for (const CaseValue& input : wide.inputs) {
    inputs.push_back(input.present ? &input.value : nullptr);
  }
  Result<std::vector<HostValue>> results =
      run_reference(*wide.op, wide.attrs, inputs, wide.outputs.size());
  if (!results.ok()) return results.status().with_context("an error for rounded operands");
  REDLINE_ASSIGN(Inferred inferred, infer(*made, Question::kTypesOnly, wide.outputs.size()));
  for (size_t i = 0; i < wide.outputs.size(); ++i) {
    CaseValue& output = made->outputs[i];
    REDLINE_ASSIGN(output.value, in_type((*results)[i], inferred.types[i]));
    output.has_values = !c.op->has(kTraitRandom);
  }
  return made;
}

// Memory of exactly these bytes with a pattern that is NaN in every float type and that no index
// survives.
struct Poisoned {
  explicit Poisoned(size_t bytes) : size((bytes + 63) / 64 * 64) {
    data = static_cast<uint8_t*>(std::aligned_alloc(64, size + 64));
    std::memset(data, 0xff, size + 64);
  }
  Poisoned(const Poisoned&) = delete;
  Poisoned& operator=(const Poisoned&) = delete;
  ~Poisoned() { std::free(data); }
  // Whether what lies behind the first `bytes` was left alone.
  bool guard_is_intact(size_t bytes) const {
    for (size_t i = bytes; i < size + 64; ++i) {
      if (data[i] != 0xff) return false;
    }
    return true;
  }
  size_t size;
  uint8_t* data;
};

struct DriverOptions {
  bool verbose = false;
  bool timed = false;
  bool wide = false;               // 64-bit indices
  bool once = false;               // each kind of kernel, without a look at what it computes
  size_t configs = kUsualConfigs;  // the most of a tactic
  std::string tactic;              // empty: all
  std::string knobs;               // only configs in whose text this is
  std::vector<DType> types;        // in place of f32; empty: the cases as they are written
};

class Driver {
 public:
  Driver(DriverOptions options, std::unique_ptr<GpuRunner> gpu)
      : options_(std::move(options)),
        gpu_(std::move(gpu)),
        ops_(make_op_registry()),
        tactics_(make_tactic_registry()),
        pool_(ThreadPool::create(2).value()) {}

  bool run_file(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
      std::printf("%s cannot be read\n", path.c_str());
      return false;
    }
    Totals totals;
    int number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      size_t first = line.find_first_not_of(" \t\r");
      if (first == std::string::npos || line[first] == '#') continue;
      if (options_.timed) std::printf("%s\n", line.c_str());
      Status status = run_line(line, static_cast<uint64_t>(number) * 1000, totals);
      if (status.ok()) continue;
      ++totals.failures;
      std::printf("%s:%d: %s\n  %s\n", path.c_str(), number, line.c_str(),
                  std::string(status.message()).c_str());
    }
    std::printf("%s: %d cases, %d failed, %d tactic runs\n", path.c_str(), totals.cases,
                totals.failures, totals.tactic_runs);
    for (const auto& [reason, count] : totals.underived) {
      std::printf("  not derived %dx: %s\n", count, reason.c_str());
    }
    for (const auto& [reason, count] : totals.skips) {
      std::printf("  not run %dx: %s\n", count, reason.c_str());
    }
    if (gpu_ != nullptr) {
      for (; shown_spills_ < gpu_->spills().size(); ++shown_spills_) {
        const Spill& spill = gpu_->spills()[shown_spills_];
        std::printf("  spills: %d bytes beside %d registers: %s\n", spill.bytes, spill.registers,
                    spill.kernel.c_str());
      }
      for (const auto& [replays, runs] : gpu_->late_runs()) {
        std::printf("  late: %d runs of %d replays\n", runs, replays);
      }
      for (const auto& [tactic, times] : gpu_->unsteady()) {
        std::printf("  other bits each time, so not run late: %s, %dx\n", tactic.c_str(), times);
      }
    }
    return (totals.cases > 0 || !options_.types.empty()) && totals.failures == 0;
  }

  // Of all files so far, in the types of the options.
  bool check_derived() const {
    std::printf("%d cases derived, %d not\n", derived_, not_derived_);
    return derived_ > 0;
  }

  void keep_to_likeliest_config() { options_.configs = 1; }

  // After the last file: no GPU tactic was left out.
  bool check_every_tactic() const {
    std::string wrong = missing_tactics();
    std::printf("%s", wrong.c_str());
    return wrong.empty();
  }

  // After the last file: the kernels that spill are those of the list, and no tactic was left out.
  bool check_spills(const std::string& path, bool update) {
    Result<SpillList> list = SpillList::read(path);
    const std::string arch = gpu_->device().arch();
    std::string wrong = list.ok() ? "" : str_cat(list.status().message(), "\n");
    wrong += missing_tactics();
    if (wrong.empty() && update) {
      Status written = list->replace(arch, gpu_->compiler(), gpu_->spills());
      if (!written.ok()) wrong = written.message();
    } else if (wrong.empty() && !list->suits(gpu_->compiler())) {
      std::printf("spills are not compared: the list is NVRTC %s's, this one is %s\n",
                  list->compiler().c_str(), gpu_->compiler().c_str());
    } else if (wrong.empty()) {
      wrong = list->difference(arch, gpu_->spills());
      if (!wrong.empty()) wrong += "Where that is meant, run the same with --update.\n";
    }
    std::printf("%s", wrong.c_str());
    return wrong.empty();
  }

 private:
  std::string missing_tactics() const {
    std::string missing;
    for (const Tactic* tactic : tactics_->all()) {
      if (tactic->device != "cuda" || gpu_->tactics().contains(tactic->name)) continue;
      missing += str_cat(tactic->name, " takes none of the cases\n");
    }
    return missing;
  }

  Status run_line(std::string_view line, uint64_t seed, Totals& totals) {
    if (options_.types.empty()) ++totals.cases;
    REDLINE_ASSIGN(Case c, CaseParser(*ops_, line, seed).parse());
    if (c.op == nullptr) return {};
    if (options_.types.empty()) return run_case(c, totals);
    if (line.find("f32") == std::string_view::npos) return {};
    for (DType dtype : options_.types) {
      Result<Case> derived = derive(c, dtype);
      if (!derived.ok()) {
        std::string reason(derived.status().message());
        if (options_.verbose) {
          std::printf("not derived: %s\n  %s\n", std::string(line).c_str(), reason.c_str());
        }
        ++totals.underived[reason.substr(0, reason.find(':'))];
        ++not_derived_;
        continue;
      }
      ++totals.cases;
      ++derived_;
      REDLINE_TRY(run_case(*derived, totals).with_context(dtype_name(dtype)));
    }
    return {};
  }

  Status run_case(const Case& c, Totals& totals) {
    std::vector<const HostValue*> inputs;
    for (const CaseValue& input : c.inputs) {
      inputs.push_back(input.present ? &input.value : nullptr);
    }
    if (inputs.size() < c.op->min_inputs() || inputs.size() > c.op->max_inputs()) {
      return invalid_argument(c.op->name, " does not have ", inputs.size(), " inputs");
    }
    size_t num_outputs = num_outputs_of(c);
    if (num_outputs < c.op->min_outputs() || num_outputs > c.op->max_outputs()) {
      return invalid_argument(c.op->name, " does not have ", num_outputs, " outputs");
    }
    if (options_.once && c.error) return {};
    if (options_.timed || options_.once) {
      Result<std::vector<HostValue>> results = results_by_rule(c, num_outputs);
      if (!results.ok() && options_.once) {
        results = run_reference(*c.op, c.attrs, inputs, num_outputs);
      }
      REDLINE_TRY(results.status());
      return run_tactics(c, *results, totals);
    }
    Result<std::vector<HostValue>> results = run_reference(*c.op, c.attrs, inputs, num_outputs);
    if (c.error) {
      if (results.ok()) return internal_error("expected an error with '", *c.error, "', got none");
      if (results.status().message().find(*c.error) == std::string_view::npos) {
        return internal_error("expected an error with '", *c.error,
                              "', got: ", results.status().message());
      }
      REDLINE_TRY(check_rule_survives(c, num_outputs));
      return gpu_ == nullptr || options_.timed ? Status() : check_refusals(c, num_outputs, totals);
    }
    REDLINE_TRY(results.status());
    for (size_t i = 0; i < num_outputs; ++i) {
      REDLINE_TRY(check_output(c.outputs[i], (*results)[i]).with_context(str_cat("output ", i)));
    }
    for (Question question : {Question::kGivenValues, Question::kTypesOnly, Question::kSymbols,
                              Question::kUnknownRanks}) {
      Status status = check_rule(c, question, *results);
      if (!status.ok()) return status.with_context(str_cat("shape rule ", name_of(question)));
    }
    REDLINE_TRY(check_reference_at(c, *results));
    return run_tactics(c, *results, totals);
  }

  // Whether the reference makes the same once more.
  static Result<bool> comes_out_again(const Case& c, const std::vector<HostValue>& results) {
    std::vector<const HostValue*> inputs;
    for (const CaseValue& input : c.inputs) {
      inputs.push_back(input.present ? &input.value : nullptr);
    }
    REDLINE_ASSIGN(std::vector<HostValue> again,
                   run_reference(*c.op, c.attrs, inputs, results.size()));
    for (size_t i = 0; i < results.size(); ++i) {
      const Tensor& tensor = results[i].tensor;
      if (std::memcmp(tensor.raw(), again[i].tensor.raw(), tensor.bytes()) != 0) return false;
    }
    return true;
  }

  // Tensors of the right sizes that hold nothing.
  static Result<std::vector<HostValue>> results_by_rule(const Case& c, size_t num_outputs) {
    REDLINE_ASSIGN(Inferred inferred, infer(c, Question::kGivenValues, num_outputs));
    std::vector<HostValue> results;
    for (const Type& type : inferred.types) {
      std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
      if (!dims) return unsupported("no sizes without a run");
      REDLINE_ASSIGN(Tensor tensor, Tensor::create(type.dtype, *dims));
      results.push_back(HostValue::of(std::move(tensor)));
    }
    return results;
  }

  void print_time(const std::string& what, const Case& c, const std::vector<HostValue>& results) {
    size_t bytes = 0;
    for (const CaseValue& input : c.inputs) bytes += input.present ? input.value.tensor.bytes() : 0;
    for (const HostValue& result : results) bytes += result.tensor.bytes();
    if (gpu_->compile_only()) return;
    double us = gpu_->microseconds();
    std::printf("  %9.2f us %6.0f GB/s %s\n", us, static_cast<double>(bytes) / us / 1000,
                what.c_str());
  }

  // A bad case may fail or pass in the rule, as long as it comes back.
  static Status check_rule_survives(const Case& c, size_t num_outputs) {
    for (Question question : {Question::kGivenValues, Question::kTypesOnly, Question::kSymbols,
                              Question::kUnknownRanks}) {
      Result<Inferred> inferred = infer(c, question, num_outputs);
      if (!inferred.ok() && inferred.status().message().empty()) {
        return internal_error("an error without a message");
      }
    }
    return {};
  }

  // Whose kernels look at indices or lengths; no rule for elements says so.
  static bool refuses_without_rule(const OpDef& op) {
    return op.name == "rnn" || op.name == "gru" || op.name == "lstm" || op.name == "max_unpool";
  }

  // What the rule cannot see and the reference refuses, kernels that look where operands point to
  // must refuse too.
  Status check_refusals(const Case& c, size_t num_outputs, Totals& totals) {
    const ElementRule* rule = element_rules().find(c.op->name);
    Result<std::vector<HostValue>> results = results_by_rule(c, num_outputs);
    bool looks = rule != nullptr ? rule->refuses : refuses_without_rule(*c.op);
    if (!looks || !results.ok() || gpu_->compile_only()) return {};
    for (const Tactic* tactic : tactics_->candidates("cuda", c.op->name)) {
      Problem problem = describe(c, *results, false, false);
      if (!tactic->takes(problem).ok()) continue;
      std::vector<Config> configs(1);
      if (tactic->configs != nullptr) configs = tactic->configs(problem);
      Status status = run_on_gpu(*tactic, problem, problem, configs[0], c, *results);
      if (status.message() != "refused") {
        return internal_error(tactic->name, ": expected a refusal, got '", status.message(), "'");
      }
      ++totals.tactic_runs;
    }
    return {};
  }

  Status run_tactics(const Case& c, const std::vector<HostValue>& results, Totals& totals) {
    std::vector<const Tactic*> candidates = tactics_->candidates(gpu_ ? "cuda" : "cpu", c.op->name);
    if (candidates.empty()) return {};
    for (const HostValue& result : results) {
      if (result.kind == HostValue::Kind::kTensor) continue;
      ++totals.skips["the output is no tensor"];
      return {};
    }
    if (c.op->has(kTraitDataDependent) && gpu_ == nullptr) {
      ++totals.skips["the sizes depend on values"];
      return {};
    }
    if (c.op->has(kTraitRandom) && !options_.timed) {
      REDLINE_ASSIGN(bool same, comes_out_again(c, results));
      if (!same) {
        ++totals.skips["each run draws anew"];
        return {};
      }
    }
    for (const Tactic* tactic : candidates) {
      if (!options_.tactic.empty() && tactic->name != options_.tactic) continue;
      // First with nothing constant, then with all but the first input.
      for (bool constants : {false, true}) {
        if (constants && c.inputs.size() < 2) continue;
        Problem problem = describe(c, results, constants, false);
        Status supports = tactic->takes(problem);
        Status dynamic = tactic->takes(describe(c, results, constants, true));
        std::string where = str_cat(tactic->name, constants ? kConstantOperands : "");
        if (!supports.ok()) {
          if (dynamic.ok()) {
            return internal_error(where, ": takes any sizes, but not these: ", supports.message());
          }
          ++totals.skips[str_cat(where, ": ", supports.message())];
          continue;
        }
        std::vector<Config> configs(1);
        if (tactic->configs != nullptr) configs = tactic->configs(problem);
        if (configs.empty()) return internal_error(where, ": offers no config");
        if (gpu_ && tactic->fits != nullptr) {
          std::vector<Config> fitting;
          std::copy_if(configs.begin(), configs.end(), std::back_inserter(fitting),
                       [&](const Config& c) { return tactic->fits(c, gpu_->device()); });
          // What is for other GPUs only must run too.
          if (!fitting.empty()) configs = std::move(fitting);
        }
        std::vector<Config> overlaps;
        if (gpu_ && !options_.once && tactic->overlaps != nullptr) {
          overlaps = tactic->overlaps(configs[0]);
        }
        if (configs.size() > options_.configs) configs.resize(options_.configs);
        if (options_.configs > 1) configs.insert(configs.end(), overlaps.begin(), overlaps.end());
        for (Config& config : configs) {
          std::string text;
          for (const NamedAttr& knob : config) {
            text += str_cat(" ", knob.name, "=", attr_to_string(knob.value));
          }
          if (text.find(options_.knobs) == std::string::npos) continue;
          if (options_.once && !is_first(where + text, problem)) continue;
          Status status = gpu_ ? run_on_gpu(*tactic, problem, problem, config, c, results)
                               : run_tactic(*tactic, problem, config, c, results, constants);
          if (options_.once && status.code() == StatusCode::kUnsupported) {
            ++totals.skips[str_cat(where, ": ", status.message())];
            continue;
          }
          if (!status.ok()) return status.with_context(where + text);
          ++totals.tactic_runs;
          if (options_.verbose) std::printf("  ran %s%s\n", where.c_str(), text.c_str());
          if (options_.timed) print_time(where + text, c, results);
        }
        if (gpu_ == nullptr) continue;
        // All sizes unknown, or else most; for who looks at it, all but the last axis; and the
        // first one only. Configs are those for the sizes, as the tuner has them.
        std::vector<Problem> unknown = {dynamic.ok() ? describe(c, results, constants, true)
                                                     : with_unknown_rows(problem, 2)};
        if (!dynamic.ok() || tactic->preference > 0) {
          unknown.push_back(with_unknown_rows(problem, 1));
        }
        unknown.push_back(with_unknown_batch(problem));
        for (const Problem& written : unknown) {
          if (!tactic->takes(written).ok()) continue;
          if (options_.once && !is_first(where, written)) continue;
          Status status = run_on_gpu(*tactic, written, problem, configs[0], c, results);
          if (options_.once && status.code() == StatusCode::kUnsupported) continue;
          if (!status.ok()) return status.with_context(where + ", unknown sizes");
          if (options_.timed) print_time(where + ", unknown sizes", c, results);
          ++totals.tactic_runs;
        }
      }
    }
    return {};
  }

  // Whether a kernel of this kind was not made yet: of this tactic, config, op, mode and
  // types; with constant operands or unknown sizes, of this tactic, config and op.
  bool is_first(const std::string& way, const Problem& problem) {
    std::string kind = str_cat(way, " ", problem.op->name);
    bool plain = way.find(kConstantOperands) == std::string::npos;
    for (const auto* operands : {&problem.inputs, &problem.outputs}) {
      for (const OperandDesc& operand : *operands) plain &= operand.is_static();
    }
    if (!plain) return seen_.insert(kind + ", not plain").second;
    for (const NamedAttr& attr : problem.attrs.map()) {
      if (std::holds_alternative<std::string>(attr.value)) kind += attr_to_string(attr.value);
    }
    for (const auto* operands : {&problem.inputs, &problem.outputs}) {
      for (const OperandDesc& operand : *operands) {
        kind += operand.present ? str_cat(" ", dtype_name(operand.dtype)) : " _";
      }
    }
    return seen_.insert(kind).second;
  }

  static OperandDesc describe(const HostValue& value, bool present, bool constant, bool dynamic) {
    OperandDesc operand;
    operand.present = present;
    if (!present) return operand;
    operand.is_tensor = value.kind == HostValue::Kind::kTensor;
    if (!operand.is_tensor) return operand;
    operand.dtype = value.tensor.dtype();
    operand.dims = value.tensor.dims();
    if (constant) operand.constant = &value.tensor;
    if (!dynamic || constant) return operand;
    // What broadcasts is 1 in the graph too: an unknown size is that of the others.
    for (int64_t& dim : operand.dims) {
      if (dim != 1) dim = kDynamicDim;
    }
    return operand;
  }

  Problem describe(const Case& c, const std::vector<HostValue>& results, bool constants,
                   bool dynamic) const {
    Problem problem;
    if (options_.wide) problem.most_short_indices = 0;
    problem.op = c.op;
    problem.attrs = c.attrs;
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      problem.inputs.push_back(
          describe(c.inputs[i].value, c.inputs[i].present, constants && i > 0, dynamic));
    }
    for (const HostValue& result : results) {
      problem.outputs.push_back(describe(result, true, false, dynamic));
    }
    for (size_t i = 0; i < c.inputs.size() && !results.empty(); ++i) {
      const HostValue& input = c.inputs[i].value;
      problem.inputs[i].like_output = c.inputs[i].present && is_tensor(input) &&
                                      is_tensor(results[0]) &&
                                      input.tensor.dims() == results[0].tensor.dims();
    }
    for (size_t i = 1; i < results.size(); ++i) {
      problem.outputs[i].like_output = is_tensor(results[i]) && is_tensor(results[0]) &&
                                       results[i].tensor.dims() == results[0].tensor.dims();
    }
    return problem;
  }
  static bool is_tensor(const HostValue& value) { return value.kind == HostValue::Kind::kTensor; }

  // Nothing known but the last axis and what an anchor takes beside its first operand; or, with
  // `step` 2, every other axis too.
  static Problem with_unknown_rows(Problem problem, size_t step) {
    std::vector<bool> known(problem.inputs.size());
    for (const BodyNode& node : body_of(problem).nodes) {
      for (size_t i = 1; i < node.inputs.size() && !node.op->has(kTraitPointwise); ++i) {
        auto input = static_cast<size_t>(node.inputs[i]);
        if (node.inputs[i] >= 0 && input < known.size()) known[input] = true;
      }
    }
    auto hide = [&](OperandDesc& operand, bool broadcasts) {
      for (size_t axis = 0; axis + 1 < operand.dims.size(); axis += step) {
        if (broadcasts && operand.dims[axis] == 1 && !operand.like_output) continue;
        operand.dims[axis] = kDynamicDim;
      }
    };
    for (size_t i = 0; i < known.size(); ++i) {
      OperandDesc& operand = problem.inputs[i];
      if (operand.constant == nullptr && operand.present && !known[i]) hide(operand, i > 0);
    }
    for (OperandDesc& operand : problem.outputs) hide(operand, false);
    return problem;
  }

  static Problem with_unknown_batch(Problem problem) {
    for (auto* operands : {&problem.inputs, &problem.outputs}) {
      for (OperandDesc& operand : *operands) {
        bool constant = operand.constant != nullptr || !operand.present;
        if (!constant && !operand.dims.empty()) operand.dims[0] = kDynamicDim;
      }
    }
    return problem;
  }

  Status run_on_gpu(const Tactic& tactic, const Problem& written, const Problem& problem,
                    const Config& config, const Case& c, const std::vector<HostValue>& results) {
    std::vector<TensorView> inputs;
    for (const CaseValue& input : c.inputs) {
      inputs.push_back(input.present ? input.value.tensor.view() : TensorView());
    }
    std::vector<Tensor> made;
    std::vector<TensorView> outputs;
    for (const HostValue& result : results) {
      REDLINE_ASSIGN(Tensor tensor, Tensor::create(result.tensor.dtype(), result.tensor.dims()));
      outputs.push_back(tensor.view());
      made.push_back(std::move(tensor));
    }
    Config own = config;
    std::vector<PackedOperand> packed;
    Problem prepared = problem;
    if (tactic.pack != nullptr) {
      REDLINE_ASSIGN(packed, tactic.pack(written, own, {pool_.get()}));
      for (const PackedOperand& operand : packed) {
        inputs[operand.input] = operand.bytes.view();
        prepared.inputs[operand.input].constant = nullptr;
        prepared.inputs[operand.input].packed = &operand.bytes;
      }
    }
    REDLINE_TRY(gpu_->run(tactic, written, prepared, own, *pool_, inputs, outputs));
    if (gpu_->compile_only() || options_.timed) return {};
    for (size_t i = 0; i < results.size(); ++i) {
      Tolerance tolerance = rounding_tolerance(made[i].dtype(), reduction_length(c, results));
      REDLINE_TRY(compare_tensors(results[i].tensor, made[i], tolerance)
                      .with_context(str_cat("output ", i)));
    }
    return {};
  }

  Status run_tactic(const Tactic& tactic, const Problem& problem, Config& config, const Case& c,
                    const std::vector<HostValue>& results, bool constants) {
    std::vector<TensorView> inputs;
    for (const CaseValue& input : c.inputs) {
      inputs.push_back(input.present ? input.value.tensor.view() : TensorView());
    }
    std::vector<PackedOperand> packed;
    Problem prepared = problem;
    if (constants && tactic.pack != nullptr) {
      REDLINE_ASSIGN(packed, tactic.pack(problem, config, {pool_.get()}));
      for (const PackedOperand& operand : packed) {
        inputs[operand.input] = operand.bytes.view();
        prepared.inputs[operand.input].constant = nullptr;
        prepared.inputs[operand.input].packed = &operand.bytes;
      }
    }
    REDLINE_ASSIGN(std::unique_ptr<Kernel> kernel, tactic.prepare(prepared, config, {pool_.get()}));
    size_t workspace_bytes = kernel->workspace_bytes();
    Poisoned workspace(workspace_bytes);
    std::vector<std::unique_ptr<Poisoned>> memory;
    std::vector<TensorView> outputs;
    for (const HostValue& result : results) {
      memory.push_back(std::make_unique<Poisoned>(result.tensor.bytes()));
      outputs.push_back({result.tensor.dtype(), result.tensor.dims(), memory.back()->data});
    }
    KernelArgs args{inputs, outputs, workspace.data, pool_.get()};
    REDLINE_TRY(kernel->run(args));
    if (!workspace.guard_is_intact(workspace_bytes)) {
      return internal_error("wrote behind its workspace");
    }
    for (size_t i = 0; i < results.size(); ++i) {
      const Tensor& want = results[i].tensor;
      if (!memory[i]->guard_is_intact(want.bytes())) {
        return internal_error("wrote behind output ", i);
      }
      Tensor got = Tensor::wrap(want.dtype(), want.dims(), memory[i]->data, nullptr);
      Tolerance tolerance = rounding_tolerance(want.dtype(), reduction_length(c, results));
      REDLINE_TRY(compare_tensors(want, got, tolerance).with_context(str_cat("output ", i)));
    }
    return {};
  }

  DriverOptions options_;
  std::unique_ptr<GpuRunner> gpu_;
  std::unique_ptr<OpRegistry> ops_;
  std::unique_ptr<TacticRegistry> tactics_;
  std::unique_ptr<ThreadPool> pool_;
  std::set<std::string> seen_;  // kinds of kernels
  size_t shown_spills_ = 0;
  int derived_ = 0, not_derived_ = 0;
};

}  // namespace
}  // namespace redline

namespace {

struct Arguments {
  redline::DriverOptions options;
  std::string device, spills;
  bool late = false, update = false, every_tactic = false;
  std::vector<std::string> files;
};

// Empty without files, or where flags exclude each other.
std::optional<Arguments> parse_arguments(std::vector<std::string> words) {
  auto take = [&](const char* flag) {
    bool there = !words.empty() && words[0] == flag;
    if (there) words.erase(words.begin());
    return there;
  };
  auto take_value = [&](const char* flag, std::string fallback) {
    if (words.size() < 2 || !take(flag)) return fallback;
    std::string value = words[0];
    words.erase(words.begin());
    return value;
  };
  Arguments result;
  redline::DriverOptions& options = result.options;
  options.verbose = take("-v");
  result.device = take_value("--device", "cpu");
  options.tactic = take_value("--tactic", "");
  std::string configs = take_value("--configs", "usual");
  if (configs == "all") options.configs = SIZE_MAX;
  if (configs == "first") options.configs = 1;
  options.knobs = take_value("--knobs", "");
  std::istringstream types(take_value("--types", ""));
  for (std::string name; std::getline(types, name, ',');) {
    std::optional<redline::DType> dtype = redline::parse_dtype(name);
    if (!dtype) return std::nullopt;
    options.types.push_back(*dtype);
  }
  options.timed = take("--time");
  options.wide = take("--wide");
  result.late = take("--late");
  result.every_tactic = take("--every-tactic");
  result.spills = take_value("--spills", "");
  options.once = !result.spills.empty();
  if (options.once) options.configs = SIZE_MAX;
  result.update = take("--update");
  bool runs_on_gpu = result.device == "cuda" || result.device == "emulated";
  bool compiles_only = !runs_on_gpu && result.device != "cpu";
  if (words.empty() || (options.timed && result.device == "cpu") ||
      (result.late && (options.timed || !runs_on_gpu)) || (options.wide && !runs_on_gpu) ||
      (result.every_tactic && !runs_on_gpu) || (options.once && !compiles_only)) {
    return std::nullopt;
  }
  result.files = std::move(words);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  using redline::GpuRunner;
  std::optional<Arguments> arguments = parse_arguments({argv + 1, argv + argc});
  if (!arguments) {
    std::printf(
        "usage: ops_test [-v] [--device cpu|cuda|emulated|ARCH] [--tactic NAME] "
        "[--configs first|usual|all] [--knobs TEXT] [--wide] [--types f16,bf16] "
        "[--time | --late [--every-tactic] | --spills LIST [--update]] FILE.cases ...\n");
    return 2;
  }
  const std::string& device = arguments->device;
  const std::string& spills = arguments->spills;
  std::unique_ptr<GpuRunner> gpu;
  if (device != "cpu") {
    auto made = device == "cuda"       ? GpuRunner::create()
                : device == "emulated" ? GpuRunner::create_emulated()
                                       : GpuRunner::create_compile_only(device);
    if (!made.ok()) {
      std::printf("%s\n", made.status().to_string().c_str());
      bool no_compiler = made.status().code() == redline::StatusCode::kNotFound;
      return !spills.empty() && no_compiler ? redline::kNotRun : 1;
    }
    gpu = *std::move(made);
  }
  if (!spills.empty()) gpu->list_serialised();
  if (arguments->options.timed) gpu->set_timed();
  if (arguments->options.wide) gpu->keep_to_wide_indices();
  if (arguments->late) {
    redline::Status status = gpu->set_slow_producer();
    if (!status.ok()) {
      std::printf("%s\n", status.to_string().c_str());
      return 1;
    }
  }
  redline::Driver driver(arguments->options, std::move(gpu));
  bool good = true;
  for (const std::string& file : arguments->files) {
    good = driver.run_file(file) && good;
    if (!spills.empty()) driver.keep_to_likeliest_config();
  }
  if (arguments->every_tactic) good = driver.check_every_tactic() && good;
  if (!arguments->options.types.empty()) good = driver.check_derived() && good;
  if (!spills.empty()) good = driver.check_spills(spills, arguments->update) && good;
  return good ? 0 : 1;
}
