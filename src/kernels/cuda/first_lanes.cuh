// SPDX-License-Identifier: Apache-2.0
// Lanes of which the first `count`, at least one, are there: what stands for the others is one that
// is.
template <int N, class T>
__device__ inline lanes_of<T, N> load_first_lanes(const T* place, idx count) {
  if (count >= N) return load_lanes<N>(place);
  lanes_of<T, N> lanes;
#pragma unroll
  for (int i = 0; i < N; ++i) lanes.element[i] = place[i < count ? i : 0];
  return lanes;
}
template <int N, class T>
__device__ inline void store_first_lanes(T* place, const lanes_of<T, N>& lanes, idx count) {
  if (count >= N) return store_lanes(place, lanes);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i < count) place[i] = lanes.element[i];
  }
}
