// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/isa.h"

#include <cpuid.h>

namespace redline::kernels {
namespace {

// XCR0: which register files the operating system saves.
uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

}  // namespace

Isa detect_isa() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return Isa::kSse4;
  constexpr uint32_t kFma = 1u << 12, kMovbe = 1u << 22, kOsxsave = 1u << 27, kAvx = 1u << 28,
                     kF16c = 1u << 29;
  if (!has(c, kFma | kMovbe | kOsxsave | kAvx | kF16c)) return Isa::kSse4;
  const uint64_t state = saved_state();
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;
  if ((state & kYmm) != kYmm) return Isa::kSse4;
  if (!__get_cpuid(0x80000001, &a, &b, &c, &d)) return Isa::kSse4;
  constexpr uint32_t kLzcnt = 1u << 5;
  if (!has(c, kLzcnt)) return Isa::kSse4;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kSse4;
  constexpr uint32_t kBmi1 = 1u << 3, kAvx2 = 1u << 5, kBmi2 = 1u << 8;
  if (!has(b, kBmi1 | kAvx2 | kBmi2)) return Isa::kSse4;
  constexpr uint32_t kAvx512 =
      1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // F DQ CD BW VL
  if (!has(b, kAvx512) || (state & kZmm) != kZmm) return Isa::kAvx2;
  return Isa::kAvx512;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kSse4:
      return "sse4";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

}  // namespace redline::kernels
