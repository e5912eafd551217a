// SPDX-License-Identifier: Apache-2.0
// Copies of whole pieces of memory to shared memory by the copy engine of sm_90 and later, and the
// barriers in shared memory that count them. A barrier's phases end in turn, each when as many
// threads as it was started for have arrived and the bytes that they said would land have landed;
// who waits gives the parity of the phase: that of a first phase is 0.

// A matrix in global memory, as cuTensorMapEncodeTiled describes it: rows of 16-bit elements, of
// which boxes of 64 columns are copied, in the order of chunk_place<8>(); zeros outside.
#ifdef REDLINE_EMULATED
#define __grid_constant__
struct TensorMap {
  u64 base, columns, rows, stride, box_rows;
  u64 rest[11];
};
// A copy lands when it is waited for; until then its target holds NaN.
struct PendingBulk {
  u64* barrier;
  char* to;
  const char* from;
  int bytes;
};
static PendingBulk pending_bulks[4096];
static void emulated_bulk(u64* barrier, void* to, const void* from, int bytes) {
  memset(to, from == nullptr ? 0 : 0xff, bytes);
  if (from == nullptr) return;
  for (PendingBulk& copy : pending_bulks) {
    if (copy.barrier != nullptr) continue;
    copy = {barrier, (char*)to, (const char*)from, bytes};
    return;
  }
  abort();
}
struct EmulatedBarrier {
  u16 arrivals, arrived;
  u32 phase;
};
#else
struct __align__(64) TensorMap {
  u64 word[16];
};
__device__ inline u32 shared_place(const void* place) {
  return (u32)__cvta_generic_to_shared(place);
}
#endif

// By one thread, in front of a barrier of the block's threads.
__device__ inline void start_barrier(u64* barrier, int arrivals) {
#ifdef REDLINE_EMULATED
  *(EmulatedBarrier*)barrier = {(u16)arrivals, 0, 0};
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_place(barrier)), "r"(arrivals)
               : "memory");
#endif
}
__device__ inline void show_barriers() {
#ifndef REDLINE_EMULATED
  asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ inline void arrive(u64* barrier) {
#ifdef REDLINE_EMULATED
  EmulatedBarrier* own = (EmulatedBarrier*)barrier;
  if (++own->arrived < own->arrivals) return;
  own->arrived = 0;
  ++own->phase;
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_place(barrier)) : "memory");
#endif
}

// Arrives, and says how many bytes will land before the phase ends.
__device__ inline void expect_bytes(u64* barrier, int bytes) {
#ifdef REDLINE_EMULATED
  arrive(barrier);
#else
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_place(barrier)),
      "r"(bytes)
      : "memory");
#endif
}

__device__ inline void wait_barrier(u64* barrier, int parity) {
#ifdef REDLINE_EMULATED
  while ((int)(((EmulatedBarrier*)barrier)->phase & 1) == parity) emulated_yield();
  for (PendingBulk& copy : pending_bulks) {
    if (copy.barrier != barrier) continue;
    memcpy(copy.to, copy.from, copy.bytes);
    copy.barrier = nullptr;
  }
#else
  u32 done = 0;
  while (done == 0) {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_place(barrier)), "r"(parity)
        : "memory");
  }
#endif
}

// Both addresses and the number of bytes are multiples of 16.
__device__ inline void copy_bulk(void* to, const void* from, int bytes, u64* barrier) {
#ifdef REDLINE_EMULATED
  emulated_bulk(barrier, to, from, bytes);
#else
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_place(to)),
      "l"(from), "r"(bytes), "r"(shared_place(barrier))
      : "memory");
#endif
}

// The map's box at `column` and `row`, to a multiple of 1024 bytes. All its bytes are counted, also
// of what is outside.
__device__ inline void copy_box(Chunk* to, const TensorMap* map, int column, int row,
                                u64* barrier) {
#ifdef REDLINE_EMULATED
  for (int y = 0; y < (int)map->box_rows; ++y) {
    for (int x = 0; x < 64; ++x) {
      bool inside = (u64)(row + y) < map->rows && (u64)(column + x) < map->columns;
      const char* from = (const char*)map->base + (u64)(row + y) * map->stride + (column + x) * 2;
      if (x % 8 == 0 && inside && (u64)(column + x + 8) <= map->columns) {
        emulated_bulk(barrier, &to[chunk_place<8>(y, x / 8)], from, 16);
        x += 7;
      } else {
        emulated_bulk(barrier, (u16*)&to[chunk_place<8>(y, x / 8)] + x % 8, inside ? from : nullptr,
                      2);
      }
    }
  }
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(shared_place(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_place(barrier))
      : "memory");
#endif
}
