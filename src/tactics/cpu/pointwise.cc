// SPDX-License-Identifier: Apache-2.0
#include "tactics/cpu/pointwise_step.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "ops/body.h"
#include "ops/cast.h"
#include "ops/constant.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "ops/pointwise.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

using kernels::ElemType;
using kernels::PointwiseOp;
using kernels::PointwiseProgram;
using kernels::PointwiseRegister;

std::optional<ElemType> elem_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ElemType::kF32;
    case DType::kFloat16:
      return ElemType::kF16;
    case DType::kBFloat16:
      return ElemType::kBf16;
    case DType::kInt8:
      return ElemType::kI8;
    case DType::kUInt8:
      return ElemType::kU8;
    case DType::kInt16:
      return ElemType::kI16;
    case DType::kUInt16:
      return ElemType::kU16;
    case DType::kInt32:
      return ElemType::kI32;
    case DType::kUInt32:
      return ElemType::kU32;
    case DType::kInt64:
      return ElemType::kI64;
    case DType::kUInt64:
      return ElemType::kU64;
    case DType::kBool:
      return ElemType::kBool;
    default:
      return std::nullopt;
  }
}

bool is_register_float(DType d) {
  return d == DType::kFloat32 || d == DType::kFloat16 || d == DType::kBFloat16;
}

// Rows whose instruction takes the row's operands and, in order, its parameters as immediates.
std::optional<PointwiseOp> simple_instruction(PointwiseId id) {
  static const std::map<PointwiseId, PointwiseOp> kMap = {
#define SAME(Name) {PointwiseId::k##Name, PointwiseOp::k##Name}
      SAME(Abs),
      SAME(Neg),
      SAME(Sign),
      SAME(Reciprocal),
      SAME(Square),
      SAME(Sqrt),
      SAME(Rsqrt),
      SAME(Floor),
      SAME(Ceil),
      SAME(Round),
      SAME(Trunc),
      SAME(Exp),
      SAME(Expm1),
      SAME(Log),
      SAME(Log1p),
      SAME(Erf),
      SAME(Sin),
      SAME(Cos),
      SAME(Tan),
      SAME(Asin),
      SAME(Acos),
      SAME(Atan),
      SAME(Sinh),
      SAME(Cosh),
      SAME(Tanh),
      SAME(Asinh),
      SAME(Acosh),
      SAME(Atanh),
      SAME(Sigmoid),
      SAME(Relu),
      SAME(LeakyRelu),
      SAME(Elu),
      SAME(Selu),
      SAME(Celu),
      SAME(HardSigmoid),
      SAME(HardSwish),
      SAME(Softplus),
      SAME(Softsign),
      SAME(Mish),
      SAME(ThresholdedRelu),
      SAME(Shrink),
      SAME(IsNan),
      SAME(IsInf),
      SAME(Not),
      SAME(BitNot),
      SAME(Add),
      SAME(Sub),
      SAME(Mul),
      SAME(Div),
      SAME(Pow),
      SAME(Max),
      SAME(Min),
      SAME(Prelu),
      SAME(Equal),
      SAME(NotEqual),
      SAME(Less),
      SAME(LessEqual),
      SAME(Greater),
      SAME(GreaterEqual),
      SAME(And),
      SAME(Or),
      SAME(Xor),
      SAME(BitAnd),
      SAME(BitOr),
      SAME(BitXor),
      SAME(Where),
#undef SAME
      {PointwiseId::kSwish, PointwiseOp::kSilu},
  };
  auto it = kMap.find(id);
  return it == kMap.end() ? std::nullopt : std::optional(it->second);
}

// Integer instructions that are wrong for 64-bit unsigned values (see the kernel's header).
bool needs_order(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kAbs:
    case PointwiseOp::kSign:
    case PointwiseOp::kRelu:
    case PointwiseOp::kDiv:
    case PointwiseOp::kMod:
    case PointwiseOp::kMax:
    case PointwiseOp::kMin:
    case PointwiseOp::kLess:
    case PointwiseOp::kLessEqual:
    case PointwiseOp::kGreater:
    case PointwiseOp::kGreaterEqual:
      return true;
    default:
      return false;
  }
}

// Translates a body of pointwise ops. Values are f32 in registers, or int64 when all are integers.
class Translator {
 public:
  Translator(const Problem& problem, const Body& body) : problem_(problem), body_(body) {}

