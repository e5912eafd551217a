// SPDX-License-Identifier: Apache-2.0
#include "runtime/fork.h"

#include <algorithm>

namespace redline {

Result<Executor::Fork> Executor::Fork::create(Gpu& gpu, const StepOrder& order) {
  while (static_cast<int>(gpu.branches.size()) + 1 < order.streams()) {
    REDLINE_ASSIGN(cuda::Stream stream, cuda::Stream::create(gpu.image->context()));
    gpu.branches.push_back(std::move(stream));
  }
  return Fork(gpu, order);
}

void Executor::Fork::clear() {
  auto streams = static_cast<size_t>(order_->streams());
  sides_.clear();
  sides_.resize(streams);
  for (Side& side : sides_) side.after.resize(streams);
  start_ = {};
}

const cuda::Stream& Executor::Fork::stream_of(size_t step) const {
  int stream = is_one() ? 0 : order_->stream(step);
  return stream == 0 ? gpu_->stream : gpu_->branches[static_cast<size_t>(stream) - 1];
}

Result<cuda::Event> Executor::Fork::mark(const cuda::Stream& stream) const {
  REDLINE_ASSIGN(cuda::Event event, cuda::Event::create(stream.context(), /*timed=*/false));
  REDLINE_TRY(event.record(stream));
  return event;
}

Status Executor::Fork::enter(size_t step) {
  if (is_one()) return {};
  if (!start_) {
    REDLINE_ASSIGN(start_, mark(gpu_->stream));
  }
  const cuda::Stream& stream = stream_of(step);
  Side& side = side_of(step);
  if (!std::exchange(side.begun, true) && &stream != &gpu_->stream) {
    REDLINE_TRY(stream.wait_for(start_));
  }
  // Of each other stream the last step that this one comes after.
  std::vector<const Mark*> marks;
  for (int k = 0; k < order_->streams(); ++k) {
    if (k == order_->stream(step)) continue;
    const std::vector<Mark>& of_stream = sides_[static_cast<size_t>(k)].marks;
    auto behind = std::partition_point(of_stream.begin(), of_stream.end(), [&](const Mark& mark) {
      return order_->place(mark.step) < order_->before(step, k);
    });
    if (behind != of_stream.begin()) marks.push_back(&behind[-1]);
  }
  // Later ones first: they may come after the others.
  std::sort(marks.begin(), marks.end(),
            [](const Mark* a, const Mark* b) { return a->step > b->step; });
  for (const Mark* mark : marks) {
    int of = order_->stream(mark->step);
    if (order_->place(mark->step) < side.after[static_cast<size_t>(of)]) continue;
    REDLINE_TRY(stream.wait_for(mark->event));
    for (int k = 0; k < order_->streams(); ++k) {
      int count = order_->before(mark->step, k) + (k == of ? 1 : 0);
      int& after = side.after[static_cast<size_t>(k)];
      after = std::max(after, count);
    }
  }
  return {};
}

Status Executor::Fork::leave(size_t step) {
  if (is_one()) return {};
  REDLINE_ASSIGN(cuda::Event event, mark(stream_of(step)));
  side_of(step).marks.push_back({step, std::move(event)});
  return {};
}

Status Executor::Fork::join() {
  if (is_one()) return {};
  for (size_t k = 1; k < sides_.size(); ++k) {
    if (!sides_[k].begun) continue;
    REDLINE_ASSIGN(cuda::Event end, mark(gpu_->branches[k - 1]));
    REDLINE_TRY(gpu_->stream.wait_for(end));
  }
  clear();
  return {};
}

}  // namespace redline
