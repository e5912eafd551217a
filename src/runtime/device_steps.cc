// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "runtime/executor_state.h"
#include "runtime/fork.h"
#include "tactics/cuda/small_copies.h"

// Steps on a GPU, and copies between it and the host.
namespace redline {

bool Executor::is_on_gpu(const PlanStep& step) const {
  if (step.is_copy()) return true;
  if (step.tactic.empty() || step.tactic == kViewTactic) return false;
  return tactics_.find(step.tactic)->device == "cuda";
}

bool Executor::works_on_gpu(const PlanStep& step) const {
  if (step.tactic != kViewTactic) return is_on_gpu(step);
  return plan_.values[static_cast<size_t>(step.outputs[0])].space == Space::kDevice;
}

bool Executor::must_wait(const ShapeState& state, size_t index) const {
  const PlanStep& step = plan_.steps[index];
  if (gpu_ == nullptr || !state.steps[index].dynamic || !step.subplans.empty()) return true;
  auto is_from_gpu = [&](int v) { return v >= 0 && downloaded_[static_cast<size_t>(v)]; };
  // What is not sized gets memory of its own.
  auto is_planned = [&](int v) { return values_[static_cast<size_t>(v)].sized; };
  return std::any_of(step.inputs.begin(), step.inputs.end(), is_from_gpu) ||
         std::any_of(step.outputs.begin(), step.outputs.end(), is_planned);
}

Status Executor::ensure_device_memory(size_t arena_bytes, size_t workspace_bytes) {
  const cuda::ContextPtr& context = gpu_->image->context();
  // Empty values have an address too.
  constexpr size_t kLeastArena = 256;
  arena_bytes = std::max(arena_bytes, kLeastArena);
  // The old one first: both may not fit.
  if (arena_bytes > gpu_->arena.bytes()) {
    gpu_->arena = {};
    REDLINE_ASSIGN(gpu_->arena, cuda::DeviceBuffer::create(context, arena_bytes));
  }
  if (workspace_bytes > gpu_->workspace.bytes()) {
    gpu_->workspace = {};
    REDLINE_ASSIGN(gpu_->workspace, cuda::DeviceBuffer::create(context, workspace_bytes));
  }
  return {};
}

Status Executor::make_kept(ShapeState& state) {
  for (ShapeState::Step& step : state.steps) {
    if (step.kernel == nullptr || step.kept.bytes() >= step.kernel->kept_bytes()) continue;
    REDLINE_ASSIGN(step.kept, gpu_->stream.zeros(step.kernel->kept_bytes()));
  }
  return {};
}

Status Executor::make_staging(ShapeState& state) {
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    if (step.tactic != kUploadTactic || state.steps[s].skip || state.steps[s].dynamic ||
        state.direct[s]) {
      continue;
    }
    auto root = static_cast<size_t>(state.placement.root[static_cast<size_t>(step.inputs[0])]);
    size_t bytes = state.steps[s].outputs[0].bytes();
    cuda::PinnedBuffer& staging = state.steps[s].staging;
    if (plan_.values[root].storage != Storage::kInput || bytes <= staging.bytes()) continue;
    REDLINE_ASSIGN(staging, cuda::PinnedBuffer::create(gpu_->image->context(), bytes));
  }
  return {};
}

// Whether a copy has the same addresses in each run with these sizes, in page-locked memory.
bool Executor::is_fixed_copy(const ShapeState& state, size_t index) const {
  const PlanStep& step = plan_.steps[index];
  if (step.tactic == kDownloadTactic || state.direct[index]) return true;
  if (step.tactic != kUploadTactic) return false;
  auto root = static_cast<size_t>(state.placement.root[static_cast<size_t>(step.inputs[0])]);
  return state.steps[index].staging.bytes() > 0 || plan_.values[root].storage == Storage::kArena;
}

// Kernels and copies in a row; the host's steps stand between.
void Executor::find_segments(ShapeState& state) const {
  state.segments.clear();
  bool open = false;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    ShapeState::Step& ready = state.steps[s];
    ready.segment = -1;
    if (ready.skip) continue;
    bool kernel = ready.kernel != nullptr && is_on_gpu(plan_.steps[s]);
    bool queued = !ready.dynamic && (kernel || is_fixed_copy(state, s));
    if (queued && !open) {
      ready.segment = static_cast<int>(state.segments.size());
      state.segments.emplace_back().first = s;
    }
    open = queued;
    if (!queued) continue;
    state.segments.back().end = s + 1;
    if (ready.staging.bytes() > 0) state.segments.back().staged.push_back(s);
  }
}

