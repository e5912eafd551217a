// SPDX-License-Identifier: Apache-2.0
#include "api/time_chain.h"

#include "ops/elements.h"
#include "ops/random_tensor.h"
#include "runtime/executor.h"

namespace redline {
namespace {

constexpr uint64_t kSeed = 5;

// Floats are random; whole numbers, which may be indices, are 0 or 1.
Result<Tensor> make_input(DType dtype, const Dims& dims, uint64_t seed) {
  REDLINE_ASSIGN(Tensor tensor, random_tensor(dtype, dims, seed));
  if (!is_int(dtype)) return tensor;
  std::vector<int64_t> values(static_cast<size_t>(tensor.count()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i * 7 % 3 / 2);
  write_elements(values, tensor.view());
  return tensor;
}

class GpuChain final : public Chain {
 public:
  static Result<std::unique_ptr<Chain>> create(const Plan& plan, std::span<const Dims> sizes,
                                               const TacticRegistry& tactics, ThreadPool& pool,
                                               const cuda::ContextPtr& context) {
    auto chain = std::make_unique<GpuChain>();
    for (size_t i = 0; i < plan.inputs.size(); ++i) {
      const Type& type = plan.values[static_cast<size_t>(plan.inputs[i].value)].type;
      REDLINE_ASSIGN(Tensor input, make_input(type.dtype, sizes[i], kSeed + i));
      chain->inputs_.push_back(HostValue::of(input));
    }
    REDLINE_ASSIGN(DeviceImagePtr image, DeviceImage::create(plan, context));
    REDLINE_ASSIGN(chain->executor_, Executor::create(plan, tactics, pool, std::move(image)));
    return std::unique_ptr<Chain>(std::move(chain));
  }

  Result<double> time(std::span<const int> variants, int repeats) override {
    bool same = !ways_.empty() && std::equal(variants.begin(), variants.end(), ways_.begin());
    if (!same) {
      ways_.assign(variants.begin(), variants.end());
      executor_->use_variants(ways_);
      REDLINE_TRY(executor_->run(inputs_));
    }
    return executor_->time_kernels(repeats);
  }

  Status use_streams(std::span<const int> streams) override {
    executor_->use_streams(streams);
    return executor_->run(inputs_);
  }

 private:
  std::vector<HostValue> inputs_;
  std::unique_ptr<Executor> executor_;
  std::vector<int> ways_;
};

}  // namespace

MakeChain gpu_chain_maker(const TacticRegistry& tactics, ThreadPool& pool,
                          cuda::ContextPtr context) {
  return [&tactics, &pool, context = std::move(context)](const Plan& plan,
                                                         std::span<const Dims> sizes) {
    return GpuChain::create(plan, sizes, tactics, pool, context);
  };
}

}  // namespace redline
