// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pointwise/program.h"

#include <algorithm>
#include <limits>

namespace redline::kernels {
namespace {

struct OpInfo {
  const char* name;
  int arity;
  bool in_float, in_int;
};

constexpr OpInfo kOps[kNumPointwiseOps] = {
    {"const", 0, true, true},
    {"copy", 1, true, true},
    {"abs", 1, true, true},
    {"neg", 1, true, true},
    {"sign", 1, true, true},
    {"not", 1, true, true},
    {"exp", 1, true, false},
    {"log", 1, true, false},
    {"log1p", 1, true, false},
    {"expm1", 1, true, false},
    {"sqrt", 1, true, false},
    {"rsqrt", 1, true, false},
    {"reciprocal", 1, true, false},
    {"square", 1, true, true},
    {"sigmoid", 1, true, false},
    {"tanh", 1, true, false},
    {"erf", 1, true, false},
    {"relu", 1, true, true},
    {"leaky_relu", 1, true, false},
    {"elu", 1, true, false},
    {"selu", 1, true, false},
    {"celu", 1, true, false},
    {"hard_sigmoid", 1, true, false},
    {"hard_swish", 1, true, false},
    {"softplus", 1, true, false},
    {"softsign", 1, true, false},
    {"gelu_erf", 1, true, false},
    {"gelu_tanh", 1, true, false},
    {"silu", 1, true, false},
    {"mish", 1, true, false},
    {"thresholded_relu", 1, true, false},
    {"shrink", 1, true, false},
    {"floor", 1, true, false},
    {"ceil", 1, true, false},
    {"round", 1, true, false},
    {"trunc", 1, true, false},
    {"sin", 1, true, false},
    {"cos", 1, true, false},
    {"tan", 1, true, false},
    {"asin", 1, true, false},
    {"acos", 1, true, false},
    {"atan", 1, true, false},
    {"sinh", 1, true, false},
    {"cosh", 1, true, false},
    {"asinh", 1, true, false},
    {"acosh", 1, true, false},
    {"atanh", 1, true, false},
    {"is_nan", 1, true, false},
    {"is_inf", 1, true, false},
    {"clip_const", 1, true, false},
    {"add", 2, true, true},
    {"sub", 2, true, true},
    {"mul", 2, true, true},
    {"div", 2, true, true},
    {"pow", 2, true, true},
    {"mod", 2, true, true},
    {"fmod", 2, true, true},
    {"max", 2, true, true},
    {"min", 2, true, true},
    {"prelu", 2, true, false},
    {"equal", 2, true, true},
    {"not_equal", 2, true, true},
    {"less", 2, true, true},
    {"less_equal", 2, true, true},
    {"greater", 2, true, true},
    {"greater_equal", 2, true, true},
    {"and", 2, true, true},
    {"or", 2, true, true},
    {"xor", 2, true, true},
    {"bit_and", 2, false, true},
    {"bit_or", 2, false, true},
    {"bit_xor", 2, false, true},
    {"bit_not", 1, false, true},
    {"shift_left", 2, false, true},
    {"shift_right", 2, false, true},
    {"shift_right_logical", 2, false, true},
    {"where", 3, true, true},
    {"clip", 3, true, true},
    {"fma", 3, true, true},
};

bool is_float(ElemType type) {
  return type == ElemType::kF32 || type == ElemType::kF16 || type == ElemType::kBf16;
}

// The register file of a block and its neighbours fit in an L1 cache of 32 KB.
constexpr int kRegisterBytes = 24 * 1024;
constexpr int kMinBlock = 64, kMaxBlock = 1024;

int block_elems_for(int slots, int register_bytes) {
  const int elems = kRegisterBytes / (std::max(slots, 1) * register_bytes);
  return std::clamp(elems / 64 * 64, kMinBlock, kMaxBlock);
}

const char* check(const PointwiseProgram& p) {
  const bool is_int = p.registers == PointwiseRegister::kInt;
  const size_t num_inputs = p.inputs.size();
  if (num_inputs + p.outputs.size() > kMaxPointwiseOperands)
    return "pointwise program: more than 32 inputs and outputs";
  if (p.outputs.empty()) return "pointwise program: no output";
  if (p.instrs.size() > 4096) return "pointwise program: more than 4096 instructions";
  for (ElemType type : p.inputs) {
    if (static_cast<int>(type) >= kNumElemTypes) return "pointwise program: unknown input type";
    if (is_int && is_float(type)) return "pointwise program: a float input of an integer program";
  }
  for (size_t i = 0; i < p.instrs.size(); ++i) {
    const PointwiseInstr& instr = p.instrs[i];
    if (static_cast<int>(instr.op) >= kNumPointwiseOps) return "pointwise program: unknown op";
    if (is_int ? !pointwise_op_in_int(instr.op) : !pointwise_op_in_float(instr.op))
      return is_int ? "pointwise program: a float op in an integer program"
                    : "pointwise program: an integer op in a float program";
    const uint16_t operands[3] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < pointwise_op_arity(instr.op); ++k)
      if (operands[k] >= num_inputs + i)
        return "pointwise program: an operand is not an earlier value";
  }
  for (const PointwiseOutput& output : p.outputs) {
    if (output.value >= num_inputs + p.instrs.size())
      return "pointwise program: an output is not a value";
    if (static_cast<int>(output.type) >= kNumElemTypes)
      return "pointwise program: unknown output type";
    if (is_int && is_float(output.type))
      return "pointwise program: a float output of an integer program";
  }
  return nullptr;
}

// x^2, x^3, 1/x and x for a constant exponent; all but the cube are exact to the last bit.
PointwiseProgram expand_constant_powers(const PointwiseProgram& p) {
  PointwiseProgram out;
  out.registers = p.registers;
  out.inputs = p.inputs;
  std::vector<uint16_t> renamed;
  for (size_t i = 0; i < p.inputs.size(); ++i) renamed.push_back(static_cast<uint16_t>(i));
  for (PointwiseInstr instr : p.instrs) {
    const int arity = pointwise_op_arity(instr.op);
    const PointwiseInstr* exponent = nullptr;
    if (instr.op == PointwiseOp::kPow && instr.b >= p.inputs.size())
      exponent = &p.instrs[instr.b - p.inputs.size()];
    if (arity > 0) instr.a = renamed[instr.a];
    if (arity > 1) instr.b = renamed[instr.b];
    if (arity > 2) instr.c = renamed[instr.c];
    if (exponent && exponent->op == PointwiseOp::kConst) {
      const bool is_int = p.registers == PointwiseRegister::kInt;
      const double e = is_int ? static_cast<double>(exponent->imm) : exponent->alpha;
      if (e == 1) instr.op = PointwiseOp::kCopy;
      if (e == 2) instr.op = PointwiseOp::kSquare;
      if (e == -1 && !is_int) instr.op = PointwiseOp::kReciprocal;
      if (e == 3) {
        const uint16_t square = out.emit(PointwiseOp::kSquare, instr.a);
        instr.op = PointwiseOp::kMul;
        instr.b = square;
      }
    }
    renamed.push_back(out.emit(instr));
  }
  for (const PointwiseOutput& output : p.outputs) {
    uint16_t value = renamed[output.value];
    // An output is always the result of an instruction of its own, so that nothing is read from an
    // input after an output that may lie in its place has been written.
    const bool is_instr = value >= out.inputs.size() &&
                          out.instrs[value - out.inputs.size()].op != PointwiseOp::kConst;
    if (!is_instr) value = out.emit(PointwiseOp::kCopy, value);
    out.output(value, output.type);
  }
  return out;
}

// Pairs of instructions that the kernels carry out in one loop: a sum or product, which has no
// immediates of its own, and a cheap activation.
bool can_lead(const PointwiseCode::Instr& instr) {
  if (instr.post != PointwiseOp::kCopy) return false;
  return instr.op == PointwiseOp::kAdd || instr.op == PointwiseOp::kSub ||
         instr.op == PointwiseOp::kMul || instr.op == PointwiseOp::kFma;
}
bool can_follow(PointwiseOp op) {
  return op == PointwiseOp::kRelu || op == PointwiseOp::kLeakyRelu ||
         op == PointwiseOp::kClipConst || op == PointwiseOp::kHardSigmoid ||
         op == PointwiseOp::kHardSwish || op == PointwiseOp::kSigmoid || op == PointwiseOp::kSilu;
}

}  // namespace

