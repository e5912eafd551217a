// SPDX-License-Identifier: Apache-2.0
#include "plan/plan_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/body.h"
#include "plan/engine_format.h"
#include "plan/plan_generated.h"

namespace redline {
namespace {

using flatbuffers::Offset;

constexpr int kMaxNesting = 64;
constexpr size_t kMaxBodyNodes = 4096;
// What a string takes at least in an honest file: an offset to it, its length and an end.
constexpr size_t kStringBytes = 8;

// FlatBuffers' verifier has checked offsets and lengths; the rest is checked here.
class Reader {
 public:
  Reader(const OpRegistry& ops, std::span<const std::byte> weights,
         std::shared_ptr<const void> owner, uint64_t budget)
      : ops_(ops), weights_(weights), owner_(std::move(owner)), budget_(budget) {}

  Status read_info(const fbs::Engine& engine, EngineInfo& info) {
    REDLINE_ASSIGN(info.model, text(engine.model()));
    REDLINE_ASSIGN(info.device, text(engine.device()));
    REDLINE_ASSIGN(info.device_arch, text(engine.device_arch()));
    REDLINE_ASSIGN(info.libraries, text(engine.libraries()));
    if (engine.metadata() == nullptr) return {};
    for (const fbs::KeyValue* entry : *engine.metadata()) {
      REDLINE_ASSIGN(std::string key, text(entry->key()));
      REDLINE_ASSIGN(std::string value, text(entry->value()));
      info.metadata.emplace_back(std::move(key), std::move(value));
    }
    return {};
  }

  Status read_constants(const fbs::Engine& engine) {
    if (engine.constants() == nullptr) return {};
    for (const fbs::Constant* stored : *engine.constants()) {
      auto constant = std::make_shared<PlanConstant>();
      REDLINE_ASSIGN(constant->name, text(stored->name()));
      REDLINE_ASSIGN(constant->recipe, text(stored->recipe()));
      if (stored->type() == nullptr) return damaged("constant without a type");
      REDLINE_ASSIGN(constant->type, read_type(*stored->type(), 0));
      REDLINE_ASSIGN(DType dtype, read_dtype(stored->dtype()));
      REDLINE_ASSIGN(Dims sizes, read_dims(stored->dims()));
      std::optional<int64_t> count = checked_count({sizes.begin(), sizes.size()});
      if (!count) return damaged("constant with impossible sizes");
      std::optional<Dims> logical = constant->type.shape.as_static();
      if (!constant->type.is_tensor() || !logical ||
          !checked_count({logical->begin(), logical->size()})) {
        return damaged("constant of a type without sizes");
      }
      bool packed = !constant->recipe.empty();
      if (!packed && !(*logical == sizes && constant->type.dtype == dtype)) {
        return damaged("constant whose type and data differ");
      }
      if (packed && (dtype != DType::kUInt8 || constant->type.dtype == DType::kString)) {
        return damaged("packed constant that is not bytes");
      }
      if (dtype == DType::kString) {
        if (stored->strings() == nullptr ||
            stored->strings()->size() != static_cast<uint64_t>(*count)) {
          return damaged("string constant of another size");
        }
        REDLINE_ASSIGN(constant->data, Tensor::create(dtype, sizes));
        for (uint32_t i = 0; i < stored->strings()->size(); ++i) {
          REDLINE_ASSIGN(constant->data.mutable_data<std::string>()[i],
                         text(stored->strings()->Get(i)));
        }
      } else {
        uint64_t bytes = 0;
        if (__builtin_mul_overflow(static_cast<uint64_t>(*count), dtype_bytes(dtype), &bytes) ||
            bytes != stored->bytes() || stored->offset() % kWeightAlignment != 0 ||
            stored->offset() > weights_.size() || bytes > weights_.size() - stored->offset()) {
          return damaged("constant outside of the weights");
        }
        constant->data = Tensor::wrap(dtype, sizes, weights_.data() + stored->offset(), owner_);
      }
      constants_.push_back(std::move(constant));
    }
    return {};
  }

