// SPDX-License-Identifier: Apache-2.0
// Times the CPU kernels on one thread and prints GB/s of unavoidable traffic (each input read once,
// each output written once) beside the rate of a plain copy of the same size.
//   bench_cpu_kernels [sse4|avx2|avx512] [filter]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "kernels/cpu/gemm/gemm.h"
#include "kernels/cpu/movement/movement.h"
#include "kernels/cpu/norm/norm.h"
#include "kernels/cpu/pointwise/program.h"
#include "kernels/cpu/pool/pool.h"
#include "kernels/cpu/reduce/reduce.h"
#include "kernels/cpu/resize/resize.h"

namespace redline::kernels {
namespace {

// Processor time of this thread, so that a shared machine disturbs less.
double seconds_now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// The median of at least 7 runs and 50 ms, in seconds.
double time_of(const std::function<void()>& f) {
  f();
  std::vector<double> times;
  const double start = seconds_now();
  while (times.size() < 7 || seconds_now() - start < 0.05) {
    const double t = seconds_now();
    f();
    times.push_back(seconds_now() - t);
    if (times.size() > 100000) break;
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// Arrays begin at a cache line, as the engine's do.
template <class T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, size_t) { operator delete(p, kLine); }
  bool operator==(const LineAllocator&) const { return true; }
  static constexpr std::align_val_t kLine{64};
};
using Floats = std::vector<float, LineAllocator<float>>;
using Bytes = std::vector<char, LineAllocator<char>>;

struct Bench {
  Isa isa;
  std::string filter;

