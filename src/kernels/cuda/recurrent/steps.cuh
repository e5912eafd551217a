// SPDX-License-Identifier: Apache-2.0
// All steps of a recurrent op in one kernel. A block has kUnits hidden units of one direction, and
// their part of the recurrent weights for as long as it runs; grid.x blocks make a whole state,
// which they hand to each other (arch/tagged.cuh), so all blocks of the grid must run at once.
// grid.y is directions * groups of such blocks; a group takes kBatch sequences at a time, and then
// the ones kBatch * groups further on. P holds:
//   Element, Length                           of the operands and of the lengths
//   kKind                                     kRnn, kGru, kLstm
//   kHidden, kDirections, kUnits, kBatch
//   kWarps, kGroups                           of which kGroups share the depth of a product
//   kParts, kNarrow                           halves of a state (cores.cuh); whether they are f16
//   kRegisterDepth, kSharedDepth              where the weights are (cores.cuh)
//   kBatchFirst, kReverse, kLinear, kInputForget    the op's attributes
//   kConstant                                 the weights may be read before the former kernel ends
// F has the op's activations, f, g and h, each of a direction and a value.
enum RecurrentKind { kRnn, kGru, kLstm };

template <class P>
struct RecurrentNumbers : P {
  static constexpr int kThreads = 32 * P::kWarps;
  static constexpr int kGates = P::kKind == kRnn ? 1 : P::kKind == kGru ? 3 : 4;
  static constexpr int kRows = kGates * P::kUnits;
  static constexpr int kSpan = (P::kHidden + 1) / 2 * 2;  // of a sequence in the exchange
  static constexpr int kCells = (P::kUnits * P::kBatch + kThreads - 1) / kThreads;  // of a thread
  // A gru that resets the state before its last product needs two of them in a step.
  static constexpr bool kTwice = P::kKind == kGru && !P::kLinear;
  static constexpr bool kLastBias = P::kKind == kGru && P::kLinear;
};

// What absent is null. gates: x w + biases, f32 [direction, row of x, gate, hidden]; without the
// recurrent bias of the last gate where kLastBias.
template <class T, class L>
struct RecurrentOperands {
  const float* gates;
  const T* r;
  const T* bias;
  const L* lengths;
  const T *h, *c, *peepholes;
  T *y, *y_h, *y_c;
  u64* exchange;  // [direction and group, 2, kBatch, kSpan], all numbers 0
  int sequence, batch;
  u32* refused;
};

// Where a block is.
struct RecurrentPlace {
  int direction, first_unit;
  int first, count;  // sequences
};

// The cells of a thread.
template <class N, class F>
struct RecurrentCells {
  typedef typename N::Element T;
  typedef RecurrentOperands<T, typename N::Length> Operands;
  float h[N::kCells], c[N::kCells], gate[N::kCells][N::kGates];
  float update[N::kTwice ? N::kCells : 1];
  float last_bias[N::kLastBias ? N::kCells : 1];
  float peephole[N::kKind == kLstm ? N::kCells : 1][3];
  int length[N::kCells];

  __device__ inline static int index(int i) { return (int)threadIdx.x + i * N::kThreads; }
  // Units first, so that neighbours write neighbours.
  __device__ inline static int own_unit(int i) { return index(i) % N::kUnits; }
  __device__ inline static int own_sequence(int i) { return index(i) / N::kUnits; }
  __device__ inline static int unit(const RecurrentPlace& place, int i) {
    return place.first_unit + own_unit(i);
  }
  __device__ inline static bool active(const RecurrentPlace& place, int i) {
    return own_sequence(i) < place.count && unit(place, i) < N::kHidden;
  }
  __device__ inline static i64 state_at(const Operands& o, const RecurrentPlace& place, int i) {
    int b = place.first + own_sequence(i);
    i64 row = N::kBatchFirst ? (i64)b * N::kDirections + place.direction
                             : (i64)place.direction * o.batch + b;
    return row * N::kHidden + unit(place, i);
  }

  __device__ inline void start(const Operands& o, const RecurrentPlace& place) {
#pragma unroll
    for (int i = 0; i < N::kCells; ++i) {
      h[i] = c[i] = 0;
      length[i] = 0;
      if (!active(place, i)) continue;
      i64 at = state_at(o, place, i);
      if (o.h != nullptr) h[i] = widen(o.h[at]);
      if (o.c != nullptr) c[i] = widen(o.c[at]);
      length[i] = o.sequence;
      if (o.lengths != nullptr) {
        i64 given = (i64)widen(o.lengths[place.first + own_sequence(i)]);
        if (given < 0 || given > o.sequence) refuse(o.refused);
        length[i] = (int)(given < 0 ? 0 : given > o.sequence ? o.sequence : given);
      }
      if constexpr (N::kLastBias) {
        int rows = N::kGates * N::kHidden;
        int row = place.direction * 2 * rows + rows + 2 * N::kHidden + unit(place, i);
        last_bias[i] = o.bias != nullptr ? widen(o.bias[row]) : 0.0f;
      }
      if constexpr (N::kKind == kLstm) {
#pragma unroll
        for (int k = 0; k < 3; ++k) {
          int row = (place.direction * 3 + k) * N::kHidden + unit(place, i);
          peephole[i][k] = o.peepholes != nullptr ? widen(o.peepholes[row]) : 0.0f;
        }
      }
    }
  }

