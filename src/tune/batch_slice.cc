// SPDX-License-Identifier: Apache-2.0
#include "tune/batch_slice.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "ops/constant.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "ops/layer_norm.h"
#include "ops/softmax.h"

namespace redline {
namespace {

// Whose input 0 has the samples, all else being the same for all of them.
const std::set<std::string_view>& sample_ops() {
  static const std::set<std::string_view> kOps = {"conv",
                                                  "conv_transpose",
                                                  "max_pool",
                                                  "average_pool",
                                                  "lp_pool",
                                                  "global_lp_pool",
                                                  "global_average_pool",
                                                  "global_max_pool",
                                                  "softmax",
                                                  "log_softmax",
                                                  "layer_norm",
                                                  "rms_norm",
                                                  "group_norm",
                                                  "instance_norm",
                                                  "batch_norm"};
  return kOps;
}

// The values of a region, each used either for its samples or as a whole.
class Samples {
 public:
  explicit Samples(const Problem& problem) {
    for (const OperandDesc& input : problem.inputs) {
      dims_.push_back(input.dims);
      constants_.push_back(input.constant);
      types_.push_back(input.present ? Type::tensor(input.dtype, Shape::of(input.dims)) : Type());
    }
    batch_ = problem.outputs[0].dims.empty() ? 0 : problem.outputs[0].dims[0];
    uses_.resize(dims_.size(), Use::kNone);
  }

  int64_t batch() const { return batch_; }
  bool is_sliced(size_t value) const { return uses_[value] == Use::kSamples; }

  bool add(const Body& body) {
    Result<std::vector<Type>> types = infer_body(body, types_, constants_);
    if (!types.ok()) return false;
    for (size_t v = dims_.size(); v < types->size(); ++v) {
      std::optional<Dims> dims =
          (*types)[v].is_tensor() ? (*types)[v].shape.as_static() : std::optional<Dims>();
      if (!dims) return false;
      dims_.push_back(*dims);
    }
    for (const BodyNode& node : body.nodes) {
      bool constant = node.op->name == "constant";
      constants_.push_back(constant ? &node.attrs.as<ConstantAttrs>().value : nullptr);
      uses_.push_back(constant ? Use::kWhole : Use::kSamples);
      if (node.num_outputs != 1) return false;
      if (!constant && !add(node, dims_[uses_.size() - 1])) return false;
    }
    return true;
  }

 private:
  enum class Use : uint8_t { kNone, kWhole, kSamples };

  bool use(int value, Use as) {
    if (value < 0) return true;
    Use& now = uses_[static_cast<size_t>(value)];
    if (now == Use::kNone) now = as;
    return now == as;
  }
  bool has_samples(int value, int rank) const {
    const Dims& dims = dims_[static_cast<size_t>(value)];
    return dims.rank() == rank && rank > 0 && dims[0] == batch_;
  }

  bool add(const BodyNode& node, const Dims& out) {
    if (out.empty() || out[0] != batch_) return false;
    const std::string& op = node.op->name;
    if (node.op->has(kTraitPointwise)) {
      return std::all_of(node.inputs.begin(), node.inputs.end(), [&](int input) {
        if (input < 0) return true;
        return use(input, has_samples(input, out.rank()) ? Use::kSamples : Use::kWhole);
      });
    }
    if (op == "attention") return add_attention(node);
    if (node.op->has(kTraitReduction) && op.rfind("reduce_", 0) == 0) return add_reduction(node);
    if (!sample_ops().contains(op)) return false;
    int rank = dims_[static_cast<size_t>(node.inputs[0])].rank();
    auto inner = [&](int64_t axis) { return axis < 0 ? axis + rank > 0 : axis > 0; };
    if (op.find("softmax") != std::string::npos && !inner(node.attrs.as<SoftmaxAttrs>().axis)) {
      return false;
    }
    bool norm = op == "layer_norm" || op == "rms_norm";
    if (norm && !inner(node.attrs.as<LayerNormAttrs>().axis)) return false;
    return add_inputs(node, 1);
  }

  // The first `samples` inputs have them, the others are whole.
  bool add_inputs(const BodyNode& node, size_t samples) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (i < samples && !has_samples(node.inputs[i], dims_[node.inputs[i]].rank())) return false;
      if (!use(node.inputs[i], i < samples ? Use::kSamples : Use::kWhole)) return false;
    }
    return true;
  }

  bool add_attention(const BodyNode& node) {
    // A mask of all four axes may have samples too.
    bool mask = node.inputs.size() > 3 && node.inputs[3] >= 0 && has_samples(node.inputs[3], 4);
    for (size_t i = 4; i < node.inputs.size(); ++i) {
      if (node.inputs[i] >= 0) return false;
    }
    return add_inputs(node, mask ? 4 : 3);
  }

  bool add_reduction(const BodyNode& node) {
    if (node.inputs.size() < 2 || node.inputs[1] < 0) return false;
    const Tensor* axes = constants_[static_cast<size_t>(node.inputs[1])];
    if (axes == nullptr || axes->count() == 0) return false;
    int rank = dims_[static_cast<size_t>(node.inputs[0])].rank();
    for (int64_t axis : read_ints(axes->view())) {
      if (axis == 0 || axis + rank == 0) return false;
    }
    return add_inputs(node, 1);
  }

  int64_t batch_ = 0;
  std::vector<Dims> dims_;
  std::vector<const Tensor*> constants_;
  std::vector<Type> types_;
  std::vector<Use> uses_;
};

}  // namespace

std::optional<BatchSlice> slice_batch(const Problem& problem, int64_t count, uint64_t seed) {
  Samples samples(problem);
  int64_t batch = samples.batch();
  if (count < 1 || batch <= count || !samples.add(body_of(problem))) return std::nullopt;
  for (const OperandDesc& output : problem.outputs) {
    if (output.dims.empty() || output.dims[0] != batch) return std::nullopt;
  }
  BatchSlice slice;
  slice.problem = problem;
  slice.samples = {batch - 1};
  if (count > 1) slice.samples.insert(slice.samples.begin(), 0);
  if (count > 2) {
    auto between = static_cast<int64_t>(seed % static_cast<uint64_t>(batch - 2));
    slice.samples.insert(slice.samples.begin() + 1, 1 + between);
  }
  auto size = static_cast<int64_t>(slice.samples.size());
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    slice.sliced.push_back(samples.is_sliced(i));
    if (!slice.sliced[i]) continue;
    slice.problem.inputs[i].dims[0] = size;
    slice.problem.inputs[i].constant = nullptr;
  }
  for (OperandDesc& output : slice.problem.outputs) output.dims[0] = size;
  return slice;
}

Result<Tensor> take_samples(const Tensor& tensor, std::span<const int64_t> samples) {
  Dims dims = tensor.dims();
  dims[0] = static_cast<int64_t>(samples.size());
  REDLINE_ASSIGN(Tensor taken, Tensor::create(tensor.dtype(), dims));
  size_t each = samples.empty() ? 0 : taken.bytes() / samples.size();
  auto* to = static_cast<unsigned char*>(taken.mutable_raw());
  const auto* from = static_cast<const unsigned char*>(tensor.raw());
  for (int64_t sample : samples) {
    std::memcpy(to, from + static_cast<size_t>(sample) * each, each);
    to += each;
  }
  return taken;
}

}  // namespace redline
