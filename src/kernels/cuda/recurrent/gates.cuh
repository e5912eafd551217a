// SPDX-License-Identifier: Apache-2.0
// The tail of the product x w: adds the biases and writes the gates. value: LANES of neighbouring
// columns of a row.
template <class T, int COLUMNS, int LANES, bool LAST_BIAS>
struct GatesTail {
  float* gates;
  const T* bias;  // [directions, 2, COLUMNS], or null
  int rows;
  struct Operands {};
  __device__ inline void operator()(int direction, int row, int column,
                                    float (&value)[LANES]) const {
    lanes_of<float, LANES> lanes;
#pragma unroll
    for (int i = 0; i < LANES; ++i) {
      lanes.element[i] = value[i];
      if (bias == nullptr) continue;
      const T* own = bias + direction * 2 * COLUMNS + column + i;
      bool both = !LAST_BIAS || column + i < COLUMNS / 3 * 2;
      lanes.element[i] += both ? widen(own[0]) + widen(own[COLUMNS]) : widen(own[0]);
    }
    store_lanes(gates + ((i64)direction * rows + row) * COLUMNS + column, lanes);
  }
};

// Numbers that no step has (arch/tagged.cuh), before the steps; by all threads of the grid.
__device__ inline void clear_exchange(u64* exchange, i64 count) {
  i64 blocks = (i64)gridDim.x * gridDim.z;
  i64 block = (i64)blockIdx.x + (i64)gridDim.x * blockIdx.z;
  for (i64 i = block * blockDim.x + threadIdx.x; i < count; i += blocks * blockDim.x) {
    exchange[i] = 0;
  }
}
