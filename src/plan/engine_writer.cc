// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <unordered_map>

#include "base/file_io.h"
#include "base/hash.h"
#include "ops/body.h"
#include "plan/engine_file.h"
#include "plan/engine_format.h"
#include "plan/plan_generated.h"

namespace redline {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

std::span<const std::byte> raw_bytes(const Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.raw()), tensor.bytes()};
}

class Writer {
 public:
  Result<std::vector<std::byte>> plan_bytes(const EngineInfo& info, const Plan& plan) {
    REDLINE_ASSIGN(Offset<fbs::Plan> root, write_plan(plan));
    std::vector<Offset<fbs::KeyValue>> metadata;
    for (const auto& [key, value] : info.metadata) {
      metadata.push_back(fbs::CreateKeyValue(b_, text(key), text(value)));
    }
    auto metadata_offset = b_.CreateVector(metadata);
    auto constants = b_.CreateVector(constants_);
    auto kernels = b_.CreateVector(kernels_);
    auto model = text(info.model);
    auto device = text(info.device);
    auto arch = text(info.device_arch);
    auto libraries = text(info.libraries);
    b_.Finish(fbs::CreateEngine(b_, model, device, arch, libraries, metadata_offset, constants,
                                root, kernels));
    auto* data = reinterpret_cast<const std::byte*>(b_.GetBufferPointer());
    return std::vector<std::byte>(data, data + b_.GetSize());
  }
  struct Blob {
    Tensor data;
    Hash128 hash;
  };
  const std::vector<Blob>& blobs() const { return blobs_; }
  uint64_t weight_bytes() const { return weight_bytes_; }

 private:
  Offset<flatbuffers::String> text(std::string_view s) {
    return b_.CreateString(s.data(), s.size());
  }
  Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> texts(
      std::span<const std::string> list) {
    std::vector<Offset<flatbuffers::String>> offsets;
    for (const std::string& s : list) offsets.push_back(text(s));
    return b_.CreateVector(offsets);
  }
  Offset<flatbuffers::Vector<int64_t>> dims(const Dims& d) {
    return b_.CreateVector(d.begin(), d.size());
  }

  Offset<fbs::Type> write_type(const Type& type) {
    Offset<fbs::Type> element;
    if (type.element) element = write_type(*type.element);
    std::vector<std::string> sizes;
    if (type.shape.has_rank()) {
      for (const Dim& dim : type.shape.dims()) sizes.push_back(dim.to_string());
    }
    auto sizes_offset = texts(sizes);
    return fbs::CreateType(b_, static_cast<uint8_t>(type.kind), static_cast<uint8_t>(type.dtype),
                           type.shape.has_rank(), sizes_offset, element);
  }

  Offset<fbs::Body> write_body(const Body& body) {
    std::vector<Offset<fbs::BodyNode>> nodes;
    for (const BodyNode& node : body.nodes) {
      auto name = text(node.op->name);
      auto attrs = write_attrs(node.attrs.map());
      auto inputs = b_.CreateVector(node.inputs);
      nodes.push_back(fbs::CreateBodyNode(b_, name, attrs, inputs, node.num_outputs));
    }
    auto nodes_offset = b_.CreateVector(nodes);
    auto outputs = b_.CreateVector(body.outputs);
    return fbs::CreateBody(b_, body.num_inputs, nodes_offset, outputs);
  }

  Offset<fbs::TensorData> write_tensor(const Tensor& tensor) {
    auto sizes = dims(tensor.dims());
    Offset<flatbuffers::Vector<uint8_t>> bytes;
    Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> strings;
    if (tensor.dtype() == DType::kString) {
      strings = texts(tensor.span<std::string>());
    } else {
      bytes = b_.CreateVector(tensor.data<uint8_t>(), tensor.bytes());
    }
    return fbs::CreateTensorData(b_, static_cast<uint8_t>(tensor.dtype()), sizes, bytes, strings);
  }

