// SPDX-License-Identifier: Apache-2.0
// The inverse transform in f32 has the rounding errors of the reference's, bit by bit.
#include "ops/fft.h"

#include <gtest/gtest.h>

#include <cstring>

#include "emulator.h"
#include "ops/random_tensor.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

class FftTest : public testing::Test {
 protected:
  Problem inverse_of(const Dims& dims) {
    Problem problem;
    problem.op = &ops_->get("dft");
    problem.attrs = Attrs::load(problem.op->attrs, {{"inverse", int64_t{1}}}).value();
    OperandDesc operand;
    operand.dims = dims;
    problem.inputs = problem.outputs = {operand};
    return problem;
  }
  const Tactic& tactic() { return *tactics_->find("cuda.fft"); }

  // The inverse of x, f32[lines, length, 2].
  Result<Tensor> inverse(const Tensor& x) {
    Problem problem = inverse_of(x.dims());
    const Tactic& tactic = this->tactic();
    REDLINE_ASSIGN(auto context, cuda::Context::create(emulator::driver(), 0));
    REDLINE_ASSIGN(auto sources, tactic.kernels(problem, {}, context->info()));
    REDLINE_ASSIGN(cuda::CompiledKernel compiled, emulator::compile(sources.at(0)));
    REDLINE_ASSIGN(auto module, cuda::Module::create(context, compiled.cubin));
    PrepareArgs args{pool_.get(), context, {&module, 1}};
    args.written = &problem;
    REDLINE_ASSIGN(auto kernel, tactic.prepare(problem, {}, args));
    REDLINE_ASSIGN(Tensor y, Tensor::create(x.dtype(), x.dims()));
    TensorView in = x.view();
    TensorView out = y.view();
    REDLINE_ASSIGN(cuda::Stream stream, cuda::Stream::create(context));
    KernelArgs run{{&in, 1}, {&out, 1}};
    run.stream = &stream;
    REDLINE_TRY(kernel->run(run));
    return y;
  }

 private:
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
};

class InverseFftTest : public FftTest, public testing::WithParamInterface<int64_t> {};

TEST_P(InverseFftTest, HasTheBitsOfTheReference) {
  constexpr int64_t kLines = 3;
  auto length = static_cast<size_t>(GetParam());
  Tensor x = random_tensor(DType::kFloat32, {kLines, GetParam(), 2}, 1).value();
  Result<Tensor> y = inverse(x);
  ASSERT_TRUE(y.ok()) << y.status().message();
  const auto* from = x.data<std::complex<float>>();
  for (size_t n = 0; n < kLines; ++n, from += length) {
    std::vector<std::complex<float>> want(from, from + length);
    ASSERT_TRUE(inverse_fft_f32(want));
    const char* got = static_cast<const char*>(y->raw()) + n * length * sizeof(want[0]);
    EXPECT_EQ(std::memcmp(got, want.data(), length * sizeof(want[0])), 0) << "line " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, InverseFftTest,
                         testing::Values(2, 3, 4, 5, 6, 10, 12, 20, 36, 90, 100, 180, 900, 8748));

TEST_F(FftTest, StaysASumBeyondSharedMemory) {
  EXPECT_TRUE(tactic().supports(inverse_of({1, 8192, 2})).ok());
  Status status = tactic().supports(inverse_of({1, 16384, 2}));
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_NE(status.message().find("shared memory"), std::string::npos) << status.message();
  // What one GPU has room for another may not.
  cuda::DeviceInfo device;
  device.shared_bytes_per_block = 99 << 10;
  EXPECT_EQ(tactic().kernels(inverse_of({1, 8192, 2}), {}, device).status().code(),
            StatusCode::kUnsupported);
}

}  // namespace
}  // namespace redline
