// SPDX-License-Identifier: Apache-2.0
// Blocks of one cluster (sm_90 and later) and each other's shared memory.

// All threads of all blocks of the cluster; what they wrote to shared memory before they arrived
// can be read behind the wait. Nothing of others may be read in between.
__device__ inline void cluster_arrive() {
#ifndef REDLINE_EMULATED
  asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
#endif
}
__device__ inline void cluster_wait() {
#ifdef REDLINE_EMULATED
  emulated_cluster_barrier();
#else
  asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
}
__device__ inline void cluster_sync() {
  cluster_arrive();
  cluster_wait();
}

// The same place in the shared memory of another block of the cluster.
template <class T>
__device__ inline const T* in_block(const T* mine, int rank) {
#ifdef REDLINE_EMULATED
  return emulated_in_block(mine, rank);
#else
  u64 place;
  asm("mapa.u64 %0, %1, %2;" : "=l"(place) : "l"((u64)mine), "r"(rank));
  return (const T*)place;
#endif
}
