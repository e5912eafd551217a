// SPDX-License-Identifier: Apache-2.0
#include "ops/control_flow.h"

#include <cstring>

#include "plan/control_step.h"
#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

// If and loop in an engine for a GPU (control_step.h). The host reads conditions, for which it
// waits once a decision; states and results that the GPU makes and reads do not leave it.
namespace redline {

Executor::Placed Executor::placed(int value) const {
  auto v = static_cast<size_t>(value);
  return {slots_[v].tensor, far_[v] ? Space::kDevice : plan_.values[v].space};
}

Status Executor::copy(const Placed& from, void* to, Space space) {
  size_t bytes = from.tensor.bytes();
  if (bytes == 0) return {};
  auto address = [](const void* data) { return reinterpret_cast<cuda::DevicePtr>(data); };
  const void* data = from.tensor.raw();
  if (from.space == Space::kHost && space == Space::kHost) {
    std::memcpy(to, data, bytes);
    return {};
  }
  gpu_->busy = true;
  if (from.space == space) return gpu_->stream.copy_on_device(address(to), address(data), bytes);
  // The host's side may be gone, or be read, as soon as this is done.
  REDLINE_TRY(space == Space::kDevice ? gpu_->stream.copy_to_device(address(to), data, bytes)
                                      : gpu_->stream.copy_to_host(to, address(data), bytes));
  return wait();
}

// Runs a subgraph; of its results those that go on to the GPU stay there.
Result<std::vector<Executor::Placed>> Executor::run_body(size_t step, size_t which,
                                                         std::vector<Placed> inputs) {
  const PlanStep& planned = plan_.steps[step];
  Executor& body = *steps_[step].subplans[which];
  for (int value : planned.captures[which]) inputs.push_back(placed(value));
  if (inputs.size() != body.plan_.inputs.size()) return internal_error("inputs are missing");
  std::vector<HostValue> arguments;
  for (size_t i = 0; i < inputs.size(); ++i) {
    REDLINE_TRY(body.place_input(i, inputs[i].space));
    arguments.push_back(HostValue::of(inputs[i].tensor));
  }
  std::vector<Space> spaces;
  for (size_t i = 0; i < num_results(planned); ++i) {
    int output = handed_on_as(planned, i);
    auto value = [&] { return static_cast<size_t>(planned.outputs[static_cast<size_t>(output)]); };
    spaces.push_back(output < 0 ? Space::kHost : plan_.values[value()].space);
    REDLINE_TRY(body.place_output(i, spaces[i]));
  }
  REDLINE_TRY(body.run(arguments));
  std::vector<Placed> results;
  for (size_t i = 0; i < spaces.size(); ++i) {
    if (spaces[i] == Space::kDevice) {
      results.push_back({body.device_output(i), spaces[i], true});
      continue;
    }
    const Tensor& made = body.output(i).tensor;
    Placed& own = results.emplace_back();
    REDLINE_ASSIGN(own.tensor, Tensor::create(made.dtype(), made.dims()));
    REDLINE_TRY(copy({made}, own.tensor.mutable_raw(), Space::kHost));
    own.own = true;
  }
  return results;
}

// The states, then what is stacked.
Result<std::vector<Executor::Placed>> Executor::run_loop(size_t index) {
  const PlanStep& step = plan_.steps[index];
  auto given = [&](size_t i) { return i < step.inputs.size() && step.inputs[i] >= 0; };
  auto slot = [&](size_t i) -> const HostValue& {
    return slots_[static_cast<size_t>(step.inputs[i])];
  };
  int64_t trips = INT64_MAX;
  bool condition = true;
  if (given(0)) {
    REDLINE_ASSIGN(trips, trip_count(slot(0)));
  }
  if (given(1)) {
    REDLINE_ASSIGN(condition, condition_of(slot(1)));
  }
  size_t states = num_states(step);
  std::vector<Placed> state;
  for (size_t s = 0; s < states; ++s) state.push_back(placed(step.inputs[kFirstState + s]));
  std::vector<std::vector<Tensor>> stacked(step.outputs.size() -
                                           std::min(states, step.outputs.size()));
  for (int64_t i = 0; i < trips && condition; ++i) {
    uint8_t byte = condition;
    std::vector<Placed> inputs = {{Tensor::scalar_int64(i)},
                                  {Tensor::from<uint8_t>(DType::kBool, {}, {&byte, 1})}};
    std::move(state.begin(), state.end(), std::back_inserter(inputs));
    REDLINE_ASSIGN(std::vector<Placed> results, run_body(index, 0, std::move(inputs)));
    REDLINE_ASSIGN(condition, condition_of(HostValue::of(results[0].tensor)));
    for (size_t s = 0; s < states; ++s) state[s] = std::move(results[1 + s]);
    for (size_t s = 0; s < stacked.size(); ++s) {
      stacked[s].push_back(std::move(results[1 + states + s].tensor));
    }
  }
  state.resize(std::min(states, step.outputs.size()));
  for (size_t s = 0; s < stacked.size(); ++s) {
    const Type& type = plan_.values[static_cast<size_t>(step.outputs[states + s])].type;
    REDLINE_ASSIGN(Tensor stack, stack_results(std::move(stacked[s]), type));
    state.push_back({std::move(stack), Space::kHost, true});
  }
  return state;
}

// Into the memory that is planned for an output, if there is any.
Status Executor::store(size_t index, size_t output, const Placed& made, TensorView to) {
  auto v = static_cast<size_t>(plan_.steps[index].outputs[output]);
  const PlanValue& declared = plan_.values[v];
  REDLINE_TRY(check_made(declared, HostValue::of(made.tensor)));
  if (to.data != nullptr && to.dims != made.tensor.dims()) {
    return invalid_argument("output ", output, " comes out as ", dtype_name(made.tensor.dtype()),
                            made.tensor.dims().to_string(), ", the graph says ",
                            dtype_name(to.dtype), to.dims.to_string());
  }
  if (to.data == nullptr && made.own && made.space == declared.space) {
    slots_[v] = HostValue::of(made.tensor);
    return {};
  }
  if (to.data == nullptr) {
    REDLINE_ASSIGN(Tensor tensor,
                   allocate(declared.space, made.tensor.dtype(), made.tensor.dims()));
    to = tensor.view();
    slots_[v] = HostValue::of(std::move(tensor));
  }
  return copy(made, to.data, declared.space);
}

Status Executor::run_control_step(size_t index, std::span<const TensorView> outputs) {
  const PlanStep& step = plan_.steps[index];
  std::vector<Placed> made;
  if (step.op->name == "loop") {
    REDLINE_ASSIGN(made, run_loop(index));
  } else {
    REDLINE_ASSIGN(bool condition, condition_of(slots_[static_cast<size_t>(step.inputs[0])]));
    REDLINE_ASSIGN(made, run_body(index, condition ? 0 : 1, {}));
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (i >= made.size()) return internal_error("outputs are missing");
    REDLINE_TRY(store(index, i, made[i], i < outputs.size() ? outputs[i] : TensorView()));
  }
  return {};
}

}  // namespace redline
