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
  int count, group;
  PendingCopy copies[1];  // and those behind it
};
// The thread's, with room for one more.
static PendingCopies& pending_copies() {
  int count = ((PendingCopies*)emulated_own(sizeof(PendingCopies)))->count;
  return *(PendingCopies*)emulated_own(sizeof(PendingCopies) + count * sizeof(PendingCopy));
}
#endif

// BYTES (4, 8 or 16, both addresses aligned to them) from global to shared memory; zeros instead
// when not `valid`, and then `from` is not read.
template <int BYTES>
__device__ inline void copy_async(void* to, const void* from, bool valid) {
#ifdef REDLINE_EMULATED
  memset(to, valid ? 0xff : 0, BYTES);
  PendingCopies& mine = pending_copies();
  if (valid) mine.copies[mine.count++] = {to, emulated_source(from, BYTES), BYTES, mine.group};
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
  ++pending_copies().group;
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Until all but the thread's LEFT youngest groups have landed.
template <int LEFT>
__device__ inline void copy_wait() {
#ifdef REDLINE_EMULATED
  PendingCopies& mine = pending_copies();
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
