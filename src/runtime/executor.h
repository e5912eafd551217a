// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "base/nvtx.h"
#include "plan/plan.h"
#include "plan/step_order.h"
#include "runtime/device_image.h"
#include "runtime/placement.h"
#include "tactics/tactic.h"

namespace redline {

// Called around each step of a run when set; for profilers and layer-by-layer comparison.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void before_step(size_t index, const PlanStep& step) = 0;
  // The outputs are valid during the call.
  virtual void after_step(size_t index, const PlanStep& step,
                          std::span<const HostValue* const> outputs) = 0;
};

// Runs one plan: its steps on the host, and on the GPU those whose tactics are for one. Sizes are
// evaluated from the inputs' sizes, memory is planned and kernels are prepared on the first run
// with those sizes; later runs with them do neither, and do not allocate unless a step's output
// sizes depend on values. Steps in a row on the GPU are one graph launch. One thread at a time; the
// plan, the tactics and the pool are shared and must outlive it.
class Executor {
 public:
  // `image` is null for a plan without steps on a GPU.
  static Result<std::unique_ptr<Executor>> create(const Plan& plan, const TacticRegistry& tactics,
                                                  ThreadPool& pool, DeviceImagePtr image = nullptr);
  ~Executor();

  // One value for each input of the plan, checked against its type. They must stay unchanged until
  // the next run or destruction.
  Status run(std::span<const HostValue> inputs);
  // The same without waiting for the GPU at the end; waits for what was queued before. The inputs
  // must stay unchanged, and the outputs alone, until `wait` has returned.
  Status enqueue(std::span<const HostValue> inputs);
  // Until the host may touch, or wants to read, what the GPU works on.
  Status wait();
  // Valid until the next run.
  const HostValue& output(size_t i) const;
  // Where input i lies, and where output i is wanted, from the next run on: at first on the host.
  // On the GPU's side the address of the input's tensor is one of that GPU's memory. Tensors only;
  // fails in a plan without a GPU.
  Status place_input(size_t i, Space space);
  Status place_output(size_t i, Space space);
  // An output that is wanted on the GPU, in memory that no later run writes to and that lasts as
  // long as the tensor. Undefined before a run has ended well.
  Tensor device_output(size_t i);
  const cuda::Stream* stream() const;  // null without a GPU
  // Runs from now on come after what is queued on that stream now. On a GPU.
  Status run_after(cuda::StreamHandle producer);
  // Bytes of the arena for the sizes of the last run, and the least any plan could need.
  size_t arena_bytes() const;
  size_t arena_lower_bound() const;
  // Microseconds that the GPU's kernels take for the sizes of the last run, without copies and the
  // host's steps: the mean of `repeats` launches in a row of graphs that hold them so many times. 0
  // without such kernels.
  Result<double> time_kernels(int repeats, int times_in_graph = 1);
  // From the next run on the steps go these ways whatever the sizes: by a variant, or their own
  // (-1); for who compares them. One for each step, or none: the nearest again.
  void use_variants(std::vector<int> variants);
  // The same for the streams of steps (PlanStep::stream): one for each step.
  void use_streams(std::span<const int> streams);
  // Steps that run slower than they should for some sizes, with the reasons: on the reference,
  // where their tactic refused them, or by a kernel that says so. Emptied by the call.
  std::vector<std::string> take_refusals() { return std::exchange(refusals_, {}); }
  void set_observer(StepObserver* observer) { observer_ = observer; }
  // What runs are called in a profiler that reads NVTX; without it they have no range there. The
  // text must outlive the executor.
  void name_runs(const std::string& name);

 private:
  friend class StepTimer;
  struct StepState;
  struct ShapeState;
  class StepContext;
  struct Gpu;
  class Fork;
  struct Bases;
  struct DimProgram;
  struct ValueInfo;
  struct Port;

  Executor(const Plan& plan, const TacticRegistry& tactics, ThreadPool& pool);
  const PlanVariant* variant_for(size_t step, std::span<const TensorView> outputs) const;
  Status initialize(DeviceImagePtr image);
  Status bind_inputs(std::span<const HostValue> inputs);
  Status start(std::span<const HostValue> inputs);
  // All of a run that comes before its steps.
  Result<ShapeState*> begin_run(std::span<const HostValue> inputs);
  Result<ShapeState*> find_shape_state();
  Status build_shape_state(ShapeState& state);
  Result<bool> check_step_sizes(const ShapeState& state, const PlanStep& step) const;
  // Which steps are dynamic, and where the values lie.
  Placement place(ShapeState& state) const;
  Status place_values(ShapeState& state);
  Status prepare_steps(ShapeState& state);
  Bases bases() const;
  Result<std::shared_ptr<void>> allocate_host(size_t bytes) const;
  const void* part_of(const ShapeState& state, size_t value) const;
  Status run_step(ShapeState& state, size_t index);
  void name_steps();
  NvtxRange step_range(size_t index) const;

  // --- Steps whose sizes only the run tells; see dynamic_step.cc ---
  Status run_dynamic_step(ShapeState& state, size_t index);
  // What the op's rule says of the operands as they are.
  Result<std::vector<Type>> find_types(size_t index);
  Status infer_step(size_t index, std::span<const InferInput> inputs, std::vector<Type>& found);
  Result<Tensor> allocate(Space space, DType dtype, const Dims& dims);
  Status make_outputs(ShapeState& state, size_t index, std::span<const Type> types,
                      std::vector<TensorView>& outputs);
  Status make_view(ShapeState& state, size_t index);
  Status run_kernel(ShapeState& state, size_t index, std::vector<TensorView>& outputs);
  Status find_and_run(ShapeState& state, size_t index, const Kernel& kernel, KernelArgs args,
                      std::vector<TensorView>& outputs);
  Status copy_value(size_t index);
  // A value as the host has it without waiting for the GPU, or null.
  const Tensor* at_host(int value) const;
  // The sizes that a dynamic step's outputs came out with, under the symbols of their types.
  void note_sizes(size_t index);
  // A tensor's sizes in numbers, as far as this run tells them by now.
  Type in_numbers(Type type) const;