Result<cuda::Graph> Executor::capture(ShapeState& state, size_t index, bool copies,
                                      FunctionRef<Status(size_t step)> queued, int times) {
  const ShapeState::Segment& segment = state.segments[index];
  REDLINE_ASSIGN(Fork fork, Fork::create(*gpu_, order_));
  return cuda::Graph::capture(gpu_->stream, [&]() -> Status {
    for (int time = 0; time < times; ++time) {
      for (size_t s = segment.first; s < segment.end; ++s) {
        if (state.steps[s].skip || (!copies && state.steps[s].kernel == nullptr)) continue;
        size_t first = s;
        Status status = queue_step(state, s, segment.end, fork);
        if (status.ok()) status = queued(first);
        if (!status.ok()) return status.at_node(plan_.steps[s].name);
      }
      REDLINE_TRY(fork.join());
    }
    return {};
  });
}

Status Executor::queue_step(ShapeState& state, size_t& index, size_t end, Fork& fork) {
  NvtxRange range = step_range(index);
  size_t first = index;
  if (is_small_copy(state, index)) {
    REDLINE_TRY(queue_small_copies(state, index, end, fork));
  } else {
    REDLINE_TRY(fork.enter(index));
    REDLINE_TRY(run_device_step(state, index, fork.stream_of(index)));
  }
  for (size_t s = first; s <= index; ++s) {
    if (!state.steps[s].skip) REDLINE_TRY(fork.leave(s));
  }
  return {};
}

// Large ones too where both sides are on the GPU.
bool Executor::is_small_copy(const ShapeState& state, size_t index) const {
  const ShapeState::Step& ready = state.steps[index];
  bool copy = ready.kernel == nullptr && !ready.skip && !plan_.steps[index].kernels.empty();
  return copy && (state.direct[index] || ready.outputs[0].bytes() <= SmallCopies::kMostBytes);
}

// The copy at `index` and those behind it, of which it becomes the last.
Status Executor::queue_small_copies(ShapeState& state, size_t& index, size_t end, Fork& fork) {
  auto modules = gpu_->image->modules(plan_.steps[index].kernels);
  if (modules.size() != 1) return incompatible("a copy has ", modules.size(), " kernels, not one");
  REDLINE_ASSIGN(SmallCopies copies, SmallCopies::create(modules[0]));
  gpu_->busy = true;
  size_t last = index;
  for (size_t s = index; s < end && (state.steps[s].skip || is_small_copy(state, s)); ++s) {
    const ShapeState::Step& ready = state.steps[s];
    if (ready.skip) continue;
    // What one copy brings another may take away.
    if (plan_.steps[s].tactic != plan_.steps[index].tactic) break;
    if (&fork.stream_of(s) != &fork.stream_of(index)) break;
    const void* from = ready.staging.bytes() > 0 ? ready.staging.data() : ready.inputs[0].data;
    void* to = ready.outputs[0].data;
    size_t bytes = ready.outputs[0].bytes();
    bool fits = false;
    if (!state.direct[s]) {
      fits = copies.add(from, to, bytes);
    } else if (plan_.steps[s].tactic == kUploadTactic) {
      fits = copies.add_from_named(gpu_->address_of(s), to, bytes);
    } else {
      fits = copies.add_to_named(from, gpu_->address_of(s), bytes);
    }
    if (!fits) break;
    REDLINE_TRY(fork.enter(s));
    last = s;
  }
  index = last;
  return copies.launch(fork.stream_of(index));
}

Status Executor::run_segment(ShapeState& state, size_t index) {
  ShapeState::Segment& segment = state.segments[index];
  gpu_->busy = true;
  if (!segment.graph) {
    REDLINE_ASSIGN(segment.graph, capture(state, index, /*copies=*/true));
  }
  for (size_t s : segment.staged) stage(state, s);
  return segment.graph.launch(gpu_->stream);
}

