// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention/visible.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

// scores[r][j] = scale * q[r] . k[j] for Rows queries and the keys [begin, end).
template <int Rows, int Keys>
REDLINE_INLINE void dots(const float* q, int64_t q_pitch, const float* k, int64_t k_pitch,
                         int64_t size, float scale, float* scores) {
  F acc[Rows][Keys];
  for (int r = 0; r < Rows; ++r)
    for (int j = 0; j < Keys; ++j) acc[r][j] = zero();
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    F x[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) x[r] = load(q + r * q_pitch + i);
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) {
      const F y = load(k + j * k_pitch + i);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) acc[r][j] = fma(x[r], y, acc[r][j]);
    }
  }
  if (i < size) {
    const int left = static_cast<int>(size - i);
    for (int j = 0; j < Keys; ++j)
      for (int r = 0; r < Rows; ++r)
        acc[r][j] =
            fma(load_n(q + r * q_pitch + i, left), load_n(k + j * k_pitch + i, left), acc[r][j]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) scores[r * kRowKeys + j] = reduce_add(acc[r][j]) * scale;
}

// y[r] += sum over j of p[r][j] * v[j], for Vectors vectors of columns; the last may be short.
template <int Rows, int Vectors>
REDLINE_INLINE void add_values(const float* p, const float* v, int64_t pitch, int64_t keys,
                               float* y, int64_t y_pitch, int last) {
  F acc[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Vectors; ++i)
      acc[r][i] = load_n(y + r * y_pitch + i * kLanes, i + 1 < Vectors ? kLanes : last);
  for (int64_t j = 0; j < keys; ++j) {
    F x[Vectors];
#pragma GCC unroll 4
    for (int i = 0; i < Vectors; ++i)
      x[i] = i + 1 < Vectors || last == kLanes ? load(v + j * pitch + i * kLanes)
                                               : load_n(v + j * pitch + i * kLanes, last);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const F weight = set1(p[r * kRowKeys + j]);
#pragma GCC unroll 4
      for (int i = 0; i < Vectors; ++i) acc[r][i] = fma(weight, x[i], acc[r][i]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Vectors; ++i)
      store_n(y + r * y_pitch + i * kLanes, acc[r][i], i + 1 < Vectors ? kLanes : last);
}

// row[j] = f(row[j], j, lanes) a vector at a time.
template <class Map>
REDLINE_INLINE void map_row(float* row, int64_t n, Map f) {
  for (int64_t j = 0; j < n; j += kLanes) {
    const int lanes = static_cast<int>(least(n - j, kLanes));
    store_n(row + j, f(load_n(row + j, lanes), j, lanes), lanes);
  }
}

// What is kept of one query while blocks of keys go by.
struct RowState {
  float max = -kInf, sum = 0;
};

// Scores of the keys from `begin` on become exp(score - max), and y follows the new maximum.
void softmax_row(const AttentionArgs& a, RowState& state, const Range& range, int64_t begin,
                 int64_t keys, const float* mask, float* scores, float* y) {
  if (a.softcap > 0) {
    const F cap = set1(a.softcap), inverse = set1(1.0f / a.softcap);
    map_row(scores, keys, [&](F s, int64_t, int) { return tanh(s * inverse) * cap; });
  }
  if (mask) {
    map_row(scores, keys, [&](F s, int64_t j, int n) { return s + load_n(mask + begin + j, n); });
  }
  for (int64_t j = 0; j < range.begin - begin && j < keys; ++j) scores[j] = -kInf;
  for (int64_t j = most(range.end - begin, 0); j < keys; ++j) scores[j] = -kInf;
  const float top = max_of(scores, keys);
  const float next = state.max != state.max || top <= state.max ? state.max : top;
  // Where all is hidden so far, exp(-inf - 0) is 0.
  const F finite = set1(next == -kInf ? 0 : next);
  F total = zero();
  map_row(scores, keys, [&](F s, int64_t, int n) {
    const F e = exp_not_positive(s - finite);
    alignas(64) float kept[kLanes];
    store(kept, e);
    total += load_n(kept, n);
    return e;
  });
  alignas(64) float factor[kLanes];
  store(factor, exp_not_positive(set1(state.max) - finite));
  state.sum = state.sum * factor[0] + reduce_add(total);
  map_row(y, a.v_size, [&](F v, int64_t, int) { return v * set1(factor[0]); });
  state.max = next;
}

// Up to four queries: the keys are in the lanes, and values stay as they lie.
template <int Rows>
void attend_group(const AttentionArgs& a, float* scratch, int64_t batch, int64_t head,
                  int64_t query) {
  float* scores = scratch;
  float* y = scratch + kRowGroup * kRowKeys;
  const int64_t y_pitch = a.v_size;
  const int64_t kv_head = head / a.group;
  const float* q =
      a.q + batch * a.q_strides.batch + head * a.q_strides.head + query * a.q_strides.row;
  const float* k = a.k + batch * a.k_strides.batch + kv_head * a.k_strides.head;
  const float* v = a.v + batch * a.v_strides.batch + kv_head * a.v_strides.head;
  for (int64_t i = 0; i < Rows * y_pitch; ++i) y[i] = 0;
  RowState states[Rows];
  Range ranges[Rows];
  Range any = {a.keys, 0};
  for (int r = 0; r < Rows; ++r) {
    const Range range = visible(a, batch, query + r);
    ranges[r] = range;
    if (range.begin < range.end) any = {least(any.begin, range.begin), most(any.end, range.end)};
  }
  for (int64_t begin = any.begin; begin < any.end; begin += kRowKeys) {
    const int64_t keys = least(kRowKeys, any.end - begin);
    const float* rows = k + begin * a.k_strides.row;
    int64_t j = 0;
    for (; j + 4 <= keys; j += 4)
      dots<Rows, 4>(q, a.q_strides.row, rows + j * a.k_strides.row, a.k_strides.row, a.size,
                    a.scale, scores + j);
    for (; j < keys; ++j)
      dots<Rows, 1>(q, a.q_strides.row, rows + j * a.k_strides.row, a.k_strides.row, a.size,
                    a.scale, scores + j);
    for (int r = 0; r < Rows; ++r)
      softmax_row(a, states[r], ranges[r], begin, keys, mask_row(a, batch, head, query + r),
                  scores + r * kRowKeys, y + r * y_pitch);
    const float* values = v + begin * a.v_strides.row;
    int64_t c = 0;
    for (; c + 4 * kLanes <= a.v_size; c += 4 * kLanes)
      add_values<Rows, 4>(scores, values + c, a.v_strides.row, keys, y + c, y_pitch, kLanes);
    for (; c < a.v_size; c += kLanes)
      add_values<Rows, 1>(scores, values + c, a.v_strides.row, keys, y + c, y_pitch,
                          static_cast<int>(least(a.v_size - c, kLanes)));
  }
  float* to = a.y + batch * a.y_strides.batch + head * a.y_strides.head + query * a.y_strides.row;
  for (int r = 0; r < Rows; ++r) {
    const float scale = states[r].sum == 0 ? 0 : 1 / states[r].sum;
    for (int64_t i = 0; i < a.v_size; ++i) to[r * a.y_strides.row + i] = y[r * y_pitch + i] * scale;
  }
}

}  // namespace

void attend_rows(const AttentionArgs& a, float* scratch, int64_t batch, int64_t head,
                 int64_t query) {
  switch (a.queries - query) {
    case 1:
      return attend_group<1>(a, scratch, batch, head, query);
    case 2:
      return attend_group<2>(a, scratch, batch, head, query);
    case 3:
      return attend_group<3>(a, scratch, batch, head, query);
    default:
      return attend_group<kRowGroup>(a, scratch, batch, head, query);
  }
}

}  // namespace redline::kernels::REDLINE_ISA
