// SPDX-License-Identifier: Apache-2.0
// The oneDNN module against plain loops.
#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>
#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include <atomic>
#include <thread>
#include <vector>

#include "kernels/cpu/onednn/onednn_module.h"

namespace redline::kernels::onednn {
namespace {

using Dims = std::vector<int64_t>;
using Floats = std::vector<float>;

const Api& api() {
  static const Api* const table = [] {
    auto loaded = load();
    EXPECT_TRUE(loaded.ok()) << loaded.status().to_string();
    return loaded.ok() ? *loaded : nullptr;
  }();
  return *table;
}

int64_t count(const Dims& dims) {
  int64_t elems = 1;
  for (int64_t dim : dims) elems *= dim;
  return elems;
}

Floats random_floats(int64_t elems, unsigned seed, float low = -1, float high = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> values(low, high);
  Floats out(static_cast<size_t>(elems));
  for (float& value : out) value = values(generator);
  return out;
}

MemoryDesc desc(const Dims& dims, Format format = Format::kPlain) {
  MemoryDesc out = {};
  Error error = {};
  EXPECT_EQ(api().desc_create(DataType::kF32, static_cast<int32_t>(dims.size()), dims.data(),
                              format, nullptr, &out, &error),
            Code::kOk)
      << error.text;
  return out;
}

MemoryDesc strided(const Dims& dims, const Dims& strides) {
  MemoryDesc out = {};
  Error error = {};
  EXPECT_EQ(api().desc_create(DataType::kF32, static_cast<int32_t>(dims.size()), dims.data(),
                              Format::kPlain, strides.data(), &out, &error),
            Code::kOk)
      << error.text;
  return out;
}

struct PrimitiveDeleter {
  void operator()(Primitive* primitive) const { api().destroy(primitive); }
};
using PrimitivePtr = std::unique_ptr<Primitive, PrimitiveDeleter>;

template <class Make, class Problem>
PrimitivePtr make(Make function, const Problem& problem, const Options& options = {}) {
  Primitive* out = nullptr;
  Error error = {};
  EXPECT_EQ(function(problem, options, &out, &error), Code::kOk) << error.text;
  return PrimitivePtr(out);
}

void run(const Primitive& primitive, const std::vector<float*>& pointers) {
  PrimitiveInfo info;
  api().info(primitive, &info);
  ASSERT_EQ(static_cast<size_t>(info.arg_count), pointers.size());
  std::vector<void*> slots(pointers.begin(), pointers.end());
  std::vector<char> scratchpad(static_cast<size_t>(info.scratchpad_bytes) + 64);
  void* aligned = scratchpad.data();
  size_t space = scratchpad.size();
  std::align(64, static_cast<size_t>(info.scratchpad_bytes), aligned, space);
  Error error = {};
  for (int times = 0; times < 2; ++times) {
    ASSERT_EQ(api().execute(primitive, slots.data(), aligned, &error), Code::kOk) << error.text;
  }
}

// `values`, laid out as `from`, in the layout `to`. Padding is filled with NaN before, so that a
// kernel that read it unwritten would be caught.
Floats reordered(const Floats& values, const MemoryDesc& from, const MemoryDesc& to) {
  Floats out(static_cast<size_t>(api().desc_bytes(to)) / 4, std::nanf(""));
  auto primitive = make(api().reorder, Reorder{.src = from, .dst = to});
  Floats copy = values;
  run(*primitive, {copy.data(), out.data()});
  return out;
}

Arg arg(const Primitive& primitive, Role role, int nth = 0) {
  PrimitiveInfo info;
  api().info(primitive, &info);
  Arg out = {};
  for (int i = 0; i < info.arg_count; ++i) {
    api().arg(primitive, i, &out);
    if (out.role == role && nth-- == 0) return out;
  }
  ADD_FAILURE() << "no such argument";
  return out;
}

void expect_near(const Floats& got, const Floats& want, float tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], tolerance * std::max(1.f, std::abs(want[i]))) << "at " << i;
  }
}

struct ConvCase {
  const char* name;
  int64_t n, c, h, w, m, kh, kw, groups = 1;
  int64_t stride = 1, dilation = 1;
  int64_t top = 0, left = 0, bottom = 0, right = 0;
  bool bias = true;
  int64_t out_h() const { return (h + top + bottom - (kh - 1) * dilation - 1) / stride + 1; }
  int64_t out_w() const { return (w + left + right - (kw - 1) * dilation - 1) / stride + 1; }
};

Floats naive_conv(const ConvCase& t, const Floats& src, const Floats& weights, const Floats& bias) {
  const int64_t group_c = t.c / t.groups, group_m = t.m / t.groups, oh = t.out_h(), ow = t.out_w();
  Floats out;
  for (int64_t n = 0; n < t.n; ++n)
    for (int64_t m = 0; m < t.m; ++m)
      for (int64_t y = 0; y < oh; ++y)
        for (int64_t x = 0; x < ow; ++x) {
          double sum = t.bias ? bias[static_cast<size_t>(m)] : 0;
          for (int64_t c = 0; c < group_c; ++c)
            for (int64_t i = 0; i < t.kh; ++i)
              for (int64_t j = 0; j < t.kw; ++j) {
                const int64_t sy = y * t.stride + i * t.dilation - t.top;
                const int64_t sx = x * t.stride + j * t.dilation - t.left;
                if (sy < 0 || sx < 0 || sy >= t.h || sx >= t.w) continue;
                const int64_t sc = m / group_m * group_c + c;
                sum += double(src[((n * t.c + sc) * t.h + sy) * t.w + sx]) *
                       weights[((m * group_c + c) * t.kh + i) * t.kw + j];
              }
          out.push_back(static_cast<float>(sum));
        }
  return out;
}