Result<double> Executor::time_kernels(int repeats, int times_in_graph) {
  if (gpu_ == nullptr || current_ == nullptr) return 0.0;
  REDLINE_TRY(wait());
  std::vector<cuda::Graph> graphs;
  for (size_t i = 0; i < current_->segments.size(); ++i) {
    REDLINE_ASSIGN(cuda::Graph graph, capture(*current_, i, /*copies=*/false, times_in_graph));
    if (graph.num_nodes() > 0) graphs.push_back(std::move(graph));
  }
  if (graphs.empty()) return 0.0;
  const cuda::ContextPtr& context = gpu_->image->context();
  REDLINE_ASSIGN(cuda::Event start, cuda::Event::create(context));
  REDLINE_ASSIGN(cuda::Event end, cuda::Event::create(context));
  // Not the first launch, which brings the graph to the GPU.
  for (const cuda::Graph& graph : graphs) REDLINE_TRY(graph.launch(gpu_->stream));
  REDLINE_TRY(start.record(gpu_->stream));
  for (int i = 0; i < repeats; ++i) {
    for (const cuda::Graph& graph : graphs) REDLINE_TRY(graph.launch(gpu_->stream));
  }
  REDLINE_TRY(end.record(gpu_->stream));
  REDLINE_TRY(gpu_->stream.synchronize());
  // Inputs were not copied anew: where others have had their memory, indices mean nothing.
  static_cast<void>(refusal());
  REDLINE_ASSIGN(double us, cuda::Event::microseconds_between(start, end));
  return us / repeats / times_in_graph;
}

Status Executor::run_device_step(ShapeState& state, size_t index, const cuda::Stream& stream) {
  const PlanStep& step = plan_.steps[index];
  if (step.tactic == kUploadTactic) return upload(state, index, stream);
  if (step.tactic == kDownloadTactic) return download(state, index, stream);
  const ShapeState::Step& ready = state.steps[index];
  gpu_->busy = true;
  KernelArgs args;
  args.inputs = ready.inputs;
  args.outputs = ready.outputs;
  size_t workspace = state.workspace_of_stream[static_cast<size_t>(order_.stream(index))];
  args.workspace = static_cast<char*>(gpu_->workspace.data()) + workspace;
  args.stream = &stream;
  args.refused = gpu_->refused_of(index);
  args.kept = ready.kept.data();
  return ready.kernel->run(args);
}

// An upload from the caller's memory goes through the session's own.
void Executor::stage(ShapeState& state, size_t index) {
  const ShapeState::Step& ready = state.steps[index];
  if (ready.staging.bytes() == 0) return;
  std::memcpy(ready.staging.data(), ready.inputs[0].data, ready.inputs[0].bytes());
}

Status Executor::upload(ShapeState& state, size_t index, const cuda::Stream& stream) {
  const ShapeState::Step& ready = state.steps[index];
  const TensorView& from = ready.inputs[0];
  const void* source = ready.staging.bytes() > 0 ? ready.staging.data() : from.data;
  gpu_->busy = true;
  auto to = reinterpret_cast<cuda::DevicePtr>(ready.outputs[0].data);
  if (state.direct[index]) {
    return stream.copy_on_device(to, *gpu_->address_of(index), from.bytes());
  }
  return stream.copy_to_device(to, source, from.bytes());
}

Status Executor::download(ShapeState& state, size_t index, const cuda::Stream& stream) {
  const ShapeState::Step& ready = state.steps[index];
  auto from = reinterpret_cast<cuda::DevicePtr>(ready.inputs[0].data);
  gpu_->busy = true;
  if (state.direct[index]) {
    return stream.copy_on_device(*gpu_->address_of(index), from, ready.inputs[0].bytes());
  }
  return stream.copy_to_host(ready.outputs[0].data, from, ready.outputs[0].bytes());
}

Status Executor::wait() {
  if (gpu_ == nullptr || !gpu_->busy) return {};
  gpu_->busy = false;
  REDLINE_TRY(gpu_->stream.synchronize());
  return refusal();
}

// Kernels write into the host's memory when they refuse something and at no other time, so nothing
// has to be copied to see that none did.
Status Executor::refusal() {
  Status status;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    uint32_t* refused = gpu_->refused_of(s);
    if (*refused == 0) continue;
    *refused = 0;
    if (!status.ok()) continue;
    const std::string& name = plan_.steps[s].name;
    status =
        invalid_argument("step '", name, "': an index or an axis is out of range").at_node(name);
  }
  return status;
}

Result<HostValue> Executor::on_host(const HostValue& value) {
  REDLINE_ASSIGN(Tensor copy, Tensor::create(value.tensor.dtype(), value.tensor.dims()));
  auto from = reinterpret_cast<cuda::DevicePtr>(value.tensor.raw());
  if (copy.bytes() > 0) {
    REDLINE_TRY(gpu_->stream.copy_to_host(copy.mutable_raw(), from, copy.bytes()));
    REDLINE_TRY(gpu_->stream.synchronize());
  }
  return HostValue::of(std::move(copy));
}

}  // namespace redline
