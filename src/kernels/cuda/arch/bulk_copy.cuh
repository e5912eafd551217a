// SPDX-License-Identifier: Apache-2.0
// Copies of whole pieces of memory to shared memory by the copy engine of sm_90 and later, and the
// barriers in shared memory that count them. A barrier's phases end in turn, each when as many
// threads as it was started for have arrived and the bytes that they said would land have landed;
// who waits gives the parity of the phase: that of a first phase is 0.

#ifdef REDLINE_EMULATED
struct EmulatedRows {
  char* to;
  const char* from;
  int bytes;
  int rows;  // of so many bytes, which begin so far from each other
  i64 to_pitch, from_pitch;
  void copy() const {
    for (int y = 0; y < rows; ++y) memcpy(to + y * to_pitch, from + y * from_pitch, bytes);
  }
};
// A copy lands when it is waited for; until then its target holds NaN.
struct PendingBulk {
  u64* barrier;
  u32 block;  // blocks that take turns have the same addresses
  EmulatedRows rows;
};
static PendingBulk pending_bulks[16384];
struct EmulatedBarrier {
  u32 arrivals : 12, arrived : 12, phase : 8;
  int bytes;  // that are on their way
};
// So many more bytes, or less where they will have landed for who waits.
static void emulated_count(u64* barrier, int bytes) {
  EmulatedBarrier* own = (EmulatedBarrier*)barrier;
  own->bytes += bytes;
  if (own->arrived < own->arrivals || own->bytes != 0) return;
  own->arrived = 0;
  ++own->phase;
}
static u32 emulated_block() {
  return (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
}
static void emulated_rows(u64* barrier, void* to, i64 to_pitch, const void* from, i64 from_pitch,
                          int bytes, int rows) {
  const int fill = from == nullptr ? 0 : 0xff;
  emulated_count(barrier, -bytes * rows);
  for (int y = 0; y < rows; ++y) memset((char*)to + y * to_pitch, fill, bytes);
  if (from == nullptr) return;
  from = emulated_source(from, (u64)((rows - 1) * from_pitch + bytes));
  for (PendingBulk& copy : pending_bulks) {
    if (copy.barrier != nullptr) continue;
    copy = {barrier,
            emulated_block(),
            {(char*)to, (const char*)from, bytes, rows, to_pitch, from_pitch}};
    return;
  }
  abort();
}
static void emulated_bulk(u64* barrier, void* to, const void* from, int bytes) {
  emulated_rows(barrier, to, 0, from, 0, bytes, 1);
}
// A copy out reads shared memory when its thread waits for that: as late as it may.
struct PendingOut {
  bool is_used;
  u32 block, thread;
  int newer;  // groups of the thread
  EmulatedRows rows;
};
static PendingOut pending_outs[4096];
static bool emulated_own(const PendingOut& copy) {
  return copy.is_used && copy.block == emulated_block() && copy.thread == threadIdx.x;
}
// A group of no rows too.
static void emulated_out(void* to, i64 to_pitch, const void* from, i64 from_pitch, int bytes,
                         int rows) {
  for (PendingOut& copy : pending_outs) {
    if (emulated_own(copy)) ++copy.newer;
  }
  for (PendingOut& copy : pending_outs) {
    if (copy.is_used || rows == 0) continue;
    copy = {true,
            emulated_block(),
            threadIdx.x,
            0,
            {(char*)to, (const char*)from, bytes, rows, to_pitch, from_pitch}};
    return;
  }
  if (rows > 0) abort();
}
static void emulated_leave(int but) {
  for (PendingOut& copy : pending_outs) {
    if (!emulated_own(copy) || copy.newer < but) continue;
    copy.rows.copy();
    copy.is_used = false;
  }
}
#else
__device__ inline u32 shared_place(const void* place) {
  return (u32)__cvta_generic_to_shared(place);
}
#endif

// By one thread, in front of a barrier of the block's threads.
__device__ inline void start_barrier(u64* barrier, int arrivals) {
#ifdef REDLINE_EMULATED
  *(EmulatedBarrier*)barrier = {(u32)arrivals, 0, 0, 0};
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
  ++((EmulatedBarrier*)barrier)->arrived;
  emulated_count(barrier, 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_place(barrier)) : "memory");
#endif
}

// Arrives, and says how many bytes will land before the phase ends.
__device__ inline void expect_bytes(u64* barrier, int bytes) {
#ifdef REDLINE_EMULATED
  ++((EmulatedBarrier*)barrier)->arrived;
  emulated_count(barrier, bytes);
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
    if (copy.barrier != barrier || copy.block != emulated_block()) continue;
    copy.rows.copy();
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

// When the L2 gives up what a copy brings or takes away: before other things, which is for what
// nobody reads again soon; after them, until others have read the rest of its lines; or neither.
enum class GivenUp { kFirst, kLast, kInTurn };
__device__ inline u64 l2_policy(GivenUp given_up) {
  u64 policy = 0;
#ifndef REDLINE_EMULATED
  if (given_up == GivenUp::kFirst) {
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  } else if (given_up == GivenUp::kLast) {
    asm volatile("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy));
  } else {
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
  }
#endif
  return policy;
}

// A copy_bulk() of what is given up first.
__device__ inline void copy_bulk_once(void* to, const void* from, int bytes, u64* barrier) {
#ifdef REDLINE_EMULATED
  emulated_bulk(barrier, to, from, bytes);
#else
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1], %2, [%3], %4;" ::"r"(shared_place(to)),
      "l"(from), "r"(bytes), "r"(shared_place(barrier)), "l"(l2_policy(GivenUp::kFirst))
      : "memory");
#endif
}

// What the thread wrote to shared memory can be read by what reads it on its own, the copy engine
// and matrix units, from here on; what others wrote, behind a barrier that brings them together.
__device__ inline void show_shared() {
#ifndef REDLINE_EMULATED
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// From shared to global memory, in a group of its own. Both addresses and the number of bytes are
// multiples of 16.
__device__ inline void copy_bulk_out(void* to, const void* from, int bytes) {
#ifdef REDLINE_EMULATED
  emulated_out(to, 0, from, 0, bytes, 1);
#else
  asm volatile(
      "cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n"
      "cp.async.bulk.commit_group;" ::"l"(to),
      "r"(shared_place(from)), "r"(bytes)
      : "memory");
#endif
}

// A group of nothing, for who counts groups.
__device__ inline void copy_nothing_out() {
#ifdef REDLINE_EMULATED
  emulated_out(nullptr, 0, nullptr, 0, 0, 0);
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

// Until the shared memory of all groups of the thread has been read but of the last N.
template <int N>
__device__ inline void wait_copies_out() {
#ifdef REDLINE_EMULATED
  emulated_leave(N);
#else
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
#endif
}
