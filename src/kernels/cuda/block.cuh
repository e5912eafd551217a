// SPDX-License-Identifier: Apache-2.0
// What the threads of a warp and of a block do together. An `Op` merges its states with merge(a,
// b), which must give the same bits with its arguments swapped: then all threads get the same
// result.

// A state of any size from another lane, word by word through a shuffle of words.
template <class S, class Shuffle>
__device__ inline S shuffled(const S& state, Shuffle shuffle) {
  constexpr int kWords = (sizeof(S) + 3) / 4;
  union Both {
    u32 words[kWords];
    S state;
    __device__ inline Both() {}
  } both;
  both.state = state;
#pragma unroll
  for (int i = 0; i < kWords; ++i) both.words[i] = shuffle(both.words[i]);
  return both.state;
}
template <class S>
__device__ inline S shuffle_xor(const S& state, int by) {
  return shuffled(state, [=](u32 word) { return __shfl_xor_sync(0xffffffffu, word, by); });
}

// Over groups of WIDTH neighbouring lanes; all lanes of the warp must come.
template <int WIDTH, class S, class Merge>
__device__ inline S warp_merge(S state, Merge merge) {
#pragma unroll
  for (int by = WIDTH / 2; by > 0; by /= 2) state = merge(state, shuffle_xor(state, by));
  return state;
}

// Over groups of WIDTH neighbouring threads: part of a warp, or the whole block of WIDTH threads,
// which all must come. `shared` has a place for each warp; consecutive calls use different ones.
template <int WIDTH, class S, class Merge>
__device__ inline S group_merge(S state, Merge merge, S* shared) {
  if constexpr (WIDTH <= 32) {
    return warp_merge<WIDTH>(state, merge);
  } else {
    constexpr int kWarps = WIDTH / 32;
    state = warp_merge<32>(state, merge);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = state;
    __syncthreads();
    // Every warp reads them all, in the same tree.
    state = shared[threadIdx.x % kWarps];
    return warp_merge<kWarps>(state, merge);
  }
}
