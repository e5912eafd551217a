// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "device/driver_api.h"

// What the emulator's streams record while they are captured, as a graph whose edges are those that
// streams and events made: what is not ordered by them may run in any order. Behind a programmatic
// edge a kernel begins before anything of the one in front is done that comes behind its own wait.
namespace redline::emulator {

// What a node of a graph does.
struct GraphWork {
  std::string kernel;  // empty: a copy or a fill
  bool copy = false;
  bool early = false;  // has a programmatic edge: begins before the one in front of it has ended
};
using GraphRan = std::function<void(cuda::GraphNodeHandle node, const GraphWork& work)>;
using Launch = std::function<cuda::CuResult()>;
// Begins a kernel, as far as it comes while the one in front of it has not ended; what it returns
// ends it.
using Begin = std::function<Launch()>;

// In which order the nodes of a graph run where its edges leave a choice.
enum class GraphOrder { kFirstFirst, kLastFirst, kInTurns };

struct FakeStream;

struct FakeNode {
  GraphWork work;
  Launch launch;
  Begin begin;  // of one that may begin early
  cuda::FunctionHandle function = nullptr;
  std::set<size_t> after;
  const FakeStream* stream = nullptr;
};
inline cuda::GraphNodeHandle handle_of(const FakeNode& node) {
  return reinterpret_cast<cuda::GraphNodeHandle>(const_cast<FakeNode*>(&node));
}

struct FakeGraph {
  std::deque<FakeNode> nodes;  // where they are is who they are
  cuda::CuResult run(GraphOrder order, const GraphRan& ran) const;
};

struct Capture {
  FakeGraph graph;
  std::vector<FakeStream*> streams;  // the first is where it began
  bool ended = false;
};

struct FakeStream {
  std::shared_ptr<Capture> capture;
  std::set<size_t> last;  // what the next node comes after
  std::vector<cuda::GraphNodeHandle> last_nodes;
};

struct FakeEvent {
  std::shared_ptr<Capture> capture;
  std::set<size_t> last;
};

// Runs it now, or when the graph that is captured runs. Streams may be null.
cuda::CuResult do_or_record(FakeStream* stream, FakeNode node);
// Whether a kernel may be launched so that it starts before what is in front of it has ended: there
// must be no more than one in front, on the same stream.
bool may_start_early(const FakeStream* stream);
void record(FakeEvent& event, const FakeStream* stream);
// Fails where one is captured and the other is not, or by another capture.
cuda::CuResult wait(FakeStream* stream, const FakeEvent& event);
void begin_capture(FakeStream& stream);
// Null when a stream was left that the first does not wait for.
std::unique_ptr<FakeGraph> end_capture(FakeStream& stream);

}  // namespace redline::emulator
