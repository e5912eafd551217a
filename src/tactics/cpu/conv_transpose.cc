// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <utility>

#include "kernels/cpu/gemm/gemm.h"
#include "ops/channels_last.h"
#include "ops/conv.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  int rank = problem.inputs[0].dims.rank();
  if (rank < 3 || rank > 5) return unsupported("takes 1 to 3 spatial axes");
  const OperandDesc& w = problem.inputs[1];
  if (!w.is_static() || w.dims.count() == 0) return unsupported("weights of unknown or no size");
  return {};
}

struct Sizes {
  int64_t batch = 0, groups = 1;
  int64_t in_channels = 0, out_channels = 0;  // of a group
  std::array<WindowAxis, 3> axes;             // depth, height, width; those that are missing are 1
  bool channels_last = false;

  int64_t in_area() const { return axes[0].in * axes[1].in * axes[2].in; }
  int64_t out_rows() const { return axes[0].out * axes[1].out; }
  int64_t out_area() const { return out_rows() * axes[2].out; }
  // Rows of taps, and what one makes of each element: [tap][channel].
  int64_t tap_rows() const { return axes[0].kernel * axes[1].kernel; }
  int64_t row_elems() const { return axes[2].kernel * out_channels; }
};

Sizes sizes_of(const Problem& problem) {
  const auto& attrs = problem.attrs.as<ConvTransposeAttrs>();
  Dims x = image_dims(problem.inputs[0].dims, attrs.channels_last);
  const Dims& w = problem.inputs[1].dims;
  Dims out = image_dims(problem.outputs[0].dims, attrs.channels_last);
  Sizes s;
  s.batch = x[0];
  s.groups = attrs.group;
  s.in_channels = w[0] / attrs.group;
  s.out_channels = w[1];
  s.channels_last = attrs.channels_last;
  s.axes.fill({.in = 1, .out = 1});
  // These are of the convolution whose gradient it is: from our output to our input.
  std::vector<WindowAxis> axes = conv_transpose_axes(attrs, x, w, out);
  for (WindowAxis& axis : axes) std::swap(axis.in, axis.out);
  std::copy(axes.begin(), axes.end(), s.axes.end() - static_cast<ptrdiff_t>(axes.size()));
  return s;
}

// The input position whose tap `tap` writes to `out`; -1: none.
int64_t source(const WindowAxis& axis, int64_t out, int64_t tap) {
  int64_t distance = out + axis.pad_begin - tap * axis.dilation;
  if (distance < 0 || distance % axis.stride != 0) return -1;
  int64_t in = distance / axis.stride;
  return in < axis.in ? in : -1;
}