  // Which element of its sequence a step is about.
  __device__ inline int time_of(const RecurrentPlace& place, int i, int step) const {
    bool backward = N::kDirections == 2 ? place.direction == 1 : N::kReverse;
    return backward && step < length[i] ? length[i] - 1 - step : step;
  }

  __device__ inline void fetch(const Operands& o, const RecurrentPlace& place, int step) {
#pragma unroll
    for (int i = 0; i < N::kCells; ++i) {
      if (!active(place, i)) continue;
      int time = time_of(place, i, step);
      int b = place.first + own_sequence(i);
      i64 row = N::kBatchFirst ? (i64)b * o.sequence + time : (i64)time * o.batch + b;
      row += (i64)place.direction * o.sequence * o.batch;
      const float* from = o.gates + row * (N::kGates * N::kHidden) + unit(place, i);
#pragma unroll
      for (int k = 0; k < N::kGates; ++k) gate[i][k] = from[k * N::kHidden];
    }
  }

  template <class Core>
  __device__ inline static float recurrent(const Core& core, int i, int k) {
    float sum = 0;
#pragma unroll
    for (int group = 0; group < Core::kGroups; ++group) {
      int row = group * Core::kSumRows + k * N::kUnits + own_unit(i);
      sum += core.sums[row * Core::kPitch + own_sequence(i)];
    }
    return sum;
  }

  __device__ inline static void hand_on(u64* exchange, const RecurrentPlace& place, int i,
                                        float value, u32 number) {
    int at = unit(place, i);
    u64* to = exchange + (number & 1) * (N::kBatch * N::kSpan) + own_sequence(i) * N::kSpan + at;
    write_tagged(to, value, number);
    if (N::kHidden % 2 != 0 && at == N::kHidden - 1) write_tagged(to + 1, 0.0f, number);
  }

  // The first half of a step of two products.
  template <class Core>
  __device__ inline void reset(const Core& core, const RecurrentPlace& place, u64* exchange,
                               u32 number) {
#pragma unroll
    for (int i = 0; i < N::kCells; ++i) {
      if (!active(place, i)) continue;
      update[i] = F::f(place.direction, gate[i][0] + recurrent(core, i, 0));
      float keep = F::f(place.direction, gate[i][1] + recurrent(core, i, 1));
      hand_on(exchange, place, i, keep * h[i], number);
    }
  }

  template <class Core>
  __device__ inline void step_gru(const Core& core, int direction, int i) {
    float z, last = recurrent(core, i, 2);
    if constexpr (N::kTwice) {
      z = update[i];
    } else {
      z = F::f(direction, gate[i][0] + recurrent(core, i, 0));
      last = F::f(direction, gate[i][1] + recurrent(core, i, 1)) * (last + last_bias[i]);
    }
    h[i] = (1 - z) * F::g(direction, gate[i][2] + last) + z * h[i];
  }

  template <class Core>
  __device__ inline void step_lstm(const Core& core, int direction, int i) {
    float x[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) x[k] = gate[i][k] + recurrent(core, i, k);
    float in = F::f(direction, x[0] + peephole[i][0] * c[i]);
    float forget = N::kInputForget ? 1 - in : F::f(direction, x[2] + peephole[i][2] * c[i]);
    c[i] = forget * c[i] + in * F::g(direction, x[3]);
    float out = F::f(direction, x[1] + peephole[i][1] * c[i]);
    h[i] = out * F::h(direction, c[i]);
  }

  // The new state: to the others when they will want it (a number that is not 0), and out.
  template <class Core>
  __device__ inline void finish(const Operands& o, const Core& core, const RecurrentPlace& place,
                                int step, u64* exchange, u32 number) {
#pragma unroll
    for (int i = 0; i < N::kCells; ++i) {
      if (!active(place, i)) continue;
      bool inside = step < length[i];
      if (inside) {
        if constexpr (N::kKind == kRnn) {
          h[i] = F::f(place.direction, gate[i][0] + recurrent(core, i, 0));
        } else if constexpr (N::kKind == kGru) {
          step_gru(core, place.direction, i);
        } else {
          step_lstm(core, place.direction, i);
        }
      }
      if (number != 0) hand_on(exchange, place, i, h[i], number);
      if (o.y == nullptr) continue;
      int time = time_of(place, i, step);
      int b = place.first + own_sequence(i);
      i64 row = N::kBatchFirst ? ((i64)b * o.sequence + time) * N::kDirections + place.direction
                               : ((i64)time * N::kDirections + place.direction) * o.batch + b;
      narrow(&o.y[row * N::kHidden + unit(place, i)], inside ? h[i] : 0.0f);
    }
  }

