// SPDX-License-Identifier: Apache-2.0
// Stops a fuzz target that holds more memory at once than its input may make it hold: four times
// the input and 64 MB. Counts where AddressSanitizer is linked in, else not.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REDLINE_COUNTS_ALLOCATIONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define REDLINE_COUNTS_ALLOCATIONS 1
#endif

#ifdef REDLINE_COUNTS_ALLOCATIONS
#include <unistd.h>

#include <atomic>
#include <cstdlib>

// Of the sanitizers' common interface, whose header comes with clang only.
extern "C" {
size_t __sanitizer_get_allocated_size(const volatile void* memory);
int __sanitizer_install_malloc_and_free_hooks(void (*note_malloc)(const volatile void*, size_t),
                                              void (*note_free)(const volatile void*));
}

namespace redline {

inline std::atomic<int64_t> live_bytes = 0;
inline std::atomic<int64_t> most_live_bytes = INT64_MAX;

inline void note_malloc(const volatile void*, size_t bytes) {
  int64_t live = live_bytes.fetch_add(static_cast<int64_t>(bytes)) + static_cast<int64_t>(bytes);
  if (live <= most_live_bytes.load()) return;
  static const char kMessage[] = "ERROR: more memory than four times the input and 64 MB\n";
  if (write(2, kMessage, sizeof kMessage - 1) > 0) std::abort();
}
inline void note_free(const volatile void* memory) {
  live_bytes.fetch_sub(static_cast<int64_t>(__sanitizer_get_allocated_size(memory)));
}

// From its construction to its end, on all threads.
class AllocationBound {
 public:
  explicit AllocationBound(size_t input_bytes) {
    static const int installed = __sanitizer_install_malloc_and_free_hooks(note_malloc, note_free);
    if (installed == 0) std::abort();
    most_live_bytes = live_bytes + static_cast<int64_t>(4 * input_bytes + (size_t{64} << 20));
  }
  ~AllocationBound() { most_live_bytes = INT64_MAX; }
};

}  // namespace redline

#else

namespace redline {

class AllocationBound {
 public:
  explicit AllocationBound(size_t) {}
  ~AllocationBound() {}
};

}  // namespace redline

#endif