  void report(const std::string& name, int64_t bytes, const std::function<void()>& f) const {
    if (name.find(filter) == std::string::npos) return;
    const double seconds = time_of(f);
    Bytes a(bytes / 2), b(bytes / 2);
    std::memset(a.data(), 1, a.size());
    const double floor = time_of([&] {
      std::memcpy(b.data(), a.data(), a.size());
      __asm__ volatile("" ::"r"(b.data()) : "memory");
    });
    std::printf("%-44s %9.1f us %7.1f GB/s   copy %7.1f GB/s   %5.2f of the copy's time\n",
                name.c_str(), seconds * 1e6, static_cast<double>(bytes) / seconds / 1e9,
                static_cast<double>(bytes) / floor / 1e9, seconds / floor);
  }
};

Floats ramp(int64_t n) {
  Floats x(n);
  for (int64_t i = 0; i < n; ++i) x[i] = static_cast<float>(i % 1000) * 0.004f - 2.0f;
  return x;
}

void bench_unary(const Bench& bench, int64_t n) {
  const auto x = ramp(n);
  Floats y(n);
  using Op = PointwiseOp;
  for (Op op : {Op::kRelu, Op::kAbs, Op::kExp, Op::kLog, Op::kSigmoid, Op::kTanh, Op::kErf,
                Op::kGeluErf, Op::kGeluTanh, Op::kSilu, Op::kMish, Op::kHardSwish, Op::kSoftplus,
                Op::kElu, Op::kSin, Op::kAtan, Op::kSqrt, Op::kReciprocal}) {
    PointwiseProgram p;
    p.output(p.emit(op, p.input(ElemType::kF32), 1.0f, 1.0f), ElemType::kF32);
    PointwiseCode code;
    PointwiseLayout layout;
    const int64_t* strides[2] = {};
    if (pointwise_compile(p, &code) || pointwise_layout(code, 1, &n, strides, &layout)) return;
    const void* inputs[] = {x.data()};
    void* outputs[] = {y.data()};
    bench.report(std::string(pointwise_op_name(op)) + " " + std::to_string(n), 8 * n,
                 [&] { pointwise_kernels(bench.isa).run(code, layout, inputs, outputs, 0, n); });
  }
}

void bench_program(const Bench& bench, const char* name, const PointwiseProgram& p, int rank,
                   const int64_t* dims, const int64_t* const* strides) {
  PointwiseCode code;
  PointwiseLayout layout;
  if (pointwise_compile(p, &code) || pointwise_layout(code, rank, dims, strides, &layout)) return;
  std::vector<Floats> arrays;
  std::vector<const void*> inputs;
  std::vector<void*> outputs;
  int64_t bytes = 0;
  for (size_t i = 0; i < p.inputs.size() + p.outputs.size(); ++i) {
    arrays.push_back(ramp(layout.elems));
    const bool is_input = i < p.inputs.size();
    const ElemType type = is_input ? p.inputs[i] : p.outputs[i - p.inputs.size()].type;
    if (layout.modes[i] == PointwiseLayout::Mode::kContiguous)
      bytes += layout.elems * elem_bytes(type);
  }
  for (size_t i = 0; i < p.inputs.size(); ++i) inputs.push_back(arrays[i].data());
  for (size_t i = 0; i < p.outputs.size(); ++i)
    outputs.push_back(arrays[p.inputs.size() + i].data());
  bench.report(name, bytes, [&] {
    pointwise_kernels(bench.isa).run(code, layout, inputs.data(), outputs.data(), 0, layout.elems);
  });
}

void bench_programs(const Bench& bench) {
  using Op = PointwiseOp;
  const int64_t dims[] = {1, 64, 56, 56}, channel[] = {0, 1, 0, 0};
  const int64_t* none[4] = {};
  {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kF32), y = p.input(ElemType::kF32);
    p.output(p.emit(Op::kRelu, p.emit(Op::kAdd, x, y)), ElemType::kF32);
    bench_program(bench, "add relu 64x56x56", p, 4, dims, none);
  }
  {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kF32), s = p.input(ElemType::kF32),
               b = p.input(ElemType::kF32);
    p.output(p.emit(Op::kHardSwish, p.emit(Op::kFma, x, s, b)), ElemType::kF32);
    const int64_t* strides[] = {nullptr, channel, channel, nullptr};
    bench_program(bench, "scale bias hard_swish 64x56x56", p, 4, dims, strides);
    const int64_t small[] = {1, 512, 7, 7};
    bench_program(bench, "scale bias hard_swish 512x7x7", p, 4, small, strides);
    const int64_t nhwc[] = {3136, 64}, column[] = {0, 1};
    const int64_t* columns[] = {nullptr, column, column, nullptr};
    bench_program(bench, "scale bias hard_swish 3136x(64)", p, 2, nhwc, columns);
  }
  {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kU8);
    const auto scaled = p.emit(Op::kFma, x, p.constant(1 / 127.5f), p.constant(-1.0f));
    p.output(scaled, ElemType::kF32);
    bench_program(bench, "u8 to f32 normalise 64x56x56", p, 4, dims, none);
  }
  {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kF16);
    p.output(p.emit(Op::kRelu, x), ElemType::kF16);
    bench_program(bench, "relu f16 64x56x56", p, 4, dims, none);
  }
}

void bench_rows(const Bench& bench) {
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1536, 128}, {512, 384}, {40, 6625}}) {
    const auto x = ramp(rows * n), s = ramp(n);
    Floats y(rows * n);
    std::vector<int64_t> idx(rows);
    const std::string size = " " + std::to_string(rows) + "x" + std::to_string(n);
    const NormKernels& k = norm_kernels(bench.isa);
    bench.report("softmax" + size, 8 * rows * n,
                 [&, rows = rows, n = n] { k.softmax_rows(x.data(), y.data(), n, 0, rows); });
    LayerNormArgs a{.x = x.data(), .scale = s.data(), .bias = s.data(), .y = y.data(), .n = n};
    bench.report("layer_norm" + size, 8 * rows * n, [&, rows = rows] { k.layer_norm(a, 0, rows); });
    bench.report("rms_norm" + size, 8 * rows * n, [&, rows = rows] { k.rms_norm(a, 0, rows); });
    const ReduceKernels& r = reduce_kernels(bench.isa);
    for (const auto& [name, op] : {std::pair{"sum", ReduceOp::kSum}, {"max", ReduceOp::kMax}}) {
      bench.report(std::string(name) + size, 4 * rows * n, [&, rows = rows, n = n, op = op] {
        r.reduce(op, x.data(), y.data(), n, 1, 0, rows);
      });
      bench.report(
          std::string(name) + " columns" + size, 4 * rows * n,
          [&, rows = rows, n = n, op = op] { r.reduce(op, x.data(), y.data(), rows, n, 0, n); });
    }
    bench.report("argmax" + size, 4 * rows * n,
                 [&, rows = rows, n = n] { r.argmax(x.data(), idx.data(), n, 1, false, 0, rows); });
  }
}

