// SPDX-License-Identifier: Apache-2.0
// All steps of one sequence in one direction by one block of 256 threads: of any type and size,
// with the weights read anew in each step. P holds:
//   Element, Compute, Length                  of the operands, what is computed in, of the lengths
//   kKind, kDirections, kBatchFirst, kReverse, kLinear, kInputForget    as in steps.cuh
// F has the op's activations, f, g and h, each of a direction and a value.
enum SequenceKind { kRnnSequence, kGruSequence, kLstmSequence };

// What absent is null. `space`: kSpace * hidden numbers for each block.
template <class P>
struct Sequences {
  typedef typename P::Element T;
  typedef typename P::Compute C;
  static constexpr int kGates = P::kKind == kRnnSequence ? 1 : P::kKind == kGruSequence ? 3 : 4;
  static constexpr int kSpace = 2 * kGates + 3;
  const T *x, *w, *r, *bias;
  const typename P::Length* lengths;
  const T *h, *c, *peepholes;
  T *y, *y_h, *y_c;
  C* space;
  i64 steps, batch, input, hidden;
};

// out[row] = bias[row] + sum over k of m[row, k] at(k), a warp for each row.
template <class C, class T, class At>
__device__ inline void multiply_rows(const T* m, At at, const T* bias, i64 rows, i64 depth,
                                     C* out) {
  const int lane = (int)threadIdx.x % 32;
  for (i64 row = (int)threadIdx.x / 32; row < rows; row += 8) {
    C sum = 0;
    for (i64 k = lane; k < depth; k += 32) sum += (C)widen(m[row * depth + k]) * at(k);
    sum = warp_merge<32>(sum, [](C a, C b) { return a + b; });
    if (lane == 0) out[row] = bias != nullptr ? sum + (C)widen(bias[row]) : sum;
  }
}

template <class P, class F>
__device__ inline void run_sequence(const Sequences<P>& o, u32* refused) {
  typedef Sequences<P> S;
  typedef typename S::T T;
  typedef typename S::C C;
  constexpr bool kTwice = P::kKind == kGruSequence && !P::kLinear;
  const int t = (int)threadIdx.x;
  const i64 n = o.hidden, rows = S::kGates * n;
  const i64 direction = blockIdx.x / o.batch, b = blockIdx.x % o.batch;
  const int d = (int)direction;
  const T* const w = o.w + direction * rows * o.input;
  const T* const r = o.r + direction * rows * n;
  const T* const bias = o.bias == nullptr ? nullptr : o.bias + direction * 2 * rows;
  const T* const r_bias = bias == nullptr ? nullptr : bias + rows;
  const T* const peepholes = o.peepholes == nullptr ? nullptr : o.peepholes + direction * 3 * n;
  const i64 state = (P::kBatchFirst ? b * P::kDirections + direction : direction * o.batch + b) * n;
  C* const h = o.space + blockIdx.x * (S::kSpace * n);
  C *const c = h + n, *const reset = c + n, *const from_x = reset + n,
           *const from_h = from_x + rows;
  i64 length = o.steps;
  if (o.lengths != nullptr) {
    length = (i64)widen(o.lengths[b]);
    if (length < 0 || length > o.steps) {
      refuse(refused);
      return;
    }
  }
  for (i64 i = t; i < n; i += 256) {
    h[i] = o.h != nullptr ? (C)widen(o.h[state + i]) : C(0);
    c[i] = o.c != nullptr ? (C)widen(o.c[state + i]) : C(0);
  }
  auto result_at = [&](i64 time) {
    return (P::kBatchFirst ? (b * o.steps + time) * P::kDirections + direction
                           : (time * P::kDirections + direction) * o.batch + b) *
           n;
  };
  auto sum = [&](int gate, i64 i) { return from_x[gate * n + i] + from_h[gate * n + i]; };
  auto peephole = [&](int which, i64 i) {
    return peepholes != nullptr ? (C)widen(peepholes[which * n + i]) : C(0);
  };
  const bool backward = P::kDirections == 2 ? direction == 1 : P::kReverse;
  __syncthreads();
  for (i64 step = 0; step < length; ++step) {
    const i64 time = backward ? length - 1 - step : step;
    const T* const x = o.x + (P::kBatchFirst ? b * o.steps + time : time * o.batch + b) * o.input;
    multiply_rows(
        w, [&](i64 k) { return (C)widen(x[k]); }, bias, rows, o.input, from_x);
    multiply_rows(
        r, [&](i64 k) { return h[k]; }, r_bias, kTwice ? 2 * n : rows, n, from_h);
    __syncthreads();
    if constexpr (kTwice) {
      for (i64 i = t; i < n; i += 256) reset[i] = F::f(d, sum(1, i)) * h[i];
      __syncthreads();
      multiply_rows(
          r + 2 * n * n, [&](i64 k) { return reset[k]; },
          r_bias == nullptr ? nullptr : r_bias + 2 * n, n, n, from_h + 2 * n);
      __syncthreads();
    }
    const i64 to = result_at(time);
    for (i64 i = t; i < n; i += 256) {
      C value;
      if constexpr (P::kKind == kRnnSequence) {
        value = F::f(d, sum(0, i));
      } else if constexpr (P::kKind == kGruSequence) {
        C last = from_h[2 * n + i];
        if constexpr (P::kLinear) last *= F::f(d, sum(1, i));
        const C update = F::f(d, sum(0, i));
        value = (1 - update) * F::g(d, from_x[2 * n + i] + last) + update * h[i];
      } else {
        const C in = F::f(d, sum(0, i) + peephole(0, i) * c[i]);
        const C forget = P::kInputForget ? 1 - in : F::f(d, sum(2, i) + peephole(2, i) * c[i]);
        c[i] = forget * c[i] + in * F::g(d, sum(3, i));
        value = F::f(d, sum(1, i) + peephole(1, i) * c[i]) * F::h(d, c[i]);
      }
      h[i] = value;
      if (o.y != nullptr) narrow(&o.y[to + i], value);
    }
    __syncthreads();
  }
  for (i64 time = length; o.y != nullptr && time < o.steps; ++time) {
    const i64 to = result_at(time);
    for (i64 i = t; i < n; i += 256) narrow(&o.y[to + i], C(0));
  }
  for (i64 i = t; i < n; i += 256) {
    if (o.y_h != nullptr) narrow(&o.y_h[state + i], h[i]);
    if (o.y_c != nullptr) narrow(&o.y_c[state + i], c[i]);
  }
}