  Offset<flatbuffers::Vector<Offset<fbs::Attr>>> write_attrs(const AttrMap& map) {
    std::vector<Offset<fbs::Attr>> offsets;
    for (const NamedAttr& attr : map) {
      std::vector<int64_t> ints;
      std::vector<double> floats;
      std::vector<std::string> strings;
      Offset<fbs::TensorData> tensor;
      Offset<fbs::Body> body;
      const AttrValue& v = attr.value;
      if (auto* x = std::get_if<int64_t>(&v)) ints = {*x};
      if (auto* x = std::get_if<double>(&v)) floats = {*x};
      if (auto* x = std::get_if<std::string>(&v)) strings = {*x};
      if (auto* x = std::get_if<std::vector<int64_t>>(&v)) ints = *x;
      if (auto* x = std::get_if<std::vector<double>>(&v)) floats = *x;
      if (auto* x = std::get_if<std::vector<std::string>>(&v)) strings = *x;
      if (auto* x = std::get_if<SymDims>(&v)) {
        for (const Dim& dim : *x) strings.push_back(dim.to_string());
      }
      if (auto* x = std::get_if<DType>(&v)) ints = {static_cast<int64_t>(*x)};
      if (auto* x = std::get_if<Tensor>(&v); x && x->defined()) tensor = write_tensor(*x);
      if (auto* x = std::get_if<std::shared_ptr<const Body>>(&v); x && *x) body = write_body(**x);
      auto name = text(attr.name);
      auto ints_offset = b_.CreateVector(ints);
      auto floats_offset = b_.CreateVector(floats);
      auto strings_offset = texts(strings);
      offsets.push_back(fbs::CreateAttr(b_, name, static_cast<uint8_t>(v.index()), ints_offset,
                                        floats_offset, strings_offset, tensor, body));
    }
    return b_.CreateVector(offsets);
  }

  // Where the bytes lie in the weights section; equal ones are stored once.
  uint64_t place(const Tensor& data, const Hash128& hash) {
    uint64_t bytes = data.bytes();
    auto [it, inserted] = offset_of_.emplace(std::pair(hash, bytes), weight_bytes_);
    if (inserted) {
      blobs_.push_back({data, hash});
      weight_bytes_ = align_weight(weight_bytes_ + bytes);
    }
    return it->second;
  }

  Offset<flatbuffers::Vector<int>> write_kernels(
      const std::vector<std::shared_ptr<const PlanKernel>>& kernels) {
    std::vector<int> indices;
    for (const auto& kernel : kernels) indices.push_back(write_kernel(*kernel));
    return b_.CreateVector(indices);
  }

  int write_kernel(const PlanKernel& kernel) {
    if (auto it = kernel_index_.find(&kernel); it != kernel_index_.end()) return it->second;
    Hash128 hash = hash128(raw_bytes(kernel.cubin));
    uint64_t offset = place(kernel.cubin, hash);
    auto entry = text(kernel.entry);
    fbs::Hash stored(hash.low, hash.high);
    int index = static_cast<int>(kernels_.size());
    kernels_.push_back(fbs::CreateKernel(b_, entry, offset, kernel.cubin.bytes(), &stored,
                                         kernel.registers, kernel.shared_bytes, kernel.spill_bytes,
                                         kernel.threads, kernel.dynamic_shared_bytes));
    kernel_index_.emplace(&kernel, index);
    return index;
  }

  int write_constant(const PlanConstant& constant) {
    if (auto it = constant_index_.find(&constant); it != constant_index_.end()) return it->second;
    const Tensor& data = constant.data;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    Hash128 hash;
    Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> strings;
    if (data.dtype() == DType::kString) {
      strings = texts(data.span<std::string>());
    } else {
      bytes = data.bytes();
      hash = hash128(raw_bytes(data));
      offset = place(data, hash);
    }
    auto name = text(constant.name);
    auto sizes = dims(data.dims());
    auto type = write_type(constant.type);
    auto recipe = text(constant.recipe);
    fbs::Hash stored(hash.low, hash.high);
    int index = static_cast<int>(constants_.size());
    constants_.push_back(fbs::CreateConstant(b_, name, offset, bytes, &stored,
                                             static_cast<uint8_t>(data.dtype()), sizes, type,
                                             recipe, strings));
    constant_index_.emplace(&constant, index);
    return index;
  }