  __device__ inline void end(const Operands& o, const RecurrentPlace& place) const {
#pragma unroll
    for (int i = 0; i < N::kCells; ++i) {
      if (!active(place, i)) continue;
      i64 at = state_at(o, place, i);
      if (o.y_h != nullptr) narrow(&o.y_h[at], h[i]);
      if (o.y_c != nullptr) narrow(&o.y_c[at], c[i]);
    }
  }
};

// The state before the first step, for the core.
template <class N, class Core, class Operands>
__device__ inline void read_first_state(Core& core, const Operands& o,
                                        const RecurrentPlace& place) {
  constexpr int kPairs = N::kSpan / 2;
  for (int i = (int)threadIdx.x; i < place.count * kPairs; i += N::kThreads) {
    int sequence = i / kPairs;
    int k = (i - sequence * kPairs) * 2;
    int b = place.first + sequence;
    i64 row = N::kBatchFirst ? (i64)b * N::kDirections + place.direction
                             : (i64)place.direction * o.batch + b;
    float x = 0, y = 0;
    if (o.h != nullptr) {
      x = widen(o.h[row * N::kHidden + k]);
      if (k + 1 < N::kHidden) y = widen(o.h[row * N::kHidden + k + 1]);
    }
    core.put(sequence, k, x, y);
  }
}

// What all blocks have handed on under this number.
template <class N, class Core>
__device__ inline void receive(Core& core, const u64* exchange, int count, u32 number) {
  constexpr int kPairs = N::kSpan / 2;
  constexpr int kMost = (N::kBatch * kPairs + N::kThreads - 1) / N::kThreads;
  constexpr int kAtOnce = kMost < 8 ? kMost : 8;
  const u64* from = exchange + (number & 1) * (N::kBatch * N::kSpan);
  int total = count * kPairs;
  // Lanes that had nothing to hand on shall not look while others of their warp have yet to do it.
  __syncwarp();
  for (int first = (int)threadIdx.x; first < total; first += N::kThreads * kAtOnce) {
    TaggedPair pair[kAtOnce];
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) pair[a] = {0, 0};
    for (bool missing = true; missing;) {
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        int i = first + a * N::kThreads;
        if (i < total && !pair[a].has(number)) pair[a].read(from + 2 * i);
      }
      missing = false;
#pragma unroll
      for (int a = 0; a < kAtOnce; ++a) {
        missing |= first + a * N::kThreads < total && !pair[a].has(number);
      }
      if (missing) let_others_write();
    }
#pragma unroll
    for (int a = 0; a < kAtOnce; ++a) {
      int i = first + a * N::kThreads;
      if (i >= total) break;
      int sequence = i / kPairs;
      core.put(sequence, (i - sequence * kPairs) * 2, bits_to_float((u32)pair[a].first),
               bits_to_float((u32)pair[a].second));
    }
  }
}

template <class P, class F>
__device__ inline void recurrent_steps(
    const RecurrentOperands<typename P::Element, typename P::Length>& o) {
  typedef RecurrentNumbers<P> N;
  typedef typename RecurrentCoreOf<N, typename P::Element>::type Core;
  extern __shared__ __align__(128) unsigned char shared[];
  RecurrentPlace place;
  place.direction = (int)blockIdx.y % N::kDirections;
  place.first_unit = (int)blockIdx.x * N::kUnits;
  int group = (int)blockIdx.y / N::kDirections;
  int groups = (int)gridDim.y / N::kDirections;
  u64* exchange = o.exchange + (i64)blockIdx.y * (2 * N::kBatch * N::kSpan);
  if constexpr (!N::kConstant) wait_for_former();
  Core core;
  core.start(o.r + (i64)place.direction * (N::kGates * N::kHidden) * N::kHidden, place.first_unit,
             shared);
  if constexpr (N::kConstant) wait_for_former();
  release_next();
  __syncthreads();
  REDLINE_STAMPED(redline_stamp(REDLINE_STAMP_LOADED);)
  // A number is written only by who has read all those of the one before, whose writers had read
  // all those of the one before that: two places are enough.
  u32 number = 0;
  for (int first = group * N::kBatch; first < o.batch; first += groups * N::kBatch) {
    place.first = first;
    place.count = o.batch - first < N::kBatch ? o.batch - first : N::kBatch;
    RecurrentCells<N, F> cells;
    cells.start(o, place);
#pragma unroll 1
    for (int step = 0; step < o.sequence; ++step) {
      cells.fetch(o, place, step);
      if (step == 0) {
        read_first_state<N>(core, o, place);
      } else {
        receive<N>(core, exchange, place.count, number);
      }
      __syncthreads();
      core.multiply();
      __syncthreads();
      if constexpr (N::kTwice) {
        cells.reset(core, place, exchange, ++number);
        receive<N>(core, exchange, place.count, number);
        __syncthreads();
        core.multiply();
        __syncthreads();
      }
      bool wanted = step + 1 < o.sequence;
      if (wanted) ++number;
      cells.finish(o, core, place, step, exchange, wanted ? number : 0);
    }
    cells.end(o, place);
  }
  REDLINE_STAMPED(redline_stamp(REDLINE_STAMP_MULTIPLIED);)
}