  // --- If and loop beside a GPU; see control_flow.cc ---
  struct Placed;
  Placed placed(int value) const;
  Status run_control_step(size_t index, std::span<const TensorView> outputs);
  Result<std::vector<Placed>> run_loop(size_t index);
  Result<std::vector<Placed>> run_body(size_t step, size_t which, std::vector<Placed> inputs);
  Status store(size_t index, size_t output, const Placed& made, TensorView to);
  Status copy(const Placed& from, void* to, Space space);

  Status run_reference_step(size_t index, std::span<const TensorView> outputs);
  Result<std::vector<HostValue>> run_subplan(size_t step, size_t index,
                                             std::span<const HostValue> inputs);
  // By the variant when there is one, else the step's own way.
  Result<std::unique_ptr<Kernel>> prepare(const PlanStep& step, const PlanVariant* variant,
                                          std::span<const TensorView> inputs,
                                          std::span<const TensorView> outputs) const;
  Result<std::unique_ptr<Kernel>> prepare_or_refuse(size_t index,
                                                    std::span<const TensorView> inputs,
                                                    std::span<const TensorView> outputs);
  Status ensure_arena(const Placement& placement);
  Status ensure_workspace(size_t bytes);
  Status run_steps(ShapeState& state);
  Status observe_outputs(size_t index);

  // --- On a GPU; see device_steps.cc ---
  bool is_on_gpu(const PlanStep& step) const;
  // Whether the host's step reads what the GPU may still be making, or writes where it may read.
  bool must_wait(const ShapeState& state, size_t index) const;
  bool works_on_gpu(const PlanStep& step) const;  // a view of what is there, too
  Status ensure_device_memory(size_t arena_bytes, size_t workspace_bytes);
  void find_segments(ShapeState& state) const;
  Status make_staging(ShapeState& state);
  Status make_kept(ShapeState& state);
  // One step, or the small copies from there on and before `end`, of which `index` becomes the
  // last.
  Status queue_step(ShapeState& state, size_t& index, size_t end, Fork& fork);
  bool is_small_copy(const ShapeState& state, size_t index) const;
  Status queue_small_copies(ShapeState& state, size_t& index, size_t end, Fork& fork);
  bool is_fixed_copy(const ShapeState& state, size_t index) const;
  // `queued` is told of each step, or row of small copies, by the first of them. `times`: the whole
  // segment, so often in a row.
  Result<cuda::Graph> capture(ShapeState& state, size_t segment, bool copies,
                              FunctionRef<Status(size_t step)> queued, int times = 1);
  Result<cuda::Graph> capture(ShapeState& state, size_t segment, bool copies, int times = 1) {
    return capture(
        state, segment, copies, [](size_t) { return Status(); }, times);
  }
  Status run_segment(ShapeState& state, size_t segment);
  Status run_device_step(ShapeState& state, size_t index, const cuda::Stream& stream);
  static void stage(ShapeState& state, size_t index);
  Status upload(ShapeState& state, size_t index, const cuda::Stream& stream);
  Status download(ShapeState& state, size_t index, const cuda::Stream& stream);
  Result<HostValue> on_host(const HostValue& value);
  // Of the steps that ran since it was asked last.
  Status refusal();

  // --- Inputs and outputs in the GPU's memory; see device_io.cc ---
  void find_ports();
  int upload_of(int input) const;
  int download_of(int output) const;
  Status place(Port& port, Space space);
  void update_ports();
  Status fetch_inputs();
  Status make_output(Port& port, DType dtype, const Dims& dims);
  Status name_addresses(const ShapeState& state);
  Status send_outputs();

  const Plan& plan_;
  StepOrder order_{1};
  const TacticRegistry& tactics_;
  ThreadPool& pool_;
  std::vector<ValueInfo> values_;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
  bool reuses_outputs_ = false;   // Port::used
  std::vector<bool> direct_;      // one a step: a copy whose other side's address each run tells
  std::vector<bool> far_;         // one a value: the host's, but its address is the GPU's
  std::vector<HostValue> slots_;  // one a value
  std::vector<std::string> symbols_;
  std::vector<int64_t> symbol_values_;
  std::vector<int>
      uploaded_from_;             // of each value: the one on the host that it is a copy of, or -1
  std::vector<bool> downloaded_;  // of each value: on the host, but from the GPU
  std::map<std::string, int64_t, std::less<>> found_sizes_;  // of this run, see note_sizes
  std::vector<std::unique_ptr<ShapeState>> states_;          // most recent first
  std::vector<StepState> steps_;
  std::shared_ptr<void> arena_;
  size_t arena_capacity_ = 0;
  std::shared_ptr<void> workspace_;
  size_t workspace_capacity_ = 0;
  ShapeState* current_ = nullptr;
  std::vector<std::string> refusals_;
  std::vector<int> forced_;  // use_variants
  StepObserver* observer_ = nullptr;
  const Nvtx* nvtx_ = Nvtx::attached();
  Nvtx::Name run_name_;
  std::vector<Nvtx::Name> step_names_;  // none without a tool
  std::unique_ptr<Gpu> gpu_;
};

}  // namespace redline
