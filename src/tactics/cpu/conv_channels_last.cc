// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm/gemm.h"
#include "tactics/cpu/conv_sizes.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  if (!problem.attrs.as<ConvAttrs>().channels_last) return unsupported("channels not innermost");
  int rank = problem.inputs[0].dims.rank();
  if (rank != 3 && rank != 4) return unsupported("takes 1 or 2 spatial axes");
  const OperandDesc& w = problem.inputs[1];
  if (w.constant == nullptr || w.dims.count() == 0) return unsupported("weights not constant");
  return {};
}

// w[m][c][ky][kx] to rows[(ky, kx, c)][m], for m outputs.
std::vector<float> weight_rows(const ConvSizes& s, const float* w) {
  int64_t taps = s.window.kernel_y * s.window.kernel_x;
  std::vector<float> rows(static_cast<size_t>(s.depth() * s.out_channels));
  for (int64_t m = 0; m < s.out_channels; ++m) {
    for (int64_t c = 0; c < s.in_channels; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        rows[static_cast<size_t>((tap * s.in_channels + c) * s.out_channels + m)] = *w++;
      }
    }
  }
  return rows;
}

class ChannelsLastKernel final : public Kernel {
 public:
  ChannelsLastKernel(const ConvSizes& s, const float* w, bool has_bias, int threads)
      : s_(s),
        has_bias_(has_bias),
        threads_(threads),
        gemm_(kernels::gemm_kernels(kernels::detect_isa())) {
    const kernels::Window2d& v = s.window;
    // Then the image itself is the matrix.
    direct_ = v.kernel_y == 1 && v.kernel_x == 1 && v.stride_y == 1 && v.stride_x == 1 &&
              v.out_height == v.height && v.out_width == v.width && v.pad_top == 0 &&
              v.pad_left == 0;
    group_elems_ = (gemm_.packed_elems(s.depth(), s.out_channels) + 15) / 16 * 16;
    packed_.resize(static_cast<size_t>(group_elems_ * s.groups));
    for (int64_t g = 0; g < s.groups; ++g) {
      std::vector<float> rows = weight_rows(s, w + g * s.out_channels * s.depth());
      gemm_.pack(rows.data(), s.out_channels, false, s.depth(), s.out_channels,
                 packed_.data() + g * group_elems_);
    }
    tile_ = std::min(std::clamp<int64_t>(65536 / s.depth(), 16, 512), s.out_area());
    tiles_ = (s.out_area() + tile_ - 1) / tile_;
    worker_elems_ = direct_ ? 0 : (tile_ * s.depth() + 15) / 16 * 16;
  }

  size_t workspace_bytes() const override {
    return static_cast<size_t>(worker_elems_ * threads_) * sizeof(float);
  }

  Status run(const KernelArgs& args) const override {
    auto* scratch = static_cast<float*>(args.workspace);
    args.pool->parallel_for_worker(s_.batch * s_.groups * tiles_, 1,
                                   [&](int64_t begin, int64_t end, int worker) {
                                     for (int64_t i = begin; i < end; ++i)
                                       run_tile(args, i, scratch + worker * worker_elems_);
                                   });
    return {};
  }

 private:
  // rows[count][(ky, kx, c)]: what lies under each of the outputs from `first` on.
  void gather_rows(const float* x, int64_t first, int64_t count, float* rows) const {
    const kernels::Window2d& w = s_.window;
    int64_t pitch = s_.in_channels * s_.groups;
    for (int64_t o = first; o < first + count; ++o) {
      int64_t top = o / w.out_width * w.stride_y - w.pad_top;
      int64_t left = o % w.out_width * w.stride_x - w.pad_left;
      for (int64_t ky = 0; ky < w.kernel_y; ++ky) {
        int64_t iy = top + ky * w.dilation_y;
        for (int64_t kx = 0; kx < w.kernel_x; ++kx, rows += s_.in_channels) {
          int64_t ix = left + kx * w.dilation_x;
          if (iy >= 0 && iy < w.height && ix >= 0 && ix < w.width) {
            std::copy_n(x + (iy * w.width + ix) * pitch, s_.in_channels, rows);
          } else {
            std::fill_n(rows, s_.in_channels, 0.0f);
          }
        }
      }
    }
  }