Convolution conv_problem(const ConvCase& t, Format format) {
  Convolution p;
  p.src = desc({t.n, t.c, t.h, t.w}, format);
  p.dst = desc({t.n, t.m, t.out_h(), t.out_w()}, format);
  p.weights = t.groups > 1
                  ? desc({t.groups, t.m / t.groups, t.c / t.groups, t.kh, t.kw}, Format::kAny)
                  : desc({t.m, t.c, t.kh, t.kw}, Format::kAny);
  if (t.bias) p.bias = desc({t.m});
  p.has_bias = t.bias;
  p.groups = t.groups;
  for (int i = 0; i < 2; ++i) p.strides[i] = t.stride, p.dilations[i] = t.dilation;
  p.pads_begin[0] = t.top, p.pads_begin[1] = t.left;
  p.pads_end[0] = t.bottom, p.pads_end[1] = t.right;
  return p;
}

MemoryDesc plain_weights(const ConvCase& t) {
  return t.groups > 1 ? desc({t.groups, t.m / t.groups, t.c / t.groups, t.kh, t.kw})
                      : desc({t.m, t.c, t.kh, t.kw});
}

// Runs `problem` on plain src and weights, giving a plain dst. `extra` are post-op operands.
Floats run_conv(const ConvCase& t, const Convolution& problem, const Options& options,
                const Floats& src, const Floats& weights, const Floats& bias,
                const std::vector<Floats>& extra = {}, Floats dst_before = {}) {
  auto primitive = make(api().convolution, problem, options);
  if (primitive == nullptr) return {};
  const Arg src_arg = arg(*primitive, Role::kSrc), dst_arg = arg(*primitive, Role::kDst);
  const MemoryDesc plain_dst = desc({t.n, t.m, t.out_h(), t.out_w()});
  Floats src_blocked = reordered(src, desc({t.n, t.c, t.h, t.w}), src_arg.desc);
  Floats packed = reordered(weights, plain_weights(t), arg(*primitive, Role::kWeights).desc);
  Floats dst = dst_before.empty() ? Floats(static_cast<size_t>(dst_arg.bytes) / 4, std::nanf(""))
                                  : reordered(dst_before, plain_dst, dst_arg.desc);
  Floats bias_copy = bias;
  std::vector<Floats> operands = extra;
  std::vector<float*> pointers = {src_blocked.data(), packed.data()};
  if (t.bias) pointers.push_back(bias_copy.data());
  pointers.push_back(dst.data());
  for (Floats& operand : operands) pointers.push_back(operand.data());
  run(*primitive, pointers);
  return reordered(dst, dst_arg.desc, plain_dst);
}

class OnednnConv : public ::testing::TestWithParam<std::tuple<ConvCase, Format>> {};

TEST_P(OnednnConv, equals_the_naive_loop) {
  const auto& [t, format] = GetParam();
  const Floats src = random_floats(t.n * t.c * t.h * t.w, 1);
  const Floats weights = random_floats(t.m * t.c / t.groups * t.kh * t.kw, 2);
  const Floats bias = random_floats(t.m, 3);
  const Floats got = run_conv(t, conv_problem(t, format), {.threads = 2}, src, weights, bias);
  expect_near(got, naive_conv(t, src, weights, bias), 1e-5f);
}

INSTANTIATE_TEST_SUITE_P(
    all, OnednnConv,
    ::testing::Combine(
        ::testing::Values(
            ConvCase{.name = "odd", .n = 1, .c = 3, .h = 7, .w = 5, .m = 5, .kh = 3, .kw = 3},
            ConvCase{
                .name = "one_element", .n = 1, .c = 1, .h = 1, .w = 1, .m = 1, .kh = 1, .kw = 1},
            ConvCase{
                .name = "pointwise", .n = 2, .c = 17, .h = 6, .w = 7, .m = 33, .kh = 1, .kw = 1},
            ConvCase{.name = "strided_asymmetric_pads",
                     .n = 1,
                     .c = 20,
                     .h = 11,
                     .w = 9,
                     .m = 18,
                     .kh = 3,
                     .kw = 3,
                     .stride = 2,
                     .top = 0,
                     .left = 1,
                     .bottom = 2,
                     .right = 0},
            ConvCase{.name = "dilated",
                     .n = 1,
                     .c = 8,
                     .h = 12,
                     .w = 12,
                     .m = 16,
                     .kh = 3,
                     .kw = 3,
                     .dilation = 2,
                     .top = 2,
                     .left = 2,
                     .bottom = 2,
                     .right = 2},
            ConvCase{.name = "depthwise",
                     .n = 1,
                     .c = 24,
                     .h = 9,
                     .w = 9,
                     .m = 24,
                     .kh = 5,
                     .kw = 5,
                     .groups = 24,
                     .top = 2,
                     .left = 2,
                     .bottom = 2,
                     .right = 2},
            ConvCase{.name = "grouped",
                     .n = 1,
                     .c = 12,
                     .h = 5,
                     .w = 5,
                     .m = 18,
                     .kh = 3,
                     .kw = 1,
                     .groups = 3,
                     .top = 1,
                     .bottom = 1,
                     .bias = false}),
        ::testing::Values(Format::kPlain, Format::kAny, Format::kChannelsLast)),
    [](const auto& info) {
      const Format format = std::get<1>(info.param);
      return std::string(std::get<0>(info.param).name) + (format == Format::kPlain ? "_plain"
                                                          : format == Format::kAny ? "_any"
                                                                                   : "_last");
    });

