// SPDX-License-Identifier: Apache-2.0
#include "capture.h"

#include <mutex>
#include <utility>

#include "block.h"

namespace redline::emulator {

using cuda::CuResult;

CuResult FakeGraph::run(GraphOrder order, const GraphRan& ran) const {
  std::lock_guard lock(one_grid());
  std::vector<size_t> missing(nodes.size());
  std::vector<std::vector<size_t>> readers(nodes.size());
  std::set<size_t> ready;
  std::vector<Launch> begun(nodes.size());
  for (size_t n = 0; n < nodes.size(); ++n) {
    missing[n] = nodes[n].after.size();
    for (size_t before : nodes[n].after) readers[before].push_back(n);
    if (missing[n] == 0) ready.insert(n);
  }
  for (bool first = true; !ready.empty(); first = !first) {
    if (order != GraphOrder::kInTurns) first = order == GraphOrder::kFirstFirst;
    auto next = first ? ready.begin() : std::prev(ready.end());
    size_t n = *next;
    ready.erase(next);
    for (size_t reader : readers[n]) {
      // One of the same function would find its variables changed.
      bool may_begin = nodes[reader].work.early && nodes[reader].function != nodes[n].function;
      if (may_begin) begun[reader] = nodes[reader].begin();
    }
    CuResult result = begun[n] ? begun[n]() : nodes[n].launch();
    begun[n] = nullptr;
    if (result != cuda::kSuccess) return result;
    if (ran) ran(handle_of(nodes[n]), nodes[n].work);
    for (size_t reader : readers[n]) {
      if (--missing[reader] == 0) ready.insert(reader);
    }
  }
  return cuda::kSuccess;
}

CuResult do_or_record(FakeStream* stream, FakeNode node) {
  if (stream == nullptr || stream->capture == nullptr) return node.launch();
  std::deque<FakeNode>& nodes = stream->capture->graph.nodes;
  node.after = std::exchange(stream->last, {nodes.size()});
  node.stream = stream;
  // Behind anything but a kernel such an edge is an ordinary one.
  node.work.early &= node.after.size() == 1 && !nodes[*node.after.begin()].work.kernel.empty();
  nodes.push_back(std::move(node));
  return cuda::kSuccess;
}

bool may_start_early(const FakeStream* stream) {
  if (stream == nullptr || stream->capture == nullptr || stream->last.empty()) return true;
  const std::deque<FakeNode>& nodes = stream->capture->graph.nodes;
  return stream->last.size() == 1 && nodes[*stream->last.begin()].stream == stream;
}

void record(FakeEvent& event, const FakeStream* stream) {
  event = {};
  if (stream != nullptr) event = {stream->capture, stream->last};
}

CuResult wait(FakeStream* stream, const FakeEvent& event) {
  bool captured = stream != nullptr && stream->capture != nullptr;
  if (event.capture == nullptr) {
    return captured ? cuda::kErrorInvalidValue : cuda::kSuccess;
  }
  if (stream == nullptr || event.capture->ended) return cuda::kErrorInvalidValue;
  if (!captured) {
    stream->capture = event.capture;
    stream->last.clear();
    event.capture->streams.push_back(stream);
  }
  if (stream->capture != event.capture) return cuda::kErrorInvalidValue;
  stream->last.insert(event.last.begin(), event.last.end());
  return cuda::kSuccess;
}

void begin_capture(FakeStream& stream) {
  stream.capture = std::make_shared<Capture>();
  stream.capture->streams.push_back(&stream);
  stream.last.clear();
}

std::unique_ptr<FakeGraph> end_capture(FakeStream& stream) {
  std::shared_ptr<Capture> capture = stream.capture;
  std::set<size_t> joined;
  std::vector<size_t> behind(stream.last.begin(), stream.last.end());
  while (!behind.empty()) {
    size_t n = behind.back();
    behind.pop_back();
    if (!joined.insert(n).second) continue;
    for (size_t before : capture->graph.nodes[n].after) behind.push_back(before);
  }
  capture->ended = true;
  for (FakeStream* each : capture->streams) {
    each->capture = nullptr;
    each->last.clear();
  }
  if (joined.size() != capture->graph.nodes.size()) return nullptr;
  return std::make_unique<FakeGraph>(std::move(capture->graph));
}

}  // namespace redline::emulator
