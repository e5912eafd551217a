// SPDX-License-Identifier: Apache-2.0
// Neighbouring elements that are read and written at once, up to 16 bytes in one access.
template <class T, int N>
struct lanes_of {
  T element[N];
};
template <int BYTES>
struct access_of;
template <>
struct access_of<1> {
  typedef unsigned char type;
};
template <>
struct access_of<2> {
  typedef unsigned short type;
};
template <>
struct access_of<4> {
  typedef unsigned int type;
};
template <>
struct access_of<8> {
  struct __align__(8) type {
    unsigned int x, y;
  };
};
template <>
struct access_of<16> {
  struct __align__(16) type {
    unsigned int x, y, z, w;
  };
};

template <int N, class T>
__device__ inline lanes_of<T, N> load_lanes(const T* place) {
  constexpr int kBytes = N * sizeof(T) < 16 ? N * sizeof(T) : 16;
  typedef typename access_of<kBytes>::type Access;
  union {
    lanes_of<T, N> lanes;
    Access access[N * sizeof(T) / kBytes];
  } both;
#pragma unroll
  for (int i = 0; i < N * (int)sizeof(T) / kBytes; ++i) both.access[i] = ((const Access*)place)[i];
  return both.lanes;
}
template <int N, class T>
__device__ inline void store_lanes(T* place, const lanes_of<T, N>& lanes) {
  constexpr int kBytes = N * sizeof(T) < 16 ? N * sizeof(T) : 16;
  typedef typename access_of<kBytes>::type Access;
  union {
    lanes_of<T, N> lanes;
    Access access[N * sizeof(T) / kBytes];
  } both;
  both.lanes = lanes;
#pragma unroll
  for (int i = 0; i < N * (int)sizeof(T) / kBytes; ++i) ((Access*)place)[i] = both.access[i];
}
