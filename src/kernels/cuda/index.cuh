// SPDX-License-Identifier: Apache-2.0
// The integer type of indices, and the functions that sizes are expressions of (core/dim.h).
#ifndef REDLINE_INDEX
#define REDLINE_INDEX long long
#endif
typedef REDLINE_INDEX idx;

// An operand names what is not there.
__device__ inline void refuse(u32* refused) {
  if (refused) *(volatile u32*)refused = 1;
}

__device__ inline idx floordiv(idx a, idx b) {
  idx q = a / b;
  return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}
__device__ inline idx mod(idx a, idx b) { return a - b * floordiv(a, b); }
__device__ inline idx bcast(idx a, idx b) { return a == 1 ? b : a; }
// Of more than two.
template <class... Rest>
__device__ inline idx bcast(idx a, idx b, idx c, Rest... rest) {
  idx others[] = {b, c, idx(rest)...};
  for (idx other : others) a = a == 1 ? other : a;
  return a;
}
template <class... Rest>
__device__ inline idx min(idx a, idx b, idx c, Rest... rest) {
  idx others[] = {b, c, idx(rest)...};
  for (idx other : others) a = other < a ? other : a;
  return a;
}
template <class... Rest>
__device__ inline idx max(idx a, idx b, idx c, Rest... rest) {
  idx others[] = {b, c, idx(rest)...};
  for (idx other : others) a = other > a ? other : a;
  return a;
}
