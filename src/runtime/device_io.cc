// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "runtime/executor_state.h"

// Inputs and outputs in the GPU's memory. Where one copy stands between such a value and the
// session's memory, a kernel makes it that reads the other address from page-locked memory, for a
// graph is captured once and addresses change. What else reads or makes the value does so on the
// host, and it goes that way.
namespace redline {
namespace {

int root_of(const Plan& plan, int value) {
  while (plan.values[static_cast<size_t>(value)].storage == Storage::kAlias) {
    value = plan.values[static_cast<size_t>(value)].alias_of;
  }
  return value;
}

// Whether a step reads an element of what lies in the memory of `root`, by another way than a view
// or `copy`.
bool reads(const Plan& plan, const PlanStep& step, int root, bool copy) {
  auto lies_there = [&](int value) { return value >= 0 && root_of(plan, value) == root; };
  for (const auto& captures : step.captures) {
    for (int value : captures) {
      if (lies_there(value)) return true;
    }
  }
  if (copy || step.op->has(kTraitReadsSizes)) return false;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    bool view = step.tactic == kViewTactic && i == 0;
    if (lies_there(step.inputs[i]) && !view) return true;
  }
  return false;
}

}  // namespace

void Executor::find_ports() {
  direct_.assign(plan_.steps.size(), false);
  far_.assign(plan_.values.size(), false);
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    inputs_.emplace_back().copy = upload_of(plan_.inputs[i].value);
  }
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    outputs_.emplace_back().copy = download_of(plan_.outputs[i].value);
  }
}

int Executor::upload_of(int input) const {
  auto v = static_cast<size_t>(input);
  if (!values_[v].sized || plan_.values[v].storage != Storage::kInput) return -1;
  for (const NamedValue& output : plan_.outputs) {
    if (root_of(plan_, output.value) == input) return -1;
  }
  int found = -1;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    bool copy = step.tactic == kUploadTactic && step.inputs[0] == input && !step.kernels.empty();
    if (reads(plan_, step, input, copy) || (copy && found >= 0)) return -1;
    if (copy) found = static_cast<int>(s);
  }
  return found;
}

int Executor::download_of(int output) const {
  int root = root_of(plan_, output);
  if (!values_[static_cast<size_t>(output)].sized || !values_[static_cast<size_t>(root)].sized) {
    return -1;
  }
  int found = -1;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    if (reads(plan_, step, root, /*copy=*/false)) return -1;
    bool copy = step.tactic == kDownloadTactic && step.outputs[0] == root && !step.kernels.empty();
    if (copy) found = static_cast<int>(s);
  }
  return found;
}

Status Executor::place(Port& port, Space space) {
  if (port.space == space) return {};
  if (gpu_ == nullptr) return invalid_argument("the engine is for the CPU");
  if (gpu_->addresses.bytes() == 0) {
    size_t words = std::max<size_t>(plan_.steps.size(), 1);
    REDLINE_ASSIGN(gpu_->addresses,
                   cuda::PinnedBuffer::create(gpu_->image->context(), words * sizeof(uint64_t)));
  }
  port.space = space;
  update_ports();
  return {};
}

Status Executor::place_input(size_t i, Space space) { return place(inputs_[i], space); }
Status Executor::place_output(size_t i, Space space) { return place(outputs_[i], space); }

void Executor::update_ports() {
  auto is_there = [](const Port& port) { return port.space == Space::kDevice; };
  direct_.assign(plan_.steps.size(), false);
  far_.assign(plan_.values.size(), false);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (!is_there(inputs_[i]) || inputs_[i].copy < 0) continue;
    direct_[static_cast<size_t>(inputs_[i].copy)] = true;
    for (size_t v = 0; v < far_.size(); ++v) {
      if (root_of(plan_, static_cast<int>(v)) == plan_.inputs[i].value) far_[v] = true;
    }
  }
  for (const Port& port : outputs_) {
    if (is_there(port) && port.copy >= 0) direct_[static_cast<size_t>(port.copy)] = true;
  }
  // One memory may be several outputs.
  for (const Port& port : outputs_) {
    if (!is_there(port) && port.copy >= 0) direct_[static_cast<size_t>(port.copy)] = false;
  }
}

const cuda::Stream* Executor::stream() const { return gpu_ ? &gpu_->stream : nullptr; }

