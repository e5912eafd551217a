// SPDX-License-Identifier: Apache-2.0
// Configs come from engine files: whatever they hold, a GPU tactic refuses with a reason.
#include <gtest/gtest.h>

#include "emulator.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

class KnobsTest : public testing::Test {
 protected:
  KnobsTest() {
    problem_.op = &ops_->get("neg");
    OperandDesc operand;
    operand.dims = {4, 8};
    problem_.inputs = problem_.outputs = {operand};
    context_ = cuda::Context::create(emulator::driver(), 0).value();
  }
  Status prepare(const char* tactic, const Config& config, size_t num_modules) {
    std::vector<std::shared_ptr<const cuda::Module>> modules(num_modules);
    PrepareArgs args{pool_.get(), context_, modules};
    args.written = &problem_;
    return tactics_->find(tactic)->prepare(problem_, config, args).status();
  }
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
  cuda::ContextPtr context_;
  Problem problem_;
};

TEST_F(KnobsTest, KnobsOfAnotherType) {
  Status status =
      prepare("cuda.pointwise",
              {{"lanes", std::string("4")}, {"unroll", int64_t{1}}, {"threads", int64_t{256}}}, 1);
  EXPECT_EQ(status.code(), StatusCode::kIncompatible);
  EXPECT_NE(status.message().find("lanes"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace redline
