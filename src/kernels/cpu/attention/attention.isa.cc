// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention/attention.h"

#include "kernels/cpu/attention/turn.h"
#include "kernels/cpu/attention/visible.h"

// Both products run with the queries in the lanes: scores^T = k q^T and y^T = v^T scores^T. Keys
// and values are then read one element at a time, as they lie, and maxima, sums and the correction
// of earlier blocks are taken lane by lane. Only q, y and the mask are turned, which is little.
namespace redline::kernels::REDLINE_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;  // queries that go together
constexpr int kPanelsInUnit = 4;    // ... that share a block of keys while it is in cache
constexpr int64_t kUnitQueries = int64_t{kPanel} * kPanelsInUnit;
// The scores of one block and panel stay in L1.
constexpr int64_t kKeyBlock = 144;

// c[r][lane] (+)= sum over i of a(r, i) * b[i][lane] for rows of kPanel lanes. a(r, i) is a[r][i],
// or a[i][r] when Turned.
struct Tile {
  const float* a;
  int64_t pitch;
  const float* b;
  int64_t depth;
  float* c;
  bool accumulate;
};

template <int Rows, int Vectors, bool Turned>
void multiply_tile(const Tile& t) {
  F acc[Rows][Vectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v)
      acc[r][v] = t.accumulate ? load(t.c + r * kPanel + v * kLanes) : zero();
  const float* b = t.b;
  const float* a = t.a;
  for (int64_t i = 0; i < t.depth; ++i, b += kPanel, a += Turned ? t.pitch : 1) {
    F row[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) row[v] = load(b + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const F x = set1(a[Turned ? r : r * t.pitch]);
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(x, row[v], acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(t.c + r * kPanel + v * kLanes, acc[r][v]);
}

template <int Rows, int Vectors, bool Turned>
void multiply_rows(int64_t rows, const Tile& t) {
  if (rows == Rows) return multiply_tile<Rows, Vectors, Turned>(t);
  if constexpr (Rows > 1) multiply_rows<Rows - 1, Vectors, Turned>(rows, t);
}

template <int Vectors, bool Turned>
void multiply(int64_t rows, Tile t) {
  // Tiles of about equal height: a last tile of one or two rows would wait for its own sums.
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t i = 0, row = 0; i < tiles; ++i) {
    const int64_t next = rows * (i + 1) / tiles;
    Tile part = t;
    part.a += row * (Turned ? 1 : t.pitch);
    part.c += row * kPanel;
    multiply_rows<kTileRows, Vectors, Turned>(next - row, part);
    row = next;
  }
}

// What is kept of kPanel queries while the keys go by.
struct Panel {
  float* q;         // [size][kPanel], scaled
  float* y;         // [v_size][kPanel]
  float* max;       // [kPanel]
  float* sum;       // [kPanel]
  int32_t* begin;   // [kPanel] keys that a query sees: none beyond the queries
  int32_t* end;     // [kPanel]
  int64_t queries;  // that exist
  Range any, all;   // keys that some query sees, that all see
  bool started;
};

int64_t panel_elems(const AttentionArgs& a) { return (a.size + a.v_size + 4) * kPanel; }

int64_t scratch_elems(const AttentionArgs& a) {
  if (a.queries <= kFewQueries) return kRowGroup * (kRowKeys + a.v_size);
  return kPanelsInUnit * panel_elems(a) + 2 * kKeyBlock * kPanel +
         kKeyBlock * ((a.size + a.v_size + 15) / 16 * 16);
}

int64_t query_blocks(const AttentionArgs& a) {
  if (a.queries <= kFewQueries) return (a.queries + kRowGroup - 1) / kRowGroup;
  return (a.queries + kUnitQueries - 1) / kUnitQueries;
}

int64_t units(const AttentionArgs& a) { return a.batch * a.heads * query_blocks(a); }

Panel start_panel(const AttentionArgs& a, float* memory, int64_t batch, int64_t head,
                  int64_t query) {
  Panel p;
  p.q = memory;
  p.y = p.q + a.size * kPanel;
  p.max = p.y + a.v_size * kPanel;
  p.sum = p.max + kPanel;
  p.begin = reinterpret_cast<int32_t*>(p.sum + kPanel);
  p.end = p.begin + kPanel;
  p.queries = least(kPanel, a.queries - query);
  p.started = false;
  const float* from =
      a.q + batch * a.q_strides.batch + head * a.q_strides.head + query * a.q_strides.row;
  if (p.queries < kPanel) {
    for (int64_t i = 0; i < a.size * kPanel; i += kLanes) store(p.q + i, zero());
  }
  turn(from, a.q_strides.row, p.queries, a.size, p.q, kPanel);
  const F scale = set1(a.scale);
  for (int64_t i = 0; i < a.size * kPanel; i += kLanes) store(p.q + i, load(p.q + i) * scale);
  for (int v = 0; v < kPanel; v += kLanes) {
    store(p.max + v, set1(-kInf));
    store(p.sum + v, zero());
  }
  p.any = {a.keys, 0};
  p.all = {0, a.keys};
  for (int64_t i = 0; i < kPanel; ++i) {
    // Idle lanes repeat the last query.
    const Range r = visible(a, batch, query + least(i, p.queries - 1));
    p.begin[i] = static_cast<int32_t>(r.begin);
    p.end[i] = static_cast<int32_t>(r.end);
    if (r.begin < r.end) p.any = {least(p.any.begin, r.begin), most(p.any.end, r.end)};
    p.all = {most(p.all.begin, r.begin), least(p.all.end, r.end)};
  }
  return p;
}

struct Block {
  int64_t begin, end;  // keys
  const float* k;
  int64_t k_pitch;
  const float* v;
  int64_t v_pitch;
};

// Scores as they are before softmax, and their maximum for each lane.
template <bool Softcap, bool Mask, bool Hide>
F prepare_scores(const AttentionArgs& a, const Panel& p, const Block& block, float* scores,
                 const float* mask, int64_t mask_pitch, int lane) {
  const F cap = set1(a.softcap), inverse = set1(Softcap ? 1.0f / a.softcap : 0.0f);
  const I begin = iload(p.begin + lane), end = iload(p.end + lane);
  F max = load(p.max + lane);
  for (int64_t j = block.begin; j < block.end; ++j, scores += kPanel, mask += mask_pitch) {
    F s = load(scores + lane);
    if constexpr (Softcap) s = tanh(s * inverse) * cap;
    if constexpr (Mask) s += mask_pitch == 1 ? set1(*mask) : load(mask + lane);
    if constexpr (Hide) {
      const I key = iset1(static_cast<int32_t>(j));
      s = select(m_and(igt(end, key), m_not(igt(begin, key))), s, set1(-kInf));
    }
    if constexpr (Softcap || Mask || Hide) store(scores + lane, s);
    max = max_raw(s, max);  // a NaN comes back in the sum
  }
  return max;
}

F dispatch_scores(const AttentionArgs& a, const Panel& p, const Block& block, float* scores,
                  const float* mask, int64_t mask_pitch, bool hide, int lane) {
  const int which = (a.softcap > 0 ? 4 : 0) + (mask ? 2 : 0) + (hide ? 1 : 0);
#define REDLINE_CASE(n)                                                                        \
  case n:                                                                                      \
    return prepare_scores<((n)&4) != 0, ((n)&2) != 0, ((n)&1) != 0>(a, p, block, scores, mask, \
                                                                    mask_pitch, lane);
  switch (which) {
    REDLINE_CASE(0)
    REDLINE_CASE(1)
    REDLINE_CASE(2)
    REDLINE_CASE(3)
    REDLINE_CASE(4)
    REDLINE_CASE(5)
    REDLINE_CASE(6)
    default:
      REDLINE_CASE(7)
  }
#undef REDLINE_CASE
}

// Scores become exp(score - max); sums, and what earlier blocks left, follow the new maximum.
void exponentials(const AttentionArgs& a, Panel& p, int64_t keys, float* scores, F max, int lane) {
  // Where all is hidden so far, exp(-inf - 0) is 0.
  const F finite = select(eq(max, set1(-kInf)), zero(), max);
  F sum0 = zero(), sum1 = zero();
  int64_t j = 0;
  for (; j + 2 <= keys; j += 2) {
    float* s = scores + j * kPanel + lane;
    const F e0 = exp_not_positive(load(s) - finite);
    const F e1 = exp_not_positive(load(s + kPanel) - finite);
    store(s, e0);
    store(s + kPanel, e1);
    sum0 += e0;
    sum1 += e1;
  }
  if (j < keys) {
    float* s = scores + j * kPanel + lane;
    const F e = exp_not_positive(load(s) - finite);
    store(s, e);
    sum0 += e;
  }
  F sum = sum0 + sum1;
  if (p.started) {
    const F factor = exp_not_positive(load(p.max + lane) - finite);
    sum = fma(load(p.sum + lane), factor, sum);
    for (int64_t i = 0; i < a.v_size; ++i) {
      float* y = p.y + i * kPanel + lane;
      store(y, load(y) * factor);
    }
  }
  store(p.max + lane, max);
  store(p.sum + lane, sum);
}

template <int Vectors>
void attend(const AttentionArgs& a, Panel& p, const Block& block, const float* mask, float* scores,
            float* turned_mask) {
  const int64_t keys = block.end - block.begin;
  multiply<Vectors, false>(keys, {.a = block.k,
                                  .pitch = block.k_pitch,
                                  .b = p.q,
                                  .depth = a.size,
                                  .c = scores,
                                  .accumulate = false});
  int64_t mask_pitch = mask ? 1 : 0;
  if (mask && a.mask_strides.row != 0) {
    turn(mask + block.begin, a.mask_strides.row, p.queries, keys, turned_mask, kPanel);
    mask = turned_mask;
    mask_pitch = kPanel;
  } else if (mask) {
    mask += block.begin;  // one row for all queries
  }
  const bool hide = block.begin < p.all.begin || block.end > p.all.end;
  for (int lane = 0; lane < Vectors * kLanes; lane += kLanes) {
    const F max = dispatch_scores(a, p, block, scores, mask, mask_pitch, hide, lane);
    exponentials(a, p, keys, scores, max, lane);
  }
  multiply<Vectors, true>(a.v_size, {.a = block.v,
                                     .pitch = block.v_pitch,
                                     .b = scores,
                                     .depth = keys,
                                     .c = p.y,
                                     .accumulate = p.started});
  p.started = true;
}

void finish_panel(const AttentionArgs& a, Panel& p, float* to) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const F sum = load(p.sum + lane);
    const F inverse = select(eq(sum, zero()), zero(), set1(1.0f) / sum);
    for (int64_t i = 0; i < a.v_size; ++i) {
      float* y = p.y + i * kPanel + lane;
      store(y, p.started ? load(y) * inverse : zero());
    }
  }
  turn(p.y, kPanel, a.v_size, p.queries, to, a.y_strides.row);
}

