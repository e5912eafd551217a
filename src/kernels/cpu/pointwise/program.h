// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/elem_type.h"
#include "kernels/cpu/isa.h"

// Fused pointwise regions on the CPU: a small SSA program runs over blocks of a few hundred
// elements that stay in the L1 cache, one vectorised loop an instruction.
//
//   PointwiseProgram p;                                   // y = relu(x * scale + bias)
//   auto x = p.input(ElemType::kF32), s = p.input(ElemType::kF32), b = p.input(ElemType::kF32);
//   p.output(p.emit(PointwiseOp::kRelu, p.emit(PointwiseOp::kFma, x, s, b)), ElemType::kF32);
//   PointwiseCode code;
//   if (const char* error = pointwise_compile(p, &code)) ...      // once
//   PointwiseLayout layout;                                       // once for each set of shapes
//   if (const char* error = pointwise_layout(code, rank, dims, strides, &layout)) ...
//   kernels.run(code, layout, inputs, outputs, 0, layout.elems);  // or slices of it on threads
//
// There are two register types, and a program uses one of them:
// - kFloat: float32 registers. Every storage type can be loaded and stored; integers above 2^24
//   lose their low bits, so that integer arithmetic belongs in a kInt program.
// - kInt: int64 registers, for integer and bool storage. Arithmetic wraps at 64 bits, stores keep
//   the low bits, so that results are those of the storage type. kU64 values are reinterpreted:
//   add, sub, mul, equal, where and the bit operations are right for them, ordered comparisons,
//   div, mod, min and max are not above 2^63, and kShiftRight is logical only for unsigned types
//   below 64 bits and for those values; use kShiftRightLogical.
//
// Stores from float: f16 and bf16 round to nearest even; integers truncate towards zero and
// saturate (so that quantising is: div, round, add, store), NaN gives 0; bool is `value != 0`.
// Comparisons and logic give 1 or 0; logic takes any non-zero value, NaN too, as true.
// NaN: every float operation follows IEEE 754; kMax, kMin, kClip, kRelu and their like return NaN
// when an operand is NaN; where and comparisons do not propagate it.
namespace redline::kernels {

// alpha and beta are the instruction's immediates. `x`, `y`, `z` are its operands a, b, c.
// I: also in kInt programs. i: only in kInt programs. The others are for kFloat programs only.
enum class PointwiseOp : uint8_t {
  kConst,  // I  alpha (kFloat) or imm (kInt)
  // Unary.
  kCopy,  // I  x
  kAbs,   // I
  kNeg,   // I
  kSign,  // I  -1, 0, 1; NaN stays NaN
  kNot,   // I  x == 0
  kExp,
  kLog,
  kLog1p,
  kExpm1,
  kSqrt,
  kRsqrt,  // 1 / sqrt(x), correctly rounded steps, not the approximate instruction
  kReciprocal,
  kSquare,  // I
  kSigmoid,
  kTanh,
  kErf,
  kRelu,             // I
  kLeakyRelu,        // x < 0 ? alpha * x : x
  kElu,              // x < 0 ? alpha * expm1(x) : x
  kSelu,             // beta * (x > 0 ? x : alpha * expm1(x))
  kCelu,             // max(0, x) + min(0, alpha * expm1(x / alpha))
  kHardSigmoid,      // clip(alpha * x + beta, 0, 1)
  kHardSwish,        // x * clip(x / 6 + 0.5, 0, 1)
  kSoftplus,         // log(1 + exp(x))
  kSoftsign,         // x / (1 + |x|)
  kGeluErf,          // x / 2 * (1 + erf(x / sqrt(2)))
  kGeluTanh,         // x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
  kSilu,             // x * sigmoid(alpha * x); alpha = 1 is SiLU, 1.702 QuickGelu
  kMish,             // x * tanh(softplus(x))
  kThresholdedRelu,  // x > alpha ? x : 0
  kShrink,           // x < -alpha ? x + beta : x > alpha ? x - beta : 0
  kFloor,
  kCeil,
  kRound,  // half to even
  kTrunc,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kIsNan,
  kIsInf,      // alpha != 0: finds +inf; beta != 0: finds -inf
  kClipConst,  // min(max(x, alpha), beta)
  // Binary.
  kAdd,                // I
  kSub,                // I
  kMul,                // I
  kDiv,                // I  kInt: towards zero; x / 0 is 0
  kPow,                // I  as C's pow; kInt: wraps, a negative y gives 0 unless x is 1 or -1
  kMod,                // I  the sign of y (Python, ONNX fmod = 0); kInt: x mod 0 is 0
  kFmod,               // I  the sign of x (C, ONNX fmod = 1)
  kMax,                // I
  kMin,                // I
  kPrelu,              // x < 0 ? x * y : x
  kEqual,              // I
  kNotEqual,           // I
  kLess,               // I
  kLessEqual,          // I
  kGreater,            // I
  kGreaterEqual,       // I
  kAnd,                // I  logical
  kOr,                 // I  logical
  kXor,                // I  logical
  kBitAnd,             // i
  kBitOr,              // i
  kBitXor,             // i
  kBitNot,             // i  unary
  kShiftLeft,          // i  x << y; y outside 0..63 gives 0
  kShiftRight,         // i  arithmetic
  kShiftRightLogical,  // i
  // Ternary.
  kWhere,  // I  x != 0 ? y : z
  kClip,   // I  min(max(x, y), z)
  kFma,    // I  x * y + z; in kFloat fused where the processor can, else rounded twice
  kCount,
};
inline constexpr int kNumPointwiseOps = static_cast<int>(PointwiseOp::kCount);

const char* pointwise_op_name(PointwiseOp op);
// 0 for kConst, else 1, 2 or 3.
int pointwise_op_arity(PointwiseOp op);
bool pointwise_op_in_float(PointwiseOp op);
bool pointwise_op_in_int(PointwiseOp op);

enum class PointwiseRegister : uint8_t { kFloat, kInt };

struct PointwiseInstr {
  PointwiseOp op = PointwiseOp::kCopy;
  uint16_t a = 0, b = 0, c = 0;  // value ids; those beyond the arity are ignored
  float alpha = 0, beta = 0;
  int64_t imm = 0;  // kConst of a kInt program
};

struct PointwiseOutput {
  uint16_t value = 0;
  ElemType type = ElemType::kF32;
};

// Value ids: the inputs are 0 .. inputs.size() - 1 in order, and instruction i defines value
// inputs.size() + i. Add all inputs before the first instruction. Operands are earlier values.
struct PointwiseProgram {
  PointwiseRegister registers = PointwiseRegister::kFloat;
  std::vector<ElemType> inputs;
  std::vector<PointwiseInstr> instrs;
  std::vector<PointwiseOutput> outputs;

