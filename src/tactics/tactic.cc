// SPDX-License-Identifier: Apache-2.0
#include "tactics/tactic.h"

#include <algorithm>

#include "ops/elements.h"
#include "ops/fused.h"

namespace redline {
namespace {

constexpr int64_t kMaxShownElements = 16;

std::string operand_to_string(const OperandDesc& operand) {
  if (!operand.present) return "_";
  if (!operand.is_tensor) return "value";
  std::string text = str_cat(operand.constant ? "const " : "", dtype_name(operand.dtype), "[");
  if (!operand.has_rank) return text + "*]";
  for (int i = 0; i < operand.dims.rank(); ++i) {
    int64_t dim = operand.dims[static_cast<size_t>(i)];
    text += (i > 0 ? "," : "") + (dim == kDynamicDim ? "?" : std::to_string(dim));
  }
  text += operand.like_output && !operand.is_static() ? "] like output" : "]";
  // The elements of small constants that say what to do: axes, sizes, starts.
  const Tensor* value = operand.constant;
  if (value != nullptr && is_int(value->dtype()) && value->count() <= kMaxShownElements) {
    std::string elements;
    for (int64_t element : read_ints(value->view())) {
      elements += (elements.empty() ? "" : ",") + std::to_string(element);
    }
    text += str_cat("=[", elements, "]");
  }
  return text;
}

std::string operands_to_string(const std::vector<OperandDesc>& operands) {
  std::string text;
  for (const OperandDesc& operand : operands) {
    text += (text.empty() ? "" : ", ") + operand_to_string(operand);
  }
  return text;
}

bool has_tf32(const Attrs& attrs) {
  AttrMap map = attrs.map();
  return std::any_of(map.begin(), map.end(), [](const NamedAttr& a) { return a.name == "tf32"; });
}

bool rounds_to_tf32(const Problem& problem) {
  if (!problem.is("fused")) return has_tf32(problem.attrs);
  const auto& nodes = problem.attrs.as<FusedAttrs>().body->nodes;
  return std::any_of(nodes.begin(), nodes.end(),
                     [](const BodyNode& node) { return has_tf32(node.attrs); });
}

}  // namespace

bool OperandDesc::is_static() const {
  return !present ||
         (is_tensor && has_rank && std::find(dims.begin(), dims.end(), kDynamicDim) == dims.end());
}

void note_like_output(Problem& problem, std::span<const Type* const> inputs,
                      std::span<const Type* const> outputs) {
  if (outputs.empty() || outputs[0] == nullptr) return;
  auto note = [&](OperandDesc& operand, const Type* type) {
    bool ranked = operand.present && operand.is_tensor && operand.has_rank;
    operand.like_output = ranked && type->shape == outputs[0]->shape;
  };
  for (size_t i = 0; i < inputs.size(); ++i) note(problem.inputs[i], inputs[i]);
  for (size_t i = 1; i < outputs.size(); ++i) note(problem.outputs[i], outputs[i]);
}

Body body_of(const Problem& problem) {
  if (problem.is("fused")) return *problem.attrs.as<FusedAttrs>().body;
  Body body;
  body.num_inputs = static_cast<int>(problem.inputs.size());
  BodyNode node{problem.op, problem.attrs, {}, static_cast<int>(problem.outputs.size())};
  for (int i = 0; i < body.num_inputs; ++i) {
    node.inputs.push_back(problem.inputs[static_cast<size_t>(i)].present ? i : -1);
  }
  for (int i = 0; i < node.num_outputs; ++i) body.outputs.push_back(body.num_inputs + i);
  body.nodes.push_back(std::move(node));
  return body;
}

std::string Problem::to_string() const {
  std::string text = str_cat(op->name, "(", operands_to_string(inputs), ")");
  std::string attributes = attrs.to_string();
  if (!attributes.empty()) text += " " + attributes;
  return text + " -> " + operands_to_string(outputs);
}

Status Tactic::takes(const Problem& problem) const {
  if (device == "cpu" && rounds_to_tf32(problem)) return unsupported("does not round to tf32");
  return supports(problem);
}

std::string Tactic::versioned_name() const {
  std::string text = str_cat(name, "@", version);
  return library == nullptr ? text : str_cat(text, " ", library());
}

void TacticRegistry::add(Tactic tactic) {
  REDLINE_ASSERT(tactic.supports != nullptr && tactic.prepare != nullptr);
  REDLINE_ASSERT(find(tactic.name) == nullptr);
  tactics_.push_back(std::make_unique<Tactic>(std::move(tactic)));
}

const Tactic* TacticRegistry::find(std::string_view name) const {
  for (const auto& tactic : tactics_) {
    if (tactic->name == name) return tactic.get();
  }
  return nullptr;
}

std::vector<const Tactic*> TacticRegistry::candidates(std::string_view device,
                                                      std::string_view op) const {
  std::vector<const Tactic*> result;
  for (const auto& tactic : tactics_) {
    bool takes = std::find(tactic->ops.begin(), tactic->ops.end(), op) != tactic->ops.end();
    if (takes && tactic->device == device) result.push_back(tactic.get());
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const Tactic* a, const Tactic* b) { return a->preference > b->preference; });
  return result;
}

std::vector<const Tactic*> TacticRegistry::all() const {
  std::vector<const Tactic*> result;
  for (const auto& tactic : tactics_) result.push_back(tactic.get());
  return result;
}

std::unique_ptr<TacticRegistry> make_tactic_registry() {
  auto registry = std::make_unique<TacticRegistry>();
  register_tactic_all(*registry);
  return registry;
}

}  // namespace redline
