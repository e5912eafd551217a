// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "build/build.h"
#include "onnx/importer.h"
#include "ops/elements.h"
#include "runtime/executor.h"
#include "verb.h"

namespace redline::cli {
namespace {

// Keeps a copy of every tensor that a step makes, by the value's name.
class Recorder final : public StepObserver {
 public:
  explicit Recorder(const Plan& plan) : plan_(plan) {}
  struct Made {
    std::string name, op, tactic;
    DType dtype;
    Dims dims;
    std::vector<double> elements;
  };
  std::vector<Made> made;
  void before_step(size_t, const PlanStep&) override {}
  void after_step(size_t, const PlanStep& step,
                  std::span<const HostValue* const> outputs) override {
    for (size_t i = 0; i < outputs.size(); ++i) {
      const HostValue* value = outputs[i];
      if (value == nullptr || value->kind != HostValue::Kind::kTensor) continue;
      const Tensor& tensor = value->tensor;
      if (!is_float(tensor.dtype())) continue;
      made.push_back({plan_.values[static_cast<size_t>(step.outputs[i])].name, step.op->name,
                      step.tactic.empty() ? "reference" : step.tactic, tensor.dtype(),
                      tensor.dims(), read_elements<double>(tensor.view())});
    }
  }

 private:
  const Plan& plan_;
};

struct Difference {
  double absolute = 0;
  double relative = 0;  // to the largest element of the reference
  bool same_nans = true;
};

Difference difference(const std::vector<double>& actual, const std::vector<double>& expected) {
  Difference d;
  double largest = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    bool special = !std::isfinite(actual[i]) || !std::isfinite(expected[i]);
    if (special) {
      bool same = (std::isnan(actual[i]) && std::isnan(expected[i])) || actual[i] == expected[i];
      d.same_nans &= same;
      continue;
    }
    d.absolute = std::max(d.absolute, std::abs(actual[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  d.relative = largest > 0 ? d.absolute / largest : d.absolute;
  return d;
}

// A value of the reference as the optimiser's layout has it: the elements of [n, c, ...] as [n,
// ..., c].
std::vector<double> channels_last(const Recorder::Made& made, Dims& dims) {
  size_t rank = made.dims.size();
  dims = Dims{made.dims[0]};
  for (size_t d = 2; d < rank; ++d) dims.push_back(made.dims[d]);
  dims.push_back(made.dims[1]);
  int64_t channels = made.dims[1];
  int64_t spatial = made.dims.count(2, static_cast<int>(rank));
  std::vector<double> moved(made.elements.size());
  for (size_t i = 0; i < moved.size(); ++i) {
    auto at = static_cast<int64_t>(i);
    int64_t c = at % channels;
    int64_t s = at / channels % spatial;
    int64_t n = at / channels / spatial;
    moved[i] = made.elements[static_cast<size_t>((n * channels + c) * spatial + s)];
  }
  return moved;
}

DType compute_dtype(Precision precision) {
  if (precision == Precision::kFloat16) return DType::kFloat16;
  return precision == Precision::kBFloat16 ? DType::kBFloat16 : DType::kFloat32;
}

// Halves differ from the reference in f32 by what many layers round.
double default_tolerance(Precision precision) {
  if (precision == Precision::kFloat16) return 2e-2;
  return precision == Precision::kBFloat16 ? 1e-1 : 1e-3;
}

Result<std::vector<Recorder::Made>> record(const ModelBytes& model, const ModelOptions& options,
                                           int opt_level, const OpRegistry& ops, ThreadPool& pool,
                                           const TacticRegistry& tactics,
                                           const std::map<std::string, HostValue>& values) {
  REDLINE_ASSIGN(ImportedModel imported, import_onnx(model, ops, *make_import_registry()));
  BuildOptions build_options;
  build_options.opt_level = opt_level;
  if (opt_level > 0) build_options.compute_dtype = compute_dtype(options.precision);
  build_options.check_range = options.check_range;
  build_options.disabled_passes = options.disabled_passes;
  build_options.tuning_database = tuning_database(options).value_or(default_tuning_database());
  REDLINE_ASSIGN(build_options.symbol_values, parse_sizes(options.sizes));
  REDLINE_ASSIGN(Plan plan, build_plan(*imported.graph, tactics, pool, build_options));
  REDLINE_ASSIGN(std::unique_ptr<Executor> executor, Executor::create(plan, tactics, pool));
  Recorder recorder(plan);
  executor->set_observer(&recorder);
  std::vector<HostValue> inputs;
  for (const NamedValue& input : plan.inputs) {
    auto it = values.find(input.name);
    inputs.push_back(it == values.end() ? HostValue::optional({}) : it->second);
  }
  REDLINE_TRY(executor->run(inputs));
  return std::move(recorder.made);
}

Status run(const ModelOptions& options, const InputOptions& input_options,
           std::optional<double> asked_tolerance) {
  if (options.precision == Precision::kTf32) {
    return unsupported("the CPU computes in f32 where tf32 is asked for; compare without --tf32");
  }
  double tolerance = asked_tolerance.value_or(default_tolerance(options.precision));
  REDLINE_ASSIGN(ModelBytes model, open_onnx(options.path));
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics = make_tactic_registry();
  REDLINE_ASSIGN(std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.threads));
  ModelOptions reference_options = options;
  reference_options.opt_level = 0;
  reference_options.precision = Precision::kFloat32;
  REDLINE_ASSIGN(Engine engine, load_engine_or_model(reference_options));
  REDLINE_ASSIGN(auto values, make_inputs(engine.inputs(), input_options, options));
  REDLINE_ASSIGN(auto actual,
                 record(model, options, options.opt_level, *ops, *pool, *tactics, values));
  REDLINE_ASSIGN(auto expected, record(model, options, 0, *ops, *pool, *tactics, values));
  std::map<std::string, const Recorder::Made*> by_name;
  for (const Recorder::Made& made : expected) by_name[made.name] = &made;

  std::vector<std::vector<std::string>> rows = {
      {"value", "op", "tactic", "largest error", "relative", ""}};
  Json list = Json::array();
  size_t bad = 0;
  for (const Recorder::Made& made : actual) {
    constexpr std::string_view kSuffix = "@channels_last";
    bool moved = made.name.ends_with(kSuffix);
    std::string name = moved ? made.name.substr(0, made.name.size() - kSuffix.size()) : made.name;
    auto it = by_name.find(name);
    // Values that only one of the two makes cannot be compared.
    if (name.empty() || it == by_name.end()) continue;
    Dims dims = it->second->dims;
    std::vector<double> turned;
    if (moved && dims.size() >= 3) turned = channels_last(*it->second, dims);
    if (!(dims == made.dims)) continue;
    Difference d = difference(made.elements, moved ? turned : it->second->elements);
    bool wrong = d.relative > tolerance || !d.same_nans;
    bad += wrong;
    char absolute[32], relative[32];
    std::snprintf(absolute, sizeof absolute, "%.2e", d.absolute);
    std::snprintf(relative, sizeof relative, "%.2e", d.relative);
    rows.push_back({made.name, made.op, made.tactic, absolute, relative,
                    wrong ? "<- over the tolerance" : ""});
    list.push_back({{"value", made.name},
                    {"op", made.op},
                    {"tactic", made.tactic},
                    {"absolute", d.absolute},
                    {"relative", d.relative},
                    {"good", !wrong}});
  }
  if (options.json) {
    print_json({{"model", options.path},
                {"tolerance", tolerance},
                {"compared", list.size()},
                {"over_tolerance", bad},
                {"values", list}});
  } else {
    std::printf("%s\n%zu values compared with the reference, %zu over the tolerance of %g\n",
                format_table(rows).c_str(), list.size(), bad, tolerance);
  }
  if (bad > 0)
    return internal_error(bad, " values differ from the reference by more than ", tolerance);
  return {};
}

}  // namespace

void register_verb_compare(VerbTable& table) {
  table.add({"compare", "Compare each step with the reference",
             "redline compare model.onnx --input x=image.npy", [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               auto inputs = add_input_options(app);
               auto tolerance = std::make_shared<std::optional<double>>();
               app.add_option("--tolerance", *tolerance,
                              "Largest error, relative to the largest element; 1e-3, with "
                              "--fp16 2e-2, with --bf16 1e-1");
               return [=] { return run(*options, *inputs, *tolerance); };
             }});
}

}  // namespace redline::cli