TEST(Onednn, blocked_layout_with_padded_channels) {
  const ConvCase t = {.n = 1, .c = 24, .h = 9, .w = 10, .m = 40, .kh = 1, .kw = 1};
  const Floats src = random_floats(t.c * t.h * t.w, 1), weights = random_floats(t.m * t.c, 2);
  const Floats bias = random_floats(t.m, 3);
  const Convolution problem = conv_problem(t, Format::kBlocked16);
  EXPECT_EQ(api().desc_bytes(problem.dst), 48 * 9 * 10 * 4);
  expect_near(run_conv(t, problem, {}, src, weights, bias), naive_conv(t, src, weights, bias),
              1e-5f);
}

TEST(Onednn, winograd_within_its_error) {
  const ConvCase t = {.n = 1,
                      .c = 96,
                      .h = 46,
                      .w = 45,
                      .m = 24,
                      .kh = 3,
                      .kw = 3,
                      .top = 1,
                      .left = 1,
                      .bottom = 1,
                      .right = 1};
  const Floats src = random_floats(t.c * t.h * t.w, 1), weights = random_floats(t.m * t.c * 9, 2);
  const Floats bias = random_floats(t.m, 3);
  Convolution problem = conv_problem(t, Format::kAny);
  problem.winograd = true;
  Primitive* out = nullptr;
  Error error = {};
  if (api().convolution(problem, {.threads = 2}, &out, &error) == Code::kUnsupported) {
    GTEST_SKIP() << "no Winograd kernel for this processor: " << api().isa;
  }
  api().destroy(out);
  expect_near(run_conv(t, problem, {.threads = 2}, src, weights, bias),
              naive_conv(t, src, weights, bias), 2e-4f);
}

TEST(Onednn, post_ops_apply_in_order) {
  const ConvCase t = {.n = 1,
                      .c = 16,
                      .h = 6,
                      .w = 7,
                      .m = 19,
                      .kh = 3,
                      .kw = 3,
                      .top = 1,
                      .left = 1,
                      .bottom = 1,
                      .right = 1};
  const Floats src = random_floats(t.c * t.h * t.w, 1), weights = random_floats(t.m * t.c * 9, 2);
  const Floats bias = random_floats(t.m, 3), before = random_floats(t.m * t.h * t.w, 4);
  const Floats scale = random_floats(t.m, 5);
  const MemoryDesc scale_desc = desc({1, t.m, 1, 1});
  const PostOp post_ops[] = {
      {.kind = PostOp::Kind::kSum, .scale = 0.5f},
      {.kind = PostOp::Kind::kBinary, .binary = Binary::kMul, .operand = &scale_desc},
      {.kind = PostOp::Kind::kEltwise, .eltwise = Eltwise::kHardSwish}};
  const Options options = {.post_ops = post_ops, .post_op_count = 3, .threads = 2};
  const Floats got = run_conv(t, conv_problem(t, Format::kChannelsLast), options, src, weights,
                              bias, {scale}, before);
  Floats want = naive_conv(t, src, weights, bias);
  const size_t plane = static_cast<size_t>(t.h * t.w);
  // Twice: `run` executes twice and the sum reads what the first run stored.
  const Floats product = want;
  Floats held = before;
  for (int times = 0; times < 2; ++times) {
    for (size_t i = 0; i < want.size(); ++i) {
      const float x = (product[i] + 0.5f * held[i]) * scale[i / plane];
      want[i] = x * std::min(std::max(x + 3.f, 0.f), 6.f) / 6.f;
    }
    held = want;
  }
  expect_near(got, want, 1e-4f);
}

