// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "plan/plan.h"

namespace redline {

// Of a plan with a stream for each step: which steps come before which. A step comes after those in
// front of it on its stream, after the makers of what it reads, and after all that comes before
// these. Steps of which neither comes before the other may run side by side; whatever the streams
// are, each value is made before it is read.
class StepOrder {
 public:
  // Of a plan with more, all are on one stream: what may share memory is found by pairs.
  static constexpr size_t kMostSteps = 5000;

  // Steps are added in the plan's order.
  explicit StepOrder(int streams) : streams_(streams) {}
  // With the streams that the plan gives, of which check_plan has seen that there are that few.
  static StepOrder of(const Plan& plan);
  static StepOrder of(const Plan& plan, std::span<const int> stream_of_step);

  // The next step, which reads what the steps `makers` make.
  void add(std::span<const size_t> makers, int stream);
  int streams() const { return streams_; }
  int stream(size_t step) const { return stream_[step]; }
  // How many steps of a stream come before this one. They are its first.
  int before(size_t step, int stream) const { return before_[index(step, stream)]; }
  // How many are in front of it on its own.
  int place(size_t step) const { return before(step, stream(step)); }

 private:
  size_t index(size_t step, int stream) const {
    return step * static_cast<size_t>(streams_) + static_cast<size_t>(stream);
  }
  int streams_;
  std::vector<int> stream_;
  std::vector<int> before_;
  std::vector<int> last_;  // step of each stream, -1: none yet
};

// Of each step of the plan the steps that make what it reads.
std::vector<std::vector<size_t>> makers_of_steps(const Plan& plan);

}  // namespace redline
