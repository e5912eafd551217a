// SPDX-License-Identifier: Apache-2.0
#pragma once

// The contract between the engine and libredline_onednn.so, the only binary that links libdnnl.
// Plain structs and raw pointers; nothing here allocates, throws or includes a oneDNN header.
//
// Use: make descriptors, create a primitive from a problem, ask it for the layouts it chose
// (`arg`), pack the weights once with a reorder, then `execute` for each request.
//
// Threads: everything is immutable or thread-safe; a primitive may be executed by several threads
// at once, each with its own scratchpad.

#include <cstddef>
#include <cstdint>

namespace redline::kernels::onednn {

// Raised by every change that an older caller or module would misread.
inline constexpr int kApiVersion = 1;
inline constexpr int kMaxDims = 12;
inline constexpr int kMaxSpatial = 3;
inline constexpr int kMaxPostOps = 8;

enum class Code : int32_t { kOk, kInvalidArgument, kUnsupported, kOutOfMemory, kInternal };

// Filled by a function that returns anything but kOk; always terminated by a zero.
struct Error {
  char text[512];
};

enum class DataType : int32_t { kF32, kBf16, kF16, kS32, kS8, kU8 };

enum class Format : int32_t {
  kAny,           // the primitive chooses; for problems only, never for a buffer
  kPlain,         // dense, row-major in the order of the dims
  kChannelsLast,  // nwc, nhwc, ndhwc: what most convolutions are fastest in
  kBlocked16,     // nCw16c, nChw16c, nCdhw16c: what Winograd convolutions read and write
};

// A tensor's dims, type and memory layout: opaque bytes, free to copy, store and compare with
// `desc_equal`. Valid for the same library version (`Api::version`) and ISA (`Api::isa`) only.
struct MemoryDesc {
  alignas(8) unsigned char bytes[704];
};

enum class Eltwise : int32_t {
  kRelu,  // x > 0 ? x : alpha * x
  kTanh,
  kElu,  // x > 0 ? x : alpha * (exp(x) - 1)
  kSquare,
  kAbs,
  kSqrt,
  kLinear,    // alpha * x + beta
  kSoftplus,  // log(1 + exp(x))
  kSigmoid,
  kExp,
  kGeluTanh,
  kGeluErf,
  kSwish,  // x * sigmoid(alpha * x)
  kLog,
  kClip,  // min(max(x, alpha), beta)
  kPow,   // alpha * x ^ beta
  kRound,
  kMish,
  kHardSwish,  // x * clip(x + 3, 0, 6) / 6
};

enum class Binary : int32_t { kAdd, kSub, kMul, kDiv, kMax, kMin };

// Applied in order to the value that the primitive would store.
struct PostOp {
  enum class Kind : int32_t {
    kEltwise,  // value = scale * f(value)
    kBinary,   // value = value OP operand, operand broadcast by dims of 1 and read at run time
    kSum,      // value = value + scale * what dst held before
  };
  Kind kind = Kind::kEltwise;
  Eltwise eltwise = Eltwise::kRelu;
  Binary binary = Binary::kAdd;
  float alpha = 0;
  float beta = 0;
  float scale = 1;
  const MemoryDesc* operand = nullptr;  // kBinary only; read during create
};

// What every primitive takes.
struct Options {
  const PostOp* post_ops = nullptr;
  int32_t post_op_count = 0;
  int32_t threads = 1;      // used to plan the work and again by each execute
  bool allow_bf16 = false;  // f32 products may be rounded to bf16 (accumulated in f32)
  // oneDNN's reference code, up to 1000 times slower, is refused as unsupported unless this is set.
  bool allow_reference = false;
};

// Dims of src (N, C, spatial...), dst (N, M, spatial...), bias (M).
// weights: (M, C, kernel...), or (G, M/G, C/G, kernel...) when groups > 1. For a transposed
// convolution they are written the same way, (M, C, kernel...): ONNX stores (C, M, kernel...), so
// describe its buffer with those strides. src, weights and dst may be kAny.
struct Convolution {
  MemoryDesc src, weights, bias, dst;
  bool has_bias = false;
  bool transposed = false;
  bool winograd = false;  // 3x3, stride 1: 2-2.4 times faster where supported, error ~1e-5
  int64_t groups = 1;
  int32_t spatial = 2;  // 1 to 3: how many of the entries below are used
  int64_t strides[kMaxSpatial] = {1, 1, 1};
  int64_t dilations[kMaxSpatial] = {1, 1, 1};  // 1 is dense
  int64_t pads_begin[kMaxSpatial] = {0, 0, 0};
  int64_t pads_end[kMaxSpatial] = {0, 0, 0};  // may differ from pads_begin, may be negative
};

// src (batch..., M, K) x weights (batch..., K, N) + bias -> dst (batch..., M, N); equal ranks of 2
// and more; a batch dim or a bias dim of 1 is broadcast. Transposes are strides. Weights may be
// kAny: pack once when they are constant.
struct MatMul {
  MemoryDesc src, weights, bias, dst;
  bool has_bias = false;
};

enum class PoolKind : int32_t { kMax, kAverageIncludePad, kAverageExcludePad };

struct Pool {
  MemoryDesc src, dst;  // dst may be kAny
  PoolKind kind = PoolKind::kMax;
  int32_t spatial = 2;
  int64_t kernel[kMaxSpatial] = {1, 1, 1};
  int64_t strides[kMaxSpatial] = {1, 1, 1};
  int64_t dilations[kMaxSpatial] = {1, 1, 1};
  int64_t pads_begin[kMaxSpatial] = {0, 0, 0};
  int64_t pads_end[kMaxSpatial] = {0, 0, 0};
};

// Local response normalisation across channels: x / (k + alpha / size * sum of squares) ^ beta.
struct Lrn {
  MemoryDesc src;  // dst has the same layout
  int64_t size = 5;
  float alpha = 1e-4f, beta = 0.75f, k = 1;
};

struct Softmax {
  MemoryDesc src;  // dst has the same layout
  int32_t axis = 1;
  bool log = false;
};

// Over the last axis. Scale and shift, when present, have one value for each of its elements.
struct LayerNorm {
  MemoryDesc src;  // dst has the same layout
  float epsilon = 1e-5f;
  bool has_scale = false;
  bool has_shift = false;
};

struct EltwiseProblem {
  MemoryDesc src;  // dst has the same layout
  Eltwise eltwise = Eltwise::kRelu;
  float alpha = 0, beta = 0;
};

// src1 is broadcast to src0 by dims of 1; dst has the dims of src0 and may be kAny.
struct BinaryProblem {
  MemoryDesc src0, src1, dst;
  Binary binary = Binary::kAdd;
};

// Copies src into the layout and type of dst. This is also how weights are packed.
struct Reorder {
  MemoryDesc src, dst;
};

struct Concat {
  const MemoryDesc* srcs = nullptr;
  int32_t count = 0;
  int32_t axis = 1;
  MemoryDesc dst;
};

enum class ResizeKind : int32_t { kNearest, kLinear };

// src (N, C, spatial...) to the spatial size of dst, half-pixel centres.
struct Resize {
  MemoryDesc src, dst;  // dst may be kAny
  ResizeKind kind = ResizeKind::kNearest;
};

enum class ReduceKind : int32_t { kSum, kMean, kMax, kMin };

// Over each dim that is 1 in dst and more in src. A dst of kAny is chosen.
struct Reduce {
  MemoryDesc src, dst;
  ReduceKind kind = ReduceKind::kMean;
};

enum class RnnKind : int32_t { kTanh, kRelu, kLstm, kGru, kGruLinearBeforeReset };
enum class RnnDirection : int32_t { kForward, kReverse, kBoth };

// One layer; D is 2 for kBoth, where dst_layer holds both directions side by side.
// src_layer (T, N, I), src_iter (1, D, N, H), weights_layer (1, D, I, G, H), weights_iter
// (1, D, H, G, H), bias (1, D, Gb, H), dst_layer (T, N, D*H), dst_iter as src_iter. Gates: LSTM
// input, forget, cell, output; GRU update, reset, output (Gb = 4 for kGruLinearBeforeReset, its
// last the recurrent bias of the output gate). Weights may be kAny. An absent initial state is 0.
struct Rnn {
  RnnKind kind = RnnKind::kLstm;
  RnnDirection direction = RnnDirection::kForward;
  MemoryDesc src_layer, src_iter, src_cell, weights_layer, weights_iter, bias;
  MemoryDesc dst_layer, dst_iter, dst_cell;
  bool has_src_iter = false;  // src_iter, and src_cell for an LSTM
  bool has_dst_iter = false;  // dst_iter, and dst_cell for an LSTM
};

enum class Role : int32_t {
  kSrc,  // also each source of a concat, and src0 and src1 of a binary, in order
  kWeights,
  kBias,
  kScale,
  kShift,
  kSrcIter,
  kSrcCell,
  kWeightsIter,
  kDst,
  kDstIter,
  kDstCell,
  kPostOp,  // operand of the next kBinary post-op
};

// One pointer that `execute` takes. The order is that of the problem's fields, then the operands
// of the post-ops.
struct Arg {
  Role role;
  bool is_output;
  int64_t bytes;  // at least this much must lie behind the pointer; 64-byte alignment is best
  MemoryDesc desc;
};

struct PrimitiveInfo {
  int32_t arg_count;
  int64_t scratchpad_bytes;  // per execution, contents need not survive, 64-byte aligned
  char implementation[64];   // "brgconv:avx512_core"
};

struct Primitive;  // a compiled kernel for one problem

struct Api {
  int32_t api_version;
  int32_t struct_bytes;  // sizeof(Api) of the module's build
  const char* version;   // "2.6.3"
  const char* isa;       // "avx512_core_bf16": what the generated code uses

