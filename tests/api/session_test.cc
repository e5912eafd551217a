// SPDX-License-Identifier: Apache-2.0
// Session::run over steps of many kinds. It does not allocate from the second run with the same
// sizes on: every malloc of the process is counted, on whatever thread. Sessions of one engine may
// run at once.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "api/build_graph.h"
#include "count_mallocs.h"
#include "ir/text.h"
#include "ops/random_tensor.h"
#include "redline/redline.h"

namespace redline {
namespace {

// "%w: f32[2,3] = const [...]" of small numbers.
std::string weights(const std::string& name, const std::vector<int64_t>& dims) {
  std::string type;
  int64_t count = 1;
  for (int64_t dim : dims) {
    type += (type.empty() ? "" : ",") + std::to_string(dim);
    count *= dim;
  }
  std::string text = "  %" + name + ": f32[" + type + "] = const [";
  for (int64_t i = 0; i < count; ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(static_cast<double>(i % 7 - 3) / 16);
  }
  return text + "]\n";
}

std::string image_graph() {
  return "graph g(%x: f32[n,8,h,w]) {\n" + weights("first", {16, 8, 3, 3}) +
         weights("depthwise", {16, 1, 3, 3}) + weights("point", {24, 16, 1, 1}) +
         weights("bias", {24}) + weights("up", {24, 8, 2, 2}) + weights("up_odd", {24, 4, 3, 3}) +
         weights("shift", {8, 1, 1}) +
         R"(
  %a = conv(%x, %first) {pads=[1, 1, 1, 1]}
  %b = hard_swish(%a)
  %c = conv(%b, %depthwise) {pads=[1, 1, 1, 1], group=16}
  %d = add(%c, %a)
  %e = conv(%d, %point, %bias)
  %f = relu(%e)
  %p = max_pool(%f) {kernel_shape=[2, 2], strides=[2, 2]}
  %q = average_pool(%f) {kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]}
  %l = lrn(%q) {size=3}
  %t = conv_transpose(%p, %up) {strides=[2, 2]}
  %s = add(%t, %shift)
  %o = conv_transpose(%p, %up_odd) {strides=[2, 2], pads=[1, 1, 0, 0]}
  %m = global_average_pool(%f)
  %y = softmax(%s) {axis=1}
  return %y, %l, %o, %m
}
)";
}

std::string text_graph() {
  return "graph g(%x: f32[n,t,32], %h: f32[n,8,8,32]) {\n" + weights("query", {32, 32}) +
         weights("key", {32, 32}) + weights("bias", {32}) + weights("scale", {32}) +
         weights("gates", {2, 32, 32}) + weights("recurrent", {2, 32, 8}) +
         R"(
  %q = matmul(%x, %query)
  %k = matmul(%x, %key)
  %kt = transpose(%k) {perm=[0, 2, 1]}
  %s = matmul(%q, %kt)
  %p = softmax(%s) {axis=-1}
  %v = matmul(%p, %x)
  %b = add(%v, %bias)
  %g = gelu(%b)
  %r = add(%g, %x)
  %y = layer_norm(%r, %scale, %bias)
  %axes: i64[1] = const [1]
  %m = reduce_mean(%y, %axes)
  %hh = matmul(%h, %query)
  %z = log_softmax(%hh) {axis=-1}
  %steps = transpose(%y) {perm=[1, 0, 2]}
  %l, %lh, %lc = lstm(%steps, %gates, %recurrent) {direction="bidirectional"}
  return %y, %m, %z, %l, %lc
}
)";
}

Engine build_text(const std::string& text) {
  auto ops = make_op_registry();
  Result<std::unique_ptr<Graph>> graph = parse_graph(*ops, text);
  EXPECT_TRUE(graph.ok()) << graph.status().to_string();
  BuildSettings settings;
  settings.num_threads = 2;
  Result<Engine> engine = build_graph(std::move(ops), **graph, {}, settings);
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
  return *std::move(engine);
}

using Feed = std::vector<HostValue>;

Feed feed_of(const std::vector<Dims>& dims) {
  Feed feed;
  for (const Dims& d : dims) {
    feed.push_back(HostValue::of(random_tensor(DType::kFloat32, d, feed.size() + 1).value()));
  }
  return feed;
}