  uint16_t input(ElemType type) {
    inputs.push_back(type);
    return static_cast<uint16_t>(inputs.size() - 1);
  }
  uint16_t emit(const PointwiseInstr& instr) {
    instrs.push_back(instr);
    return static_cast<uint16_t>(inputs.size() + instrs.size() - 1);
  }
  uint16_t emit(PointwiseOp op, uint16_t a, uint16_t b = 0, uint16_t c = 0) {
    return emit(PointwiseInstr{.op = op, .a = a, .b = b, .c = c});
  }
  uint16_t emit(PointwiseOp op, uint16_t a, float alpha, float beta = 0) {
    return emit(PointwiseInstr{.op = op, .a = a, .alpha = alpha, .beta = beta});
  }
  uint16_t constant(float value) {
    return emit(PointwiseInstr{.op = PointwiseOp::kConst, .alpha = value});
  }
  uint16_t constant_int(int64_t value) {
    return emit(PointwiseInstr{.op = PointwiseOp::kConst, .imm = value});
  }
  void output(uint16_t value, ElemType type) { outputs.push_back({value, type}); }
};

inline constexpr int kMaxPointwiseOperands = 32;  // inputs + outputs
inline constexpr int kMaxPointwiseSlots = 64;     // live registers; about that many live values
inline constexpr int kMaxPointwiseRank = 8;       // after neighbouring dims are merged

// A program after checking and register allocation. Immutable, shared by threads.
struct PointwiseCode {
  struct Instr {
    PointwiseOp op;
    uint8_t a, b, c, dst;  // slots: input i has slot i, constants their own, the rest share
    float alpha, beta;
    int64_t imm;
    // A unary op applied to the result in the same loop, with alpha and beta; kCopy is none.
    PointwiseOp post = PointwiseOp::kCopy;
  };
  PointwiseRegister registers = PointwiseRegister::kFloat;
  int num_slots = 0;
  int block_elems = 0;
  std::vector<ElemType> input_types;
  std::vector<ElemType> output_types;
  std::vector<Instr> constants;
  std::vector<Instr> instrs;
  std::vector<uint8_t> output_slots;
  // Instruction whose result may be written straight to a contiguous output, or -1.
  std::vector<int16_t> output_writers;
};

// The iteration space of one call: merged dims, and how each operand walks through it. Plain data.
struct PointwiseLayout {
  enum class Mode : uint8_t {
    kContiguous,  // offset == flat index
    kScalar,      // one element for all
    kRow,         // one element for each run of the innermost dim
    kColumn,      // the innermost dim is contiguous and repeats for each outer index
    kStrided,     // anything else
  };
  int rank = 0;
  int64_t elems = 0;
  int64_t dims[kMaxPointwiseRank] = {};
  int num_operands = 0;
  Mode modes[kMaxPointwiseOperands] = {};
  int64_t strides[kMaxPointwiseOperands][kMaxPointwiseRank] = {};
};

// Checks the program and allocates its registers. Null on success, else what is wrong with it (a
// static string); *code is then unspecified.
const char* pointwise_compile(const PointwiseProgram& program, PointwiseCode* code);

// strides[i] points to `rank` strides, in elements, for operand i: the inputs, then the outputs.
// 0 broadcasts (inputs only), negative is allowed. A null strides[i] means contiguous (row-major
// over dims). Drops dims of size 1 and merges neighbours. Dims must be >= 0 and their product must
// fit in int64. Takes well under a microsecond and does not allocate, so it may run in each call.
// Null on success, else a static string.
const char* pointwise_layout(const PointwiseCode& code, int rank, const int64_t* dims,
                             const int64_t* const* strides, PointwiseLayout* layout);

// Row-major strides of an operand of shape operand_dims that is broadcast (as numpy does) to a
// space of `rank` dims; false when it cannot be. Writes `rank` strides.
bool broadcast_strides(int rank, const int64_t* dims, int operand_rank, const int64_t* operand_dims,
                       int64_t* strides);

struct PointwiseKernels {
  // Computes the elements with flat (row-major) index in [begin, end). Threads may work on disjoint
  // ranges of one call; ranges that start at multiples of 64 avoid sharing cache lines.
  // Pointers need only the alignment of their element. An output may be the very array of an input
  // if both are contiguous and have the same element size; otherwise they must not overlap.
  // Does not allocate; uses less than 40 KB of stack.
  void (*run)(const PointwiseCode& code, const PointwiseLayout& layout, const void* const* inputs,
              void* const* outputs, int64_t begin, int64_t end);
  // Converts n contiguous elements between two storage types, by float or, between two integer
  // types, by int64 (low bits kept).
  void (*convert)(const void* src, ElemType src_type, void* dst, ElemType dst_type, int64_t n);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const PointwiseKernels& pointwise_kernels(Isa isa);

}  // namespace redline::kernels
