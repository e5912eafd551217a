// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/recycle.h"

#include <dlfcn.h>
#include <malloc.h>
#include <oneapi/dnnl/dnnl.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

#include "kernels/cpu/onednn/module/redirect.h"
#include "kernels/cpu/onednn/module/team.h"

namespace redline::kernels::onednn {
namespace {

// List i holds blocks of at least kSmallest + kStep * i bytes: the sizes that glibc has. Larger
// blocks are kept one by one.
constexpr size_t kSmallest = 24;
constexpr size_t kStep = 16;
constexpr size_t kLists = 64;
constexpr size_t kLargest = kSmallest + kStep * (kLists - 1);
constexpr size_t kMaxSmallBytes = 64 << 10;
constexpr size_t kMaxLargeBlocks = 8;
constexpr size_t kMaxLargeBytes = 32 << 20;

struct Block {
  Block* next;
};

struct LargeBlock {
  void* memory;
  size_t bytes;
};

// Of one thread. Trivial, so that it may be used until the thread's very end.
struct Kept {
  Block* lists[kLists];
  size_t small_bytes;
  LargeBlock large[kMaxLargeBlocks];
  size_t large_bytes;
  int executions;  // scopes that are open
  enum class State : char { kUnused, kOpen, kClosed } state;
};
thread_local constinit Kept t_kept = {};

struct ReleaseAtThreadEnd {
  ~ReleaseAtThreadEnd() {
    t_kept.state = Kept::State::kClosed;
    for (Block*& list : t_kept.lists) {
      while (list != nullptr) std::free(std::exchange(list, list->next));
    }
    for (LargeBlock& block : t_kept.large) std::free(std::exchange(block.memory, nullptr));
  }
};

bool is_open() {
  if (t_kept.executions == 0 && !in_team_region()) return false;
  if (t_kept.state == Kept::State::kUnused) {
    static thread_local ReleaseAtThreadEnd release;
    (void)release;
    t_kept.state = Kept::State::kOpen;
  }
  return t_kept.state == Kept::State::kOpen;
}

bool is_aligned(const void* memory, size_t align) {
  return reinterpret_cast<uintptr_t>(memory) % align == 0;
}

void* take_small(size_t align, size_t bytes) {
  Block** link = &t_kept.lists[bytes <= kSmallest ? 0 : (bytes - kSmallest + kStep - 1) / kStep];
  while (*link != nullptr && !is_aligned(*link, align)) link = &(*link)->next;
  Block* block = *link;
  if (block == nullptr) return nullptr;
  *link = block->next;
  t_kept.small_bytes -= malloc_usable_size(block);
  return block;
}

// The smallest that fits.
void* take_large(size_t align, size_t bytes) {
  LargeBlock* best = nullptr;
  for (LargeBlock& block : t_kept.large) {
    if (block.memory == nullptr || block.bytes < bytes) continue;
    if (!is_aligned(block.memory, align)) continue;
    if (best == nullptr || block.bytes < best->bytes) best = &block;
  }
  if (best == nullptr) return nullptr;
  t_kept.large_bytes -= best->bytes;
  return std::exchange(best->memory, nullptr);
}

void* take(size_t bytes, size_t align = alignof(std::max_align_t)) {
  if (!is_open()) return nullptr;
  return bytes <= kLargest ? take_small(align, bytes) : take_large(align, bytes);
}

// The large ones serve the most requests: a smaller one makes room.
bool keep_large(void* memory, size_t bytes) {
  LargeBlock* place = &t_kept.large[0];
  for (LargeBlock& block : t_kept.large) {
    if (block.memory == nullptr) block.bytes = 0;
    if (block.bytes < place->bytes) place = &block;
  }
  if (place->bytes >= bytes || t_kept.large_bytes - place->bytes + bytes > kMaxLargeBytes) {
    return false;
  }
  t_kept.large_bytes += bytes - place->bytes;
  std::free(place->memory);
  *place = {memory, bytes};
  return true;
}

bool keep(void* memory) {
  if (!is_open()) return false;
  const size_t bytes = malloc_usable_size(memory);
  if (bytes >= kLargest + kStep) return keep_large(memory, bytes);
  if (bytes < kSmallest || t_kept.small_bytes + bytes > kMaxSmallBytes) return false;
  auto* block = static_cast<Block*>(memory);
  Block*& list = t_kept.lists[(bytes - kSmallest) / kStep];
  block->next = list;
  list = block;
  t_kept.small_bytes += bytes;
  return true;
}

// What libdnnl calls. The names are those of the functions they stand for.
void* recycling_new(size_t bytes) {
  void* memory = take(bytes);
  return memory != nullptr ? memory : ::operator new(bytes);
}
void recycling_delete(void* memory) {
  if (memory != nullptr && !keep(memory)) ::operator delete(memory);
}
void recycling_sized_delete(void* memory, size_t) { recycling_delete(memory); }
void* recycling_malloc(size_t bytes) {
  void* memory = take(bytes);
  return memory != nullptr ? memory : std::malloc(bytes);
}
int recycling_posix_memalign(void** out, size_t align, size_t bytes) {
  void* memory = take(bytes, align);
  if (memory == nullptr) return posix_memalign(out, align, bytes);
  *out = memory;
  return 0;
}
void recycling_free(void* memory) {
  if (memory != nullptr && !keep(memory)) std::free(memory);
}

template <class F>
const void* address_of(F* function) {
  return reinterpret_cast<const void*>(function);
}

// Where this program finds the function.
const void* found(const char* name) { return dlsym(RTLD_DEFAULT, name); }

}  // namespace

bool recycle_allocations() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#endif
  const void* libdnnl = address_of(&dnnl_version);
  const void* libstdcxx = address_of(&std::set_new_handler);
  Redirect mallocs[] = {{"malloc", address_of(&recycling_malloc)},
                        {"posix_memalign", address_of(&recycling_posix_memalign)},
                        {"free", address_of(&recycling_free)}};
  Redirect news[] = {{"_Znwm", address_of(&recycling_new)},
                     {"_ZdlPv", address_of(&recycling_delete)}};
  // Imported only by some builds of libdnnl.
  Redirect sized[] = {{"_ZdlPvm", address_of(&recycling_sized_delete)}};
  if (!redirect_imports(libdnnl, found("malloc_usable_size"), mallocs)) return false;
  if (!in_same_library(found("_Znwm"), libstdcxx)) return false;
  if (!redirect_imports(libdnnl, libstdcxx, news)) return false;
  redirect_imports(libdnnl, libstdcxx, sized);
  return true;
}

ExecutionScope::ExecutionScope() { ++t_kept.executions; }
ExecutionScope::~ExecutionScope() { --t_kept.executions; }

}  // namespace redline::kernels::onednn
