// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace redline::kernels {

// The instruction sets that the hot files are compiled for, least first. kSse4 is x86-64-v2, kAvx2
// is x86-64-v3 (AVX2, FMA, F16C, BMI), kAvx512 is x86-64-v4 (F, BW, CD, DQ, VL).
enum class Isa : uint8_t { kSse4, kAvx2, kAvx512 };
inline constexpr int kNumIsas = 3;

// The best instruction set that this processor and operating system support, by cpuid and xgetbv.
// A pure function of the machine: call it once and pass the value on.
Isa detect_isa();

const char* isa_name(Isa isa);

}  // namespace redline::kernels
