// SPDX-License-Identifier: Apache-2.0
#include "ops/fft.h"

#include <algorithm>

#include "ops/elements.h"
#include "ops/fourier.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/staged_kernel.h"

// dft and stft of lengths that are products of small primes: the lines of a block are transformed
// in its shared memory, in double, for their sums cancel; but in f32, with the same roundings,
// where the reference does so.
namespace redline {
namespace {

// A block of an H100 has so much.
constexpr int64_t kMostSharedBytes = 227 << 10;
// One butterfly of four for each thread.
constexpr int64_t kBlockPoints = 4 * StagedKernel::kThreads;
constexpr int64_t kMostLines = 256;
// So many lines side by side make whole sectors of memory, if two blocks still fit.
constexpr int64_t kLeastAcross = 4;
constexpr int64_t kAcrossBytes = 96 << 10;

// What the text of a kernel is written for. Sizes are kDynamicDim where they are unknown.
struct Transform {
  int64_t length = 0;
  int64_t bins = 0;  // results of a line that are kept
  int64_t in_parts = 0, out_parts = 2;
  bool inverse = false;
  bool half = false;    // the lines are halves of spectra of real samples
  bool in_f32 = false;  // or else in double
  bool window = false;
  std::vector<size_t> factors;
  int64_t block_lines = 1;
  // Of its run.
  int64_t lines = 0, split = 1, samples = 0;
  int64_t in_outer = 0, in_inner = 1, in_stride = 1;
  int64_t out_outer = 0, out_inner = 1, out_stride = 1;
};

int64_t product(int64_t a, int64_t b) {
  return a == kDynamicDim || b == kDynamicDim ? kDynamicDim : a * b;
}

// As fft_place() has them.
int64_t shared_bytes(const Transform& t, int64_t lines) {
  int64_t points = t.length * lines;
  if (t.length % 64 == 0) points += (points >> 3) + (points >> 6) + (points >> 9);
  return points * (t.in_f32 ? 8 : 16) + lines * 16;
}

std::vector<size_t> factors_of(size_t n) {
  std::vector<size_t> factors;
  for (size_t p : {4, 2, 3, 5, 7, 11, 13}) {
    for (; n % p == 0; n /= p) factors.push_back(p);
  }
  if (n != 1) factors.clear();
  return factors;
}

bool has_input(const Problem& problem, size_t i) {
  return i < problem.inputs.size() && problem.inputs[i].present;
}

Result<int64_t> constant_scalar(const Problem& problem, size_t i, int64_t absent) {
  if (!has_input(problem, i)) return absent;
  if (problem.inputs[i].constant == nullptr) return unsupported("input ", i, " comes with the run");
  std::vector<int64_t> values = read_ints(problem.inputs[i].constant->view());
  if (values.size() != 1) return unsupported("input ", i, " is no scalar");
  return values[0];
}

Result<Transform> dft_along(const Problem& problem, size_t at) {
  const auto& attrs = problem.attrs.as<DftAttrs>();
  const Dims& in = problem.inputs[0].dims;
  Transform t;
  t.inverse = attrs.inverse;
  t.half = attrs.inverse && attrs.onesided;
  t.in_parts = in.back();
  t.out_parts = t.half ? 1 : 2;
  t.samples = in[at];
  int64_t length = t.half && t.samples != kDynamicDim ? 2 * (t.samples - 1) : t.samples;
  REDLINE_ASSIGN(t.length, constant_scalar(problem, 1, length));
  t.bins = attrs.onesided && !attrs.inverse ? t.length / 2 + 1 : t.length;
  int64_t outer = 1;
  for (size_t d = 0; d < at; ++d) outer = product(outer, in[d]);
  for (size_t d = at + 1; d + 1 < in.size(); ++d) t.split = product(t.split, in[d]);
  t.lines = product(outer, t.split);
  t.in_stride = t.out_stride = t.split;
  t.in_outer = product(t.samples, t.split);
  t.out_outer = product(t.bins, t.split);
  return t;
}

Result<Transform> stft_of(const Problem& problem) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  Transform t;
  t.window = has_input(problem, 2);
  if (in.rank() != 3 || out.rank() != 4 || (t.window && problem.inputs[2].dims.rank() != 1)) {
    return unsupported("operands of other ranks");
  }
  REDLINE_ASSIGN(int64_t step, constant_scalar(problem, 1, 0));
  if (step < 1) return unsupported("a step of ", step);
  int64_t length = t.window ? problem.inputs[2].dims[0] : in[1];
  REDLINE_ASSIGN(t.length, constant_scalar(problem, 3, length));
  if (t.window && t.length != length) return unsupported("a window of another length");
  t.in_parts = in.back();
  t.bins = problem.attrs.as<StftAttrs>().onesided ? t.length / 2 + 1 : t.length;
  t.samples = t.length;
  t.split = out[1];
  t.lines = product(in[0], t.split);
  t.in_outer = in[1];
  t.in_inner = step;
  t.out_outer = product(t.bins, t.split);
  t.out_inner = t.bins;
  if (in[1] != kDynamicDim && t.split > 0 && (in[1] - t.length) / step + 1 < t.split) {
    return unsupported("frames beyond the signal");
  }
  return t;
}

// Chooses how to do what is known of it by now.
Status plan(DType dtype, Transform& t) {
  if (t.length == kDynamicDim) return unsupported("the length comes with the run");
  if (t.in_parts != 1 && t.in_parts != 2) return unsupported("real or complex is for the run");
  if (t.length < 1 || t.length > kMostSharedBytes / 8) return unsupported("a length of ", t.length);
  auto length = static_cast<size_t>(t.length);
  if (t.inverse && !t.half && dtype == DType::kFloat32) {
    t.factors = inverse_fft_f32_factors(length);
    t.in_f32 = !t.factors.empty();
  }
  if (t.factors.empty()) t.factors = factors_of(length);
  if (t.factors.empty() && length > 1) {
    return unsupported("a length with a prime factor beyond 13");
  }
  if (shared_bytes(t, 1) > kMostSharedBytes) {
    return unsupported("a length of ", t.length, ", which does not fit in shared memory");
  }
  t.block_lines = std::clamp(kBlockPoints / t.length, int64_t{1}, kMostLines);
  while (t.in_stride != 1 && t.block_lines < kLeastAcross &&
         shared_bytes(t, 2 * t.block_lines) <= kAcrossBytes) {
    t.block_lines *= 2;
  }
  if (t.lines > 0) t.block_lines = std::min(t.block_lines, t.lines);
  return {};
}

bool has_run_axis(const Problem& problem) {
  return problem.is("dft") && has_input(problem, 2) && problem.inputs[2].constant == nullptr;
}

// One, or where the axis comes with the run that of each axis.
Result<std::vector<Transform>> transforms_of(const Problem& problem) {
  std::vector<Transform> all;
  if (problem.is("stft")) {
    REDLINE_ASSIGN(Transform t, stft_of(problem));
    all.push_back(std::move(t));
  } else {
    int rank = problem.inputs[0].dims.rank();
    if (rank < 2) return unsupported("an operand of rank ", rank);
    size_t from = 0;
    auto to = static_cast<size_t>(rank - 1);
    if (!has_run_axis(problem)) {
      REDLINE_ASSIGN(int64_t axis, constant_scalar(problem, 2, -2));
      if (axis < -rank || axis >= rank - 1 || axis == -1) return unsupported("no such axis");
      from = at_axis(axis, rank);
      to = from + 1;
    } else if (!problem.inputs[2].is_static() || problem.inputs[2].dims.count() != 1) {
      return unsupported("the axis is no scalar");
    }
    for (size_t at = from; at < to; ++at) {
      REDLINE_ASSIGN(Transform t, dft_along(problem, at));
      all.push_back(std::move(t));
    }
  }
  for (Transform& t : all) REDLINE_TRY(plan(problem.inputs[0].dtype, t));
  return all;
}

Status supports(const Problem& problem) {
  REDLINE_TRY(staged_supports(problem));
  return transforms_of(problem).status();
}

std::string roots_text(const Transform& t) {
  const char* type = t.in_f32 ? "float" : "double";
  std::string text = str_cat("__device__ const __align__(16) ", type, " roots_of_unity[] = {");
  const char* comma = "";
  for (const std::complex<double>& root : fft_roots(static_cast<size_t>(t.length))) {
    text += str_cat(comma, float_literal(root.real(), type), ",", float_literal(root.imag(), type));
    comma = ",\n";
  }
  return text + "};\n";
}

std::string statements(const Transform& t) {
  int64_t table = shared_bytes(t, t.block_lines) - 16 * t.block_lines;
  const char* forward = t.inverse ? "false" : "true";
  std::string sizes = str_cat("<", t.length, ", ", t.block_lines, ", ");
  std::string text =
      str_cat("  typedef ", t.in_f32 ? "float" : "double", " R;\n",
              "  extern __shared__ __align__(16) char shared[];\n",
              "  complex_of<R>* const points = (complex_of<R>*)shared;\n",
              "  i64* const in_of = (i64*)(shared + ", table, ");\n",  //
              "  i64* const out_of = in_of + ", t.block_lines, ";\n",
              "  const complex_of<R>* const roots = (const complex_of<R>*)roots_of_unity;\n",
              "  const fft_lines all = {n0, n1, n2, n3, n4, n5, n6, n7, n8};\n",  //
              "  fft_begin<", t.block_lines, ">(all, in_of, out_of);\n",
              "  auto weighed = [&](const complex_of<R>& x, int k) { return ",
              t.window ? "times(x, (R)widen(in2[k]))" : "x", "; };\n",  //
              "  fft_load", sizes, t.in_parts, ", ", forward, t.half ? ", true" : ", false",
              ">(in0, all, in_of, weighed, points);\n");
  size_t done = 1;
  std::string factors;
  for (size_t factor : t.factors) {
    text += str_cat("  fft_pass<", factor, ", ", done, ", ", t.length, ", ", t.block_lines,
                    ">(points, roots);\n");
    factors += str_cat(", ", factor);
    done *= factor;
  }
  // In f32 as the reference has it.
  double scale = 1 / static_cast<double>(t.length);
  return text + str_cat("  fft_store", sizes, t.out_parts, ", ", forward, ", ", t.bins, factors,
                        ">(points, (R)", float_literal(scale, t.in_f32 ? "float" : "double"),
                        ", all, out_of, out0);\n");
}

// Of the kernels for all axes one goes on.
std::string axis_text(size_t axis, int rank) {
  return str_cat("  const i64 axis = (i64)widen(in2[0]);\n  if (axis < ", -rank,
                 " || axis >= ", rank - 1, " || axis == -1) refuse(refused);\n  if (axis != ", axis,
                 " && axis != ", static_cast<int>(axis) - rank, ") return;\n");
}

std::string entry_of(size_t i) { return str_cat("fft_", i); }

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(std::vector<Transform> all, transforms_of(problem));
  std::vector<cuda::KernelSource> sources;
  for (size_t i = 0; i < all.size(); ++i) {
    int64_t bytes = shared_bytes(all[i], all[i].block_lines);
    if (bytes > device.shared_bytes_per_block) {
      return unsupported("a length of ", all[i].length, " takes ", bytes,
                         " bytes of shared memory, a block has ", device.shared_bytes_per_block);
    }
    std::string text;
    if (has_run_axis(problem)) text = axis_text(i, problem.inputs[0].dims.rank());
    StagedFrame frame = {{"lanes.cuh", "fft.cuh"}, 9, roots_text(all[i]), std::move(text)};
    sources.push_back(staged_source(problem, {entry_of(i), statements(all[i])}, frame, device));
    sources.back().dynamic_shared_bytes = static_cast<int>(bytes);
  }
  return sources;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(std::vector<Transform> all, transforms_of(problem));
  REDLINE_ASSIGN(std::vector<Transform> written, transforms_of(*args.written));
  if (all.size() != written.size()) return incompatible("a transform of other axes");
  auto kernel = std::make_unique<StagedKernel>("cuda.fft", size_t{0});
  for (size_t i = 0; i < all.size(); ++i) {
    const Transform& t = all[i];
    int64_t block_lines = written[i].block_lines;
    REDLINE_TRY(kernel->add_run(args, i, entry_of(i), divide_up(t.lines, block_lines), -1,
                                {t.lines, t.split, t.in_outer, t.in_inner, t.in_stride, t.samples,
                                 t.out_outer, t.out_inner, t.out_stride},
                                static_cast<int>(shared_bytes(written[i], block_lines))));
  }
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_fft(TacticRegistry& registry) {
  registry.add({.name = "cuda.fft",
                .device = "cuda",
                .ops = {"dft", "stft"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
