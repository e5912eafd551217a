// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_image.h"

#include <algorithm>
#include <cstring>

namespace redline {
namespace {

constexpr size_t kConstantAlignment = 256;
// Weights go through page-locked memory in pieces of this size, two in flight: copies from mapped
// files are several times slower.
constexpr size_t kStagingBytes = size_t{8} << 20;

}  // namespace

Result<std::shared_ptr<const DeviceImage>> DeviceImage::create(const Plan& plan,
                                                               cuda::ContextPtr context) {
  std::shared_ptr<DeviceImage> image(new DeviceImage());
  image->context_ = std::move(context);
  size_t bytes = 0;
  image->place_constants(plan, bytes);
  // Empty constants have an address too.
  bytes = std::max(bytes, kConstantAlignment);
  REDLINE_ASSIGN(image->memory_, cuda::DeviceBuffer::create(image->context_, bytes));
  REDLINE_TRY(image->upload());
  REDLINE_TRY(image->load_kernels(plan));
  return std::shared_ptr<const DeviceImage>(std::move(image));
}

void DeviceImage::place_constants(const Plan& plan, size_t& bytes) {
  for (const PlanValue& value : plan.values) {
    if (value.storage != Storage::kConstant || value.space != Space::kDevice) continue;
    const PlanConstant& constant = *plan.constants[static_cast<size_t>(value.constant)];
    if (!offsets_.emplace(&constant, bytes).second) continue;
    bytes +=
        (constant.data.bytes() + kConstantAlignment - 1) / kConstantAlignment * kConstantAlignment;
  }
  for (const PlanStep& step : plan.steps) {
    for (const auto& subplan : step.subplans) place_constants(*subplan, bytes);
  }
}

Status DeviceImage::upload() const {
  REDLINE_ASSIGN(cuda::Stream stream, cuda::Stream::create(context_));
  size_t piece = std::min(kStagingBytes, memory_.bytes());
  cuda::PinnedBuffer staging[2];
  cuda::Event free[2];
  for (int i = 0; i < 2; ++i) {
    REDLINE_ASSIGN(staging[i], cuda::PinnedBuffer::create(context_, piece));
    REDLINE_ASSIGN(free[i], cuda::Event::create(context_, /*timed=*/false));
    REDLINE_TRY(free[i].record(stream));
  }
  int turn = 0;
  for (const auto& [constant, offset] : offsets_) {
    const auto* from = static_cast<const char*>(constant->data.raw());
    for (size_t done = 0; done < constant->data.bytes(); done += piece, turn ^= 1) {
      size_t bytes = std::min(piece, constant->data.bytes() - done);
      REDLINE_TRY(free[turn].synchronize());
      std::memcpy(staging[turn].data(), from + done, bytes);
      REDLINE_TRY(
          stream.copy_to_device(memory_.ptr() + offset + done, staging[turn].data(), bytes));
      REDLINE_TRY(free[turn].record(stream));
    }
  }
  return stream.synchronize();
}

Status DeviceImage::load_kernels(const Plan& plan) {
  for (const PlanStep& step : plan.steps) {
    for (const auto& subplan : step.subplans) REDLINE_TRY(load_kernels(*subplan));
    REDLINE_TRY(load_kernels(step, step.kernels));
    for (const PlanVariant& variant : step.variants) {
      REDLINE_TRY(load_kernels(step, variant.kernels));
    }
  }
  return {};
}

Status DeviceImage::load_kernels(const PlanStep& step, const Kernels& kernels) {
  if (kernels.empty()) return {};
  std::vector<std::shared_ptr<const cuda::Module>>& modules = modules_[&kernels];
  for (const auto& kernel : kernels) {
    std::shared_ptr<const cuda::Module>& module = kernels_[kernel.get()];
    if (module == nullptr) {
      auto* cubin = static_cast<const std::byte*>(kernel->cubin.raw());
      Result<std::shared_ptr<const cuda::Module>> loaded =
          cuda::Module::create(context_, {cubin, kernel->cubin.bytes()});
      if (!loaded.ok()) {
        return loaded.status().with_context(
            str_cat("kernel ", kernel->entry, " of step '", step.name, "'"));
      }
      module = *std::move(loaded);
    }
    modules.push_back(module);
  }
  return {};
}

const void* DeviceImage::constant(const PlanConstant& constant) const {
  auto it = offsets_.find(&constant);
  if (it == offsets_.end()) return nullptr;
  return static_cast<const char*>(memory_.data()) + it->second;
}

std::span<const std::shared_ptr<const cuda::Module>> DeviceImage::modules(
    const Kernels& kernels) const {
  auto it = modules_.find(&kernels);
  if (it == modules_.end()) return {};
  return it->second;
}

}  // namespace redline
