// SPDX-License-Identifier: Apache-2.0
// Products of matrices, rows x depth times depth x columns, with the work behind them. P holds the
// numbers of one kernel, all known when it is compiled:
//   Element                                   of both operands
//   kTileRows, kTileColumns, kTileDepth       what a block makes, and takes at a time
//   kWarpsRows, kWarpsColumns, kWarpsDepth    how its warps share it
//   kStages                                   tiles in shared memory
//   kSplits, kCluster                         blocks that share a tile's depth; whether they add up
//                                             among themselves, or the results are added later
//   kMatrix, kTf32                            f32 on tensor cores, its numbers split in two or
//                                             rounded
//   kWarpgroups                               by warpgroups.cuh
//   kResident                                 blocks that share a multiprocessor's registers
//   kTrigger                                  when the next kernel may start (ProductTrigger)
//   kColumns, kDepth                          of the whole product
//   kColumnsTogether                          b lies row by row of depth, else column by column
//   kConstant                                 b may be read before the former kernel has ended
//   kLanes                                    columns that the tail takes at once
// and what follows from them (ProductNumbers).
template <class P>
struct ProductNumbers : P {
  static constexpr int kThreads = 32 * P::kWarpsRows * P::kWarpsColumns * P::kWarpsDepth;
  static constexpr int kChunkElements = 16 / (int)sizeof(typename P::Element);
  static constexpr int kDepthChunks = P::kTileDepth / kChunkElements;
  static constexpr int kColumnChunks = P::kTileColumns / kChunkElements;
  static constexpr int kChunksA = P::kTileRows * kDepthChunks;
  static constexpr int kChunksB = P::kTileColumns * kDepthChunks;
  static constexpr int kTiles = (P::kDepth + P::kTileDepth - 1) / P::kTileDepth;
  static constexpr int kPitch = P::kTileColumns + 8;  // of the sums in shared memory
  static constexpr int kTileBytes = P::kStages * (kChunksA + kChunksB) * 16;
  static constexpr bool kInRegisters = P::kWarpgroups && !P::kCluster;
  static constexpr int kSumBytes = kInRegisters ? 0 : P::kWarpsDepth * P::kTileRows * kPitch * 4;
  static constexpr int kBarrierByte = kTileBytes > kSumBytes ? kTileBytes : kSumBytes;
};

// When a block lets the next kernel start: always behind the wait for the former one, so that what
// waits for the next has that one behind it too.
enum ProductTrigger { kWaited, kLoaded, kMultiplied };
template <class N, int POINT>
__device__ inline void release_at() {
  if constexpr (N::kTrigger == POINT) release_next();
}

// Which tile of which product of a batch, and which part of its depth, a block makes.
struct ProductPlace {
  int row, column, batch, part;
};

// Tiles of 8 rows of tiles are made one column after another: they share what the L2 holds of b.
template <class P>
__device__ inline ProductPlace product_place(int rows, int tile, int z) {
  constexpr int kGroup = 8;
  constexpr int kAcross = (P::kColumns + P::kTileColumns - 1) / P::kTileColumns;
  int down = (rows + P::kTileRows - 1) / P::kTileRows;
  int group = tile / (kGroup * kAcross);
  int inside = tile - group * (kGroup * kAcross);
  int height = down - group * kGroup < kGroup ? down - group * kGroup : kGroup;
  int column = inside / height;
  return {(group * kGroup + inside - column * height) * P::kTileRows, column * P::kTileColumns,
          z / P::kSplits, z % P::kSplits};
}

template <class P>
__device__ inline int product_tiles_of(int rows) {
  constexpr int kAcross = (P::kColumns + P::kTileColumns - 1) / P::kTileColumns;
  return (rows + P::kTileRows - 1) / P::kTileRows * kAcross;
}
