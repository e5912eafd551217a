// SPDX-License-Identifier: Apache-2.0
// n / d for 0 <= n < 2^31 and a d whose MULTIPLIER and SHIFT the host found (cuda/kernel_sizes.h).
__device__ inline int quotient(int n, u32 multiplier, int shift) {
  return (int)(((u64)(u32)n * multiplier) >> shift);
}