  // strides (elements) is null for row-major; else `format` must be kPlain.
  Code (*desc_create)(DataType type, int32_t rank, const int64_t* dims, Format format,
                      const int64_t* strides, MemoryDesc* out, Error* error);
  // A window of `parent` (concat and split in place). Its pointer is the parent's, whose size its
  // `desc_bytes` does not say. Reorders and products take windows; convolutions do not.
  Code (*desc_window)(const MemoryDesc& parent, const int64_t* dims, const int64_t* offsets,
                      MemoryDesc* out, Error* error);
  bool (*desc_equal)(const MemoryDesc& a, const MemoryDesc& b);
  int64_t (*desc_bytes)(const MemoryDesc& desc);
  // "f32 1x64x56x56 aBcd16b", cut to `capacity`.
  void (*desc_text)(const MemoryDesc& desc, char* text, size_t capacity);
  // Row-major strides in elements; false when the layout is blocked or opaque.
  bool (*desc_strides)(const MemoryDesc& desc, int64_t* strides);

  Code (*convolution)(const Convolution&, const Options&, Primitive** out, Error* error);
  Code (*matmul)(const MatMul&, const Options&, Primitive** out, Error* error);
  Code (*pool)(const Pool&, const Options&, Primitive** out, Error* error);
  Code (*lrn)(const Lrn&, const Options&, Primitive** out, Error* error);
  Code (*softmax)(const Softmax&, const Options&, Primitive** out, Error* error);
  Code (*layer_norm)(const LayerNorm&, const Options&, Primitive** out, Error* error);
  Code (*eltwise)(const EltwiseProblem&, const Options&, Primitive** out, Error* error);
  Code (*binary)(const BinaryProblem&, const Options&, Primitive** out, Error* error);
  Code (*reorder)(const Reorder&, const Options&, Primitive** out, Error* error);
  Code (*concat)(const Concat&, const Options&, Primitive** out, Error* error);
  Code (*resize)(const Resize&, const Options&, Primitive** out, Error* error);
  Code (*reduce)(const Reduce&, const Options&, Primitive** out, Error* error);
  Code (*rnn)(const Rnn&, const Options&, Primitive** out, Error* error);

  void (*info)(const Primitive& primitive, PrimitiveInfo* out);
  void (*arg)(const Primitive& primitive, int32_t index, Arg* out);
  // While nothing executes it.
  void (*destroy)(Primitive* primitive);

  // `pointers` holds arg_count pointers in the order of `arg`. Inputs are not written. Nothing is
  // allocated after as many executions at once as ever (where recycle.h applies).
  Code (*execute)(const Primitive& primitive, void* const* pointers, void* scratchpad,
                  Error* error);

  // Runs body(context, i, n) for i in [0, n) at once, n <= threads, on the threads that the
  // primitives run on. They spin for a while after a step, so other kernels belong on them too:
  // ThreadPool::use_team(parallel).
  void (*parallel)(int32_t threads, void (*body)(void* context, int32_t i, int32_t n),
                   void* context);
};

}  // namespace redline::kernels::onednn

// Null when the module cannot serve `api_version`.
extern "C" const redline::kernels::onednn::Api* redline_onednn_api(int32_t api_version);