TEST(Onednn, pointwise_post_ops_by_formula) {
  struct Case {
    Eltwise eltwise;
    float alpha, beta;
    std::function<double(double)> formula;
  };
  const Case cases[] = {
      {Eltwise::kRelu, 0.1f, 0, [](double x) { return x > 0 ? x : 0.1 * x; }},
      {Eltwise::kTanh, 0, 0, [](double x) { return std::tanh(x); }},
      {Eltwise::kElu, 0.7f, 0, [](double x) { return x > 0 ? x : 0.7 * std::expm1(x); }},
      {Eltwise::kSquare, 0, 0, [](double x) { return x * x; }},
      {Eltwise::kAbs, 0, 0, [](double x) { return std::abs(x); }},
      {Eltwise::kLinear, 2, 0.5f, [](double x) { return 2 * x + 0.5; }},
      {Eltwise::kSoftplus, 0, 0, [](double x) { return std::log1p(std::exp(x)); }},
      {Eltwise::kSigmoid, 0, 0, [](double x) { return 1 / (1 + std::exp(-x)); }},
      {Eltwise::kExp, 0, 0, [](double x) { return std::exp(x); }},
      {Eltwise::kGeluErf, 0, 0, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2)); }},
      {Eltwise::kSwish, 1, 0, [](double x) { return x / (1 + std::exp(-x)); }},
      {Eltwise::kClip, -0.25f, 0.5f, [](double x) { return std::min(std::max(x, -0.25), 0.5); }},
      {Eltwise::kMish, 0, 0, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {Eltwise::kHardSwish, 0, 0,
       [](double x) { return x * std::min(std::max(x + 3, 0.), 6.) / 6; }}};
  const ConvCase t = {.n = 1, .c = 5, .h = 9, .w = 9, .m = 21, .kh = 1, .kw = 1};
  const Floats src = random_floats(t.c * t.h * t.w, 1), weights = random_floats(t.m * t.c, 2);
  const Floats bias = random_floats(t.m, 3, -3, 3), base = naive_conv(t, src, weights, bias);
  for (const Case& c : cases) {
    const PostOp op = {.eltwise = c.eltwise, .alpha = c.alpha, .beta = c.beta};
    Floats want;
    for (float x : base) want.push_back(static_cast<float>(c.formula(x)));
    SCOPED_TRACE(static_cast<int>(c.eltwise));
    expect_near(run_conv(t, conv_problem(t, Format::kChannelsLast),
                         {.post_ops = &op, .post_op_count = 1}, src, weights, bias),
                want, 2e-5f);
  }
}

// 2x2, stride 2, no pads: each input pixel becomes a 2x2 block. ONNX's buffer is (C, M, 2, 2).
Floats naive_doubling(int64_t c, int64_t m, int64_t h, int64_t w, const Floats& src,
                      const Floats& weights, const Floats& bias) {
  Floats out;
  for (int64_t o = 0; o < m; ++o)
    for (int64_t y = 0; y < 2 * h; ++y)
      for (int64_t x = 0; x < 2 * w; ++x) {
        double sum = bias[o];
        for (int64_t i = 0; i < c; ++i)
          sum += double(src[(i * h + y / 2) * w + x / 2]) *
                 weights[((i * m + o) * 2 + y % 2) * 2 + x % 2];
        out.push_back(static_cast<float>(std::max(sum, 0.)));
      }
  return out;
}

class OnednnDoubling : public ::testing::TestWithParam<std::tuple<int64_t, Format>> {};

TEST_P(OnednnDoubling, transposed_convolution_reads_onnx_weights) {
  const auto& [m, format] = GetParam();
  const int64_t c = 6, h = 3, w = 5;
  Convolution p;
  p.transposed = true;
  p.has_bias = true;
  p.src = desc({1, c, h, w}, format);
  p.dst = desc({1, m, 2 * h, 2 * w}, format);
  p.weights = desc({m, c, 2, 2}, Format::kAny);
  p.bias = desc({m});
  p.strides[0] = p.strides[1] = 2;
  const PostOp relu = {};
  auto primitive =
      make(api().convolution, p, {.post_ops = &relu, .post_op_count = 1, .threads = 2});
  ASSERT_NE(primitive, nullptr);
  const Floats src = random_floats(c * h * w, 1), weights = random_floats(c * m * 4, 2);
  Floats bias = random_floats(m, 3);
  const Arg dst = arg(*primitive, Role::kDst);
  Floats x = reordered(src, desc({1, c, h, w}), arg(*primitive, Role::kSrc).desc);
  Floats packed = reordered(weights, strided({m, c, 2, 2}, {4, m * 4, 2, 1}),
                            arg(*primitive, Role::kWeights).desc);
  Floats got(static_cast<size_t>(dst.bytes) / 4, std::nanf(""));
  run(*primitive, {x.data(), packed.data(), bias.data(), got.data()});
  expect_near(reordered(got, dst.desc, desc({1, m, 2 * h, 2 * w})),
              naive_doubling(c, m, h, w, src, weights, bias), 1e-5f);
}

INSTANTIATE_TEST_SUITE_P(all, OnednnDoubling,
                         ::testing::Combine(::testing::Values(1, 5, 24),
                                            ::testing::Values(Format::kPlain, Format::kAny,
                                                              Format::kChannelsLast)));

TEST(Onednn, transposed_convolution_with_overlap) {
  // 3, stride 2, pads 1 and 0 in one dimension.
  Convolution p;
  p.transposed = true;
  p.spatial = 1;
  p.src = desc({1, 1, 3});
  p.weights = desc({1, 1, 3});
  p.dst = desc({1, 1, 6});
  p.strides[0] = 2;
  p.pads_begin[0] = 1;
  Floats src = {1, 2, 3}, weights = {10, 20, 30}, got(6);
  run(*make(api().convolution, p), {src.data(), weights.data(), got.data()});
  // Full: 10, 20, 30+20, 40, 60+30, 60, 90; the first is cut.
  expect_near(got, {20, 50, 40, 90, 60, 90}, 1e-6f);
}

