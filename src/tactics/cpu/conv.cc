// SPDX-License-Identifier: Apache-2.0
#include "tactics/cpu/conv_sizes.h"

#include "kernels/cpu/gemm/gemm.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  if (problem.attrs.as<ConvAttrs>().channels_last) return unsupported("channels innermost");
  int rank = problem.inputs[0].dims.rank();
  if (rank != 3 && rank != 4) return unsupported("takes 1 or 2 spatial axes");
  const OperandDesc& w = problem.inputs[1];
  if (!w.is_static() || w.dims.count() == 0) return unsupported("weights of unknown or no size");
  return {};
}

std::unique_ptr<Kernel> make_depthwise_kernel(const ConvSizes& s, bool has_bias) {
  auto run = kernels::pool_kernels(kernels::detect_isa()).depthwise_conv;
  int64_t grain = loop_grain(s.out_area() * s.depth());
  return make_loop_kernel([=](const KernelArgs& args) {
    kernels::Depthwise2dArgs a;
    a.window = s.window;
    a.x = args.inputs[0].as<const float>();
    a.weights = args.inputs[1].as<const float>();
    if (has_bias) a.bias = args.inputs[2].as<const float>();
    a.y = args.outputs[0].as<float>();
    a.channels = s.groups;
    args.pool->parallel_for(s.batch * s.groups, grain,
                            [&](int64_t begin, int64_t end) { run(a, begin, end); });
    return Status();
  });
}

// Columns of the window's elements for some outputs, times the weights.
class ConvKernel final : public Kernel {
 public:
  ConvKernel(const ConvSizes& s, bool has_bias, int threads)
      : s_(s),
        has_bias_(has_bias),
        threads_(threads),
        gemm_(kernels::gemm_kernels(kernels::detect_isa())) {
    // The columns of a tile stay in the second-level cache.
    tile_ = std::clamp<int64_t>(65536 / s.depth() / 16 * 16, 16, 512);
    tile_ = std::min(tile_, (s.out_area() + 15) / 16 * 16);
    tiles_ = (s.out_area() + tile_ - 1) / tile_;
    columns_elems_ = (s.depth() * tile_ + 15) / 16 * 16;
    worker_elems_ = columns_elems_ + (gemm_.packed_elems(s.depth(), tile_) + 15) / 16 * 16;
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
  // columns[depth][count]: element (channel, ky, kx) under each of the outputs from `first` on.
  void gather_columns(const float* x, int64_t first, int64_t count, float* columns) const {
    const kernels::Window2d& w = s_.window;
    for (int64_t channel = 0; channel < s_.in_channels; ++channel, x += s_.in_area()) {
      for (int64_t ky = 0; ky < w.kernel_y; ++ky) {
        for (int64_t kx = 0; kx < w.kernel_x; ++kx, columns += count) {
          int64_t oy = first / w.out_width;
          int64_t ox = first % w.out_width;
          for (int64_t at = 0; at < count; ox = 0, ++oy) {
            int64_t row_end = std::min(count, at + w.out_width - ox);
            gather_row(x, oy * w.stride_y - w.pad_top + ky * w.dilation_y,
                       ox * w.stride_x - w.pad_left + kx * w.dilation_x, columns + at,
                       row_end - at);
            at = row_end;
          }
        }
      }
    }
  }

  void gather_row(const float* x, int64_t iy, int64_t ix, float* to, int64_t count) const {
    const kernels::Window2d& w = s_.window;
    if (iy < 0 || iy >= w.height) {
      std::fill_n(to, count, 0.0f);
      return;
    }
    const float* row = x + iy * w.width;
    for (int64_t i = 0; i < count; ++i, ix += w.stride_x) {
      to[i] = ix >= 0 && ix < w.width ? row[ix] : 0.0f;
    }
  }

  void run_tile(const KernelArgs& args, int64_t item, float* scratch) const {
    int64_t image = item / tiles_;  // of batch * groups
    int64_t group = image % s_.groups;
    int64_t first = item % tiles_ * tile_;
    int64_t count = std::min(tile_, s_.out_area() - first);
    const float* x = args.inputs[0].as<const float>() + image * s_.in_channels * s_.in_area();
    gather_columns(x, first, count, scratch);
    float* packed = scratch + columns_elems_;
    gemm_.pack(scratch, count, false, s_.depth(), count, packed);
    kernels::GemmArgs product;
    product.a = args.inputs[1].as<const float>() + group * s_.out_channels * s_.depth();
    product.packed_b = packed;
    product.c = args.outputs[0].as<float>() + image * s_.out_channels * s_.out_area() + first;
    product.m = s_.out_channels;
    product.n = count;
    product.k = s_.depth();
    product.lda = s_.depth();
    product.ldc = s_.out_area();
    product.accumulate = has_bias_;
    if (has_bias_) {
      const float* bias = args.inputs[2].as<const float>() + group * s_.out_channels;
      for (int64_t m = 0; m < s_.out_channels; ++m) {
        std::fill_n(product.c + m * product.ldc, count, bias[m]);
      }
    }
    gemm_.gemm(product, 0, gemm_.units(product.m, product.n));
  }

  ConvSizes s_;
  bool has_bias_;
  int64_t threads_;
  const kernels::GemmKernels& gemm_;
  int64_t tile_ = 0;
  int64_t tiles_ = 0;
  int64_t columns_elems_ = 0;
  int64_t worker_elems_ = 0;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  ConvSizes s = conv_sizes(problem);
  const Dims& x = problem.inputs[0].dims;
  if (x[1] != s.in_channels * s.groups) {
    return invalid_argument("weights of sizes ", problem.inputs[1].dims.to_string(), " in ",
                            s.groups, " groups do not fit data of sizes ", x.to_string());
  }
  bool has_bias = has_operand(problem.inputs, 2);
  if (has_bias && problem.inputs[2].dims.count() != s.out_channels * s.groups) {
    return invalid_argument("a bias of ", problem.inputs[2].dims.count(), " elements for ",
                            s.out_channels * s.groups, " channels");
  }
  bool depthwise = s.in_channels == 1 && s.out_channels == 1;
  if (depthwise && kernels::window2d_error(s.window) == nullptr) {
    return make_depthwise_kernel(s, has_bias);
  }
  return std::unique_ptr<Kernel>(std::make_unique<ConvKernel>(s, has_bias, args.num_threads()));
}

}  // namespace

void register_tactic_conv(TacticRegistry& registry) {
  registry.add({.name = "cpu.conv",
                .device = "cpu",
                .ops = {"conv"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
