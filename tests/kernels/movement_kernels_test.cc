// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "isas.h"
#include "kernels/cpu/movement/movement.h"

namespace redline::kernels {
namespace {

int64_t product(const std::vector<int64_t>& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

std::vector<unsigned char> random_bytes(int64_t n) {
  std::mt19937 random(11);
  std::vector<unsigned char> bytes(n);
  for (auto& b : bytes) b = static_cast<unsigned char>(random());
  return bytes;
}

// Every element one by one; offsets in elements from the bases.
void reference_copy(const std::vector<int64_t>& dims, const std::vector<int64_t>& src_strides,
                    const std::vector<int64_t>& dst_strides, int bytes, const unsigned char* src,
                    unsigned char* dst) {
  const int64_t n = product(dims);
  for (int64_t flat = 0; flat < n; ++flat) {
    int64_t rest = flat, s = 0, d = 0;
    for (int k = static_cast<int>(dims.size()) - 1; k >= 0; --k) {
      s += rest % dims[k] * src_strides[k];
      d += rest % dims[k] * dst_strides[k];
      rest /= dims[k];
    }
    std::memcpy(dst + d * bytes, src + s * bytes, bytes);
  }
}

std::vector<int64_t> dense_strides(const std::vector<int64_t>& dims) {
  std::vector<int64_t> strides(dims.size());
  int64_t stride = 1;
  for (int d = static_cast<int>(dims.size()) - 1; d >= 0; --d) {
    strides[d] = stride;
    stride *= dims[d];
  }
  return strides;
}

TEST(Transpose, MatchesElementByElementForAllPermutationsAndSizes) {
  const std::vector<std::vector<int64_t>> shapes = {
      {7},          {5, 9},      {64, 64},    {65, 130},      {1, 3, 50, 7},
      {2, 3, 4, 5}, {3, 200},    {200, 3},    {2, 3, 31, 17}, {2, 3, 2, 3, 5},
      {4, 1, 100},  {2, 16, 40}, {129, 2, 2}, {0, 4, 3},      {},
      {300, 8},     {2, 70, 4}};
  for (Isa isa : supported_isas())
    for (int bytes : {1, 2, 4, 8})
      for (const auto& dims : shapes) {
        const int rank = static_cast<int>(dims.size());
        std::vector<int64_t> perm(rank);
        std::iota(perm.begin(), perm.end(), 0);
        const int64_t n = product(dims);
        const auto src = random_bytes(n * bytes);
        do {
          CopyPlan plan;
          ASSERT_EQ(transpose_plan(rank, dims.data(), perm.data(), bytes, &plan), nullptr);
          std::vector<unsigned char> got(n * bytes + 1, 0xcd), want(n * bytes + 1, 0xcd);
          const int64_t cut = plan.units / 3;
          movement_kernels(isa).copy(plan, src.data(), got.data(), 0, cut);
          movement_kernels(isa).copy(plan, src.data(), got.data(), cut, plan.units);
          std::vector<int64_t> dst_dims(rank), src_strides(rank);
          for (int d = 0; d < rank; ++d) {
            dst_dims[d] = dims[perm[d]];
            src_strides[d] = dense_strides(dims)[perm[d]];
          }
          reference_copy(dst_dims, src_strides, dense_strides(dst_dims), bytes, src.data(),
                         want.data());
          ASSERT_EQ(got, want) << isa_name(isa) << " bytes " << bytes << " rank " << rank;
        } while (std::next_permutation(perm.begin(), perm.end()));
      }
}

TEST(Copy, RandomBoxesMatchElementByElement) {
  std::mt19937 random(2);
  const auto pick = [&](int n) { return static_cast<int64_t>(random() % n); };
  const int64_t sizes[] = {1, 2, 3, 4, 7, 16, 33, 65, 150};
  for (Isa isa : supported_isas())
    for (int round = 0; round < 600; ++round) {
      const int bytes = 1 << pick(4), rank = static_cast<int>(1 + pick(4));
      std::vector<int64_t> dims(rank), src_strides(rank), dst_strides(rank);
      int64_t n = 1;
      for (auto& d : dims) {
        d = sizes[pick(9)];
        if (n * d > 30000) d = 2;
        n *= d;
      }
      // Both sides walk their dims in a random order, the destination with gaps (concat, pad), the
      // source with gaps, repeats and reversals (slice, expand).
      const auto order = [&] {
        std::vector<int> o(rank);
        std::iota(o.begin(), o.end(), 0);
        if (pick(2)) std::shuffle(o.begin(), o.end(), random);
        return o;
      };
      int64_t stride = pick(4) ? 1 : 2, dst_extent = 1, src_extent = 1, src_base = 0;
      for (int d : order()) {
        dst_strides[d] = stride;
        dst_extent += (dims[d] - 1) * stride;
        stride = stride * dims[d] + (pick(3) ? 0 : 2);
      }
      stride = pick(4) ? 1 : 3;
      for (int d : order()) {
        if (pick(5) == 0) continue;
        src_strides[d] = stride;
        src_extent += (dims[d] - 1) * stride;
        if (pick(6) == 0) {
          src_base += (dims[d] - 1) * stride;
          src_strides[d] = -stride;
        }
        stride = stride * dims[d] + (pick(3) ? 0 : 1);
      }
      const auto src = random_bytes(src_extent * bytes);
      std::vector<unsigned char> got(dst_extent * bytes, 0xee), want = got;
      CopyPlan plan;
      ASSERT_EQ(copy_plan(rank, dims.data(), src_strides.data(), dst_strides.data(), bytes, &plan),
                nullptr);
      for (int64_t unit = 0; unit < plan.units; unit += 5)
        movement_kernels(isa).copy(plan, src.data() + src_base * bytes, got.data(), unit,
                                   std::min(plan.units, unit + 5));
      reference_copy(dims, src_strides, dst_strides, bytes, src.data() + src_base * bytes,
                     want.data());
      ASSERT_EQ(got, want) << isa_name(isa) << " round " << round;
    }
}

TEST(Copy, LongRowsAreCutForThreads) {
  const int64_t n = 1000003;
  CopyPlan plan;
  ASSERT_EQ(copy_plan(1, &n, nullptr, nullptr, 4, &plan), nullptr);
  EXPECT_GT(plan.units, 100);
  std::vector<float> x(n), y(n);
  std::iota(x.begin(), x.end(), 0.0f);
  movement_kernels(detect_isa()).copy(plan, x.data(), y.data(), 0, plan.units);
  EXPECT_EQ(x, y);
}

TEST(Copy, WrongPlansAreRefused) {
  CopyPlan plan;
  const int64_t dims[] = {3, 4}, zero[] = {0, 1}, twice[] = {0, 0}, far[] = {0, 2};
  EXPECT_STREQ(copy_plan(2, dims, nullptr, nullptr, 3, &plan),
               "copy: elements are not of 1, 2, 4 or 8 bytes");
  EXPECT_STREQ(copy_plan(2, dims, nullptr, zero, 4, &plan),
               "copy: two elements have the same place");
  EXPECT_STREQ(transpose_plan(2, dims, twice, 4, &plan), "transpose: not a permutation");
  EXPECT_STREQ(transpose_plan(2, dims, far, 4, &plan), "transpose: not a permutation");
  const int64_t huge[] = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_STREQ(copy_plan(2, huge, nullptr, nullptr, 4, &plan), "copy: too many elements");
}

TEST(Gather, CopiesRowsAndReportsBadIndices) {
  for (Isa isa : supported_isas())
    for (int64_t bytes : {1, 4, 8, 20, 400}) {
      const int64_t outer = 3, axis = 7, count = 5;
      const auto src = random_bytes(outer * axis * bytes);
      const int64_t indices[] = {6, 0, -1, 3, -7};
      const int32_t narrow[] = {6, 0, -1, 3, -7};
      std::vector<unsigned char> y(outer * count * bytes), z(y.size());
      const MovementKernels& k = movement_kernels(isa);
      EXPECT_EQ(k.gather(src.data(), axis, bytes, indices, true, count, y.data(), 0, 7), -1);
      EXPECT_EQ(k.gather(src.data(), axis, bytes, indices, true, count, y.data(), 7, 15), -1);
      EXPECT_EQ(k.gather(src.data(), axis, bytes, narrow, false, count, z.data(), 0, 15), -1);
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < count; ++i) {
          const int64_t index = (indices[i] + axis) % axis;
          ASSERT_EQ(std::memcmp(y.data() + (o * count + i) * bytes,
                                src.data() + (o * axis + index) * bytes, bytes),
                    0);
        }
      EXPECT_EQ(y, z);
      const int64_t bad[] = {0, 7}, low[] = {-8};
      EXPECT_EQ(k.gather(src.data(), axis, bytes, bad, true, 2, y.data(), 0, 2), 1);
      EXPECT_EQ(k.gather(src.data(), axis, bytes, low, true, 1, y.data(), 0, 1), 0);
    }
}

TEST(Blocked, GoesThereAndBackWithZeroPadding) {
  for (Isa isa : supported_isas())
    for (int64_t block : {4, 8, 16})
      for (int64_t channels : {1, 3, 4, 8, 15, 16, 17, 40})
        for (int64_t spatial : {1, 5, 8, 49, 300}) {
          const int64_t batch = 2, blocks = (channels + block - 1) / block;
          std::vector<float> x(batch * channels * spatial), back(x.size());
          std::iota(x.begin(), x.end(), 1.0f);
          std::vector<float> y(batch * blocks * spatial * block, -1.0f);
          const MovementKernels& k = movement_kernels(isa);
          k.to_blocked(x.data(), y.data(), channels, spatial, block, 0, batch * blocks);
          for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
            const int64_t c = i / (spatial * block) % blocks * block + i % block;
            const int64_t image = i / (blocks * spatial * block), s = i / block % spatial;
            ASSERT_EQ(y[i], c < channels ? x[(image * channels + c) * spatial + s] : 0.0f);
          }
          k.from_blocked(y.data(), back.data(), channels, spatial, block, 0, batch * blocks);
          ASSERT_EQ(back, x);
        }
}

}  // namespace
}  // namespace redline::kernels