struct MatMulCase {
  int64_t batch, m, k, n;
  bool transpose_src, transpose_weights, share_weights, pack;
};

class OnednnMatMul : public ::testing::TestWithParam<MatMulCase> {};

TEST_P(OnednnMatMul, equals_the_naive_loop) {
  const auto& t = GetParam();
  const int64_t weights_batch = t.share_weights ? 1 : t.batch;
  const auto matrix = [](int64_t batch, int64_t rows, int64_t cols, bool transposed) {
    return transposed ? strided({batch, rows, cols}, {rows * cols, 1, rows})
                      : desc({batch, rows, cols});
  };
  MatMul p;
  p.src = matrix(t.batch, t.m, t.k, t.transpose_src);
  const MemoryDesc given = matrix(weights_batch, t.k, t.n, t.transpose_weights);
  p.weights = t.pack ? desc({weights_batch, t.k, t.n}, Format::kAny) : given;
  p.dst = desc({t.batch, t.m, t.n});
  p.bias = desc({1, 1, t.n});
  p.has_bias = true;
  const PostOp relu = {};
  auto primitive = make(api().matmul, p, {.post_ops = &relu, .post_op_count = 1, .threads = 2});
  ASSERT_NE(primitive, nullptr);
  Floats src = random_floats(t.batch * t.m * t.k, 1);
  const Floats weights = random_floats(weights_batch * t.k * t.n, 2);
  Floats bias = random_floats(t.n, 3), want;
  for (int64_t b = 0; b < t.batch; ++b)
    for (int64_t i = 0; i < t.m; ++i)
      for (int64_t j = 0; j < t.n; ++j) {
        const int64_t wb = t.share_weights ? 0 : b;
        double sum = bias[static_cast<size_t>(j)];
        for (int64_t k = 0; k < t.k; ++k) {
          const int64_t s = t.transpose_src ? k * t.m + i : i * t.k + k;
          const int64_t w = t.transpose_weights ? j * t.k + k : k * t.n + j;
          sum += double(src[b * t.m * t.k + s]) * weights[wb * t.k * t.n + w];
        }
        want.push_back(static_cast<float>(std::max(sum, 0.)));
      }
  Floats packed = reordered(weights, given, arg(*primitive, Role::kWeights).desc);
  Floats got(want.size(), std::nanf(""));
  run(*primitive, {src.data(), packed.data(), bias.data(), got.data()});
  expect_near(got, want, 1e-5f);
}

INSTANTIATE_TEST_SUITE_P(all, OnednnMatMul,
                         ::testing::Values(MatMulCase{1, 1, 1, 1, false, false, false, false},
                                           MatMulCase{1, 7, 33, 17, false, false, false, true},
                                           MatMulCase{3, 5, 19, 35, false, true, false, false},
                                           MatMulCase{3, 5, 19, 35, true, false, false, false},
                                           MatMulCase{4, 9, 64, 48, false, false, true, true},
                                           MatMulCase{2, 13, 31, 1, true, true, true, false}));

TEST(Onednn, window_of_a_concat_destination) {
  const MemoryDesc whole = desc({2, 5, 3, 3}, Format::kChannelsLast);
  MemoryDesc window;
  Error error = {};
  const Dims dims = {2, 2, 3, 3}, offsets = {0, 3, 0, 0};
  ASSERT_EQ(api().desc_window(whole, dims.data(), offsets.data(), &window, &error), Code::kOk);
  int64_t strides[4];
  ASSERT_TRUE(api().desc_strides(window, strides));
  EXPECT_EQ(strides[0], 45);
  EXPECT_EQ(strides[3], 5);
  auto copy = make(api().reorder, Reorder{.src = desc(dims), .dst = window});
  Floats src = random_floats(count(dims), 1), dst(90, 7.f);
  run(*copy, {src.data(), dst.data()});
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t c = 0; c < 5; ++c)
      for (int64_t s = 0; s < 9; ++s)
        EXPECT_EQ(dst[(n * 9 + s) * 5 + c], c < 3 ? 7.f : src[(n * 2 + c - 3) * 9 + s]);
}

TEST(Onednn, pools_count_pads_as_asked) {
  const int64_t c = 18, h = 5, w = 7, oh = 3, ow = 4;
  for (PoolKind kind :
       {PoolKind::kMax, PoolKind::kAverageIncludePad, PoolKind::kAverageExcludePad}) {
    Pool p;
    p.kind = kind;
    p.src = desc({1, c, h, w}, Format::kChannelsLast);
    p.dst = desc({1, c, oh, ow}, Format::kChannelsLast);
    for (int i = 0; i < 2; ++i)
      p.kernel[i] = 3, p.strides[i] = 2, p.pads_begin[i] = p.pads_end[i] = 1;
    auto primitive = make(api().pool, p, {.threads = 2});
    ASSERT_NE(primitive, nullptr);
    Floats src = random_floats(c * h * w, 1), got(static_cast<size_t>(c * oh * ow)), want;
    for (int64_t y = 0; y < oh; ++y)
      for (int64_t x = 0; x < ow; ++x)
        for (int64_t ch = 0; ch < c; ++ch) {
          float most = -INFINITY, sum = 0;
          int inside = 0;
          for (int64_t sy = std::max<int64_t>(2 * y - 1, 0); sy < std::min(2 * y + 2, h); ++sy)
            for (int64_t sx = std::max<int64_t>(2 * x - 1, 0); sx < std::min(2 * x + 2, w); ++sx) {
              const float value = src[(sy * w + sx) * c + ch];
              most = std::max(most, value), sum += value, ++inside;
            }
          want.push_back(kind == PoolKind::kMax                 ? most
                         : kind == PoolKind::kAverageIncludePad ? sum / 9
                                                                : sum / float(inside));
        }
    run(*primitive, {src.data(), got.data()});
    expect_near(got, want, 1e-6f);
  }
}

