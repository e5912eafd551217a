// SPDX-License-Identifier: Apache-2.0
// Kernels that are written around element rules.
#include "tactics/cuda/element_writer.h"

#include <gtest/gtest.h>

#include "device/module.h"
#include "emulator.h"

namespace redline {
namespace {

// add(x, y) with x made by the kernel: what an epilogue is.
TEST(ElementWriter, BoundValueTakesThePlaceOfAnInput) {
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  Problem problem;
  problem.op = &ops->get("add");
  problem.inputs.resize(2);
  problem.inputs[0].dims = {4, 8};
  problem.inputs[1].dims = {8};
  problem.outputs.resize(1);
  problem.outputs[0].dims = {4, 8};
  ElementWriter writer(problem);
  ASSERT_TRUE(writer.check_around(-1).ok());
  writer.begin();
  writer.bind(0, "acc");
  EXPECT_EQ(writer.inputs_of(2), std::vector<int>{1});
  writer.line("const idx m = threadIdx.x / 8, n = threadIdx.x % 8;");
  writer.line("const float acc = 100 * m;");
  std::string sum = writer.element(2, {"m", "n"}).value();
  writer.line(str_cat("narrow(&out0[threadIdx.x], ", sum, ");"));
  ElementKernel kernel = writer.whole("k", 32, {}, writer.take_statements());

  auto context = cuda::Context::create(emulator::driver(), 0).value();
  auto cubin = emulator::compile({"k", kernel.text, "sm_90a", {"-DREDLINE_INDEX=int"}}).value();
  auto module = cuda::Module::create(context, cubin.cubin).value();
  auto function = cuda::Function::create(module, "k").value();
  cuda::Stream stream = cuda::Stream::create(context).value();
  std::vector<float> bias = {0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<float> y(32);
  const void* pointers[] = {nullptr, bias.data(), y.data()};
  const void* refused = nullptr;
  void* parameters[] = {&pointers[0], &pointers[1], &pointers[2], &refused};
  cuda::LaunchShape shape;
  shape.block.x = 32;
  ASSERT_TRUE(cuda::launch(stream, function, shape, parameters, "k").ok());
  for (size_t i = 0; i < y.size(); ++i) {
    size_t row = i / 8;
    EXPECT_EQ(y[i], 100 * static_cast<float>(row) + bias[i % 8]) << i;
  }
}

}  // namespace
}  // namespace redline