  Status read_kernels(const fbs::Engine& engine) {
    if (engine.kernels() == nullptr) return {};
    for (const fbs::Kernel* stored : *engine.kernels()) {
      auto kernel = std::make_shared<PlanKernel>();
      REDLINE_ASSIGN(kernel->entry, text(stored->entry()));
      uint64_t bytes = stored->bytes();
      if (bytes == 0 || bytes > INT32_MAX || stored->offset() % kWeightAlignment != 0 ||
          stored->offset() > weights_.size() || bytes > weights_.size() - stored->offset()) {
        return damaged("kernel outside of the weights");
      }
      kernel->cubin = Tensor::wrap(DType::kUInt8, Dims{static_cast<int64_t>(bytes)},
                                   weights_.data() + stored->offset(), owner_);
      kernel->registers = stored->registers();
      kernel->shared_bytes = stored->shared_bytes();
      kernel->spill_bytes = stored->spill_bytes();
      kernel->threads = stored->threads();
      kernel->dynamic_shared_bytes = stored->dynamic_shared_bytes();
      for (int need : {kernel->registers, kernel->shared_bytes, kernel->spill_bytes,
                       kernel->threads, kernel->dynamic_shared_bytes}) {
        if (need < 0) return damaged("what a kernel needs");
      }
      kernels_.push_back(std::move(kernel));
    }
    return {};
  }

  Result<Plan> read_plan(const fbs::Plan& stored, int depth) {
    if (depth > kMaxNesting) return damaged("plans nested too deeply");
    Plan plan;
    REDLINE_ASSIGN(std::vector<int> constants, numbers(stored.constants()));
    for (int index : constants) {
      if (index < 0 || static_cast<size_t>(index) >= constants_.size())
        return damaged("constant index");
      plan.constants.push_back(constants_[static_cast<size_t>(index)]);
    }
    if (stored.values() != nullptr) {
      for (const fbs::Value* v : *stored.values()) {
        PlanValue value;
        REDLINE_ASSIGN(value.name, text(v->name()));
        REDLINE_ASSIGN(value.type, read_type(*v->type(), 0));
        if (v->storage() > static_cast<uint8_t>(Storage::kAlias)) return damaged("storage kind");
        value.storage = static_cast<Storage>(v->storage());
        value.constant = v->constant();
        value.alias_of = v->alias_of();
        if (v->space() > static_cast<uint8_t>(Space::kDevice)) return damaged("space of a value");
        value.space = static_cast<Space>(v->space());
        bool constant_ok =
            value.storage != Storage::kConstant ||
            (value.constant >= 0 && static_cast<size_t>(value.constant) < plan.constants.size());
        bool alias_ok =
            value.storage != Storage::kAlias ||
            (value.alias_of >= 0 && static_cast<size_t>(value.alias_of) < plan.values.size());
        if (!constant_ok || !alias_ok) return damaged("value index");
        plan.values.push_back(std::move(value));
      }
    }
    // Inputs exist from the start; every other value has one maker, before its readers.
    std::vector<bool> ready(plan.values.size());
    for (size_t v = 0; v < plan.values.size(); ++v) {
      ready[v] = plan.values[v].storage == Storage::kConstant;
    }
    REDLINE_TRY(read_named(stored.inputs(), plan.inputs, plan.values.size()));
    for (const NamedValue& input : plan.inputs) {
      auto v = static_cast<size_t>(input.value);
      if (plan.values[v].storage != Storage::kInput || ready[v]) return damaged("input value");
      ready[v] = true;
    }
    if (stored.steps() != nullptr) {
      for (const fbs::Step* s : *stored.steps()) {
        REDLINE_ASSIGN(PlanStep step, read_step(*s, plan, ready, depth));
        plan.steps.push_back(std::move(step));
      }
    }
    REDLINE_TRY(read_named(stored.outputs(), plan.outputs, plan.values.size()));
    for (const NamedValue& output : plan.outputs) {
      if (!ready[static_cast<size_t>(output.value)]) return damaged("output that no step makes");
    }
    return plan;
  }

