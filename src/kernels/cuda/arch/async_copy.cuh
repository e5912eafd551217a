// SPDX-License-Identifier: Apache-2.0
// Copies from global to shared memory that run beside the thread (sm_80 and later).

#ifdef REDLINE_EMULATED
// A copy lands when it is waited for; until then its target holds NaN.
struct PendingCopy {
  void* to;
  const void* from;
  int bytes, group;
};
struct PendingCopies {
  PendingCopy* copies;
  int count, room, group;
};
static PendingCopies pending_copies[1024];
#endif

// BYTES (4, 8 or 16, both addresses aligned to them) from global to shared memory; zeros instead
// when not `valid`, and then `from` is not read.
template <int BYTES>
__device__ inline void copy_async(void* to, const void* from, bool valid) {
#ifdef REDLINE_EMULATED
  memset(to, valid ? 0xff : 0, BYTES);
  PendingCopies& mine = pending_copies[threadIdx.x];
  if (mine.count == mine.room) {
    mine.room = 2 * mine.room + 64;
    mine.copies = (PendingCopy*)realloc(mine.copies, mine.room * sizeof(PendingCopy));
  }
  if (valid) mine.copies[mine.count++] = {to, from, BYTES, mine.group};
#else
  u32 place = (u32)__cvta_generic_to_shared(to);
  int count = valid ? BYTES : 0;
  if constexpr (BYTES == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(count)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(place), "l"(from),
                 "n"(BYTES), "r"(count)
                 : "memory");
  }
#endif
}

// Closes a group of the thread's copies.
__device__ inline void copy_commit() {
#ifdef REDLINE_EMULATED
  ++pending_copies[threadIdx.x].group;
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until all but the thread's LEFT youngest groups have landed.
template <int LEFT>
__device__ inline void copy_wait() {
#ifdef REDLINE_EMULATED
  PendingCopies& mine = pending_copies[threadIdx.x];
  int left = 0;
  for (int i = 0; i < mine.count; ++i) {
    const PendingCopy& copy = mine.copies[i];
    if (copy.group < mine.group - LEFT) {
      memcpy(copy.to, copy.from, copy.bytes);
    } else {
      mine.copies[left++] = copy;
    }
  }
  mine.count = left;
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}