  Result<PointwiseProgram> translate() {
    REDLINE_TRY(find_types());
    bool any_float = std::any_of(types_.begin(), types_.end(), [](DType d) { return is_float(d); });
    program_.registers = any_float ? PointwiseRegister::kFloat : PointwiseRegister::kInt;
    for (size_t i = 0; i < problem_.inputs.size(); ++i) {
      if (!problem_.inputs[i].present) {
        values_.push_back(0);
        continue;
      }
      values_.push_back(program_.input(*elem_type(types_[i])));
    }
    // Inputs that are absent have no register; indices of the others are those of the program.
    for (const BodyNode& node : body_.nodes) REDLINE_TRY(translate(node));
    for (int output : body_.outputs) {
      program_.output(values_[static_cast<size_t>(output)],
                      *elem_type(types_[static_cast<size_t>(output)]));
    }
    return std::move(program_);
  }

 private:
  Status find_types() {
    for (const OperandDesc& input : problem_.inputs) {
      if (input.present && !input.is_tensor) return unsupported("takes tensors only");
      types_.push_back(input.present ? input.dtype : DType::kFloat32);
    }
    for (const BodyNode& node : body_.nodes) {
      DType result = DType::kFloat32;
      if (node.op->name == "constant") {
        result = constant_of(node).dtype();
      } else if (node.op->name == "cast") {
        result = node.attrs.as<CastAttrs>().to;
      } else {
        const PointwiseRow* row = find_pointwise(node.op->name);
        if (row == nullptr) return unsupported("op '", node.op->name, "' is not pointwise");
        size_t from = row->types == PointwiseTypes::kWhere ? 1 : 0;
        result = row->result == PointwiseResult::kBool
                     ? DType::kBool
                     : types_[static_cast<size_t>(node.inputs[from])];
      }
      types_.push_back(result);
    }
    for (DType type : types_) {
      if (!elem_type(type)) return unsupported("element type ", dtype_name(type));
    }
    return {};
  }

  static const Tensor& constant_of(const BodyNode& node) {
    return node.attrs.as<ConstantAttrs>().value;
  }

  bool in_float() const { return program_.registers == PointwiseRegister::kFloat; }
  DType type(int index) const { return types_[static_cast<size_t>(index)]; }
  uint16_t value(int index) const { return values_[static_cast<size_t>(index)]; }

  bool is_output(int index) const {
    return std::find(body_.outputs.begin(), body_.outputs.end(), index) != body_.outputs.end();
  }
  bool is_read(int index) const {
    for (const BodyNode& node : body_.nodes) {
      if (std::find(node.inputs.begin(), node.inputs.end(), index) != node.inputs.end())
        return true;
    }
    return false;
  }

  Status translate(const BodyNode& node) {
    int index = static_cast<int>(values_.size());
    if (node.op->name == "constant") {
      const Tensor& tensor = constant_of(node);
      if (!tensor.defined() || tensor.count() != 1)
        return unsupported("constant of several elements");
      if (in_float()) {
        if (is_float(tensor.dtype())) {
          values_.push_back(
              program_.constant(static_cast<float>(read_elements<double>(tensor.view())[0])));
        } else {
          int64_t number = read_elements<int64_t>(tensor.view())[0];
          if (number > (1 << 24) || number < -(1 << 24))
            return unsupported("integer constant in f32");
          values_.push_back(program_.constant(static_cast<float>(number)));
        }
      } else {
        values_.push_back(program_.constant_int(read_elements<int64_t>(tensor.view())[0]));
      }
      return {};
    }
    if (node.op->name == "cast") return translate_cast(node, index);
    // A float program computes in f32, in which integers are not exact.
    if (in_float()) {
      for (int input : node.inputs) {
        if (input >= 0 && !is_register_float(type(input)) && type(input) != DType::kBool) {
          return unsupported("integers and floats in one region");
        }
      }
    }
    const PointwiseRow& row = *find_pointwise(node.op->name);
    std::vector<PointwiseParam> params = row.params(node.attrs);
    float alpha = params.empty() ? 0 : static_cast<float>(params[0].value);
    float beta = params.size() < 2 ? 0 : static_cast<float>(params[1].value);
    PointwiseOp op;
    switch (row.id) {
      case PointwiseId::kGelu:
        op = alpha == 0 ? PointwiseOp::kGeluErf : PointwiseOp::kGeluTanh;
        break;
      case PointwiseId::kMod:
        op = alpha == 0 ? PointwiseOp::kMod : PointwiseOp::kFmod;
        break;
      case PointwiseId::kBitShift: {
        bool wide = type(node.inputs[0]) == DType::kUInt64;
        op = alpha == 0 ? PointwiseOp::kShiftLeft
             : wide     ? PointwiseOp::kShiftRightLogical
                        : PointwiseOp::kShiftRight;
        break;
      }
      case PointwiseId::kClip:
        return translate_clip(node);
      case PointwiseId::kSelu: {
        op = PointwiseOp::kSelu;
        break;
      }
      default: {
        std::optional<PointwiseOp> simple = simple_instruction(row.id);
        if (!simple) return unsupported("op '", node.op->name, "' has no instruction");
        op = *simple;
      }
    }
    if (op == PointwiseOp::kPow && type(node.inputs[1]) != type(node.inputs[0])) {
      return unsupported("pow of two element types");
    }
    REDLINE_TRY(emit(op, node, alpha, beta));
    return {};
  }

