// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "plan/step_order.h"
#include "runtime/executor_state.h"

namespace redline {

// Branches of a graph while it is captured: steps are queued on the streams of their order, which
// wait for each other where a step comes after what is on another. What waits and for what follows
// from the order alone, so a step that runs comes after all that come before it. One capture.
class Executor::Fork {
 public:
  // Not while a stream is captured. Both must outlive it.
  static Result<Fork> create(Gpu& gpu, const StepOrder& order);
  // One after another on the one stream.
  explicit Fork(Gpu& gpu) : gpu_(&gpu), order_(nullptr) {}

  const cuda::Stream& stream_of(size_t step) const;
  // Steps come in the plan's order; some may be left out. Before the step is queued, and after.
  Status enter(size_t step);
  Status leave(size_t step);
  // The first stream comes after all others, which begin anew behind what it is given next.
  Status join();

 private:
  struct Mark {  // behind a step
    size_t step;
    cuda::Event event;
  };
  struct Side {
    bool begun = false;
    std::vector<Mark> marks;
    std::vector<int> after;  // how many steps of each stream its next one comes after
  };
  Fork(Gpu& gpu, const StepOrder& order) : gpu_(&gpu), order_(&order) { clear(); }
  bool is_one() const { return order_ == nullptr || order_->streams() == 1; }
  Side& side_of(size_t step) { return sides_[static_cast<size_t>(order_->stream(step))]; }
  void clear();
  Result<cuda::Event> mark(const cuda::Stream& stream) const;

  Gpu* gpu_;
  const StepOrder* order_;
  std::vector<Side> sides_;  // one a stream
  cuda::Event start_;
};

}  // namespace redline