// Rows next to each other: pitches that are powers of two would fall into few sets of the cache.
const float* gather_rows(const float* from, int64_t pitch, int64_t rows, int64_t size, float* to) {
  if (pitch == size) return from;
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(to + r * size, from + r * pitch, static_cast<size_t>(size) * sizeof(float));
  return to;
}

void attend_unit(const AttentionArgs& a, float* scratch, int64_t batch, int64_t head,
                 int64_t first) {
  Panel panels[kPanelsInUnit];
  int count = 0;
  Range any = {a.keys, 0};
  for (int64_t query = first; query < least(first + kUnitQueries, a.queries); query += kPanel) {
    Panel& p = panels[count++];
    p = start_panel(a, scratch, batch, head, query);
    scratch += panel_elems(a);
    if (p.any.begin < p.any.end) {
      any = {least(any.begin, p.any.begin), most(any.end, p.any.end)};
    }
  }
  float* scores = scratch;
  float* turned_mask = scores + kKeyBlock * kPanel;
  float* k_rows = turned_mask + kKeyBlock * kPanel;
  float* v_rows = k_rows + kKeyBlock * a.size;
  const int64_t kv_head = head / a.group;
  const float* k = a.k + batch * a.k_strides.batch + kv_head * a.k_strides.head;
  const float* v = a.v + batch * a.v_strides.batch + kv_head * a.v_strides.head;
  const int64_t keys = any.end - any.begin;
  const int64_t blocks = keys > 0 ? (keys + kKeyBlock - 1) / kKeyBlock : 0;
  Block block{.begin = any.begin, .end = any.begin};
  for (int64_t i = 0; i < blocks; ++i) {
    block.begin = block.end;
    block.end = any.begin + keys * (i + 1) / blocks;
    const int64_t rows = block.end - block.begin;
    block.k = gather_rows(k + block.begin * a.k_strides.row, a.k_strides.row, rows, a.size, k_rows);
    block.v =
        gather_rows(v + block.begin * a.v_strides.row, a.v_strides.row, rows, a.v_size, v_rows);
    block.k_pitch = a.size;
    block.v_pitch = a.v_size;
    for (int j = 0; j < count; ++j) {
      Panel& p = panels[j];
      if (block.end <= p.any.begin || block.begin >= p.any.end) continue;
      const float* mask = mask_row(a, batch, head, first + int64_t{j} * kPanel);
      if (p.queries > kLanes) {
        attend<2>(a, p, block, mask, scores, turned_mask);
      } else {
        attend<1>(a, p, block, mask, scores, turned_mask);
      }
    }
  }
  float* y = a.y + batch * a.y_strides.batch + head * a.y_strides.head + first * a.y_strides.row;
  for (int j = 0; j < count; ++j) {
    finish_panel(a, panels[j], y + int64_t{j} * kPanel * a.y_strides.row);
  }
}

void attention(const AttentionArgs& a, float* scratch, int64_t begin, int64_t end) {
  const int64_t blocks = query_blocks(a);
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t batch = unit / blocks / a.heads, head = unit / blocks % a.heads;
    if (a.queries <= kFewQueries) {
      attend_rows(a, scratch, batch, head, unit % blocks * kRowGroup);
    } else {
      attend_unit(a, scratch, batch, head, unit % blocks * kUnitQueries);
    }
  }
}

}  // namespace

extern const AttentionKernels kAttention = {
    .units = units, .scratch_elems = scratch_elems, .attention = attention};

}  // namespace redline::kernels::REDLINE_ISA
