// SPDX-License-Identifier: Apache-2.0
#include "build/insert_copies.h"

#include <algorithm>
#include <map>
#include <set>

#include "plan/control_step.h"

namespace redline {
namespace {

// Whether an input of a plan with its copies is read by uploads alone.
bool is_for_gpu(const Plan& plan, int input) {
  bool uploaded = false;
  for (const NamedValue& output : plan.outputs) {
    if (output.value == input) return false;
  }
  for (const PlanStep& step : plan.steps) {
    for (const auto& captures : step.captures) {
      if (std::find(captures.begin(), captures.end(), input) != captures.end()) return false;
    }
    if (std::find(step.inputs.begin(), step.inputs.end(), input) == step.inputs.end()) continue;
    bool upload = step.tactic == kUploadTactic;
    if (!upload && !step.op->has(kTraitReadsSizes)) return false;
    uploaded |= upload;
  }
  return uploaded;
}

// Whether an output of a plan with its copies comes from the GPU.
bool comes_from_gpu(const Plan& plan, int output) {
  for (const PlanStep& step : plan.steps) {
    if (std::find(step.outputs.begin(), step.outputs.end(), output) == step.outputs.end()) continue;
    if (step.tactic == kViewTactic) return comes_from_gpu(plan, step.inputs[0]);
    return step.tactic == kDownloadTactic;
  }
  return false;
}

// Of a control step.
bool is_made_on_gpu(const PlanStep& step, size_t output) {
  bool found = false;
  for (const auto& subplan : step.subplans) {
    for (size_t i = 0; i < subplan->outputs.size(); ++i) {
      if (handed_on_as(step, i) != static_cast<int>(output)) continue;
      if (!comes_from_gpu(*subplan, subplan->outputs[i].value)) return false;
      found = true;
    }
  }
  return found;
}

class CopyInserter {
 public:
  CopyInserter(Plan& plan, const TacticRegistry& tactics, const OpDef& identity)
      : plan_(plan), tactics_(tactics), identity_(identity) {}

  void run() {
    std::vector<PlanStep> steps = std::exchange(plan_.steps, {});
    for (PlanStep& step : steps) place(step);
    for (NamedValue& output : plan_.outputs) output.value = on(Space::kHost, output.value);
    uploads_.insert(uploads_.end(), std::make_move_iterator(plan_.steps.begin()),
                    std::make_move_iterator(plan_.steps.end()));
    plan_.steps = std::move(uploads_);
  }

 private:
  // A view, to be made again of its base's copy.
  struct View {
    const OpDef* op;
    Attrs attrs;
    std::vector<int> inputs;
    std::string name;
  };

  PlanValue& value(int v) { return plan_.values[static_cast<size_t>(v)]; }

  Space space_of(const PlanStep& step) {
    if (step.tactic.empty()) return Space::kHost;
    if (step.tactic == kViewTactic) return value(step.inputs[0]).space;
    return tactics_.find(step.tactic)->device == "cuda" ? Space::kDevice : Space::kHost;
  }

  void place(PlanStep& step) {
    Space space = space_of(step);
    bool view = step.tactic == kViewTactic;
    for (const auto& subplan : step.subplans) insert_copies(*subplan, tactics_, identity_);
    bool control = is_control_step(plan_, step);
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      // What tells sizes, or is there for its own, may lie on either side.
      bool read = space == Space::kHost ? !step.op->has(kTraitReadsSizes) : !view || i == 0;
      if (control && i >= kFirstState) read = false;
      if (step.inputs[i] >= 0 && read) step.inputs[i] = on(space, step.inputs[i]);
      for (PlanVariant& variant : step.variants) {
        int& input = variant.inputs[i];
        if (input >= 0 && read) input = on(space, input);
      }
    }
    for (size_t s = 0; s < step.captures.size(); ++s) {
      std::vector<int>& captures = step.captures[s];
      const std::vector<NamedValue>& inputs = step.subplans[s]->inputs;
      size_t first = inputs.size() - captures.size();
      for (size_t i = 0; i < captures.size(); ++i) {
        bool stays = control && is_for_gpu(*step.subplans[s], inputs[first + i].value);
        if (!stays) captures[i] = on(Space::kHost, captures[i]);
      }
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      bool made_there = control ? is_made_on_gpu(step, i) : space == Space::kDevice;
      if (step.outputs[i] < 0) continue;
      value(step.outputs[i]).space = made_there ? Space::kDevice : Space::kHost;
    }
    if (view) {
      value(step.outputs[0]).alias_of = step.inputs[0];
      views_.emplace(step.outputs[0], View{step.op, step.attrs, step.inputs, step.name});
    }
    plan_.steps.push_back(std::move(step));
  }

  // The value as that side has it.
  int on(Space space, int v) {
    if (value(v).space == space) return v;
    if (auto it = twins_.find(v); it != twins_.end()) return it->second;
    PlanValue twin = value(v);
    twin.space = space;
    PlanStep step;
    auto view = views_.find(v);
    if (view != views_.end()) {
      step.op = view->second.op;
      step.attrs = view->second.attrs;
      step.inputs = view->second.inputs;
      step.inputs[0] = twin.alias_of = on(space, step.inputs[0]);
      step.name = view->second.name;
      step.tactic = kViewTactic;
    } else if (twin.storage != Storage::kConstant) {
      step.op = &identity_;
      step.inputs = {v};
      step.name = twin.name;
      step.tactic = space == Space::kDevice ? kUploadTactic : kDownloadTactic;
      twin.storage = Storage::kArena;
    }
    int index = static_cast<int>(plan_.values.size());
    plan_.values.push_back(std::move(twin));
    twins_.emplace(v, index);
    if (step.op != nullptr) {
      step.outputs = {index};
      // Inputs are there from the start: their copies split no row of kernels.
      bool early = value(v).storage == Storage::kInput;
      (early ? uploads_ : plan_.steps).push_back(std::move(step));
    }
    return index;
  }

  Plan& plan_;
  const TacticRegistry& tactics_;
  const OpDef& identity_;
  std::vector<PlanStep> uploads_;
  std::map<int, int> twins_;
  std::map<int, View> views_;
};

}  // namespace

std::vector<bool> sized_values(const Plan& plan) {
  std::set<std::string> known;
  for (const NamedValue& input : plan.inputs) {
    const Type& type = plan.values[static_cast<size_t>(input.value)].type;
    if (!type.is_tensor() || !type.shape.has_rank()) continue;
    for (const Dim& dim : type.shape.dims()) {
      if (dim.is_symbol()) known.insert(std::string(dim.symbol_name()));
    }
  }
  std::vector<bool> sized;
  for (const PlanValue& value : plan.values) {
    const Type& type = value.type;
    bool is = type.is_tensor() && type.dtype != DType::kString && type.shape.has_rank() &&
              type.shape.rank() <= kMaxRank;
    for (int i = 0; is && i < type.shape.rank(); ++i) {
      is = !type.shape[i].is_invalid();
      for (const std::string& symbol : type.shape[i].symbols()) is &= known.contains(symbol);
    }
    if (is && value.storage == Storage::kAlias) is = sized[static_cast<size_t>(value.alias_of)];
    sized.push_back(is);
  }
  return sized;
}

void insert_copies(Plan& plan, const TacticRegistry& tactics, const OpDef& identity) {
  CopyInserter(plan, tactics, identity).run();
}

}  // namespace redline