TEST(Onednn, lrn_equals_the_onnx_formula) {
  Lrn p;
  const int64_t c = 11;
  p.src = desc({1, c, 3, 2});
  p.size = 5, p.alpha = 0.3f, p.beta = 0.75f, p.k = 2;
  auto primitive = make(api().lrn, p);
  ASSERT_NE(primitive, nullptr);
  Floats src = random_floats(c * 6, 1, -4, 4), got(src.size()), want(src.size());
  for (int64_t ch = 0; ch < c; ++ch)
    for (int64_t s = 0; s < 6; ++s) {
      double sum = 0;
      for (int64_t o = std::max<int64_t>(0, ch - 2); o <= std::min(c - 1, ch + 2); ++o)
        sum += double(src[o * 6 + s]) * src[o * 6 + s];
      want[ch * 6 + s] = float(src[ch * 6 + s] / std::pow(2 + 0.3 / 5 * sum, 0.75));
    }
  run(*primitive, {src.data(), got.data()});
  expect_near(got, want, 1e-5f);
}

TEST(Onednn, softmax_and_its_log) {
  for (bool log : {false, true}) {
    auto primitive = make(api().softmax, Softmax{.src = desc({3, 37}), .axis = 1, .log = log});
    ASSERT_NE(primitive, nullptr);
    Floats src = random_floats(3 * 37, 1, -20, 20), got(src.size()), want;
    for (int row = 0; row < 3; ++row) {
      double sum = 0;
      for (int i = 0; i < 37; ++i) sum += std::exp(double(src[row * 37 + i]));
      for (int i = 0; i < 37; ++i) {
        const double x = src[row * 37 + i] - std::log(sum);
        want.push_back(static_cast<float>(log ? x : std::exp(x)));
      }
    }
    run(*primitive, {src.data(), got.data()});
    expect_near(got, want, 1e-5f);
  }
}

TEST(Onednn, layer_norm_with_scale_and_shift) {
  const int64_t rows = 5, cols = 37;
  auto primitive = make(
      api().layer_norm,
      LayerNorm{.src = desc({rows, cols}), .epsilon = 1e-3f, .has_scale = true, .has_shift = true});
  ASSERT_NE(primitive, nullptr);
  Floats src = random_floats(rows * cols, 1, -3, 5), scale = random_floats(cols, 2);
  Floats shift = random_floats(cols, 3), got(src.size()), want;
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < cols; ++i) mean += src[r * cols + i] / double(cols);
    for (int64_t i = 0; i < cols; ++i) variance += std::pow(src[r * cols + i] - mean, 2) / cols;
    for (int64_t i = 0; i < cols; ++i)
      want.push_back(
          float((src[r * cols + i] - mean) / std::sqrt(variance + 1e-3) * scale[i] + shift[i]));
  }
  run(*primitive, {src.data(), scale.data(), shift.data(), got.data()});
  expect_near(got, want, 1e-5f);
}

TEST(Onednn, binary_eltwise_concat_resize_reduce) {
  const MemoryDesc a = desc({1, 3, 2, 2}), row = desc({1, 3, 1, 1});
  Floats x = random_floats(12, 1), per_channel = random_floats(3, 2), out(12);
  run(*make(api().binary, BinaryProblem{.src0 = a, .src1 = row, .dst = a, .binary = Binary::kSub}),
      {x.data(), per_channel.data(), out.data()});
  for (int i = 0; i < 12; ++i) EXPECT_FLOAT_EQ(out[i], x[i] - per_channel[i / 4]);

  run(*make(api().eltwise, EltwiseProblem{.src = a, .eltwise = Eltwise::kAbs}),
      {x.data(), out.data()});
  for (int i = 0; i < 12; ++i) EXPECT_EQ(out[i], std::abs(x[i]));

  const MemoryDesc parts[] = {a, desc({1, 1, 2, 2})};
  Floats tail = random_floats(4, 3), joined(16);
  run(*make(api().concat, Concat{.srcs = parts, .count = 2, .axis = 1, .dst = desc({1, 4, 2, 2})}),
      {x.data(), tail.data(), joined.data()});
  for (int i = 0; i < 16; ++i) EXPECT_EQ(joined[i], i < 12 ? x[i] : tail[i - 12]);

  Floats large(48);
  run(*make(api().resize, Resize{.src = a, .dst = desc({1, 3, 4, 4})}), {x.data(), large.data()});
  for (int i = 0; i < 48; ++i) EXPECT_EQ(large[i], x[i / 16 * 4 + i % 16 / 8 * 2 + i % 4 / 2]);

  Floats mean(3);
  run(*make(api().reduce, Reduce{.src = a, .dst = row}), {x.data(), mean.data()});
  for (int i = 0; i < 3; ++i)
    EXPECT_NEAR(mean[i], (x[4 * i] + x[4 * i + 1] + x[4 * i + 2] + x[4 * i + 3]) / 4, 1e-6);
}