 private:
  Status spend(uint64_t bytes) {
    if (bytes > budget_) return damaged("more in it than its size can hold");
    budget_ -= bytes;
    return {};
  }

  Result<std::string> text(const flatbuffers::String* s) {
    if (s == nullptr) return std::string();
    REDLINE_TRY(spend(kStringBytes + s->size()));
    return s->str();
  }

  // Element by element would read 8-byte numbers where a made-up file left them unaligned.
  template <class T>
  Result<std::vector<T>> numbers(const flatbuffers::Vector<T>* stored) {
    std::vector<T> list(stored != nullptr ? stored->size() : 0);
    REDLINE_TRY(spend(list.size() * sizeof(T)));
    if (!list.empty()) std::memcpy(list.data(), stored->Data(), list.size() * sizeof(T));
    return list;
  }

  static Result<DType> read_dtype(uint64_t index) {
    if (index >= kNumDTypes) return damaged("element type");
    return static_cast<DType>(index);
  }

  Result<Dims> read_dims(const flatbuffers::Vector<int64_t>* stored) {
    if (stored != nullptr && stored->size() > kMaxRank) return damaged("rank");
    REDLINE_ASSIGN(std::vector<int64_t> dims, numbers(stored));
    return Dims(dims);
  }

  Result<SymDims> read_sizes(const flatbuffers::Vector<Offset<flatbuffers::String>>* stored) {
    SymDims sizes;
    if (stored == nullptr) return sizes;
    for (const flatbuffers::String* s : *stored) {
      REDLINE_TRY(spend(kStringBytes + s->size()));
      Result<Dim> dim = Dim::parse(s->string_view());
      if (!dim.ok()) return damaged(dim.status().message());
      sizes.push_back(*dim);
    }
    return sizes;
  }

  Result<Type> read_type(const fbs::Type& stored, int depth) {
    if (depth > kMaxNesting) return damaged("types nested too deeply");
    if (stored.kind() > static_cast<uint8_t>(Type::Kind::kOptional)) return damaged("kind of type");
    Type type;
    type.kind = static_cast<Type::Kind>(stored.kind());
    REDLINE_ASSIGN(type.dtype, read_dtype(stored.dtype()));
    if (stored.has_rank()) {
      REDLINE_ASSIGN(SymDims sizes, read_sizes(stored.dims()));
      type.shape = std::move(sizes);
    }
    if (type.is_tensor()) return type;
    if (stored.element() == nullptr) return damaged("sequence without an element type");
    REDLINE_ASSIGN(Type element, read_type(*stored.element(), depth + 1));
    type.element = std::make_shared<const Type>(std::move(element));
    return type;
  }

  Status read_named(const flatbuffers::Vector<Offset<fbs::Named>>* stored,
                    std::vector<NamedValue>& list, size_t num_values) {
    if (stored == nullptr) return {};
    for (const fbs::Named* named : *stored) {
      if (named->value() < 0 || static_cast<size_t>(named->value()) >= num_values) {
        return damaged("index of an input or output");
      }
      REDLINE_ASSIGN(std::string name, text(named->name()));
      list.push_back({std::move(name), named->value()});
    }
    return {};
  }