  Status emit(PointwiseOp op, const BodyNode& node, float alpha, float beta) {
    bool known = in_float() ? kernels::pointwise_op_in_float(op) : kernels::pointwise_op_in_int(op);
    if (!known) return unsupported("op '", node.op->name, "' on these element types");
    if (!in_float() && needs_order(op)) {
      for (int input : node.inputs) {
        if (input >= 0 && type(input) == DType::kUInt64)
          return unsupported("op '", node.op->name, "' on u64");
      }
    }
    // 64-bit products and sums of narrower types wrap at the store; in between they must not be
    // compared, divided or shifted, which would see the unwrapped value.
    if (!in_float() && body_.nodes.size() > 1) return unsupported("regions of integer ops");
    // Registers are f32: a 16-bit value inside a region would not be rounded as the graph says.
    int index = static_cast<int>(values_.size());
    if (in_float() && type(index) != DType::kFloat32 && is_register_float(type(index)) &&
        is_read(index)) {
      return unsupported("a region with ", dtype_name(type(index)), " inside");
    }
    kernels::PointwiseInstr instr;
    instr.op = op;
    instr.alpha = alpha;
    instr.beta = beta;
    int arity = kernels::pointwise_op_arity(op);
    if (static_cast<int>(node.inputs.size()) != arity)
      return unsupported("op '", node.op->name, "' with absent operands");
    if (arity > 0) instr.a = value(node.inputs[0]);
    if (arity > 1) instr.b = value(node.inputs[1]);
    if (arity > 2) instr.c = value(node.inputs[2]);
    values_.push_back(program_.emit(instr));
    return {};
  }

  Status translate_clip(const BodyNode& node) {
    uint16_t x = value(node.inputs[0]);
    auto given = [&](size_t i) { return node.inputs.size() > i && node.inputs[i] >= 0; };
    if (!in_float() && type(node.inputs[0]) == DType::kUInt64) return unsupported("clip of u64");
    if (given(1)) x = program_.emit(PointwiseOp::kMax, x, value(node.inputs[1]));
    if (given(2)) x = program_.emit(PointwiseOp::kMin, x, value(node.inputs[2]));
    if (!given(1) && !given(2)) x = program_.emit(PointwiseOp::kCopy, x);
    values_.push_back(x);
    return {};
  }

  Status translate_cast(const BodyNode& node, int index) {
    DType from = type(node.inputs[0]);
    DType to = type(index);
    uint16_t x = value(node.inputs[0]);
    if (in_float()) {
      bool from_stored = node.inputs[0] < body_.num_inputs;
      if (!is_register_float(from) && from != DType::kBool && !from_stored) {
        return unsupported("cast of an integer made inside the region");
      }
      if (to == DType::kBool) {
        uint16_t zero = program_.constant(0);
        values_.push_back(program_.emit(PointwiseOp::kNotEqual, x, zero));
        return {};
      }
      if (!is_register_float(to)) {
        // The store truncates and saturates; nothing in the region may see the value before it.
        if (is_read(index)) return unsupported("cast to an integer that is read inside the region");
        if (!is_register_float(from) && from != DType::kBool)
          return unsupported("cast between integers through f32");
      }
      values_.push_back(program_.emit(PointwiseOp::kCopy, x));
      return {};
    }
    if (to == DType::kBool) {
      uint16_t zero = program_.constant_int(0);
      values_.push_back(program_.emit(PointwiseOp::kNotEqual, x, zero));
      return {};
    }
    if (body_.nodes.size() > 1) return unsupported("regions of integer ops");
    values_.push_back(program_.emit(PointwiseOp::kCopy, x));
    return {};
  }

  const Problem& problem_;
  const Body& body_;
  PointwiseProgram program_;
  std::vector<DType> types_;      // of each value of the body
  std::vector<uint16_t> values_;  // its register
};