void add_to(const float* __restrict from, int64_t count, float* __restrict to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// Each row of the output by itself, so that threads share nothing: for each row of taps that
// reaches it, the products of the input row with those taps, added where they fall.
class ConvTransposeKernel final : public Kernel {
 public:
  ConvTransposeKernel(const Sizes& s, bool has_bias, const float* constant_weights, int threads)
      : s_(s),
        has_bias_(has_bias),
        threads_(threads),
        gemm_(kernels::gemm_kernels(kernels::detect_isa())),
        matrix_elems_(round_up(gemm_.packed_elems(s.in_channels, s.row_elems()))),
        products_elems_(round_up(s.axes[2].in * s.row_elems())),
        rows_elems_(s.channels_last ? 0 : round_up(s.axes[2].in * s.in_channels)),
        sums_elems_(s.channels_last ? 0 : round_up(s.axes[2].out * s.out_channels)) {
    if (constant_weights == nullptr) return;
    std::vector<float> matrix(static_cast<size_t>(s.in_channels * s.row_elems()));
    packed_.resize(static_cast<size_t>(weights_elems()));
    pack(constant_weights, matrix.data(), packed_.data());
  }

  size_t workspace_bytes() const override {
    int64_t elems = worker_elems() * threads_;
    if (packed_.empty()) elems += weights_elems() + round_up(s_.in_channels * s_.row_elems());
    return static_cast<size_t>(elems) * sizeof(float);
  }

  Status run(const KernelArgs& args) const override {
    auto* scratch = static_cast<float*>(args.workspace);
    const float* packed = packed_.data();
    if (packed_.empty()) {
      float* matrix = scratch + weights_elems();
      pack(args.inputs[1].as<const float>(), matrix, scratch);
      packed = std::exchange(scratch, matrix + round_up(s_.in_channels * s_.row_elems()));
    }
    int64_t work = s_.axes[2].in * s_.in_channels * s_.row_elems();
    args.pool->parallel_for_worker(s_.batch * s_.groups * s_.out_rows(), loop_grain(work),
                                   [&](int64_t begin, int64_t end, int worker) {
                                     for (int64_t i = begin; i < end; ++i)
                                       run_row(args, i, packed, scratch + worker * worker_elems());
                                   });
    return {};
  }

 private:
  static int64_t round_up(int64_t elems) { return (elems + 15) / 16 * 16; }
  int64_t weights_elems() const { return matrix_elems_ * s_.tap_rows() * s_.groups; }
  int64_t worker_elems() const { return products_elems_ + rows_elems_ + sums_elems_; }

  // From [channel][out channel][taps] to a matrix [channel][tap][out channel] for each row of taps.
  void pack(const float* w, float* matrix, float* packed) const {
    int64_t taps = s_.axes[2].kernel;
    int64_t all_taps = s_.tap_rows() * taps;
    for (int64_t group = 0; group < s_.groups; ++group) {
      const float* from = w + group * s_.in_channels * s_.out_channels * all_taps;
      for (int64_t row = 0; row < s_.tap_rows(); ++row, packed += matrix_elems_) {
        for (int64_t c = 0; c < s_.in_channels; ++c) {
          for (int64_t m = 0; m < s_.out_channels; ++m) {
            const float* tap = from + (c * s_.out_channels + m) * all_taps + row * taps;
            for (int64_t t = 0; t < taps; ++t)
              matrix[(c * taps + t) * s_.out_channels + m] = tap[t];
          }
        }
        gemm_.pack(matrix, s_.row_elems(), false, s_.in_channels, s_.row_elems(), packed);
      }
    }
  }

  void run_row(const KernelArgs& args, int64_t item, const float* packed, float* scratch) const {
    int64_t out_row = item % s_.out_rows();
    int64_t group = item / s_.out_rows() % s_.groups;
    int64_t image = item / s_.out_rows() / s_.groups;
    int64_t width = s_.axes[2].out;
    int64_t out_pitch = s_.groups * s_.out_channels;
    float* y = args.outputs[0].as<float>() + image * s_.out_area() * out_pitch;
    float* products = scratch;
    float* rows = products + products_elems_;
    float* sums = rows + rows_elems_;
    int64_t sums_pitch = s_.out_channels;
    if (s_.channels_last) {
      sums = y + out_row * width * out_pitch + group * s_.out_channels;
      sums_pitch = out_pitch;
    }
    const float* bias =
        has_bias_ ? args.inputs[2].as<const float>() + group * s_.out_channels : nullptr;
    for (int64_t x = 0; x < width; ++x) {
      float* to = sums + x * sums_pitch;
      if (bias != nullptr) {
        std::copy_n(bias, s_.out_channels, to);
      } else {
        std::fill_n(to, s_.out_channels, 0.0f);
      }
    }
    packed += group * s_.tap_rows() * matrix_elems_;
    for (int64_t tap_row = 0; tap_row < s_.tap_rows(); ++tap_row) {
      int64_t depth = source(s_.axes[0], out_row / s_.axes[1].out, tap_row / s_.axes[1].kernel);
      int64_t height = source(s_.axes[1], out_row % s_.axes[1].out, tap_row % s_.axes[1].kernel);
      if (depth < 0 || height < 0) continue;
      multiply(args, image, group, depth * s_.axes[1].in + height, packed + tap_row * matrix_elems_,
               rows, products);
      add_products(products, sums, sums_pitch);
    }
    if (s_.channels_last) return;
    for (int64_t m = 0; m < s_.out_channels; ++m) {
      float* plane = y + (group * s_.out_channels + m) * s_.out_area() + out_row * width;
      for (int64_t x = 0; x < width; ++x) plane[x] = sums[x * s_.out_channels + m];
    }
  }

  // products[x][tap][out channel] of an input row.
  void multiply(const KernelArgs& args, int64_t image, int64_t group, int64_t in_row,
                const float* packed, float* rows, float* products) const {
    int64_t width = s_.axes[2].in;
    int64_t pitch = s_.groups * s_.in_channels;
    const float* x = args.inputs[0].as<const float>() + image * s_.in_area() * pitch;
    kernels::GemmArgs product;
    product.m = width;
    product.n = s_.row_elems();
    product.k = s_.in_channels;
    product.packed_b = packed;
    product.c = products;
    product.ldc = product.n;
    if (s_.channels_last) {
      product.a = x + in_row * width * pitch + group * s_.in_channels;
      product.lda = pitch;
    } else {
      for (int64_t c = 0; c < s_.in_channels; ++c) {
        const float* from = x + (group * s_.in_channels + c) * s_.in_area() + in_row * width;
        for (int64_t i = 0; i < width; ++i) rows[i * s_.in_channels + c] = from[i];
      }
      product.a = rows;
      product.lda = s_.in_channels;
    }
    gemm_.gemm(product, 0, gemm_.units(product.m, product.n));
  }

  void add_products(const float* products, float* sums, int64_t sums_pitch) const {
    const WindowAxis& axis = s_.axes[2];
    for (int64_t x = 0; x < axis.in; ++x) {
      for (int64_t tap = 0; tap < axis.kernel; ++tap, products += s_.out_channels) {
        int64_t at = x * axis.stride - axis.pad_begin + tap * axis.dilation;
        if (at >= 0 && at < axis.out) add_to(products, s_.out_channels, sums + at * sums_pitch);
      }
    }
  }

  Sizes s_;
  bool has_bias_;
  int64_t threads_;
  const kernels::GemmKernels& gemm_;
  int64_t matrix_elems_;    // of a row of taps
  int64_t products_elems_;  // of a worker's scratch, as the next two
  int64_t rows_elems_;
  int64_t sums_elems_;
  std::vector<float> packed_;  // empty: the weights are not constant
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  Sizes s = sizes_of(problem);
  Dims x = image_dims(problem.inputs[0].dims, s.channels_last);
  if (x[1] != s.in_channels * s.groups) {
    return invalid_argument("weights of sizes ", problem.inputs[1].dims.to_string(), " in ",
                            s.groups, " groups do not fit data of sizes ",
                            problem.inputs[0].dims.to_string());
  }
  bool has_bias = has_operand(problem.inputs, 2);
  if (has_bias && problem.inputs[2].dims.count() != s.out_channels * s.groups) {
    return invalid_argument("a bias of ", problem.inputs[2].dims.count(), " elements for ",
                            s.out_channels * s.groups, " channels");
  }
  const Tensor* constant = problem.inputs[1].constant;
  return std::unique_ptr<Kernel>(std::make_unique<ConvTransposeKernel>(
      s, has_bias, constant != nullptr ? constant->data<float>() : nullptr, args.num_threads()));
}

}  // namespace

void register_tactic_conv_transpose(TacticRegistry& registry) {
  registry.add({.name = "cpu.conv_transpose",
                .device = "cpu",
                .ops = {"conv_transpose"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
