// SPDX-License-Identifier: Apache-2.0
#include "passes/half_plan.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "passes/half_rules.h"
#include "passes/range_memory.h"
#include "passes/value_range.h"

namespace redline {
namespace {

// A second on two cores: an image through ResNet-50 five times, or a text through BERT.
constexpr double kCheapWork = 5e10;
// Real inputs are not the random ones, so values must keep this distance from the limit.
constexpr double kRangeMargin = 4;

constexpr std::string_view kTooSmall = "a constant of it is too small";
constexpr std::string_view kTooLarge = "a constant of it is too large";
constexpr std::string_view kOperandTooLarge = "an operand may be too large";
constexpr std::string_view kOverflows = "its result is too large on random inputs";

bool makes_f32(const Node& node) {
  return std::any_of(node.outputs().begin(), node.outputs().end(), is_f32);
}

// The op's own rule takes the type in place of f32 and makes it of f32.
bool rule_takes(const Node& node, DType half) {
  std::vector<Type> types(node.num_inputs());
  std::vector<InferInput> inputs(node.num_inputs());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value* value = node.input(i);
    if (value == nullptr) continue;
    types[i] = value->type;
    bool lowers = is_f32(value) && is_half_operand(node, i);
    if (lowers) types[i].dtype = half;
    inputs[i] = {&types[i], value->is_constant() && !lowers ? &value->constant : nullptr,
                 value->contents ? &*value->contents : nullptr};
  }
  InferContext context(node.op(), node.attrs(), inputs, node.num_outputs());
  int fresh = 0;
  context.make_symbol = [&fresh](std::string_view) {
    return Dim::symbol("trial" + std::to_string(fresh++));
  };
  return node.op().infer(context).ok() && context.outputs()[0].dtype == half;
}

class Planner {
 public:
  Planner(const Graph& graph, const PassOptions& options)
      : graph_(graph),
        pool_(options.pool),
        half_(options.compute_dtype),
        limit_(largest_half(half_)) {
    plan_.report.dtype = half_;
    if (half_ == DType::kBFloat16) {
      plan_.report.range_check = "not run: bf16 reaches as far as f32";
      return;
    }
    Stages::Span stage(options.stages, "passes/lower_precision/range check");
    MeasuredRange measured = measure(options);
    measured_ = std::move(measured.largest);
    plan_.report.range_check = std::move(measured.outcome);
  }

  HalfPlan run() {
    graph_.for_each_node([&](const Node* node) { visit(*node); });
    keep_final_steps();
    for (const Node* node : candidates_) join_producers(*node);
    keep_what_gains_nothing();
    plan_.report.lowered = plan_.lowered.size();
    return std::move(plan_);
  }

 private:
  // From an earlier build, or by running the graph.
  MeasuredRange measure(const PassOptions& options) const {
    std::string key;
    if (options.memory != nullptr) {
      key = range_key(graph_, options.symbol_values, options.pool);
      std::optional<std::string> text = options.memory->find(key);
      std::optional<MeasuredRange> known = text ? range_from_text(graph_, *text) : std::nullopt;
      if (known) return *std::move(known);
    }
    double most_work = options.check_range ? std::numeric_limits<double>::infinity() : kCheapWork;
    MeasuredRange measured =
        measure_range(graph_, options.symbol_values, most_work, options.run_graph);
    if (options.memory != nullptr && measured.complete) {
      MeasuredRange kept = measured;
      kept.outcome += ", by an earlier build";
      options.memory->keep(key, range_to_text(graph_, kept, limit_ / kRangeMargin));
    }
    return measured;
  }

  void visit(const Node& node) {
    HalfRule rule = half_rule(node);
    if (rule.use == HalfUse::kFollows) plan_.follow.insert(&node);
    if (!makes_f32(node)) return;
    std::string_view trouble = range_trouble(node);
    if (rule.use == HalfUse::kKeeps) {
      trouble = rule.reason;
    } else if (trouble.empty() && !rule_takes(node, half_)) {
      trouble = "its rule does not take 16-bit operands";
    }
    if (!trouble.empty()) return plan_.report.keep(node, trouble);
    candidates_.push_back(&node);
    gains_[&node] = rule.use == HalfUse::kGains;
  }

