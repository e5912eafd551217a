// SPDX-License-Identifier: Apache-2.0
#include <unordered_map>

#include "ir/rewrite.h"
#include "ops/cast.h"
#include "passes/half_plan.h"
#include "passes/half_rules.h"
#include "passes/value_range.h"

namespace redline {
namespace {

// Rewrites the nodes of a plan in order. A lowered node reads 16-bit values and its result is one;
// whoever needs the f32 reads a cast of it.
class Lowering {
 public:
  Lowering(const HalfPlan& plan, DType half, ThreadPool* pool)
      : plan_(plan), half_(half), pool_(pool) {}

  Status run(Graph& graph) {
    std::vector<Node*> nodes = graph.node_snapshot();
    for (size_t i = 0; i < nodes.size(); ++i) {
      for (const auto& subgraph : nodes[i]->subgraphs()) REDLINE_TRY(run(*subgraph));
      if (plan_.follow.contains(nodes[i])) follow(nodes[i]);
      if (!plan_.lowered.contains(nodes[i])) continue;
      REDLINE_TRY(lower(nodes[i], i + 1 < nodes.size() ? nodes[i + 1] : nullptr));
    }
    return {};
  }

 private:
  Status lower(Node* node, Node* next) {
    for (size_t i = 0; i < node->num_inputs(); ++i) {
      Value* value = node->input(i);
      if (!is_f32(value) || !is_half_operand(*node, i)) continue;
      REDLINE_ASSIGN(Value * lowered, half_of(value, node, may_saturate(*node, i)));
      node->set_input(i, lowered);
    }
    std::vector<DType> before;
    for (Value* output : node->outputs()) {
      before.push_back(is_f32(output) ? DType::kFloat32 : half_);
      // So that what is known of the sizes beyond the op's rule stays.
      if (is_f32(output)) output->type.dtype = half_;
    }
    REDLINE_TRY(node->graph()->infer(node));
    for (size_t i = 0; i < before.size(); ++i) {
      Value* output = node->output(i);
      bool became_half = before[i] == DType::kFloat32 && output->dtype() == half_;
      if (became_half && !output->uses.empty()) REDLINE_TRY(offer_f32(output, next));
    }
    return {};
  }

  // All present readers read the cast; those that are lowered come back to what it casts.
  Status offer_f32(Value* lowered, Node* next) {
    Graph* graph = lowered->graph;
    REDLINE_ASSIGN(Node * cast, graph->add_node("cast", std::vector<Value*>{lowered},
                                                CastAttrs{.to = DType::kFloat32}, 1, next,
                                                lowered->producer->name));
    std::vector<Use> uses = lowered->uses;
    for (const Use& use : uses) {
      if (use.node == cast) continue;
      if (use.node != nullptr) {
        use.node->set_input(use.index, cast->output());
      } else {
        use.graph->set_output(use.index, cast->output());
      }
    }
    halves_[cast->output()] = lowered;
    return {};
  }

  void follow(Node* node) {
    for (size_t i = 0; i < node->num_inputs(); ++i) {
      auto it = halves_.find(node->input(i));
      if (it != halves_.end() && !it->first->is_constant()) node->set_input(i, it->second);
    }
  }

  Result<Value*> half_of(Value* value, Node* reader, bool saturate) {
    // A cast takes what is beyond the range to infinity, so the clipped one is another value.
    bool clip = saturate && plan_.large.contains(value);
    auto& known = clip ? clipped_ : halves_;
    if (auto it = known.find(value); it != known.end()) return it->second;
    Value* result = nullptr;
    if (value->is_constant()) {
      REDLINE_ASSIGN(Tensor tensor, constant_in(half_, value->constant, pool_));
      result = value->graph->add_constant(std::move(tensor), value->name);
    } else {
      REDLINE_ASSIGN(result, cast_of(value, reader, clip));
    }
    known[value] = result;
    return result;
  }

  Result<Value*> cast_of(Value* value, Node* reader, bool clip) {
    // Where the value's own graph comes to the reader, which may be nested in it.
    while (reader->graph() != value->graph) reader = reader->graph()->owner;
    Value* source = value;
    if (clip) {
      double limit = largest_half(half_);
      REDLINE_ASSIGN(Value * low, insert_constant(*value->graph, DType::kFloat32, {}, -limit));
      REDLINE_ASSIGN(Value * high, insert_constant(*value->graph, DType::kFloat32, {}, limit));
      REDLINE_ASSIGN(source, insert(reader, "clip", {value, low, high}));
    }
    return insert(reader, "cast", {source}, CastAttrs{.to = half_});
  }

  const HalfPlan& plan_;
  DType half_;
  ThreadPool* pool_;
  std::unordered_map<Value*, Value*> halves_;  // by the f32 value
  std::unordered_map<Value*, Value*> clipped_;
};

void tell(const PrecisionReport& report, const Logger& logger) {
  logger.info("lower_precision: ", report.lowered, " nodes compute in ", dtype_name(report.dtype),
              "; range check ", report.range_check);
  for (const PrecisionReport::Kept& kept : report.kept) {
    logger.info("lower_precision: ", kept.nodes.size(), " ", kept.op, " stay in f32: ", kept.reason,
                " (", kept.nodes[0], kept.nodes.size() > 1 ? ", ..." : "", ")");
  }
}

Result<bool> run(Graph& graph, PassContext& context) {
  DType half = context.options.compute_dtype;
  if (half == DType::kFloat32) return false;
  HalfPlan plan = plan_half(graph, context.options);
  tell(plan.report, context.options.logger);
  if (context.options.precision_report != nullptr) *context.options.precision_report = plan.report;
  if (plan.lowered.empty()) return false;
  REDLINE_TRY(Lowering(plan, half, context.options.pool).run(graph));
  graph.erase_dead();
  context.lowered = true;
  return true;
}

}  // namespace

void register_pass_lower_precision(PassRegistry& registry) {
  registry.add(
      {"lower_precision", "computes in f16 or bf16 where that is asked for and safe", run});
}

}  // namespace redline
