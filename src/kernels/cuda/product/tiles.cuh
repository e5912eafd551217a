// SPDX-License-Identifier: Apache-2.0
// Tiles of operands: how they get to shared memory.

// One chunk from a source. VECTOR: as many elements lie together, aligned to their bytes.
template <int VECTOR, class Source>
__device__ inline void load_chunk(const Source& source, const typename Source::Row& row, int column,
                                  Chunk* to) {
  typedef typename Source::Element T;
  constexpr int kElements = 16 / sizeof(T);
  constexpr int kBytes = VECTOR * sizeof(T);
  if constexpr (kBytes >= 4) {
#pragma unroll
    for (int i = 0; i < kElements; i += VECTOR) {
      const T* from = source.base;
      bool valid = source.at(row, column + i, from);
      copy_async<kBytes>((T*)to + i, from, valid);
    }
  } else {
    union {
      T element[kElements];
      Chunk chunk;
    } both;
    both.chunk = {{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      const T* from = nullptr;
      if (source.at(row, column + i, from)) both.element[i] = *from;
    }
    *to = both.chunk;
  }
}

// Tiles of ROWS rows of a source, one after another along its columns.
template <int ROWS, int CHUNKS, int VECTOR, int THREADS, class Source>
struct AlongRows {
  typedef typename Source::Element T;
  static constexpr bool kBulk = false;
  static constexpr int kChunks = ROWS * CHUNKS;
  static constexpr int kTurns = (kChunks + THREADS - 1) / THREADS;
  Source source;
  typename Source::Row rows[kTurns];
  __device__ inline void start(int first_row) {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      rows[turn] = source.row(first_row + ((int)threadIdx.x + turn * THREADS) / CHUNKS);
    }
  }
  __device__ inline void load(Chunk* tile, int number) const {
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      int index = (int)threadIdx.x + turn * THREADS;
      if (kChunks % THREADS != 0 && index >= kChunks) break;
      int chunk = index % CHUNKS;
      int column = (number * CHUNKS + chunk) * (16 / (int)sizeof(T));
      load_chunk<VECTOR>(source, rows[turn], column,
                         &tile[chunk_place<CHUNKS>(index / CHUNKS, chunk)]);
    }
  }
};

// Tiles of CHUNKS chunks of columns, one after another along its rows.
template <int ROWS, int CHUNKS, int VECTOR, int THREADS, class Source>
struct AlongColumns {
  typedef typename Source::Element T;
  static constexpr int kChunks = ROWS * CHUNKS;
  Source source;
  int first_column;
  __device__ inline void start(int column) { first_column = column; }
  __device__ inline void load(Chunk* tile, int number) const {
#pragma unroll
    for (int first = 0; first < kChunks; first += THREADS) {
      int index = (int)threadIdx.x + first;
      if (kChunks % THREADS != 0 && index >= kChunks) break;
      int chunk = index % CHUNKS;
      int row = index / CHUNKS;
      int column = first_column + chunk * (16 / (int)sizeof(T));
      load_chunk<VECTOR>(source, source.row(number * ROWS + row), column,
                         &tile[chunk_place<CHUNKS>(row, chunk)]);
    }
  }
};

// Tiles that lie in memory as they will in shared memory, `count` of them for a block's columns.
template <int ROWS, int CHUNKS, int THREADS>
struct PackedTiles {
  static constexpr int kChunks = ROWS * CHUNKS;
  static constexpr bool kBulk = true;
  const Chunk* base;
  int count;
  __device__ inline void start(int first_row) { base += (i64)(first_row / ROWS) * count * kChunks; }
  __device__ inline void load(Chunk* tile, int number) const {
    const Chunk* from = base + (i64)number * kChunks;
#pragma unroll
    for (int first = 0; first < kChunks; first += THREADS) {
      int index = (int)threadIdx.x + first;
      if (kChunks % THREADS != 0 && index >= kChunks) break;
      copy_async<16>(&tile[index], &from[index], true);
    }
  }
  // The same by one thread, in bulk.
  static constexpr int kBytes = kChunks * 16;
  __device__ inline void copy(Chunk* tile, int first_row, int number, u64* barrier) const {
    copy_bulk(tile, base + ((i64)(first_row / ROWS) * count + number) * kChunks, kBytes, barrier);
  }
};

// Tiles of ROWS rows and 64 columns of a matrix that a tensor map describes.
template <int ROWS>
struct MappedTiles {
  static constexpr bool kBulk = true;
  static constexpr int kBytes = ROWS * 128;
  const TensorMap* map;
  __device__ inline void copy(Chunk* tile, int first_row, int number, u64* barrier) const {
    copy_box(tile, map, number * 64, first_row, barrier);
  }
};