const char* pointwise_op_name(PointwiseOp op) { return kOps[static_cast<int>(op)].name; }
int pointwise_op_arity(PointwiseOp op) { return kOps[static_cast<int>(op)].arity; }
bool pointwise_op_in_float(PointwiseOp op) { return kOps[static_cast<int>(op)].in_float; }
bool pointwise_op_in_int(PointwiseOp op) { return kOps[static_cast<int>(op)].in_int; }

const char* pointwise_compile(const PointwiseProgram& program, PointwiseCode* code) {
  if (const char* error = check(program)) return error;
  const PointwiseProgram p = expand_constant_powers(program);
  const int num_inputs = static_cast<int>(p.inputs.size());
  const int num_values = num_inputs + static_cast<int>(p.instrs.size());
  constexpr int kNever = -1, kForever = std::numeric_limits<int>::max();

  std::vector<int> last_use(num_values, kNever);
  for (const PointwiseOutput& output : p.outputs) last_use[output.value] = kForever;
  int last_input_read = -1;
  for (int i = static_cast<int>(p.instrs.size()) - 1; i >= 0; --i) {
    const PointwiseInstr& instr = p.instrs[i];
    if (last_use[num_inputs + i] == kNever) continue;  // dead
    const uint16_t operands[3] = {instr.a, instr.b, instr.c};
    for (int k = 0; k < pointwise_op_arity(instr.op); ++k) {
      if (last_use[operands[k]] == kNever) last_use[operands[k]] = i;
      if (operands[k] < num_inputs) last_input_read = std::max(last_input_read, i);
    }
  }

  *code = PointwiseCode{};
  code->registers = p.registers;
  code->input_types = p.inputs;
  std::vector<int> slot_of(num_values, -1);
  for (int i = 0; i < num_inputs; ++i) slot_of[i] = i;
  int num_slots = num_inputs;
  for (int i = 0; i < static_cast<int>(p.instrs.size()); ++i)
    if (p.instrs[i].op == PointwiseOp::kConst && last_use[num_inputs + i] != kNever)
      slot_of[num_inputs + i] = num_slots++;

  const int first_temporary = num_slots;
  std::vector<int> free_slots;
  std::vector<int> instr_of(num_values, -1);
  for (int i = 0; i < static_cast<int>(p.instrs.size()); ++i) {
    const PointwiseInstr& instr = p.instrs[i];
    const int value = num_inputs + i;
    if (last_use[value] == kNever) continue;
    PointwiseCode::Instr out{.op = instr.op,
                             .a = 0,
                             .b = 0,
                             .c = 0,
                             .dst = 0,
                             .alpha = instr.alpha,
                             .beta = instr.beta,
                             .imm = instr.imm};
    if (instr.op == PointwiseOp::kConst) {
      out.dst = static_cast<uint8_t>(slot_of[value]);
      code->constants.push_back(out);
      continue;
    }
    const int arity = pointwise_op_arity(instr.op);
    const uint16_t operands[3] = {instr.a, instr.b, instr.c};
    uint8_t* const fields[3] = {&out.a, &out.b, &out.c};
    for (int k = 0; k < arity; ++k) *fields[k] = static_cast<uint8_t>(slot_of[operands[k]]);
    // A result may take the slot of an operand that dies here: instructions are elementwise.
    for (int k = 0; k < arity; ++k) {
      bool repeated = false;
      for (int j = 0; j < k; ++j) repeated |= operands[j] == operands[k];
      if (!repeated && last_use[operands[k]] == i && slot_of[operands[k]] >= first_temporary)
        free_slots.push_back(slot_of[operands[k]]);
    }
    if (free_slots.empty()) {
      slot_of[value] = num_slots++;
    } else {
      slot_of[value] = free_slots.back();
      free_slots.pop_back();
    }
    if (num_slots > kMaxPointwiseSlots) return "pointwise program: more than 64 live values";
    out.dst = static_cast<uint8_t>(slot_of[value]);
    PointwiseCode::Instr* previous = code->instrs.empty() ? nullptr : &code->instrs.back();
    const bool joins = p.registers == PointwiseRegister::kFloat && previous &&
                       can_follow(instr.op) && can_lead(*previous) && last_use[instr.a] == i &&
                       instr_of[instr.a] + 1 == static_cast<int>(code->instrs.size());
    if (joins) {
      previous->post = instr.op;
      previous->alpha = instr.alpha;
      previous->beta = instr.beta;
      previous->dst = out.dst;
      instr_of[value] = instr_of[instr.a];
    } else {
      instr_of[value] = static_cast<int>(code->instrs.size());
      code->instrs.push_back(out);
    }
    if (last_use[value] == i) free_slots.push_back(slot_of[value]);
  }
  if (num_slots > kMaxPointwiseSlots) return "pointwise program: more than 64 live values";

  const bool is_int = p.registers == PointwiseRegister::kInt;
  const ElemType register_type = is_int ? ElemType::kI64 : ElemType::kF32;
  std::vector<bool> written(num_values, false);
  for (const PointwiseOutput& output : p.outputs) {
    const bool direct = output.type == register_type && !written[output.value] &&
                        output.value - num_inputs >= last_input_read;
    if (direct) written[output.value] = true;
    code->output_types.push_back(output.type);
    code->output_slots.push_back(static_cast<uint8_t>(slot_of[output.value]));
    code->output_writers.push_back(static_cast<int16_t>(direct ? instr_of[output.value] : -1));
  }
  code->num_slots = num_slots;
  code->block_elems = block_elems_for(num_slots, is_int ? 8 : 4);
  return nullptr;
}

