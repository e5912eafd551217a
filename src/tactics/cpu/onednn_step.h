// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cpu/onednn/onednn_module.h"
#include "ops/body.h"
#include "tactics/tactic.h"

// What the tactics that run on oneDNN share: descriptors, post-ops from the pointwise tail of a
// region, and the kernel that runs one primitive.
namespace redline {

using kernels::onednn::Api;
using kernels::onednn::MemoryDesc;

// The library's table; from now on the pool's loops run on the library's threads too.
Result<const Api*> onednn_api(const PrepareArgs& args);

std::optional<kernels::onednn::DataType> onednn_type(DType dtype);

// A dense tensor of these sizes, row-major or in `format`.
Result<MemoryDesc> onednn_desc(const Api& api, DType dtype, std::span<const int64_t> dims,
                               kernels::onednn::Format format = kernels::onednn::Format::kPlain);

// One op of the pointwise tail behind an anchor.
struct TailOp {
  kernels::onednn::PostOp post_op;
  int input = -1;  // kBinary: the region's input that is the operand
};

// A region as anchor and tail.
struct Region {
  const BodyNode* anchor = nullptr;
  BodyNode own_anchor;             // when the problem is a single op
  std::vector<int> anchor_inputs;  // inputs of the problem that the anchor reads; -1: absent
  std::vector<TailOp> tail;
};

// Takes a problem apart when it is the op `anchor`, or a fused region of it as the first op and a
// chain of pointwise ops that oneDNN knows. The descriptors of binary operands are left to the
// caller.
Result<Region> match_region(const Problem& problem, std::string_view anchor);

// What the anchor makes, for concrete sizes.
Result<Dims> anchor_output_dims(const Problem& problem, const Region& region);

// Owns a primitive.
class Primitive {
 public:
  Primitive(const Api* api, kernels::onednn::Primitive* primitive)
      : api_(api), primitive_(primitive) {}
  Primitive(Primitive&& other) noexcept : api_(other.api_), primitive_(other.primitive_) {
    other.primitive_ = nullptr;
  }
  Primitive& operator=(Primitive&&) = delete;
  ~Primitive() {
    if (primitive_ != nullptr) api_->destroy(primitive_);
  }
  const kernels::onednn::Primitive& get() const { return *primitive_; }
  const Api& api() const { return *api_; }
  std::vector<kernels::onednn::Arg> args() const;
  size_t scratchpad_bytes() const;
  // For Kernel::slow_because: says so when no generated code takes the problem.
  std::string slow_because() const;

 private:
  const Api* api_;
  kernels::onednn::Primitive* primitive_;
};

// Where a primitive's argument comes from.
struct ArgSource {
  bool output = false;
  size_t index = 0;
};

// Runs one primitive; arguments come from the step's operands in the primitive's order.
Result<std::unique_ptr<Kernel>> make_primitive_kernel(Primitive primitive,
                                                      std::vector<ArgSource> sources);

// For outputs without elements.
std::unique_ptr<Kernel> make_empty_kernel();

// Copies a constant into another layout, once, at build time: u8[bytes of `to`].
Result<Tensor> reorder_constant(const Api& api, const void* data, const MemoryDesc& from,
                                const MemoryDesc& to);

}  // namespace redline
