// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "device/module.h"
#include "runtime/device_pool.h"
#include "runtime/executor.h"

// What an executor keeps, for the files that implement it.
namespace redline {

// Of symbols for what only values tell; a plan's own symbols with that beginning have no value.
inline constexpr std::string_view kFreshSymbol = "\1run";

struct Executor::DimProgram {
  std::vector<int64_t> code;
};

// What does not change from run to run.
struct Executor::ValueInfo {
  std::vector<DimProgram> dims;
  bool sized = false;  // its sizes follow from the inputs' sizes
  bool is_output = false;
};

// An input or output of the plan.
struct Executor::Port {
  Space space = Space::kHost;  // where the caller has it, or wants it
  int copy = -1;               // the one step between it and the GPU's memory; -1: there is none
  Tensor tensor;               // of an output, on the GPU
  std::shared_ptr<cuda::DeviceBuffer> memory;  // where it lies
  bool taken = false;                          // somebody has seen it
  // Of a control step's subgraph instead: what nobody holds any more is written again.
  std::vector<std::shared_ptr<cuda::DeviceBuffer>> used;
};

// A tensor of a control step, on the host or on the GPU.
struct Executor::Placed {
  Tensor tensor;
  Space space = Space::kHost;
  bool own = false;  // its memory is nobody else's
};

struct Executor::StepState {
  std::vector<std::unique_ptr<Executor>> subplans;
  bool control = false;  // is_control_step
  // Of the last run of a step whose sizes are not known beforehand.
  std::unique_ptr<Kernel> kernel;
  std::vector<Dims> kernel_dims;
  cuda::DeviceBuffer kept;  // KernelArgs::kept
};

// Memory that views and graphs point into; what was made for other addresses is made again.
struct Executor::Bases {
  const void* arena = nullptr;
  const void* device_arena = nullptr;
  const void* device_workspace = nullptr;
  bool operator==(const Bases&) const = default;
};

// What a session has of its own on the GPU.
struct Executor::Gpu {
  DeviceImagePtr image;
  cuda::Stream stream;
  std::vector<cuda::Stream> branches;  // beside it, in captures only
  cuda::DeviceBuffer arena;
  cuda::DeviceBuffer workspace;
  std::unique_ptr<DevicePool> pool;  // for what is not in the arena
  cuda::PinnedBuffer count;          // an i64 that a kernel found
  cuda::PinnedBuffer refused;        // KernelArgs::refused, one u32 a step
  cuda::PinnedBuffer addresses;      // that copies read, one u64 a step; made when first needed
  cuda::Event ready;                 // of what makes inputs
  uint32_t* refused_of(size_t step) const { return static_cast<uint32_t*>(refused.data()) + step; }
  uint64_t* address_of(size_t step) const {
    return static_cast<uint64_t*>(addresses.data()) + step;
  }
  bool busy = false;  // something was queued since the host waited last
};

// Everything that is ready for one set of input sizes.
struct Executor::ShapeState {
  struct Step {
    bool dynamic = false;  // sizes are found on the way
    bool told = false;     // by the op's rule, without the values of the run
    bool skip = false;     // nothing to do
    std::unique_ptr<Kernel> kernel;
    const PlanVariant* variant = nullptr;  // that the kernel is of; null: the step's own way
    std::vector<TensorView> inputs;
    std::vector<TensorView> outputs;
    int segment = -1;            // of GPU steps, which it begins
    cuda::PinnedBuffer staging;  // of an upload from the caller's memory
    cuda::DeviceBuffer kept;     // KernelArgs::kept
  };
  struct Segment {  // steps [first, end) as one launch
    size_t first = 0;
    size_t end = 0;
    std::vector<size_t> staged;  // uploads from the caller's memory
    cuda::Graph graph;
  };
  struct Patch {  // an operand whose address the caller chooses
    size_t step;
    size_t operand;
    int value;
  };
  std::vector<int64_t> symbols;
  std::vector<bool> direct;  // Executor::direct_
  std::vector<Dims> dims;    // of each sized value
  Placement placement;
  std::vector<Step> steps;
  std::vector<Patch> patches;
  std::vector<std::shared_ptr<void>> output_buffers;
  std::vector<Segment> segments;
  size_t workspace = 0;
  size_t device_workspace = 0;
  std::vector<size_t> workspace_of_stream;  // where in it
  std::optional<Bases> placed;              // what the views were made for
};

}  // namespace redline
