// SPDX-License-Identifier: Apache-2.0
// What a block's warps make of two tiles. P: the product's numbers (product.cuh). A warp makes
// kWarpRows x kWarpColumns sums of the part of the depth that its group has.
template <class P>
struct WarpPlace {
  static constexpr int kWarpRows = P::kTileRows / P::kWarpsRows;
  static constexpr int kWarpColumns = P::kTileColumns / P::kWarpsColumns;
  int lane, row, column, group;
  __device__ inline WarpPlace() {
    int warp = (int)threadIdx.x / 32;
    lane = (int)threadIdx.x % 32;
    column = warp % P::kWarpsColumns * kWarpColumns;
    row = warp / P::kWarpsColumns % P::kWarpsRows * kWarpRows;
    group = warp / (P::kWarpsColumns * P::kWarpsRows);
  }
};

// 16-bit floats on tensor cores.
template <class P>
struct MatrixCore {
  typedef WarpPlace<P> Place;
  static constexpr int kRows = Place::kWarpRows / 16;
  static constexpr int kColumns = Place::kWarpColumns / 8;
  static constexpr int kSteps = P::kTileDepth / 16 / P::kWarpsDepth;
  static_assert(Place::kWarpColumns % 16 == 0 && Place::kWarpRows % 16 == 0, "tiles of 16x16");
  static_assert(kSteps * P::kWarpsDepth * 16 == P::kTileDepth, "each group has the same depth");
  Place place;
  float sum[kRows][kColumns][4];

  __device__ inline void clear() {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[i][j][e] = 0;
      }
    }
  }

  __device__ inline void add(const Chunk* a, const Chunk* b) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      int depth = place.group * kSteps + step;  // in 16 elements
      u32 x[kRows][4];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        int row = place.row + i * 16 + place.lane % 16;
        load_matrices<kStraight>(
            x[i], &a[chunk_place<P::kDepthChunks>(row, depth * 2 + place.lane / 16)]);
      }
#pragma unroll
      for (int j = 0; j < kColumns; j += 2) {
        int column = place.column + j * 8;
        u32 y[4];
        if constexpr (P::kColumnsTogether) {
          int row = depth * 16 + place.lane % 16;
          load_matrices<kTransposed>(
              y, &b[chunk_place<P::kColumnChunks>(row, column / 8 + place.lane / 16)]);
        } else {
          int row = column + place.lane % 8 + place.lane / 16 * 8;
          load_matrices<kStraight>(
              y, &b[chunk_place<P::kDepthChunks>(row, depth * 2 + place.lane / 8 % 2)]);
        }
        u32 left[2] = {y[0], y[1]};
        u32 right[2] = {y[2], y[3]};
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
          mma(sum[i][j], x[i], left, typename P::Element());
          mma(sum[i][j + 1], x[i], right, typename P::Element());
        }
      }
    }
  }

  __device__ inline void store(float* sums) const {
    float* mine = sums + (place.group * P::kTileRows + place.row + place.lane / 4) * P::kPitch +
                  place.column + place.lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        lanes_of<float, 2> upper = {{sum[i][j][0], sum[i][j][1]}};
        lanes_of<float, 2> lower = {{sum[i][j][2], sum[i][j][3]}};
        store_lanes(mine + i * 16 * P::kPitch + j * 8, upper);
        store_lanes(mine + (i * 16 + 8) * P::kPitch + j * 8, lower);
      }
    }
  }
};

// f32, exactly, by each thread's own multiplications. Lanes are 4 x 8 over the warp's part.
template <class P>
struct ScalarCore {
  typedef WarpPlace<P> Place;
  static constexpr int kRows = Place::kWarpRows / 4;
  static constexpr int kColumns = Place::kWarpColumns / 8;
  static constexpr int kSteps = P::kTileDepth / 4 / P::kWarpsDepth;
  static_assert(kRows * 4 == Place::kWarpRows && Place::kWarpColumns % 32 == 0, "4 x 32 lanes");
  static_assert(kSteps * P::kWarpsDepth * 4 == P::kTileDepth, "each group has the same depth");
  Place place;
  float sum[kRows][kColumns];

  __device__ inline void clear() {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sum[i][j] = 0;
    }
  }
  __device__ inline int row(int i) const { return place.row + place.lane / 8 + i * 4; }
  __device__ inline int column(int j) const {
    if constexpr (P::kColumnsTogether) {
      return place.column + j / 4 * 32 + place.lane % 8 * 4 + j % 4;
    }
    return place.column + place.lane % 8 + j * 8;
  }

  __device__ inline void add(const Chunk* a, const Chunk* b) {
#pragma unroll 1
    for (int step = 0; step < kSteps; ++step) {
      int depth = place.group * kSteps + step;  // in 4 elements
      lanes_of<float, 4> x[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        x[i] = load_lanes<4>((const float*)&a[chunk_place<P::kDepthChunks>(row(i), depth)]);
      }
      if constexpr (P::kColumnsTogether) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#pragma unroll
          for (int j = 0; j < kColumns; j += 4) {
            auto y = load_lanes<4>(
                (const float*)&b[chunk_place<P::kColumnChunks>(depth * 4 + k, column(j) / 4)]);
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
#pragma unroll
              for (int e = 0; e < 4; ++e) {
                sum[i][j + e] = fmaf(x[i].element[k], y.element[e], sum[i][j + e]);
              }
            }
          }
        }
      } else {
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          auto y = load_lanes<4>((const float*)&b[chunk_place<P::kDepthChunks>(column(j), depth)]);
#pragma unroll
          for (int i = 0; i < kRows; ++i) {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
              sum[i][j] = fmaf(x[i].element[k], y.element[k], sum[i][j]);
            }
          }
        }
      }
    }
  }

  __device__ inline void store(float* sums) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) {
        sums[(place.group * P::kTileRows + row(i)) * P::kPitch + column(j)] = sum[i][j];
      }
    }
  }
};

template <class P, class T>
struct CoreOf {
  typedef MatrixCore<P> type;
};
template <class P>
struct CoreOf<P, float> {
  typedef ScalarCore<P> type;
};
