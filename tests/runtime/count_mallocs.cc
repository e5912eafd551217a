// SPDX-License-Identifier: Apache-2.0
#include "count_mallocs.h"

#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>

namespace {
std::atomic<long> g_allocations{0};
}  // namespace

namespace redline {
long malloc_count() { return g_allocations; }
}  // namespace redline

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#pragma GCC visibility push(default)
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* p, size_t bytes);
void* __libc_memalign(size_t align, size_t bytes);
void __libc_free(void* p);

void* malloc(size_t bytes) {
  ++g_allocations;
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++g_allocations;
  return __libc_calloc(count, bytes);
}
void* realloc(void* p, size_t bytes) {
  ++g_allocations;
  return __libc_realloc(p, bytes);
}
void* memalign(size_t align, size_t bytes) {
  ++g_allocations;
  return __libc_memalign(align, bytes);
}
void* aligned_alloc(size_t align, size_t bytes) { return memalign(align, bytes); }
int posix_memalign(void** out, size_t align, size_t bytes) {
  *out = memalign(align, bytes);
  return *out == nullptr ? ENOMEM : 0;
}
void free(void* p) { __libc_free(p); }
// A malloc whose blocks tell their sizes, as a whole.
size_t malloc_usable_size(void* p) {
  static const auto next = reinterpret_cast<size_t (*)(void*)>(dlsym(RTLD_NEXT, __func__));
  return next(p);
}
}
#pragma GCC visibility pop
#endif
