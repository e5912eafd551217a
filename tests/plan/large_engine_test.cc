// SPDX-License-Identifier: Apache-2.0
// An engine whose weights are over 4 GB, nearly all of them zeros: pages of zeros that are only
// read take no memory.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "build/build.h"
#include "plan/engine_file.h"

namespace redline {
namespace {

constexpr size_t kLargeBytes = (size_t{4} << 30) + 4096;

std::shared_ptr<std::byte> zeros(size_t bytes) {
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  ::madvise(data, bytes, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(data), [=](std::byte* begin) { ::munmap(begin, bytes); }};
}

TEST(LargeEngineTest, WeightsBeyondFourGigabytes) {
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool = ThreadPool::create(1).value();
  Graph graph(*ops);
  std::shared_ptr<std::byte> content = zeros(kLargeBytes);
  ASSERT_NE(content, nullptr);
  Dims dims = {static_cast<int64_t>(kLargeBytes)};
  Value* large =
      graph.add_constant(Tensor::wrap(DType::kUInt8, dims, content.get(), content), "large");
  const std::vector<float> numbers = {3, 1, 4};
  Value* small = graph.add_constant(Tensor::from<float>(DType::kFloat32, {3}, numbers), "small");
  graph.add_output(graph.add_node("identity", {large}).value()->output(), "x");
  graph.add_output(graph.add_node("identity", {small}).value()->output(), "y");
  BuildOptions options;
  options.opt_level = 0;
  Plan plan = build_plan(graph, *tactics, *pool, options).value();

  const size_t room = kLargeBytes + (1 << 20);
  std::shared_ptr<std::byte> file = zeros(room);
  ASSERT_NE(file, nullptr);
  size_t size = 0;
  Status written = write_engine({}, plan, [&](std::span<const std::byte> bytes) {
    if (bytes.size() > room - size) return io_error("no room");
    if (bytes.size() < kLargeBytes) std::copy(bytes.begin(), bytes.end(), file.get() + size);
    size += bytes.size();
    return Status();
  });
  ASSERT_TRUE(written.ok()) << written.to_string();
  ASSERT_GT(size, kLargeBytes);
  Result<LoadedEngine> engine = parse_engine({file.get(), size}, file, *ops);

  ASSERT_TRUE(engine.ok()) << engine.status().to_string();
  ASSERT_EQ(engine->plan.constants.size(), 2u);
  const Tensor& first = engine->plan.constants[0]->data;
  const Tensor& second = engine->plan.constants[1]->data;
  EXPECT_EQ(first.bytes(), kLargeBytes);
  EXPECT_TRUE(identical(second, small->constant));
  EXPECT_GT(second.data<char>() - first.data<char>(), static_cast<int64_t>(kLargeBytes) - 1);
}

}  // namespace
}  // namespace redline