TEST(Onednn, lstm_of_two_steps) {
  const int64_t t = 2, n = 1, in = 3, hidden = 2;
  Rnn p;
  p.src_layer = desc({t, n, in});
  p.weights_layer = desc({1, 1, in, 4, hidden}, Format::kAny);
  p.weights_iter = desc({1, 1, hidden, 4, hidden}, Format::kAny);
  p.bias = desc({1, 1, 4, hidden});
  p.dst_layer = desc({t, n, hidden});
  auto primitive = make(api().rnn, p);
  ASSERT_NE(primitive, nullptr);
  Floats x = random_floats(t * in, 1), w = random_floats(in * 4 * hidden, 2);
  Floats r = random_floats(hidden * 4 * hidden, 3), b = random_floats(4 * hidden, 4);
  Floats want, h(2, 0.f), c(2, 0.f), got(4);
  for (int64_t step = 0; step < t; ++step) {
    double gates[4][2];
    for (int64_t g = 0; g < 4; ++g)
      for (int64_t j = 0; j < hidden; ++j) {
        double sum = b[g * hidden + j];
        for (int64_t i = 0; i < in; ++i) sum += x[step * in + i] * w[(i * 4 + g) * hidden + j];
        for (int64_t i = 0; i < hidden; ++i) sum += h[i] * r[(i * 4 + g) * hidden + j];
        gates[g][j] = g == 2 ? std::tanh(sum) : 1 / (1 + std::exp(-sum));
      }
    for (int64_t j = 0; j < hidden; ++j) {
      c[j] = static_cast<float>(gates[1][j] * c[j] + gates[0][j] * gates[2][j]);
      h[j] = static_cast<float>(gates[3][j] * std::tanh(c[j]));
    }
    want.insert(want.end(), h.begin(), h.end());
  }
  Floats wp = reordered(w, desc({1, 1, in, 4, hidden}), arg(*primitive, Role::kWeights).desc);
  Floats rp =
      reordered(r, desc({1, 1, hidden, 4, hidden}), arg(*primitive, Role::kWeightsIter).desc);
  run(*primitive, {x.data(), wp.data(), rp.data(), b.data(), got.data()});
  expect_near(got, want, 1e-5f);
}

template <class Make, class Problem>
std::string refusal(Make function, const Problem& problem, const Options& options = {}) {
  Primitive* out = nullptr;
  Error error = {};
  if (function(problem, options, &out, &error) != Code::kOk) return error.text;
  api().destroy(out);
  return "accepted";
}

TEST(Onednn, refusals_say_why) {
  MemoryDesc out;
  Error error = {};
  const Dims empty = {0, 3, 4, 4}, huge = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_EQ(
      api().desc_create(DataType::kF32, 4, empty.data(), Format::kPlain, nullptr, &out, &error),
      Code::kInvalidArgument);
  EXPECT_STREQ(error.text, "dim 0 is 0, at least 1 is needed");
  EXPECT_EQ(
      api().desc_create(DataType::kF32, 2, huge.data(), Format::kPlain, nullptr, &out, &error),
      Code::kInvalidArgument);
  EXPECT_EQ(
      api().desc_create(DataType::kF32, 13, huge.data(), Format::kPlain, nullptr, &out, &error),
      Code::kUnsupported);

  const ConvCase t = {.n = 1, .c = 4, .h = 5, .w = 5, .m = 4, .kh = 3, .kw = 3};
  EXPECT_NE(refusal(api().convolution, Convolution{}).find("src has no descriptor"),
            std::string::npos);
  Convolution wrong = conv_problem(t, Format::kAny);
  wrong.dst = desc({1, 4, 4, 4});
  EXPECT_NE(refusal(api().convolution, wrong).find("inconsistent"), std::string::npos);
  Convolution no_stride = conv_problem(t, Format::kAny);
  no_stride.strides[1] = 0;
  EXPECT_NE(refusal(api().convolution, no_stride).find("stride 0"), std::string::npos);
  EXPECT_NE(
      refusal(api().convolution, conv_problem(t, Format::kAny), {.threads = 0}).find("0 threads"),
      std::string::npos);
  const PostOp no_operand = {.kind = PostOp::Kind::kBinary};
  EXPECT_NE(refusal(api().convolution, conv_problem(t, Format::kAny),
                    {.post_ops = &no_operand, .post_op_count = 1})
                .find("no operand"),
            std::string::npos);
  const PostOp two_linear[] = {
      {.kind = PostOp::Kind::kEltwise, .eltwise = Eltwise::kLinear, .alpha = 0.7f},
      {.kind = PostOp::Kind::kEltwise, .eltwise = Eltwise::kRelu},
      {.kind = PostOp::Kind::kEltwise, .eltwise = Eltwise::kLinear, .alpha = 1, .beta = 0.2f}};
  EXPECT_NE(refusal(api().convolution, conv_problem(t, Format::kAny),
                    {.post_ops = two_linear, .post_op_count = 3})
                .find("different constants"),
            std::string::npos);
  EXPECT_NE(refusal(api().softmax, Softmax{.src = desc({2, 3}), .axis = 2}).find("axis 2"),
            std::string::npos);
  Pool only_pad;
  only_pad.src = only_pad.dst = desc({1, 1, 1, 1});
  only_pad.pads_begin[0] = 1;
  EXPECT_NE(refusal(api().pool, only_pad).find("cannot have pads"), std::string::npos);
}

