// SPDX-License-Identifier: Apache-2.0
// Programmatic dependent launch. A kernel that is launched so starts while the one in front of it
// still runs; on GPUs before sm_90 both functions do nothing. Every kernel waits, in each block,
// and releases only behind that: then the one behind it starts when the one in front of it has
// ended.

// What kernels with time stamps do beside their work (device/timestamps.h); nothing in others.
#ifndef REDLINE_STAMPED
#define REDLINE_STAMPED(...)
#endif

// Until all that ran before is complete and its writes can be seen.
__device__ inline void wait_for_former() {
#ifdef REDLINE_EMULATED
  emulated_wait_for_former();
#elif __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel start when every block has come here.
__device__ inline void release_next() {
#ifdef REDLINE_EMULATED
  emulated_release_next();
#elif __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
