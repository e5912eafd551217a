// SPDX-License-Identifier: Apache-2.0
#include "device/timestamps.h"

#include <algorithm>

namespace redline::cuda {
namespace {

// Atomics that nobody waits for: a block is not held up by its stamps.
constexpr const char* kPrelude = R"(
#define REDLINE_STAMPED(...) __VA_ARGS__
struct redline_cell {
  unsigned long long count, sum, most, least;
};
extern "C" {
__device__ redline_cell redline_stamps[REDLINE_STAMP_CELLS];
}
__device__ __forceinline__ redline_cell* redline_stamp_cell(int mark, unsigned long long* now) {
  unsigned int slot = 0;
#ifdef REDLINE_EMULATED
  *now = __builtin_ia32_rdtsc();
#else
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(*now)::"memory");
  asm volatile("mov.u32 %0, %%smid;" : "=r"(slot));
#endif
  *now &= REDLINE_STAMP_MASK;
  return redline_stamps + slot % REDLINE_STAMP_SLOTS * REDLINE_STAMP_MARKS + mark;
}
__device__ __forceinline__ void redline_stamp(int mark) {
  if ((threadIdx.x | threadIdx.y | threadIdx.z) != 0) return;
  unsigned long long now;
  redline_cell* cell = redline_stamp_cell(mark, &now);
  atomicAdd(&cell->count, 1ull);
  atomicAdd(&cell->sum, now);
  atomicMax(&cell->most, now);
  atomicMax(&cell->least, ~now);
}
// A kernel's end is that of its last warp.
struct redline_scope {
  __device__ __forceinline__ redline_scope() { redline_stamp(REDLINE_STAMP_START); }
  __device__ __forceinline__ ~redline_scope() {
    redline_stamp(REDLINE_STAMP_END);
    if (threadIdx.x % 32 != 0 || (threadIdx.x | threadIdx.y | threadIdx.z) == 0) return;
    unsigned long long now;
    redline_cell* cell = redline_stamp_cell(REDLINE_STAMP_END, &now);
    atomicMax(&cell->most, now);
  }
};
)";

std::string prelude() {
  auto define = [](const char* name, auto value) {
    return str_cat("#define REDLINE_STAMP_", name, " ", value, "\n");
  };
  return define("CELLS", kStampSlots * kStampMarks) + define("SLOTS", kStampSlots) +
         define("MARKS", size_t{kStampMarks}) +
         define("MASK", str_cat((uint64_t{1} << kStampBits) - 1, "ull")) +
         define("START", size_t{kStampStart}) + define("LOADED", size_t{kStampLoaded}) +
         define("MULTIPLIED", size_t{kStampMultiplied}) + define("END", size_t{kStampEnd}) +
         kPrelude;
}

// The place behind the brace that opens the kernel's body, or npos.
size_t find_body(const std::string& text, const std::string& entry) {
  size_t kernel = text.find("extern \"C\" __global__");
  if (kernel == std::string::npos) return kernel;
  size_t at = text.find(" " + entry + "(", kernel);
  if (at == std::string::npos) return at;
  at += entry.size() + 1;
  int depth = 0;
  for (; at < text.size(); ++at) {
    if (text[at] == '(') ++depth;
    if (text[at] == ')' && --depth == 0) break;
  }
  at = text.find_first_not_of(" \n", std::min(at + 1, text.size()));
  return at == std::string::npos || text[at] != '{' ? std::string::npos : at + 1;
}

}  // namespace

std::array<Stamps, kStampMarks> sum_up_stamps(std::span<const StampCell> cells) {
  std::array<Stamps, kStampMarks> result;
  for (size_t mark = 0; mark < kStampMarks; ++mark) {
    Stamps& stamps = result[mark];
    double sum = 0;
    for (size_t i = mark; i < cells.size(); i += kStampMarks) {
      const StampCell& cell = cells[i];
      stamps.most = std::max(stamps.most, cell.most);
      if (cell.count == 0) continue;
      stamps.least = stamps.count == 0 ? ~cell.least : std::min(stamps.least, ~cell.least);
      stamps.count += cell.count;
      sum += static_cast<double>(cell.sum);
    }
    if (stamps.count > 0) stamps.mean = sum / static_cast<double>(stamps.count);
  }
  return result;
}

Result<KernelSource> with_timestamps(KernelSource source) {
  std::string& text = source.text;
  size_t body = find_body(text, source.entry);
  if (body == std::string::npos) {
    return internal_error("no kernel ", source.entry, " in the text that is to have time stamps");
  }
  text.insert(body, "\n  redline_scope redline_whole;\n");
  constexpr std::string_view kEnd = "#endif\n";
  size_t at = 0;
  while ((at = text.find("griddepcontrol.wait;", at)) != std::string::npos) {
    at = text.find(kEnd, at);
    if (at == std::string::npos) return internal_error("a wait without its end in ", source.entry);
    at += kEnd.size();
    text.insert(at, str_cat("  redline_stamp(", size_t{kStampWaited}, ");\n"));
  }
  text.insert(0, prelude());
  return source;
}

}  // namespace redline::cuda