  void run_tile(const KernelArgs& args, int64_t item, float* rows) const {
    int64_t group = item / tiles_ % s_.groups;
    int64_t image = item / tiles_ / s_.groups;
    int64_t first = item % tiles_ * tile_;
    int64_t in_pitch = s_.in_channels * s_.groups;
    int64_t out_pitch = s_.out_channels * s_.groups;
    const float* x =
        args.inputs[0].as<const float>() + image * s_.in_area() * in_pitch + group * s_.in_channels;
    kernels::GemmArgs product;
    product.m = std::min(tile_, s_.out_area() - first);
    product.n = s_.out_channels;
    product.k = s_.depth();
    product.a = direct_ ? x + first * in_pitch : rows;
    product.lda = direct_ ? in_pitch : s_.depth();
    if (!direct_) gather_rows(x, first, product.m, rows);
    product.packed_b = packed_.data() + group * group_elems_;
    if (has_bias_) product.bias = args.inputs[2].as<const float>() + group * s_.out_channels;
    product.c = args.outputs[0].as<float>() + (image * s_.out_area() + first) * out_pitch +
                group * s_.out_channels;
    product.ldc = out_pitch;
    gemm_.gemm(product, 0, gemm_.units(product.m, product.n));
  }

  ConvSizes s_;
  bool has_bias_;
  int64_t threads_;
  const kernels::GemmKernels& gemm_;
  bool direct_ = false;
  std::vector<float> packed_;
  int64_t group_elems_ = 0;
  int64_t tile_ = 0;
  int64_t tiles_ = 0;
  int64_t worker_elems_ = 0;
};

// Each channel by itself.
class DepthwiseKernel final : public Kernel {
 public:
  DepthwiseKernel(const ConvSizes& s, const float* w, bool has_bias) : s_(s), has_bias_(has_bias) {
    int64_t taps = s.depth();
    weights_.resize(static_cast<size_t>(taps * s.groups));
    for (int64_t c = 0; c < s.groups; ++c) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        weights_[static_cast<size_t>(tap * s.groups + c)] = w[c * taps + tap];
      }
    }
  }

  Status run(const KernelArgs& args) const override {
    int64_t row_elems = s_.window.out_width * s_.groups * s_.depth();
    args.pool->parallel_for(s_.batch * s_.window.out_height, loop_grain(row_elems),
                            [&](int64_t begin, int64_t end) {
                              for (int64_t i = begin; i < end; ++i) run_row(args, i);
                            });
    return {};
  }

 private:
  void run_row(const KernelArgs& args, int64_t row) const {
    const kernels::Window2d& w = s_.window;
    int64_t channels = s_.groups;
    const float* x =
        args.inputs[0].as<const float>() + row / w.out_height * s_.in_area() * channels;
    const float* bias = has_bias_ ? args.inputs[2].as<const float>() : nullptr;
    int64_t top = row % w.out_height * w.stride_y - w.pad_top;
    float* to = args.outputs[0].as<float>() + row * w.out_width * channels;
    for (int64_t ox = 0; ox < w.out_width; ++ox, to += channels) {
      if (bias != nullptr) {
        std::copy_n(bias, channels, to);
      } else {
        std::fill_n(to, channels, 0.0f);
      }
      int64_t left = ox * w.stride_x - w.pad_left;
      for (int64_t ky = 0; ky < w.kernel_y; ++ky) {
        int64_t iy = top + ky * w.dilation_y;
        if (iy < 0 || iy >= w.height) continue;
        for (int64_t kx = 0; kx < w.kernel_x; ++kx) {
          int64_t ix = left + kx * w.dilation_x;
          if (ix < 0 || ix >= w.width) continue;
          add_product(x + (iy * w.width + ix) * channels,
                      weights_.data() + (ky * w.kernel_x + kx) * channels, channels, to);
        }
      }
    }
  }

  static void add_product(const float* __restrict a, const float* __restrict b, int64_t count,
                          float* __restrict to) {
    for (int64_t i = 0; i < count; ++i) to[i] += a[i] * b[i];
  }

  ConvSizes s_;
  bool has_bias_;
  std::vector<float> weights_;  // [tap][channel]
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  ConvSizes s = conv_sizes(problem);
  if (problem.inputs[0].dims.back() != s.in_channels * s.groups) {
    return invalid_argument("weights of sizes ", problem.inputs[1].dims.to_string(), " in ",
                            s.groups, " groups do not fit data of sizes ",
                            problem.inputs[0].dims.to_string());
  }
  bool has_bias = has_operand(problem.inputs, 2);
  if (has_bias && problem.inputs[2].dims.count() != s.out_channels * s.groups) {
    return invalid_argument("a bias of ", problem.inputs[2].dims.count(), " elements for ",
                            s.out_channels * s.groups, " channels");
  }
  const auto* w = problem.inputs[1].constant->data<float>();
  if (s.in_channels == 1 && s.out_channels == 1) {
    return std::unique_ptr<Kernel>(std::make_unique<DepthwiseKernel>(s, w, has_bias));
  }
  return std::unique_ptr<Kernel>(
      std::make_unique<ChannelsLastKernel>(s, w, has_bias, args.num_threads()));
}

}  // namespace

void register_tactic_conv_channels_last(TacticRegistry& registry) {
  registry.add({.name = "cpu.conv.channels_last",
                .device = "cpu",
                .ops = {"conv"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