  Result<Tensor> read_tensor(const fbs::TensorData& stored) {
    REDLINE_ASSIGN(DType dtype, read_dtype(stored.dtype()));
    REDLINE_ASSIGN(Dims sizes, read_dims(stored.dims()));
    std::optional<int64_t> count = checked_count({sizes.begin(), sizes.size()});
    uint64_t held = dtype == DType::kString ? (stored.strings() ? stored.strings()->size() : 0)
                                            : (stored.bytes() ? stored.bytes()->size() : 0);
    uint64_t each = dtype == DType::kString ? 1 : dtype_bytes(dtype);
    if (!count || static_cast<uint64_t>(*count) > held ||
        static_cast<uint64_t>(*count) * each != held) {
      return damaged("tensor attribute of another size");
    }
    if (dtype != DType::kString) REDLINE_TRY(spend(held));
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, sizes));
    if (dtype == DType::kString) {
      for (uint32_t i = 0; i < held; ++i) {
        REDLINE_ASSIGN(tensor.mutable_data<std::string>()[i], text(stored.strings()->Get(i)));
      }
    } else if (held > 0) {
      std::memcpy(tensor.mutable_raw(), stored.bytes()->data(), held);
    }
    return tensor;
  }

  Result<BodyNode> read_body_node(const fbs::BodyNode& stored, int64_t known, int depth) {
    BodyNode node;
    REDLINE_ASSIGN(node.op, read_op(stored.op()));
    REDLINE_ASSIGN(AttrMap map, read_attrs(stored.attrs(), depth + 1));
    REDLINE_ASSIGN(node.attrs, Attrs::load(node.op->attrs, map));
    REDLINE_ASSIGN(node.inputs, numbers(stored.inputs()));
    for (int input : node.inputs) {
      if (input < -1 || input >= known) return damaged("operand in a fused region");
    }
    node.num_outputs = stored.num_outputs();
    if (node.num_outputs < 1 || node.num_outputs > 64) return damaged("fused region");
    return node;
  }

  Result<std::shared_ptr<const Body>> read_body(const fbs::Body& stored, int depth) {
    auto body = std::make_shared<Body>();
    body->num_inputs = stored.num_inputs();
    if (body->num_inputs < 0) return damaged("fused region");
    int64_t known = body->num_inputs;
    if (stored.nodes() != nullptr) {
      if (stored.nodes()->size() > kMaxBodyNodes) return damaged("fused region of so many ops");
      for (const fbs::BodyNode* n : *stored.nodes()) {
        REDLINE_ASSIGN(BodyNode node, read_body_node(*n, known, depth));
        known += node.num_outputs;
        body->nodes.push_back(std::move(node));
      }
    }
    REDLINE_ASSIGN(body->outputs, numbers(stored.outputs()));
    for (int output : body->outputs) {
      if (output < 0 || output >= known) return damaged("output of a fused region");
    }
    return std::shared_ptr<const Body>(std::move(body));
  }

  Result<AttrMap> read_attrs(const flatbuffers::Vector<Offset<fbs::Attr>>* stored, int depth) {
    AttrMap map;
    if (depth > kMaxNesting) return damaged("attributes nested too deeply");
    if (stored == nullptr) return map;
    for (const fbs::Attr* a : *stored) {
      REDLINE_ASSIGN(std::vector<int64_t> ints, numbers(a->ints()));
      REDLINE_ASSIGN(std::vector<double> floats, numbers(a->floats()));
      std::vector<std::string> strings;
      for (uint32_t i = 0; a->strings() != nullptr && i < a->strings()->size(); ++i) {
        REDLINE_ASSIGN(std::string string, text(a->strings()->Get(i)));
        strings.push_back(std::move(string));
      }
      AttrValue value;
      bool good = true;
      switch (a->kind()) {
        case 0:
          good = ints.size() == 1;
          if (good) value = ints[0];
          break;
        case 1:
          good = floats.size() == 1;
          if (good) value = floats[0];
          break;
        case 2:
          good = strings.size() == 1;
          if (good) value = strings[0];
          break;
        case 3:
          value = std::move(ints);
          break;
        case 4:
          value = std::move(floats);
          break;
        case 5:
          value = std::move(strings);
          break;
        case 6: {
          REDLINE_ASSIGN(SymDims sizes, read_sizes(a->strings()));
          value = std::move(sizes);
          break;
        }
        case 7: {
          if (ints.size() != 1 || ints[0] < 0) return damaged("element type attribute");
          REDLINE_ASSIGN(DType dtype, read_dtype(static_cast<uint64_t>(ints[0])));
          value = dtype;
          break;
        }
        case 8: {
          Tensor tensor;
          if (a->tensor() != nullptr) {
            REDLINE_ASSIGN(tensor, read_tensor(*a->tensor()));
          }
          value = std::move(tensor);
          break;
        }
        case 9: {
          std::shared_ptr<const Body> body;
          if (a->body() != nullptr) {
            REDLINE_ASSIGN(body, read_body(*a->body(), depth + 1));
          }
          value = std::move(body);
          break;
        }
        default:
          good = false;
      }
      if (!good) return damaged("attribute");
      REDLINE_ASSIGN(std::string name, text(a->name()));
      map.push_back({std::move(name), std::move(value)});
    }
    return map;
  }

