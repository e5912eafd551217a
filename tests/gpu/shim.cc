// SPDX-License-Identifier: Apache-2.0
#include "shim.h"

#include <regex>

#include "base/status.h"
#include "block.h"

namespace redline::emulator {
namespace {

constexpr const char* kTypes = R"(
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>
using namespace std;
#define __align__(n) __attribute__((aligned(n)))
#define __global__ static
#define __device__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static __attribute__((section("emulated_shared")))
#define __builtin_assume(x)
struct EmulatedExtent { unsigned int x, y, z; };
static EmulatedExtent blockIdx, threadIdx, blockDim, gridDim;
struct __align__(8) int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct __align__(8) uint2 { unsigned int x, y; };
struct __align__(16) uint4 { unsigned int x, y, z, w; };
struct __align__(8) float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
)";

// What threads of a block and a warp do together. `emulated_exchange` shows a value of each lane of
// a warp to all: the emulated bodies of warp-wide instructions are written with it.
constexpr const char* kThreads = R"(
struct EmulatedHost {
  const char* (*exchange)(unsigned int mask, const void* given, unsigned int bytes);
  void (*barrier)(unsigned int id, unsigned int threads);
  void (*yield)();
  void (*cluster_barrier)();
  const void* (*in_block)(const void* place, int rank);
  void (*wait_for_former)();
  void (*release_next)();
  const void* (*source)(const void* from, unsigned long long bytes);
  void* (*own)(unsigned long long bytes);
};
static EmulatedHost emulated_host;
static __align__(1024) char emulated_dynamic_shared[EMULATED_DYNAMIC_BYTES];
template <class T>
struct EmulatedLanes {
  const char* first;
  const T& operator[](int lane) const { return *(const T*)(first + lane * EMULATED_EXCHANGE_BYTES); }
};
template <class T>
static EmulatedLanes<T> emulated_exchange(const T& mine, unsigned int mask = 0xffffffffu) {
  static_assert(sizeof(T) <= EMULATED_EXCHANGE_BYTES, "a value of at most 256 bytes");
  return {emulated_host.exchange(mask, &mine, sizeof(T))};
}
static void emulated_barrier(unsigned int id, unsigned int threads) { emulated_host.barrier(id, threads); }
static void emulated_yield() { emulated_host.yield(); }
static void emulated_cluster_barrier() { emulated_host.cluster_barrier(); }
template <class T> static const T* emulated_in_block(const T* place, int rank) {
  return (const T*)emulated_host.in_block(place, rank);
}
static void emulated_wait_for_former() { emulated_host.wait_for_former(); }
static void emulated_release_next() { emulated_host.release_next(); }
static const void* emulated_source(const void* from, unsigned long long bytes) {
  return emulated_host.source(from, bytes);
}
static void* emulated_own(unsigned long long bytes) { return emulated_host.own(bytes); }
static int emulated_lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}
static void __syncthreads() { emulated_barrier(0, 0); }
static void __syncwarp(unsigned int mask = 0xffffffffu) { emulated_exchange(0, mask); }
static void __threadfence() {}
static void __threadfence_block() {}
static void __nanosleep(unsigned int) { emulated_yield(); }
template <class T> static T __shfl_sync(unsigned int mask, T v, int from, int width = 32) {
  auto lanes = emulated_exchange(v, mask);
  return lanes[(emulated_lane() & ~(width - 1)) + (from & (width - 1))];
}
template <class T> static T __shfl_up_sync(unsigned int mask, T v, unsigned int by, int width = 32) {
  auto lanes = emulated_exchange(v, mask);
  int lane = emulated_lane(), from = lane - (int)by;
  return lanes[from < (lane & ~(width - 1)) ? lane : from];
}
template <class T> static T __shfl_down_sync(unsigned int mask, T v, unsigned int by, int width = 32) {
  auto lanes = emulated_exchange(v, mask);
  int lane = emulated_lane();
  return lanes[(lane & (width - 1)) + (int)by >= width ? lane : lane + (int)by];
}
template <class T> static T __shfl_xor_sync(unsigned int mask, T v, int by, int width = 32) {
  auto lanes = emulated_exchange(v, mask);
  int lane = emulated_lane(), from = lane ^ by;
  return lanes[from >= (lane & ~(width - 1)) + width ? lane : from];
}
static unsigned int __ballot_sync(unsigned int mask, int predicate) {
  auto lanes = emulated_exchange(predicate != 0 ? 1 : 0, mask);
  unsigned int bits = 0;
  for (int i = 0; i < 32; ++i) bits |= (mask >> i & 1) != 0 && lanes[i] ? 1u << i : 0;
  return bits;
}
static int __any_sync(unsigned int mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static int __all_sync(unsigned int mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
static int emulated_block_count(int predicate) {
  static int count;
  __syncthreads();
  count = 0;
  __syncthreads();
  count += predicate != 0;
  __syncthreads();
  int result = count;
  __syncthreads();
  return result;
}
static int __syncthreads_count(int predicate) { return emulated_block_count(predicate); }
static int __syncthreads_or(int predicate) { return emulated_block_count(predicate) != 0; }
static int __syncthreads_and(int predicate) { return emulated_block_count(!predicate) == 0; }
template <class T> struct EmulatedSame { typedef T type; };
#define EMULATED_ATOMIC(NAME, RESULT)                                                       \
  template <class T> static T NAME(T* p, typename EmulatedSame<T>::type v) {                \
    T old = *p;                                                                             \
    *p = RESULT;                                                                            \
    return old;                                                                             \
  }
EMULATED_ATOMIC(atomicAdd, old + v)
EMULATED_ATOMIC(atomicSub, old - v)
EMULATED_ATOMIC(atomicMax, old > v ? old : v)
EMULATED_ATOMIC(atomicMin, old < v ? old : v)
EMULATED_ATOMIC(atomicExch, v)
EMULATED_ATOMIC(atomicOr, old | v)
EMULATED_ATOMIC(atomicAnd, old & v)
EMULATED_ATOMIC(atomicXor, old ^ v)
EMULATED_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
template <class T>
static T atomicCAS(T* p, typename EmulatedSame<T>::type expected, typename EmulatedSame<T>::type v) {
  T old = *p;
  if (old == expected) *p = v;
  return old;
}
)";

constexpr const char* kValues = R"(
static float bits_to_float(unsigned int b) { float v; memcpy(&v, &b, 4); return v; }
static unsigned int float_to_bits(float v) { unsigned int b; memcpy(&b, &v, 4); return b; }
static unsigned long long double_to_bits(double v) { unsigned long long b; memcpy(&b, &v, 8); return b; }
static double bits_to_double(unsigned long long b) { double v; memcpy(&v, &b, 8); return v; }
static float widen_f16(unsigned short h) { _Float16 v; memcpy(&v, &h, 2); return (float)v; }
static unsigned short narrow_f16(float f) { _Float16 v = (_Float16)f; unsigned short h; memcpy(&h, &v, 2); return h; }
static unsigned short narrow_f16(double f) { _Float16 v = (_Float16)f; unsigned short h; memcpy(&h, &v, 2); return h; }
static float __uint_as_float(unsigned int b) { return bits_to_float(b); }
static unsigned int __float_as_uint(float v) { return float_to_bits(v); }
#define __expf(x) expf(x)
#define __logf(x) logf(x)
static float __fdividef(float x, float y) { return x / y; }
static float rsqrtf(float x) { return 1 / sqrtf(x); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static float rsqrt(float x) { return 1 / sqrtf(x); }
static int __popc(unsigned int x) { return __builtin_popcount(x); }
static int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
static int __ffs(int x) { return __builtin_ffs(x); }
static unsigned int __umulhi(unsigned int a, unsigned int b) { return (unsigned long long)a * b >> 32; }
template <class T> static T __ldg(const T* p) { return *p; }
template <class T> static T __ldcs(const T* p) { return *p; }
)";

// Copies the parameters' values behind their addresses; calls the kernel with them.
constexpr const char* kCalls = R"(
template <class... A>
static void** emulated_copy(void (*)(A...), void** p) {
  constexpr size_t n = sizeof...(A);
  char* block = (char*)malloc(n * 8 + 16 + (0 + ... + (sizeof(A) + 31)));
  void** copy = (void**)block;
  char* at = block + (n * 8 + 15) / 16 * 16;
  size_t i = 0;
  ((copy[i] = at, memcpy(at, p[i], sizeof(A)), at += (sizeof(A) + 15) / 16 * 16, ++i), ...);
  return copy;
}
template <class... A, size_t... I>
static void emulated_call(void (*f)(A...), void** p, index_sequence<I...>) { f(*(A*)p[I]...); }
template <class... A>
static void emulated_run(void (*f)(A...), void** p) { emulated_call(f, p, index_sequence_for<A...>()); }
extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));
struct EmulatedTable {
  void (*run)(void**);
  void** (*copy)(void**);
  EmulatedExtent *block_idx, *thread_idx, *block_dim, *grid_dim;
  char *shared_begin, *shared_end, *dynamic_shared;
  EmulatedHost* host;
};
)";