namespace {

// Classifies an operand of the merged space.
PointwiseLayout::Mode mode_of(int rank, const int64_t* dims, const int64_t* strides) {
  using Mode = PointwiseLayout::Mode;
  bool all_zero = true, outer_zero = true, contiguous = true;
  int64_t expected = 1;
  for (int d = rank - 1; d >= 0; --d) {
    all_zero &= strides[d] == 0;
    outer_zero &= d == rank - 1 || strides[d] == 0;
    contiguous &= strides[d] == expected;
    expected *= dims[d];
  }
  if (rank == 0 || contiguous) return Mode::kContiguous;
  if (all_zero) return Mode::kScalar;
  if (strides[rank - 1] == 0) return Mode::kRow;
  if (strides[rank - 1] == 1 && outer_zero) return Mode::kColumn;
  return Mode::kStrided;
}

}  // namespace

const char* pointwise_layout(const PointwiseCode& code, int rank, const int64_t* dims,
                             const int64_t* const* strides, PointwiseLayout* layout) {
  *layout = PointwiseLayout{};
  const int num_inputs = static_cast<int>(code.input_types.size());
  const int num_operands = num_inputs + static_cast<int>(code.output_types.size());
  layout->num_operands = num_operands;
  if (rank < 0) return "pointwise layout: negative rank";
  for (int d = 0; d < rank; ++d) {
    if (dims[d] < 0) return "pointwise layout: negative dim";
    if (dims[d] == 0) return nullptr;
  }

  // From the innermost dim outwards; [k] of these is the k-th merged dim from the inside.
  int64_t merged[kMaxPointwiseRank];
  int64_t merged_strides[kMaxPointwiseOperands][kMaxPointwiseRank];
  int merged_rank = 0;
  int64_t elems = 1;
  for (int d = rank - 1; d >= 0; --d) {
    if (dims[d] == 1) continue;
    int64_t next_elems = 0;
    if (__builtin_mul_overflow(elems, dims[d], &next_elems))
      return "pointwise layout: too many elements";
    auto stride_of = [&](int operand) { return strides[operand] ? strides[operand][d] : elems; };
    bool merge = merged_rank > 0;
    for (int i = 0; i < num_operands; ++i) {
      const int64_t stride = stride_of(i);
      if (i >= num_inputs && stride == 0) return "pointwise layout: an output is broadcast";
      merge = merge && stride == merged_strides[i][merged_rank - 1] * merged[merged_rank - 1];
    }
    if (merge) {
      merged[merged_rank - 1] *= dims[d];
    } else {
      if (merged_rank == kMaxPointwiseRank) return "pointwise layout: rank above 8";
      merged[merged_rank] = dims[d];
      for (int i = 0; i < num_operands; ++i) merged_strides[i][merged_rank] = stride_of(i);
      ++merged_rank;
    }
    elems = next_elems;
  }
  layout->rank = merged_rank;
  layout->elems = elems;
  for (int k = 0; k < merged_rank; ++k) layout->dims[merged_rank - 1 - k] = merged[k];
  for (int i = 0; i < num_operands; ++i) {
    for (int k = 0; k < merged_rank; ++k)
      layout->strides[i][merged_rank - 1 - k] = merged_strides[i][k];
    layout->modes[i] = mode_of(merged_rank, layout->dims, layout->strides[i]);
  }
  return nullptr;
}

bool broadcast_strides(int rank, const int64_t* dims, int operand_rank, const int64_t* operand_dims,
                       int64_t* strides) {
  if (operand_rank > rank) return false;
  int64_t stride = 1;
  for (int d = rank - 1; d >= 0; --d) {
    const int k = d - (rank - operand_rank);
    const int64_t dim = k >= 0 ? operand_dims[k] : 1;
    if (dim != dims[d] && dim != 1) return false;
    strides[d] = dim == 1 ? 0 : stride;
    stride *= dim;
  }
  return true;
}

}  // namespace redline::kernels