TEST(Onednn, reference_code_only_when_allowed) {
  const ConvCase t = {.n = 1, .c = 16, .h = 5, .w = 5, .m = 16, .kh = 1, .kw = 1};
  Convolution p = conv_problem(t, Format::kPlain);
  p.dst = desc({1, 16, 5, 5}, Format::kBlocked16);
  EXPECT_NE(refusal(api().convolution, p).find("only slow reference code"), std::string::npos);
  const Floats src = random_floats(16 * 25, 1), weights = random_floats(256, 2);
  const Floats bias = random_floats(16, 3);
  expect_near(run_conv(t, p, {.allow_reference = true}, src, weights, bias),
              naive_conv(t, src, weights, bias), 1e-5f);
}

TEST(Onednn, null_pointers_are_refused_at_execution) {
  auto primitive = make(api().eltwise, EltwiseProblem{.src = desc({4}), .eltwise = Eltwise::kAbs});
  Error error = {};
  Floats x(4);
  void* const pointers[] = {x.data(), nullptr};
  EXPECT_EQ(api().execute(*primitive, pointers, nullptr, &error), Code::kInvalidArgument);
}

TEST(Onednn, threads_share_a_primitive) {
  constexpr int64_t kSize = 48;
  MatMul p;
  p.src = p.weights = p.dst = desc({kSize, kSize});
  auto primitive = make(api().matmul, p);
  ASSERT_NE(primitive, nullptr);
  PrimitiveInfo info;
  api().info(*primitive, &info);
  Floats identity(kSize * kSize, 0.f);
  for (int64_t i = 0; i < kSize; ++i) identity[i * kSize + i] = 1;
  const auto worker = [&](unsigned seed, int* wrong) {
    Floats src = random_floats(kSize * kSize, seed), dst(src.size());
    std::vector<char> scratchpad(static_cast<size_t>(info.scratchpad_bytes) + 64);
    void* aligned = scratchpad.data();
    size_t space = scratchpad.size();
    std::align(64, static_cast<size_t>(info.scratchpad_bytes), aligned, space);
    void* const pointers[] = {src.data(), identity.data(), dst.data()};
    Error error = {};
    for (int times = 0; times < 200; ++times) {
      std::fill(dst.begin(), dst.end(), 0.f);
      if (api().execute(*primitive, pointers, aligned, &error) != Code::kOk || dst != src) ++*wrong;
    }
  };
  int wrong[4] = {};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) threads.emplace_back(worker, i + 1, &wrong[i]);
  for (std::thread& thread : threads) thread.join();
  for (int count : wrong) EXPECT_EQ(count, 0);
}

TEST(Onednn, descriptors_say_what_they_are) {
  char text[64];
  api().desc_text(desc({1, 64, 7, 7}, Format::kBlocked16), text, sizeof text);
  EXPECT_STREQ(text, "f32 1x64x7x7 aBcd16b");
  api().desc_text(desc({2, 3, 4, 5}, Format::kChannelsLast), text, sizeof text);
  EXPECT_STREQ(text, "f32 2x3x4x5 acdb");
  api().desc_text(MemoryDesc{}, text, sizeof text);
  EXPECT_STREQ(text, "none");
  EXPECT_TRUE(api().desc_equal(desc({2, 3}), strided({2, 3}, {3, 1})));
  EXPECT_FALSE(api().desc_equal(desc({2, 3}), strided({2, 3}, {1, 2})));
  int64_t strides[4];
  EXPECT_FALSE(api().desc_strides(desc({1, 64, 7, 7}, Format::kBlocked16), strides));
  EXPECT_EQ(std::string(api().version).substr(0, 2), "2.");
  EXPECT_GT(std::string(api().isa).size(), 2u);
}

TEST(Onednn, parallel_runs_each_index_once) {
  int seen[2] = {0, 0};
  api().parallel(
      2, [](void* context, int32_t i, int32_t) { ++static_cast<int*>(context)[i]; }, seen);
  EXPECT_EQ(seen[0], 1);
  EXPECT_LE(seen[1], 1);
}

// Counts the threads that ran at once.
int32_t threads_of_a_region() {
  std::atomic<int32_t> count = 0;
  api().parallel(
      3, [](void* context, int32_t, int32_t) { ++*static_cast<std::atomic<int32_t>*>(context); },
      &count);
  return count;
}

TEST(Onednn, a_forked_process_has_threads_of_its_own) {
  EXPECT_EQ(threads_of_a_region(), 3);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(threads_of_a_region() == 3 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Onednn, many_callers_have_threads_of_their_own) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 80; ++i) {
    threads.emplace_back([&wrong] {
      for (int times = 0; times < 20; ++times) wrong += threads_of_a_region() != 3;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace redline::kernels::onednn