  Result<Offset<fbs::Plan>> write_plan(const Plan& plan) {
    std::vector<int> constants;
    for (const auto& constant : plan.constants) constants.push_back(write_constant(*constant));
    std::vector<Offset<fbs::Value>> values;
    for (const PlanValue& value : plan.values) {
      auto name = text(value.name);
      auto type = write_type(value.type);
      values.push_back(fbs::CreateValue(b_, name, type, static_cast<uint8_t>(value.storage),
                                        value.constant, value.alias_of,
                                        static_cast<uint8_t>(value.space)));
    }
    std::vector<Offset<fbs::Step>> steps;
    for (const PlanStep& step : plan.steps) {
      std::vector<Offset<fbs::Plan>> subplans;
      for (const auto& subplan : step.subplans) {
        REDLINE_ASSIGN(Offset<fbs::Plan> offset, write_plan(*subplan));
        subplans.push_back(offset);
      }
      std::vector<Offset<fbs::IntList>> captures;
      for (const std::vector<int>& list : step.captures) {
        captures.push_back(fbs::CreateIntList(b_, b_.CreateVector(list)));
      }
      auto op = text(step.op->name);
      auto attrs = write_attrs(step.attrs.map());
      auto inputs = b_.CreateVector(step.inputs);
      auto outputs = b_.CreateVector(step.outputs);
      auto name = text(step.name);
      auto tactic = text(step.tactic);
      auto config = write_attrs(step.config);
      auto kernels = write_kernels(step.kernels);
      std::vector<Offset<fbs::Variant>> variants;
      for (const PlanVariant& variant : step.variants) {
        auto own_tactic = text(variant.tactic);
        auto own_inputs = b_.CreateVector(variant.inputs);
        auto own_config = write_attrs(variant.config);
        auto own_kernels = write_kernels(variant.kernels);
        variants.push_back(fbs::CreateVariant(b_, own_tactic, own_inputs, own_config, own_kernels,
                                              variant.elements));
      }
      auto variants_offset = b_.CreateVector(variants);
      auto subplans_offset = b_.CreateVector(subplans);
      auto captures_offset = b_.CreateVector(captures);
      steps.push_back(fbs::CreateStep(b_, op, attrs, inputs, outputs, name, tactic, config,
                                      subplans_offset, captures_offset, step.us, step.error,
                                      kernels, step.elements, variants_offset,
                                      static_cast<uint8_t>(step.stream)));
    }
    auto named = [&](const std::vector<NamedValue>& list) {
      std::vector<Offset<fbs::Named>> offsets;
      for (const NamedValue& value : list) {
        auto name = text(value.name);
        offsets.push_back(fbs::CreateNamed(b_, name, value.value));
      }
      return b_.CreateVector(offsets);
    };
    auto values_offset = b_.CreateVector(values);
    auto steps_offset = b_.CreateVector(steps);
    auto inputs = named(plan.inputs);
    auto outputs = named(plan.outputs);
    auto constants_offset = b_.CreateVector(constants);
    return fbs::CreatePlan(b_, values_offset, steps_offset, inputs, outputs, constants_offset);
  }

  FlatBufferBuilder b_;
  std::vector<Offset<fbs::Constant>> constants_;
  std::unordered_map<const PlanConstant*, int> constant_index_;
  std::vector<Offset<fbs::Kernel>> kernels_;
  std::unordered_map<const PlanKernel*, int> kernel_index_;
  std::map<std::pair<Hash128, uint64_t>, uint64_t> offset_of_;
  std::vector<Blob> blobs_;
  uint64_t weight_bytes_ = 0;
};

}  // namespace

Status write_engine(const EngineInfo& info, const Plan& plan,
                    FunctionRef<Status(std::span<const std::byte>)> write) {
  Writer writer;
  REDLINE_ASSIGN(std::vector<std::byte> plan_section, writer.plan_bytes(info, plan));
  static constexpr std::byte kZeros[kWeightAlignment] = {};
  EngineHeader header;
  std::memcpy(header.magic, kEngineMagic, sizeof kEngineMagic);
  std::strncpy(header.library, REDLINE_VERSION, sizeof header.library - 1);
  header.plan = {align_weight(sizeof(EngineHeader)), plan_section.size(), hash128(plan_section)};
  header.weights = {
      align_weight(header.plan.offset + header.plan.bytes), writer.weight_bytes(), {}};
  header.file_bytes = header.weights.offset + header.weights.bytes;
  // The constants' own hashes are in the plan; this one covers the padding too.
  std::vector<Hash128> hashes;
  for (const Writer::Blob& blob : writer.blobs()) hashes.push_back(blob.hash);
  header.weights.hash = hash128(std::as_bytes(std::span(hashes)));
  header.hash = header_hash(header);
  auto pad = [&](uint64_t from) { return write(std::span(kZeros, align_weight(from) - from)); };
  REDLINE_TRY(write(std::as_bytes(std::span(&header, 1))));
  REDLINE_TRY(pad(sizeof(EngineHeader)));
  REDLINE_TRY(write(std::span<const std::byte>(plan_section)));
  REDLINE_TRY(pad(header.plan.offset + header.plan.bytes));
  for (const Writer::Blob& blob : writer.blobs()) {
    REDLINE_TRY(write(raw_bytes(blob.data)));
    REDLINE_TRY(pad(blob.data.bytes()));
  }
  return {};
}

Status save_engine(const std::string& path, const EngineInfo& info, const Plan& plan) {
  REDLINE_ASSIGN(AtomicFile file, AtomicFile::create(path));
  REDLINE_TRY(write_engine(info, plan,
                           [&](std::span<const std::byte> bytes) { return file.write(bytes); }));
  return file.commit();
}

Result<std::vector<std::byte>> serialize_engine(const EngineInfo& info, const Plan& plan) {
  std::vector<std::byte> result;
  REDLINE_TRY(write_engine(info, plan, [&](std::span<const std::byte> bytes) {
    result.insert(result.end(), bytes.begin(), bytes.end());
    return Status();
  }));
  return result;
}
}  // namespace redline
