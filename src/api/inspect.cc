// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include "api/engine_impl.h"
#include "device/occupancy.h"
#include "plan/step_order.h"

namespace redline {
namespace {

using nlohmann::json;

// Names in models are bytes; what is not UTF-8 is replaced.
std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace);
}

json describe(const ValueInfo& info) { return {{"name", info.name}, {"type", info.type}}; }

// `chip` is where they run; null when that is not known.
json describe(const std::vector<std::shared_ptr<const PlanKernel>>& kernels,
              const cuda::DeviceInfo* chip) {
  json list = json::array();
  for (const auto& kernel : kernels) {
    json entry = {{"entry", kernel->entry},
                  {"bytes", kernel->cubin.bytes()},
                  {"registers", kernel->registers},
                  {"shared_bytes", kernel->shared_bytes},
                  {"dynamic_shared_bytes", kernel->dynamic_shared_bytes},
                  {"spill_bytes", kernel->spill_bytes}};
    if (kernel->threads > 0) {
      entry["threads"] = kernel->threads;
      if (chip != nullptr) {
        cuda::BlockNeeds needs = {kernel->threads, kernel->registers, kernel->shared_bytes,
                                  kernel->dynamic_shared_bytes};
        entry["resident_blocks"] = resident_blocks(*chip, needs);
        entry["occupancy"] = occupancy(*chip, needs);
      }
    }
    list.push_back(std::move(entry));
  }
  return list;
}

json describe(const AttrMap& config) {
  json knobs = json::object();
  for (const NamedAttr& knob : config) knobs[knob.name] = attr_to_string(knob.value);
  return knobs;
}

json describe(const PlanVariant& variant, const cuda::DeviceInfo* chip) {
  json entry = {{"elements", variant.elements},
                {"tactic", variant.tactic},
                {"kernels", describe(variant.kernels, chip)}};
  if (!variant.config.empty()) entry["config"] = describe(variant.config);
  return entry;
}

json describe(const Plan& plan, const cuda::DeviceInfo* chip) {
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
    if (!step.kernels.empty()) entry["kernels"] = describe(step.kernels, chip);
    if (!step.variants.empty()) entry["elements"] = step.elements;
    for (const PlanVariant& variant : step.variants) {
      entry["variants"].push_back(describe(variant, chip));
    }
    if (step.stream > 0) entry["stream"] = step.stream;
    if (step.us > 0) entry["us"] = step.us;
    if (step.error >= 0) entry["error"] = step.error;
    if (!step.config.empty()) entry["config"] = describe(step.config);
    for (const auto& subplan : step.subplans) {
      entry["subgraphs"].push_back(describe(*subplan, chip));
    }
    steps.push_back(std::move(entry));
  }
  return {{"steps", std::move(steps)}};
}

}  // namespace

std::string Engine::inspect() const {
  Result<cuda::DeviceInfo> chip = cuda::DeviceInfo::of_arch(impl_->info.device_arch);
  json result = describe(impl_->plan, chip.ok() ? &*chip : nullptr);
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