  Result<const OpDef*> read_op(const flatbuffers::String* name) {
    const OpDef* op = name ? ops_.find(name->string_view()) : nullptr;
    if (op != nullptr) return op;
    return incompatible("engine uses the op '", name ? name->string_view() : "",
                        "', which this build of Redline lacks; build the engine again");
  }

  Result<std::vector<std::shared_ptr<const PlanKernel>>> kernels_of(
      const flatbuffers::Vector<int32_t>* stored) {
    REDLINE_ASSIGN(std::vector<int> indices, numbers(stored));
    std::vector<std::shared_ptr<const PlanKernel>> kernels;
    for (int index : indices) {
      if (index < 0 || static_cast<size_t>(index) >= kernels_.size()) {
        return damaged("kernel of a step");
      }
      kernels.push_back(kernels_[static_cast<size_t>(index)]);
    }
    return kernels;
  }

  Result<PlanStep> read_step(const fbs::Step& stored, Plan& plan, std::vector<bool>& ready,
                             int depth) {
    PlanStep step;
    REDLINE_ASSIGN(step.op, read_op(stored.op()));
    REDLINE_ASSIGN(step.name, text(stored.name()));
    REDLINE_ASSIGN(step.tactic, text(stored.tactic()));
    REDLINE_ASSIGN(AttrMap map, read_attrs(stored.attrs(), 0));
    Result<Attrs> attrs = Attrs::load(step.op->attrs, map);
    if (!attrs.ok()) return damaged(attrs.status().message());
    step.attrs = *std::move(attrs);
    REDLINE_ASSIGN(step.config, read_attrs(stored.config(), 0));
    step.us = stored.us();
    step.error = stored.error();
    if (!std::isfinite(step.us) || !std::isfinite(step.error)) return damaged("times of a step");
    REDLINE_ASSIGN(step.kernels, kernels_of(stored.kernels()));
    step.elements = stored.elements();
    step.stream = stored.stream();
    if (stored.variants() != nullptr) {
      for (const fbs::Variant* variant : *stored.variants()) {
        PlanVariant& added = step.variants.emplace_back();
        REDLINE_ASSIGN(added.tactic, text(variant->tactic()));
        REDLINE_ASSIGN(added.inputs, numbers(variant->inputs()));
        REDLINE_ASSIGN(added.config, read_attrs(variant->config(), 0));
        REDLINE_ASSIGN(added.kernels, kernels_of(variant->kernels()));
        added.elements = variant->elements();
      }
    }
    auto readable = [&](int value) {
      return value >= 0 && static_cast<size_t>(value) < ready.size() &&
             ready[static_cast<size_t>(value)];
    };
    REDLINE_ASSIGN(step.inputs, numbers(stored.inputs()));
    for (int value : step.inputs) {
      if (value != -1 && !readable(value)) return damaged("operand of a step");
    }
    for (const PlanVariant& variant : step.variants) {
      for (int value : variant.inputs) {
        if (value != -1 && !readable(value)) return damaged("operand of a variant");
      }
    }
    if (stored.subplans() != nullptr) {
      for (const fbs::Plan* subplan : *stored.subplans()) {
        REDLINE_ASSIGN(Plan inner, read_plan(*subplan, depth + 1));
        step.subplans.push_back(std::make_unique<Plan>(std::move(inner)));
      }
    }
    if (stored.captures() != nullptr) {
      for (const fbs::IntList* list : *stored.captures()) {
        REDLINE_ASSIGN(std::vector<int> captures, numbers(list->values()));
        for (int value : captures) {
          if (!readable(value)) return damaged("captured value");
        }
        step.captures.push_back(std::move(captures));
      }
    }
    if (step.captures.size() != step.subplans.size() ||
        step.subplans.size() != static_cast<size_t>(step.op->num_subgraphs)) {
      return damaged("number of subgraphs");
    }
    REDLINE_ASSIGN(step.outputs, numbers(stored.outputs()));
    for (int value : step.outputs) {
      if (value < 0 || static_cast<size_t>(value) >= ready.size() ||
          ready[static_cast<size_t>(value)]) {
        return damaged("result of a step");
      }
      Storage storage = plan.values[static_cast<size_t>(value)].storage;
      bool view = step.tactic == kViewTactic;
      if (storage != (view ? Storage::kAlias : Storage::kArena))
        return damaged("storage of a result");
      ready[static_cast<size_t>(value)] = true;
    }
    const OpDef& op = *step.op;
    if (step.inputs.size() < op.min_inputs() || step.inputs.size() > op.max_inputs() ||
        step.outputs.size() < op.min_outputs() || step.outputs.size() > op.max_outputs()) {
      return damaged("number of operands");
    }
    for (size_t i = 0; i < std::min(step.inputs.size(), op.inputs.size()); ++i) {
      if (step.inputs[i] < 0 && op.inputs[i].arity == Arity::kRequired)
        return damaged("absent operand");
    }
    if (step.tactic == kViewTactic) {
      bool sound = !step.inputs.empty() && step.inputs[0] >= 0 && step.outputs.size() == 1 &&
                   plan.values[static_cast<size_t>(step.outputs[0])].alias_of == step.inputs[0] &&
                   plan.values[static_cast<size_t>(step.outputs[0])].type.is_tensor() &&
                   plan.values[static_cast<size_t>(step.inputs[0])].type.is_tensor() &&
                   plan.values[static_cast<size_t>(step.outputs[0])].type.dtype ==
                       plan.values[static_cast<size_t>(step.inputs[0])].type.dtype;
      if (!sound) return damaged("view");
    }
    return step;
  }

  const OpRegistry& ops_;
  std::span<const std::byte> weights_;
  std::shared_ptr<const void> owner_;
  uint64_t budget_;
  std::vector<std::shared_ptr<const PlanConstant>> constants_;
  std::vector<std::shared_ptr<const PlanKernel>> kernels_;
};

}  // namespace

Status damaged(std::string_view what) {
  return invalid_argument("engine is damaged: ", what, "; build it again");
}

Result<LoadedEngine> read_stored_engine(const fbs::Engine& engine, const OpRegistry& ops,
                                        std::span<const std::byte> weights,
                                        std::shared_ptr<const void> owner, uint64_t budget) {
  LoadedEngine result;
  Reader reader(ops, weights, std::move(owner), budget);
  REDLINE_TRY(reader.read_info(engine, result.info));
  REDLINE_TRY(reader.read_constants(engine));
  REDLINE_TRY(reader.read_kernels(engine));
  REDLINE_ASSIGN(result.plan, reader.read_plan(*engine.plan(), 0));
  return result;
}

}  // namespace redline
