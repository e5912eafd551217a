// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"

namespace redline::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<float> random_values(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-2, 2);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = value(random);
  return x;
}

struct Sizes {
  int64_t queries, keys, size, v_size;
};

// [batch][length][heads][size]: rows of a head are not next to each other.
HeadStrides flat(int64_t length, int64_t heads, int64_t size) {
  return {length * heads * size, size, heads * size};
}

// y of one query, in double.
std::vector<double> reference(const AttentionArgs& a, int64_t b, int64_t h, int64_t i) {
  auto row = [&](const float* p, const HeadStrides& s, int64_t head, int64_t r) {
    return p + b * s.batch + head * s.head + r * s.row;
  };
  int64_t valid = a.lengths ? a.lengths[b] : a.keys;
  int64_t at = a.lengths ? i + valid - a.queries : i + a.past;
  std::vector<double> y(static_cast<size_t>(a.v_size)), scores;
  double max = -kInf, sum = 0;
  for (int64_t j = 0; j < a.keys; ++j) {
    double s = 0;
    for (int64_t d = 0; d < a.size; ++d) {
      s += static_cast<double>(row(a.q, a.q_strides, h, i)[d]) *
           static_cast<double>(row(a.k, a.k_strides, h / a.group, j)[d]);
    }
    s *= static_cast<double>(a.scale);
    if (a.softcap > 0) s = std::tanh(s / a.softcap) * a.softcap;
    if (a.mask) s += static_cast<double>(row(a.mask, a.mask_strides, h, i)[j]);
    bool hidden = j >= valid || (a.right_window >= 0 && j - at > a.right_window) ||
                  (a.left_window >= 0 && at - j > a.left_window);
    scores.push_back(hidden ? -kInf : s);
    max = std::max(max, scores.back());
  }
  for (int64_t j = 0; j < a.keys && max > -kInf; ++j) {
    double p = std::exp(scores[static_cast<size_t>(j)] - max);
    sum += p;
    for (int64_t d = 0; d < a.v_size; ++d)
      y[static_cast<size_t>(d)] +=
          p * static_cast<double>(row(a.v, a.v_strides, h / a.group, j)[d]);
  }
  for (double& v : y) v = sum > 0 ? v / sum : 0;
  return y;
}

void check(AttentionArgs a, Isa isa) {
  const AttentionKernels& kernels = attention_kernels(isa);
  std::vector<float> y(static_cast<size_t>(a.batch * a.queries * a.heads * a.v_size), NAN);
  a.y = y.data();
  a.y_strides = flat(a.queries, a.heads, a.v_size);
  std::vector<float> scratch(static_cast<size_t>(kernels.scratch_elems(a)), NAN);
  int64_t units = kernels.units(a), cut = units / 2;
  kernels.attention(a, scratch.data(), cut, units);
  kernels.attention(a, scratch.data(), 0, cut);
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t i = 0; i < a.queries; ++i) {
        std::vector<double> want = reference(a, b, h, i);
        const float* got = a.y + b * a.y_strides.batch + h * a.y_strides.head + i * a.y_strides.row;
        for (int64_t d = 0; d < a.v_size; ++d)
          ASSERT_NEAR(got[d], want[static_cast<size_t>(d)], 2e-5)
              << isa_name(isa) << " queries " << a.queries << " keys " << a.keys << " size "
              << a.size << " v_size " << a.v_size << " at " << b << ", " << h << ", " << i;
      }
}

// Two batches, four heads in groups of two.
void check_sizes(const Sizes& s, AttentionArgs a, bool mask, HeadStrides mask_strides) {
  auto q = random_values(2 * s.queries * 4 * s.size, 1);
  auto k = random_values(2 * s.keys * 2 * s.size, 2);
  auto v = random_values(2 * s.keys * 2 * s.v_size, 3);
  auto numbers = random_values(2 * 4 * s.queries * s.keys, 4);
  for (size_t i = 0; i < numbers.size(); i += 3)
    numbers[i] = -std::numeric_limits<float>::infinity();
  a.q = q.data();
  a.k = k.data();
  a.v = v.data();
  a.batch = 2;
  a.heads = 4;
  a.group = 2;
  a.queries = s.queries;
  a.keys = s.keys;
  a.size = s.size;
  a.v_size = s.v_size;
  a.q_strides = flat(s.queries, 4, s.size);
  a.k_strides = flat(s.keys, 2, s.size);
  a.v_strides = flat(s.keys, 2, s.v_size);
  a.scale = 0.5f;
  if (mask) a.mask = numbers.data();
  a.mask_strides = mask_strides;
  for (Isa isa : supported_isas()) check(a, isa);
}

TEST(Attention, MatchesDoubleForManySizes) {
  for (int64_t queries : {1, 2, 3, 4, 7, 8, 9, 16, 17, 33, 70, 150})
    for (int64_t keys : {0, 1, 5, 16, 145, 300})
      check_sizes({queries, keys, keys % 3 == 0 ? 16 : 7, keys % 2 == 0 ? 32 : 13}, {}, false, {});
}

TEST(Attention, ManyKeysGoInBlocks) {
  for (int64_t queries : {1, 6, 40}) check_sizes({queries, 2500, 5, 70}, {}, false, {});
}

TEST(Attention, AddsMasksOfEachBroadcasting) {
  for (int64_t queries : {3, 21, 65}) {
    const int64_t keys = 150;
    check_sizes({queries, keys, 8, 8}, {}, true, {0, 0, 0});
    check_sizes({queries, keys, 8, 8}, {}, true, {keys, 0, 0});
    check_sizes({queries, keys, 8, 8}, {}, true, {0, 0, keys});
    check_sizes({queries, keys, 8, 8}, {}, true, {4 * queries * keys, queries * keys, keys});
  }
}

TEST(Attention, HidesByPositionAndLength) {
  const int64_t lengths[] = {0, 60};
  for (int64_t queries : {2, 21, 65})
    for (int64_t left : {-1, 0, 9})
      for (int64_t right : {-1, 0, 2}) {
        AttentionArgs a{.left_window = left, .right_window = right};
        check_sizes({queries, 90, 8, 8}, a, false, {});
        a.past = 25;
        check_sizes({queries, 90, 8, 8}, a, true, {0, 0, 90});
        a.past = 0;
        a.lengths = lengths;
        a.softcap = 1.5f;
        check_sizes({queries, 90, 8, 8}, a, false, {});
      }
}

TEST(Attention, NanStaysInItsRow) {
  for (Isa isa : supported_isas())
    for (int64_t queries : {2, 40}) {
      std::vector<float> q(static_cast<size_t>(queries * 4), 1.0f), k(8 * 4, 1.0f), v(8 * 4, 3.0f);
      std::vector<float> y(q.size());
      q[4] = NAN;  // the second query
      AttentionArgs a{.q = q.data(), .k = k.data(), .v = v.data(), .y = y.data()};
      a.q_strides = a.k_strides = a.v_strides = a.y_strides = {0, 0, 4};
      a.batch = a.heads = 1;
      a.queries = queries;
      a.keys = 8;
      a.size = a.v_size = 4;
      const AttentionKernels& kernels = attention_kernels(isa);
      std::vector<float> scratch(static_cast<size_t>(kernels.scratch_elems(a)));
      kernels.attention(a, scratch.data(), 0, kernels.units(a));
      for (size_t i = 0; i < y.size(); ++i) {
        if (i / 4 == 1) {
          EXPECT_TRUE(std::isnan(y[i]));
        } else {
          EXPECT_FLOAT_EQ(y[i], 3.0f);
        }
      }
    }
}

}  // namespace
}  // namespace redline::kernels
