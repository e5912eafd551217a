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

// The sums of 16x8 fragments.
template <class P>
struct FragmentSums {
  typedef WarpPlace<P> Place;
  static constexpr int kRows = Place::kWarpRows / 16;
  static constexpr int kColumns = Place::kWarpColumns / 8;
  static_assert(Place::kWarpColumns % 16 == 0 && Place::kWarpRows % 16 == 0, "tiles of 16x16");
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

// 16-bit floats on tensor cores.
template <class P>
struct MatrixCore : FragmentSums<P> {
  typedef FragmentSums<P> Sums;
  static constexpr int kSteps = P::kTileDepth / 16 / P::kWarpsDepth;
  static_assert(kSteps * P::kWarpsDepth * 16 == P::kTileDepth, "each group has the same depth");

  __device__ inline void add(const Chunk* a, const Chunk* b) {
    const auto& place = this->place;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      int depth = place.group * kSteps + step;  // in 16 elements
      u32 x[Sums::kRows][4];
#pragma unroll
      for (int i = 0; i < Sums::kRows; ++i) {
        int row = place.row + i * 16 + place.lane % 16;
        load_matrices<kStraight>(
            x[i], &a[chunk_place<P::kDepthChunks>(row, depth * 2 + place.lane / 16)]);
      }
#pragma unroll
      for (int j = 0; j < Sums::kColumns; j += 2) {
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
        for (int i = 0; i < Sums::kRows; ++i) {
          mma(this->sum[i][j], x[i], left, typename P::Element());
          mma(this->sum[i][j + 1], x[i], right, typename P::Element());
        }
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

// f32 on tensor cores, each number split in two or rounded to tf32. They cut sums off instead of
// rounding them, so the sums of a tile's depth are added to the rest in f32.
template <class P>
struct SplitCore : FragmentSums<P> {
  typedef FragmentSums<P> Sums;
  static constexpr int kSteps = P::kTileDepth / 8 / P::kWarpsDepth;
  static_assert(kSteps * P::kWarpsDepth * 8 == P::kTileDepth, "each group has the same depth");

  template <int CHUNKS>
  __device__ inline static float element(const Chunk* tile, int row, int column) {
    return ((const float*)&tile[chunk_place<CHUNKS>(row, column / 4)])[column % 4];
  }
  __device__ inline void add(const Chunk* a, const Chunk* b) {
    const auto& place = this->place;
    int g = place.lane / 4;
    int t = place.lane % 4;
    float part[Sums::kRows][Sums::kColumns][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      int depth = (place.group * kSteps + step) * 8 + t;
      float x[Sums::kRows][4];
#pragma unroll
      for (int i = 0; i < Sums::kRows; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          int row = place.row + i * 16 + g + e % 2 * 8;
          x[i][e] = element<P::kDepthChunks>(a, row, depth + e / 2 * 4);
        }
      }
#pragma unroll
      for (int j = 0; j < Sums::kColumns; ++j) {
        int column = place.column + j * 8 + g;
        float y[2];
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if constexpr (P::kColumnsTogether) {
            y[e] = element<P::kColumnChunks>(b, depth + e * 4, column);
          } else {
            y[e] = element<P::kDepthChunks>(b, column, depth + e * 4);
          }
        }
        typename FloatFragment<P::kTf32, 2>::type right(y);
#pragma unroll
        for (int i = 0; i < Sums::kRows; ++i) {
          mma_floats(part[i][j], typename FloatFragment<P::kTf32, 4>::type(x[i]), right);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < Sums::kRows; ++i) {
#pragma unroll
      for (int j = 0; j < Sums::kColumns; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) this->sum[i][j][e] += part[i][j][e];
      }
    }
  }
};
