// SPDX-License-Identifier: Apache-2.0
// Sums and products of all elements up to each one, along rows and columns of any stride. Elements
// are taken in a tree, always the same one. A `Scan` has a State, none(), of(value),
// merge(earlier, later) and value(state).
constexpr int kScanThreads = 256;

// Integers wrap. Floats are summed in double: a group of elements may leave the range of smaller
// ones though its sum with what is in front of it would not.
template <class W, class S>
struct plain_state {
  typedef S State;
  __device__ static State of(W v) { return (State)v; }
  __device__ static W value(State s) { return (W)s; }
};
template <class W, class S>
struct plain_sum : plain_state<W, S> {
  __device__ static S none() { return 0; }
  __device__ static S merge(S a, S b) { return a + b; }
};
template <class W>
using integer_sum = plain_sum<W, u64>;
template <class W>
using float_sum = plain_sum<W, double>;
template <class W>
struct integer_product : plain_state<W, u64> {
  __device__ static u64 none() { return 1; }
  __device__ static u64 merge(u64 a, u64 b) { return a * b; }
};

// Products of a few elements may be too large or too small for any float although all of them
// together are not: a state is part * 2^exponent, 1 <= |part| < 2 unless it is 0, infinite or NaN.
struct scaled {
  double part;
  i64 exponent;
};
__device__ inline double power_of_two(i64 exponent) {
  return bits_to_double((u64)(exponent + 1023) << 52);
}
template <class W>
struct float_product {
  typedef scaled State;
  __device__ static State none() { return {1, 0}; }
  __device__ static State of(W v) {
    double part = (double)v;
    i64 exponent = 0;
    u64 bits = double_to_bits(part) >> 52 & 2047;
    if (bits == 2047 || part == 0) return {part, 0};
    if (bits == 0) {
      part *= power_of_two(100);
      exponent = -100;
      bits = double_to_bits(part) >> 52 & 2047;
    }
    exponent += (i64)bits - 1023;
    const u64 fraction = double_to_bits(part) & ~(2047ull << 52);
    return {bits_to_double(fraction | 1023ull << 52), exponent};
  }
  __device__ static State merge(const State& a, const State& b) {
    State s = {a.part * b.part, a.exponent + b.exponent};
    if (s.part >= 2 || s.part <= -2) {
      s.part *= 0.5;
      ++s.exponent;
    }
    return s;
  }
  __device__ static W value(const State& s) {
    // In three steps, for one power of two does not reach from one end of the doubles to the other.
    const i64 e = s.exponent < -2400 ? -2400 : s.exponent > 2400 ? 2400 : s.exponent;
    const double third = power_of_two(e / 3);
    return (W)(s.part * third * third * power_of_two(e - e / 3 * 2));
  }
};

// The state of another lane: `by` before this one, or the last.
template <class S>
__device__ inline S shuffle_up(const S& state, int by) {
  return shuffled(state, [=](u32 word) { return __shfl_up_sync(0xffffffffu, word, by); });
}
template <class S>
__device__ inline S last_lane(const S& state) {
  return shuffled(state, [](u32 word) { return __shfl_sync(0xffffffffu, word, 31); });
}

// A warp or a block of WIDTH threads takes elements 0, ..., count - 1 behind `carry`; store(i,
// state) gets what stands for element i: with it, or what is in front of it. Returns the state of
// all. A warp's elements are four groups of 32, so that its accesses are whole lines.
template <class Scan, int WIDTH, bool EXCLUSIVE, class Fetch, class Store>
__device__ inline typename Scan::State scan_row(i64 count, typename Scan::State carry, Fetch fetch,
                                                Store store) {
  typedef typename Scan::State State;
  constexpr int kGroups = 4, kOfWarp = 32 * kGroups, kWarps = WIDTH / 32;
  __shared__ __align__(16) char shared_bytes[2][kWarps * 16];
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x % WIDTH / 32;
  int side = 0;
  for (i64 first = 0; first < count; first += WIDTH * kGroups, side ^= 1) {
    const i64 begin = first + warp * kOfWarp + lane;
    State with[kGroups], before[kGroups];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      with[g] = Scan::none();
      if (begin + g * 32 < count) with[g] = fetch(begin + g * 32);
    }
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        const State earlier = shuffle_up(with[g], by);
        if (lane >= by) with[g] = Scan::merge(earlier, with[g]);
      }
    }
    State front = Scan::none();
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const State all = last_lane(with[g]);
      before[g] = shuffle_up(with[g], 1);
      before[g] = lane == 0 ? front : Scan::merge(front, before[g]);
      with[g] = Scan::merge(front, with[g]);
      front = Scan::merge(front, all);
    }
    State ahead = carry;
    if constexpr (kWarps > 1) {
      State* shared = (State*)shared_bytes[side];
      if (lane == 0) shared[warp] = front;
      __syncthreads();
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        if (w == warp) ahead = carry;
        carry = Scan::merge(carry, shared[w]);
      }
    } else {
      carry = Scan::merge(carry, front);
    }
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const i64 i = begin + g * 32;
      if (i < count) store(i, Scan::merge(ahead, EXCLUSIVE ? before[g] : with[g]));
    }
  }
  return carry;
}

// One thread takes them one after another.
template <class Scan, bool EXCLUSIVE, class Fetch, class Store>
__device__ inline typename Scan::State scan_column(i64 count, typename Scan::State state,
                                                   Fetch fetch, Store store) {
  typedef typename Scan::State State;
#pragma unroll 4
  for (i64 i = 0; i < count; ++i) {
    const State with = Scan::merge(state, fetch(i));
    store(i, EXCLUSIVE ? state : with);
    state = with;
  }
  return state;
}
