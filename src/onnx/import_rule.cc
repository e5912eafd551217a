// SPDX-License-Identifier: Apache-2.0
#include "onnx/import_rule.h"

#include <algorithm>
#include <numeric>

#include "ops/elements.h"

namespace redline {
namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

Result<Value*> ImportContext::emit(std::string_view op, std::vector<Value*> inputs, Attrs attrs) {
  REDLINE_ASSIGN(Node * node, emit_node(op, std::move(inputs), std::move(attrs), 1));
  return node->output();
}

Value* ImportContext::constant_scalar(DType dtype, double value) {
  Tensor tensor = Tensor::create(dtype, {}).value();
  with_wide_type(dtype, [&](auto wide) {
    using W = decltype(wide);
    write_elements(std::vector<W>{static_cast<W>(value)}, tensor.view());
  });
  return constant(std::move(tensor));
}

Status ImportContext::import_same(
    std::string_view op,
    std::initializer_list<std::pair<std::string_view, std::string_view>> renames,
    std::initializer_list<std::string_view> ignore) {
  const OpDef* def = graph().registry().find(op);
  if (def == nullptr) return internal_error("no op named '", op, "'");
  REDLINE_ASSIGN(Attrs attrs, load_attrs(def->attrs, renames, ignore));
  REDLINE_ASSIGN(Node * node, emit_node(op, inputs(), std::move(attrs), num_outputs()));
  set_outputs(node);
  return {};
}

std::vector<Value*> ImportContext::inputs() const {
  std::vector<Value*> result;
  for (size_t i = 0; i < num_inputs(); ++i) result.push_back(input(i));
  return result;
}

void ImportRegistry::add(ImportRule rule) {
  std::pair<std::string, std::string> key{rule.domain, rule.op_type};
  bool inserted = rules_.emplace(std::move(key), std::move(rule)).second;
  REDLINE_ASSERT(inserted);
}

const ImportRule* ImportRegistry::find(std::string_view domain, std::string_view op_type) const {
  auto it = rules_.find({std::string(domain), std::string(op_type)});
  return it == rules_.end() ? nullptr : &it->second;
}

const ImportRule* ImportRegistry::nearest(std::string_view op_type) const {
  const ImportRule* best = nullptr;
  size_t best_distance = SIZE_MAX;
  for (const auto& [key, rule] : rules_) {
    if (op_type.size() > 64) break;
    size_t distance = edit_distance(op_type, rule.op_type);
    if (distance < best_distance) {
      best_distance = distance;
      best = &rule;
    }
  }
  return best_distance <= std::max<size_t>(2, op_type.size() / 2) ? best : nullptr;
}

std::vector<const ImportRule*> ImportRegistry::all() const {
  std::vector<const ImportRule*> result;
  for (const auto& [key, rule] : rules_) result.push_back(&rule);
  return result;
}

}  // namespace redline