void bench_movement(const Bench& bench) {
  const auto x = ramp(3 * 960 * 960);
  Floats y(x.size());
  struct Case {
    const char* name;
    std::vector<int64_t> dims, perm;
    int bytes;
  };
  for (const Case& c : {Case{"transpose 1024x1024", {1024, 1024}, {1, 0}, 4},
                        Case{"transpose heads 128x12x64", {128, 12, 64}, {1, 0, 2}, 4},
                        Case{"transpose heads keys 128x12x64", {128, 12, 64}, {1, 2, 0}, 4},
                        Case{"nchw to nhwc 64x56x56", {1, 64, 56, 56}, {0, 2, 3, 1}, 4},
                        Case{"nhwc to nchw 56x56x64", {1, 56, 56, 64}, {0, 3, 1, 2}, 4},
                        Case{"nhwc to nchw 640x640x3", {640, 640, 3}, {2, 0, 1}, 4},
                        Case{"nhwc to nchw 640x640x3 u8", {640, 640, 3}, {2, 0, 1}, 1},
                        Case{"channel shuffle 2x58x28x28", {2, 58, 784}, {1, 0, 2}, 4},
                        Case{"transpose f16 512x512", {512, 512}, {1, 0}, 2}}) {
    CopyPlan plan;
    if (transpose_plan(static_cast<int>(c.dims.size()), c.dims.data(), c.perm.data(), c.bytes,
                       &plan))
      continue;
    bench.report(c.name, 2 * plan.elems * c.bytes, [&] {
      movement_kernels(bench.isa).copy(plan, x.data(), y.data(), 0, plan.units);
    });
  }
  bench.report("to_blocked16 64x56x56", 8 * 64 * 3136, [&] {
    movement_kernels(bench.isa).to_blocked(x.data(), y.data(), 64, 3136, 16, 0, 4);
  });
  bench.report("from_blocked16 64x56x56", 8 * 64 * 3136, [&] {
    movement_kernels(bench.isa).from_blocked(x.data(), y.data(), 64, 3136, 16, 0, 4);
  });
}