std::string table_of(std::string_view entry) {
  return str_cat(R"(
extern "C" void emulated_)",
                 entry, R"((EmulatedTable* table) {
  *table = {
      [](void** p) { emulated_run()",
                 entry, R"(, p); },
      [](void** p) { return emulated_copy()",
                 entry, R"(, p); },
      &blockIdx, &threadIdx, &blockDim, &gridDim, __start_emulated_shared, __stop_emulated_shared,
      emulated_dynamic_shared, &emulated_host};
}
)");
}

// Variables that the driver may be asked for.
std::string variables_of(std::string_view text) {
  static const std::regex pattern(R"(extern "C" \{\n__device__ \w+ (\w+)\[)");
  std::string functions;
  std::string owned(text);
  for (std::sregex_iterator it(owned.begin(), owned.end(), pattern), end; it != end; ++it) {
    std::string name = (*it)[1];
    functions += str_cat("extern \"C\" void* emulated_variable_", name,
                         "(size_t* bytes) { return *bytes = sizeof(", name, "), ", name, "; }\n");
  }
  return functions;
}

std::string with_dynamic_shared(const std::string& text) {
  static const std::regex pattern(
      R"(extern\s+__shared__\s+(__align__\(\d+\)\s+)?([^;\[\]]+?)\s+(\w+)\[\];)");
  return std::regex_replace(text, pattern, "$2* const $3 = ($2*)emulated_dynamic_shared;");
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::string host_text(std::string_view kernel_text, std::string_view entry) {
  std::string text = replaced(std::string(kernel_text), "extern \"C\" __global__", "__global__");
  if (text.find("extern __shared__") != std::string::npos) text = with_dynamic_shared(text);
  std::string sizes =
      str_cat("#define EMULATED_EXCHANGE_BYTES ", kExchangeBytes,
              "\n#define EMULATED_DYNAMIC_BYTES ", kDynamicSharedBytes + kSharedGuardBytes, "\n");
  // Without a name of their own, the kernel's functions are dropped where nothing calls them, and
  // its shared variables can all lie in one section.
  return str_cat(kTypes, sizes, kThreads, kValues, kCalls, "namespace {\n", text, "}\n",
                 table_of(entry), variables_of(kernel_text));
}

}  // namespace redline::emulator