  bool is_too_small(const Node& node, size_t operand, const ConstantFit& fit) const {
    if (!is_added(node, operand)) return fit.is_coarse;
    // One element for all is what keeps a divisor from zero.
    return fit.vanishes && node.input(operand)->constant.count() == 1;
  }

  // Why its values do not fit the type; marks results that may not either.
  std::string_view range_trouble(const Node& node) {
    std::string_view trouble;
    bool spreads = false;
    for (size_t i = 0; i < node.num_inputs(); ++i) {
      const Value* value = node.input(i);
      if (!is_f32(value) || !is_half_operand(node, i)) continue;
      ConstantFit fit = value->is_constant() ? fit_of(value) : ConstantFit{};
      if (is_too_small(node, i, fit)) trouble = kTooSmall;
      if (may_saturate(node, i)) continue;
      if (fit.largest > limit_) {
        spreads = true;
        trouble = kTooLarge;
      } else if (plan_.large.contains(value)) {
        spreads = !is_measured_large(value);
        if (trouble.empty()) trouble = kOperandTooLarge;
      }
    }
    for (const Value* output : node.outputs()) {
      if (!is_f32(output)) continue;
      if (is_measured_large(output)) {
        if (trouble.empty() || trouble == kOperandTooLarge) trouble = kOverflows;
      } else if (!spreads || settles(node)) {
        continue;
      }
      plan_.large.insert(output);
    }
    return trouble;
  }

  bool is_measured_large(const Value* value) const {
    auto it = measured_.find(value);
    return it != measured_.end() && it->second > limit_ / kRangeMargin;
  }

  const ConstantFit& fit_of(const Value* value) {
    auto [it, is_new] = fits_.try_emplace(value);
    if (is_new) it->second = fit_of_constant(value->constant, half_, pool_);
    return it->second;
  }

  void keep_final_steps() {
    auto is_final = [&](const Use& use) {
      return use.node == nullptr || final_.contains(use.node);
    };
    for (size_t i = candidates_.size(); i-- > 0;) {
      const Node* node = candidates_[i];
      const Value* result = node->output();
      if (node->num_outputs() != 1 || !is_final_step(*node)) continue;
      if (!std::all_of(result->uses.begin(), result->uses.end(), is_final)) continue;
      final_.insert(node);
      gains_.erase(node);
      plan_.report.keep(*node, "it makes a result of the graph, which is f32");
    }
    std::erase_if(candidates_, [&](const Node* node) { return final_.contains(node); });
  }

  // Candidates that hand each other 16-bit values form one region.
  void join_producers(const Node& node) {
    for (size_t i = 0; i < node.num_inputs(); ++i) {
      const Value* value = node.input(i);
      if (!is_f32(value) || value->producer == nullptr || !is_half_operand(node, i)) continue;
      if (!gains_.contains(value->producer)) continue;
      const Node* a = region(&node);
      const Node* b = region(value->producer);
      if (a == b) continue;
      parents_[a] = b;
      gains_[b] = gains_[b] || gains_[a];
    }
  }

  const Node* region(const Node* node) {
    for (auto it = parents_.find(node); it != parents_.end(); it = parents_.find(node)) {
      node = it->second;
    }
    return node;
  }

  void keep_what_gains_nothing() {
    for (const Node* node : candidates_) {
      if (gains_[region(node)]) {
        plan_.lowered.insert(node);
      } else {
        plan_.report.keep(*node, "no product or convolution is next to it");
      }
    }
  }

  const Graph& graph_;
  ThreadPool* pool_;
  DType half_;
  double limit_;
  HalfPlan plan_;
  std::unordered_map<const Value*, double> measured_;
  std::unordered_map<const Value*, ConstantFit> fits_;
  std::vector<const Node*> candidates_;
  std::unordered_set<const Node*> final_;
  std::unordered_map<const Node*, bool> gains_;           // of candidates and their regions
  std::unordered_map<const Node*, const Node*> parents_;  // towards the region's first
};

}  // namespace

bool is_f32(const Value* value) {
  return value != nullptr && value->type.is_tensor() && value->dtype() == DType::kFloat32;
}

HalfPlan plan_half(const Graph& graph, const PassOptions& options) {
  return Planner(graph, options).run();
}

}  // namespace redline