void bench_planes(const Bench& bench) {
  const auto x = ramp(64 * 112 * 112), weights = ramp(64 * 25);
  Floats y(4 * x.size());
  const PoolKernels& k = pool_kernels(bench.isa);
  const Window2d half{.height = 112,
                      .width = 112,
                      .out_height = 56,
                      .out_width = 56,
                      .kernel_y = 3,
                      .kernel_x = 3,
                      .stride_y = 2,
                      .stride_x = 2,
                      .pad_top = 1,
                      .pad_left = 1,
                      .pad_bottom = 1,
                      .pad_right = 1};
  const int64_t bytes = 5 * 64 * 112 * 112;
  bench.report("max_pool 3x3/2 64x112x112", bytes,
               [&] { k.max_pool(half, x.data(), y.data(), 0, 64); });
  bench.report("average_pool 3x3/2 64x112x112", bytes,
               [&] { k.average_pool(half, false, x.data(), y.data(), 0, 64); });
  for (int64_t size : {3, 5}) {
    Window2d w{.height = 56,
               .width = 56,
               .out_height = 56,
               .out_width = 56,
               .kernel_y = size,
               .kernel_x = size,
               .pad_top = size / 2,
               .pad_left = size / 2};
    const Depthwise2dArgs a{
        .window = w, .x = x.data(), .weights = weights.data(), .y = y.data(), .channels = 64};
    bench.report("depthwise " + std::to_string(size) + "x" + std::to_string(size) + " 64x56x56",
                 8 * 64 * 56 * 56, [&] { k.depthwise_conv(a, 0, 64); });
  }
  std::vector<int32_t> rows, columns, next;
  std::vector<float> weight;
  for (int i = 0; i < 112; ++i) {
    rows.push_back(i / 2);
    next.push_back(std::min(i / 2 + 1, 55));
    weight.push_back(i % 2 ? 0.25f : 0.75f);
  }
  NearestArgs n{.x = x.data(),
                .y = y.data(),
                .height = 56,
                .width = 56,
                .out_height = 112,
                .out_width = 112,
                .rows = rows.data(),
                .columns = rows.data(),
                .repeat = 2};
  const ResizeKernels& r = resize_kernels(bench.isa);
  bench.report("nearest x2 64x56x56", bytes, [&] { r.nearest(n, 0, 64 * 112); });
  n.repeat = 0;
  bench.report("nearest by table 64x56x56", bytes, [&] { r.nearest(n, 0, 64 * 112); });
  const LinearArgs l{.x = x.data(),
                     .y = y.data(),
                     .height = 56,
                     .width = 56,
                     .out_height = 112,
                     .out_width = 112,
                     .rows0 = rows.data(),
                     .rows1 = next.data(),
                     .row_weights = weight.data(),
                     .columns0 = rows.data(),
                     .columns1 = next.data(),
                     .column_weights = weight.data()};
  bench.report("linear x2 64x56x56", bytes, [&] { r.linear(l, 0, 64 * 112); });
}

void bench_products(const Bench& bench) {
  const GemmKernels& k = gemm_kernels(bench.isa);
  for (int64_t size : {128, 384, 1024}) {
    const auto a = ramp(size * size);
    Floats packed(k.packed_elems(size, size)), c(size * size);
    k.pack(a.data(), size, false, size, size, packed.data());
    const GemmArgs g{.a = a.data(),
                     .packed_b = packed.data(),
                     .c = c.data(),
                     .m = size,
                     .n = size,
                     .k = size,
                     .lda = size,
                     .ldc = size};
    const std::string name = "gemm " + std::to_string(size);
    if (name.find(bench.filter) == std::string::npos) continue;
    const double seconds = time_of([&] { k.gemm(g, 0, k.units(size, size)); });
    std::printf("%-44s %9.1f us %7.1f GFLOP/s\n", name.c_str(), seconds * 1e6,
                2e-9 * static_cast<double>(size * size * size) / seconds);
  }
  const int64_t n = 4096, depth = 4096;
  const auto b = ramp(n * depth);
  Floats c(4 * n);
  for (int64_t m : {1, 4}) {
    const GemvArgs g{.a = b.data(),
                     .b = b.data(),
                     .c = c.data(),
                     .m = m,
                     .n = n,
                     .k = depth,
                     .lda = depth,
                     .ldb = depth,
                     .ldc = n};
    bench.report("gemv " + std::to_string(m) + "x4096x4096", 4 * n * depth,
                 [&] { k.gemv(g, 0, n); });
  }
}

void run(const Bench& bench) {
  for (int64_t n : {16384, 200704, 8000000}) bench_unary(bench, n);
  bench_programs(bench);
  bench_rows(bench);
  bench_movement(bench);
  bench_planes(bench);
  bench_products(bench);
}

}  // namespace
}  // namespace redline::kernels

int main(int argc, char** argv) {
  using redline::kernels::Isa;
  Isa isa = redline::kernels::detect_isa();
  for (int i = 0; i <= static_cast<int>(redline::kernels::detect_isa()); ++i)
    if (argc > 1 && std::string(argv[1]) == isa_name(static_cast<Isa>(i)))
      isa = static_cast<Isa>(i);
  std::printf("instruction set: %s\n", isa_name(isa));
  redline::kernels::run({.isa = isa, .filter = argc > 2 ? argv[2] : ""});
}
