// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "api/engine_impl.h"
#include "plan/step_order.h"

namespace redline {
namespace {

using nlohmann::json;

// Names in models are bytes; what is not UTF-8 is replaced.
std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace);
}

json describe(const ValueInfo& info) { return {{"name", info.name}, {"type", info.type}}; }

json describe(const Plan& plan) {
  json steps = json::array();
  for (const PlanStep& step : plan.steps) {
    auto operands = [&](const std::vector<int>& values) {
      json list = json::array();
      for (int value : values) {
        if (value < 0) {
          list.push_back(nullptr);
          continue;
        }
        const PlanValue& v = plan.values[static_cast<size_t>(value)];
        list.push_back({{"name", v.name},
                        {"type", v.type.to_string()},
                        {"constant", v.storage == Storage::kConstant},
                        {"device", v.space == Space::kDevice ? "cuda" : "cpu"}});
      }
      return list;
    };
    json entry = {{"name", step.name},
                  {"op", step.op->name},
                  {"attributes", step.attrs.to_string()},
                  {"tactic", step.tactic.empty() ? "reference" : step.tactic},
                  {"inputs", operands(step.inputs)},
                  {"outputs", operands(step.outputs)}};
    for (const auto& kernel : step.kernels) {
      entry["kernels"].push_back({{"entry", kernel->entry},
                                  {"bytes", kernel->cubin.bytes()},
                                  {"registers", kernel->registers},
                                  {"shared_bytes", kernel->shared_bytes},
                                  {"spill_bytes", kernel->spill_bytes}});
    }
    for (const PlanVariant& variant : step.variants) {
      json other = {{"elements", variant.elements},
                    {"tactic", variant.tactic},
                    {"kernels", variant.kernels.size()}};
      for (const NamedAttr& knob : variant.config) {
        other["config"][knob.name] = attr_to_string(knob.value);
      }
      entry["variants"].push_back(std::move(other));
    }
    if (step.stream > 0) entry["stream"] = step.stream;
    if (step.us > 0) entry["us"] = step.us;
    if (step.error >= 0) entry["error"] = step.error;
    for (const NamedAttr& knob : step.config)
      entry["config"][knob.name] = attr_to_string(knob.value);
    for (const auto& subplan : step.subplans) entry["subgraphs"].push_back(describe(*subplan));
    steps.push_back(std::move(entry));
  }
  return {{"steps", std::move(steps)}};
}

}  // namespace

std::string Engine::inspect() const {
  json result = describe(impl_->plan);
  result["model"] = impl_->info.model;
  result["device"] = impl_->info.device;
  result["device_arch"] = impl_->info.device_arch;
  result["streams"] = StepOrder::of(impl_->plan).streams();
  result["libraries"] = impl_->info.libraries;
  for (const ValueInfo& info : impl_->inputs) result["inputs"].push_back(describe(info));
  for (const ValueInfo& info : impl_->outputs) result["outputs"].push_back(describe(info));
  result["metadata"] = json::object();
  for (const auto& [key, value] : impl_->info.metadata) result["metadata"][key] = value;
  size_t bytes = 0;
  json weights = json::array();
  for (const auto& constant : impl_->plan.constants) {
    bytes += constant->data.bytes();
    weights.push_back({{"name", constant->name},
                       {"type", constant->type.to_string()},
                       {"bytes", constant->data.bytes()},
                       {"recipe", constant->recipe}});
  }
  result["weights"] = std::move(weights);
  result["weight_bytes"] = bytes;
  return dump(result);
}

}  // namespace redline
