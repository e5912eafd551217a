// SPDX-License-Identifier: Apache-2.0
#include "prof/rates.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>

#include "kernels/cpu/isa.h"
#include "tactics/chip_rates.h"

namespace redline {
namespace {

using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

// What a loop of multiply-adds in registers reaches. Enough chains that none waits for its own
// last result.
constexpr int kChains = 12;
constexpr int kRounds = 300000;
template <class Vector>
[[gnu::always_inline]] inline float multiply_add_many(float seed) {
  Vector sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = Vector{} + (seed + static_cast<float>(i));
  Vector by = Vector{} + 0.999F;
  Vector plus = Vector{} + seed;
  for (int round = 0; round < kRounds; ++round) {
    for (Vector& sum : sums) sum = sum * by + plus;
  }
  Vector all = sums[0];
  for (int i = 1; i < kChains; ++i) all += sums[i];
  return all[0];
}
using Floats4 = float __attribute__((vector_size(16)));
using Floats8 = float __attribute__((vector_size(32)));
using Floats16 = float __attribute__((vector_size(64)));
float multiply_add_sse4(float seed) { return multiply_add_many<Floats4>(seed); }
[[gnu::target("avx2,fma")]] float multiply_add_avx2(float seed) {
  return multiply_add_many<Floats8>(seed);
}
[[gnu::target("avx512f,fma")]] float multiply_add_avx512(float seed) {
  return multiply_add_many<Floats16>(seed);
}

double measure_flops_per_us(ThreadPool& pool) {
  kernels::Isa isa = kernels::detect_isa();
  auto run = isa == kernels::Isa::kAvx512 ? multiply_add_avx512
             : isa == kernels::Isa::kAvx2 ? multiply_add_avx2
                                          : multiply_add_sse4;
  double lanes = isa == kernels::Isa::kAvx512 ? 16 : isa == kernels::Isa::kAvx2 ? 8 : 4;
  int threads = pool.num_threads();
  double best = 0;
  std::atomic<float> sink = 0;
  for (int repeat = 0; repeat < 10; ++repeat) {
    auto start = Clock::now();
    pool.parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sink = run(1e-3F * static_cast<float>(i + 1));
    });
    double flops = 2.0 * lanes * kChains * kRounds * threads;
    best = std::max(best, flops / us_since(start));
  }
  return best;
}

double measure_bytes_per_us(ThreadPool& pool) {
  constexpr size_t kBytes = size_t{64} << 20;
  std::unique_ptr<char[]> from(new (std::nothrow) char[kBytes]);
  std::unique_ptr<char[]> to(new (std::nothrow) char[kBytes]);
  if (from == nullptr || to == nullptr) return 0;
  std::memset(from.get(), 1, kBytes);
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    auto start = Clock::now();
    pool.parallel_for(kBytes, kBytes / 64, [&](int64_t begin, int64_t end) {
      std::memcpy(to.get() + begin, from.get() + begin, static_cast<size_t>(end - begin));
    });
    best = std::max(best, 2.0 * kBytes / us_since(start));
  }
  return best;
}

}  // namespace

Result<Rates> rates_of(const cuda::ContextPtr& context) {
  Rates rates = chip_rates(context->info());
  rates.bytes_per_us = 0;
  rates.bytes_from.clear();
  REDLINE_ASSIGN(cuda::Context::Memory memory, context->memory());
  size_t bytes = std::min(size_t{256} << 20, memory.free_bytes / 8);
  if (bytes > 0) {
    REDLINE_ASSIGN(cuda::DeviceBuffer from, cuda::DeviceBuffer::create(context, bytes));
    REDLINE_ASSIGN(cuda::DeviceBuffer to, cuda::DeviceBuffer::create(context, bytes));
    REDLINE_ASSIGN(cuda::Stream stream, cuda::Stream::create(context));
    REDLINE_ASSIGN(cuda::Event start, cuda::Event::create(context));
    REDLINE_ASSIGN(cuda::Event end, cuda::Event::create(context));
    for (int repeat = 0; repeat < 4; ++repeat) {
      REDLINE_TRY(start.record(stream));
      REDLINE_TRY(stream.copy_on_device(to.ptr(), from.ptr(), bytes));
      REDLINE_TRY(end.record(stream));
      REDLINE_TRY(end.synchronize());
      REDLINE_ASSIGN(double us, cuda::Event::microseconds_between(start, end));
      if (us > 0) {
        rates.bytes_per_us = std::max(rates.bytes_per_us, 2 * static_cast<double>(bytes) / us);
      }
    }
    rates.bytes_from = str_cat("measured: a copy of ", bytes >> 20, " MB on the GPU");
  }
  return rates;
}

Result<Rates> rates_of(ThreadPool& pool) {
  Rates rates;
  rates.bytes_per_us = measure_bytes_per_us(pool);
  rates.bytes_from = "measured: a copy of 64 MB by all threads";
  rates.other_flops_per_us = measure_flops_per_us(pool);
  rates.matrix_flops_per_us[DType::kFloat32] = rates.other_flops_per_us;
  rates.flops_from = str_cat("measured: multiply-adds in registers (",
                             kernels::isa_name(kernels::detect_isa()), ") by all threads");
  return rates;
}

}  // namespace redline