Status Executor::run_after(cuda::StreamHandle producer) {
  if (gpu_->ready.get() == nullptr) {
    REDLINE_ASSIGN(gpu_->ready, cuda::Event::create(gpu_->image->context(), /*timed=*/false));
  }
  REDLINE_TRY(gpu_->ready.record(producer));
  return gpu_->stream.wait_for(gpu_->ready);
}

// Inputs that only the host can take.
Status Executor::fetch_inputs() {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].space != Space::kDevice || inputs_[i].copy >= 0) continue;
    HostValue& slot = slots_[static_cast<size_t>(plan_.inputs[i].value)];
    REDLINE_ASSIGN(slot, on_host(slot));
  }
  return {};
}

// New memory unless nobody saw the last: others' kernels may still read what they have let go.
Status Executor::make_output(Port& port, DType dtype, const Dims& dims) {
  size_t bytes = static_cast<size_t>(dims.count()) * dtype_bytes(dtype);
  if (reuses_outputs_) {
    // Who let it go has waited for what reads it.
    port.memory = nullptr;
    std::erase_if(port.used, [&](const auto& memory) {
      bool free = memory.use_count() == 1;
      if (free && port.memory == nullptr && memory->bytes() >= bytes) port.memory = memory;
      return free && memory->bytes() < bytes;
    });
    port.taken = false;
  }
  if (port.taken || port.memory == nullptr || port.memory->bytes() < bytes) {
    port.memory = nullptr;
    REDLINE_ASSIGN(cuda::DeviceBuffer buffer,
                   cuda::DeviceBuffer::create(gpu_->image->context(), std::max<size_t>(bytes, 1)));
    port.memory = std::make_shared<cuda::DeviceBuffer>(std::move(buffer));
    if (reuses_outputs_) port.used.push_back(port.memory);
    port.taken = false;
  }
  port.tensor = Tensor::wrap(dtype, dims, port.memory->data(), port.memory);
  return {};
}

// Tells the copies of this run where they read and write.
Status Executor::name_addresses(const ShapeState& state) {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Port& port = inputs_[i];
    if (port.space != Space::kDevice || port.copy < 0) continue;
    const Tensor& tensor = slots_[static_cast<size_t>(plan_.inputs[i].value)].tensor;
    *gpu_->address_of(static_cast<size_t>(port.copy)) = reinterpret_cast<uint64_t>(tensor.raw());
  }
  for (size_t i = 0; i < outputs_.size(); ++i) {
    Port& port = outputs_[i];
    port.tensor = {};
    if (port.space != Space::kDevice || port.copy < 0) continue;
    auto copy = static_cast<size_t>(port.copy);
    if (!direct_[copy]) continue;
    auto v = static_cast<size_t>(plan_.outputs[i].value);
    DType dtype = plan_.values[v].type.dtype;
    const Port* same = nullptr;
    for (size_t j = 0; j < i && same == nullptr; ++j) {
      if (outputs_[j].copy == port.copy) same = &outputs_[j];
    }
    if (same != nullptr) {
      port.tensor = same->tensor.reshaped(state.dims[v]);
      continue;
    }
    REDLINE_TRY(make_output(port, dtype, state.dims[v]));
    *gpu_->address_of(copy) = reinterpret_cast<uint64_t>(port.tensor.raw());
  }
  return {};
}

// Outputs that came about on the host.
Status Executor::send_outputs() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    Port& port = outputs_[i];
    if (port.space != Space::kDevice || port.tensor.defined()) continue;
    REDLINE_TRY(wait());
    const Tensor& tensor = output(i).tensor;
    REDLINE_TRY(make_output(port, tensor.dtype(), tensor.dims()));
    gpu_->busy = true;
    REDLINE_TRY(gpu_->stream.copy_to_device(port.memory->ptr(), tensor.raw(), tensor.bytes()));
  }
  return {};
}

Tensor Executor::device_output(size_t i) {
  // The first of those that share a memory owns it.
  Port& wanted = outputs_[i];
  for (Port& port : outputs_) {
    bool shared = port.copy >= 0 && port.copy == wanted.copy;
    port.taken |= shared || &port == &wanted;
  }
  return wanted.tensor;
}

}  // namespace redline