Result<PointwiseProgram> make_program(const Problem& problem) {
  Body body = body_of(problem);
  for (const OperandDesc& output : problem.outputs) {
    if (!output.is_tensor || !output.has_rank || output.dims.rank() > kernels::kMaxPointwiseRank) {
      return unsupported("rank over ", kernels::kMaxPointwiseRank, " or unknown");
    }
    if (output.dims.rank() != problem.outputs[0].dims.rank())
      return unsupported("outputs of several sizes");
  }
  for (const OperandDesc& input : problem.inputs) {
    if (input.present && (!input.has_rank || input.dims.rank() > problem.outputs[0].dims.rank())) {
      return unsupported("operand of a higher or unknown rank");
    }
    if (!input.present && problem.is("fused")) return unsupported("absent operand");
  }
  size_t operands = problem.inputs.size() + problem.outputs.size();
  if (operands > kernels::kMaxPointwiseOperands) return unsupported("more than 32 operands");
  return Translator(problem, body).translate();
}

Result<kernels::PointwiseCode> make_code(const Problem& problem) {
  REDLINE_ASSIGN(PointwiseProgram program, make_program(problem));
  kernels::PointwiseCode code;
  if (const char* error = kernels::pointwise_compile(program, &code)) return unsupported(error);
  return code;
}

class PointwiseKernel final : public Kernel {
 public:
  explicit PointwiseKernel(PointwiseStep step)
      : step_(std::move(step)), run_(kernels::pointwise_kernels(kernels::detect_isa()).run) {}

  Status run(const KernelArgs& args) const override {
    const void* in[kernels::kMaxPointwiseOperands];
    void* out[kernels::kMaxPointwiseOperands];
    for (size_t i = 0; i < step_.inputs.size(); ++i) in[i] = args.inputs[step_.inputs[i]].data;
    for (size_t i = 0; i < args.outputs.size(); ++i) out[i] = args.outputs[i].data;
    int64_t elems = step_.layout.elems;
    if (elems <= step_.grain) {
      run_(step_.code, step_.layout, in, out, 0, elems);
      return {};
    }
    args.pool->parallel_for(elems, step_.grain, [&](int64_t begin, int64_t end) {
      run_(step_.code, step_.layout, in, out, begin, end);
    });
    return {};
  }

 private:
  PointwiseStep step_;
  decltype(kernels::PointwiseKernels::run) run_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  REDLINE_ASSIGN(PointwiseStep step, make_pointwise_step(problem));
  return std::unique_ptr<Kernel>(std::make_unique<PointwiseKernel>(std::move(step)));
}

}  // namespace

Status supports_pointwise(const Problem& problem) { return make_code(problem).status(); }

Result<PointwiseStep> make_pointwise_step(const Problem& problem) {
  PointwiseStep step;
  REDLINE_ASSIGN(step.code, make_code(problem));
  const Dims& space = problem.outputs[0].dims;
  std::vector<Dims> strides;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    if (!problem.inputs[i].present) continue;
    step.inputs.push_back(i);
    Dims& s = strides.emplace_back();
    s.resize(space.rank());
    if (!kernels::broadcast_strides(space.rank(), space.begin(), problem.inputs[i].dims.rank(),
                                    problem.inputs[i].dims.begin(), s.begin())) {
      return invalid_argument("operand ", problem.inputs[i].dims.to_string(),
                              " does not broadcast to ", space.to_string());
    }
  }
  std::vector<const int64_t*> pointers;
  for (const Dims& s : strides) pointers.push_back(s.begin());
  for (const OperandDesc& output : problem.outputs) {
    if (!(output.dims == space)) return invalid_argument("outputs of several sizes");
    pointers.push_back(nullptr);
  }
  if (const char* error = kernels::pointwise_layout(step.code, space.rank(), space.begin(),
                                                    pointers.data(), &step.layout)) {
    return unsupported(error);
  }
  // About 10 us of work a piece: some instructions cost a few ns an element.
  int64_t grain =
      std::max<int64_t>(1024, 65536 / static_cast<int64_t>(step.code.instrs.size() + 1));
  step.grain = grain / 64 * 64;
  return step;
}

void register_tactic_pointwise(TacticRegistry& registry) {
  std::vector<std::string> ops = {"fused", "cast"};
  for (const PointwiseRow& row : pointwise_rows()) ops.emplace_back(row.name);
  registry.add({.name = "cpu.pointwise",
                .device = "cpu",
                .ops = std::move(ops),
                .supports = supports_pointwise,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