void run(const Engine& engine, Session& session, const Feed& feed) {
  for (size_t i = 0; i < feed.size(); ++i) {
    ASSERT_TRUE(session.bind(engine.inputs()[i].name, feed[i]).ok());
  }
  Status status = session.run();
  ASSERT_TRUE(status.ok()) << status.to_string();
}

// Two sets of sizes in turn: nothing may be allocated by going back to one that was seen.
void expect_no_allocations(const Engine& engine, const Feed& small, const Feed& large) {
  Session session = engine.create_session().value();
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    run(engine, session, large);
    run(engine, session, small);
  }
  const long before = malloc_count();
  for (int i = 0; i < 10; ++i) {
    run(engine, session, large);
    run(engine, session, small);
    run(engine, session, small);
  }
  EXPECT_EQ(malloc_count() - before, 0);
}

TEST(SessionAllocation, NoneInAnImageModel) {
  expect_no_allocations(build_text(image_graph()), feed_of({{1, 8, 12, 14}}),
                        feed_of({{2, 8, 40, 36}}));
}

TEST(SessionAllocation, NoneInATextModel) {
  expect_no_allocations(build_text(text_graph()), feed_of({{1, 5, 32}, {1, 8, 8, 32}}),
                        feed_of({{3, 70, 32}, {3, 8, 8, 32}}));
}

// Threads of their own sessions, each warmed up, and again after others came and went.
TEST(SessionAllocation, NoneOnSeveralThreads) {
  Engine engine = build_text(image_graph());
  const Feed feed = feed_of({{1, 8, 24, 24}});
  std::atomic<int> warm = 0;
  std::atomic<int> done = 0;
  std::atomic<bool> go = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      Session session = engine.create_session().value();
      for (int i = 0; i < 20; ++i) run(engine, session, feed);
      ++warm;
      warm.notify_one();
      go.wait(false);
      for (int i = 0; i < 20; ++i) run(engine, session, feed);
      ++done;
      done.notify_one();
      go.wait(true);
    });
  }
  const auto wait_for_all = [](std::atomic<int>& count) {
    for (int n = count; n < 4; n = count) count.wait(n);
  };
  wait_for_all(warm);
  const long before = malloc_count();
  go = true;
  go.notify_all();
  wait_for_all(done);
  EXPECT_EQ(malloc_count() - before, 0);
  go = false;
  go.notify_all();
  for (std::thread& thread : threads) thread.join();
}

std::vector<char> bytes_of_outputs(const Engine& engine, const Session& session) {
  std::vector<char> bytes;
  for (size_t i = 0; i < engine.outputs().size(); ++i) {
    const Tensor& tensor = (*session.output(i))->tensor;
    const char* data = static_cast<const char*>(tensor.raw());
    bytes.insert(bytes.end(), data, data + tensor.bytes());
  }
  return bytes;
}

// Each thread has a session and sizes of its own, and gets to the bit what it gets alone.
void expect_same_on_many_threads(const Engine& engine, const std::vector<Feed>& feeds) {
  std::vector<std::vector<char>> alone;
  for (const Feed& feed : feeds) {
    Session session = engine.create_session().value();
    run(engine, session, feed);
    alone.push_back(bytes_of_outputs(engine, session));
  }
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 2 * feeds.size(); ++t) {
    threads.emplace_back([&, t] {
      Session session = engine.create_session().value();
      for (size_t i = 0; i < 20; ++i) {
        const size_t which = i % 5 == 0 ? (t + 1) % feeds.size() : t % feeds.size();
        run(engine, session, feeds[which]);
        wrong += bytes_of_outputs(engine, session) != alone[which];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(SessionThreads, AnImageModelIsBitIdenticalToAlone) {
  expect_same_on_many_threads(
      build_text(image_graph()),
      {feed_of({{1, 8, 24, 24}}), feed_of({{2, 8, 30, 17}}), feed_of({{1, 8, 51, 40}})});
}

TEST(SessionThreads, ATextModelIsBitIdenticalToAlone) {
  expect_same_on_many_threads(build_text(text_graph()), {feed_of({{1, 5, 32}, {1, 8, 8, 32}}),
                                                         feed_of({{2, 33, 32}, {2, 8, 8, 32}}),
                                                         feed_of({{1, 128, 32}, {1, 8, 8, 32}})});
}

}  // namespace
}  // namespace redline
