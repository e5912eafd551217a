// SPDX-License-Identifier: Apache-2.0
#include "api/time_chain.h"

#include <algorithm>

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
    for (const NamedValue& input : plan.inputs) {
      chain->dtypes_.push_back(plan.values[static_cast<size_t>(input.value)].type.dtype);
    }
    REDLINE_ASSIGN(DeviceImagePtr image, DeviceImage::create(plan, context));
    REDLINE_ASSIGN(chain->executor_, Executor::create(plan, tactics, pool, std::move(image)));
    REDLINE_TRY(chain->use_sizes(sizes));
    return std::unique_ptr<Chain>(std::move(chain));
  }

  Result<double> time(std::span<const int> variants, int repeats) override {
    if (!std::equal(variants.begin(), variants.end(), ways_.begin(), ways_.end())) {
      ways_.assign(variants.begin(), variants.end());
      executor_->use_variants(ways_);
      is_ready_ = false;
    }
    if (!is_ready_) REDLINE_TRY(executor_->run(made_[at_].values));
    is_ready_ = true;
    return executor_->time_kernels(repeats);
  }

  Status use_sizes(std::span<const Dims> input_sizes) override {
    auto known = std::find_if(made_.begin(), made_.end(), [&](const Inputs& inputs) {
      return std::equal(input_sizes.begin(), input_sizes.end(), inputs.sizes.begin());
    });
    at_ = static_cast<size_t>(known - made_.begin());
    if (known == made_.end()) {
      Inputs inputs;
      inputs.sizes.assign(input_sizes.begin(), input_sizes.end());
      for (size_t i = 0; i < dtypes_.size(); ++i) {
        REDLINE_ASSIGN(Tensor input, make_input(dtypes_[i], input_sizes[i], kSeed + i));
        inputs.values.push_back(HostValue::of(input));
      }
      made_.push_back(std::move(inputs));
    }
    is_ready_ = false;
    return {};
  }

  Status use_streams(std::span<const int> streams) override {
    executor_->use_streams(streams);
    is_ready_ = false;
    return {};
  }

 private:
  struct Inputs {
    std::vector<Dims> sizes;
    std::vector<HostValue> values;
  };

  std::vector<DType> dtypes_;  // of the inputs
  std::vector<Inputs> made_;
  size_t at_ = 0;          // those in use
  bool is_ready_ = false;  // it ran since something was changed
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
