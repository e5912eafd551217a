// SPDX-License-Identifier: Apache-2.0
#pragma once

// The layout of an engine file, for its writer and its reader only.

#include <cstdint>
#include <span>
#include <type_traits>

#include "base/hash.h"

namespace redline {

inline constexpr char kEngineMagic[8] = {'R', 'E', 'D', 'L', 'I', 'N', 'E', '\n'};
// Also raised when kernels in files of before must not be launched as those of now are: since 2
// all of them wait for the kernel in front (kernels/cuda/arch/pdl.cuh), and since 3 no compiler
// moves loads in front of that (pointer_to() in tactics/cuda/element.h).
inline constexpr uint32_t kEngineFormat = 3;
inline constexpr size_t kWeightAlignment = 256;

struct EngineSection {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  Hash128 hash;
};

// At the start of the file; `hash` covers the header with this field zero.
struct EngineHeader {
  char magic[8];
  uint32_t format = kEngineFormat;
  uint32_t header_bytes = sizeof(EngineHeader);
  char library[32] = {};  // version of the writer, for people
  uint64_t file_bytes = 0;
  EngineSection plan;
  EngineSection weights;
  Hash128 hash;
};
static_assert(std::is_trivially_copyable_v<EngineHeader>);

inline Hash128 header_hash(EngineHeader header) {
  header.hash = {};
  return hash128(std::as_bytes(std::span(&header, 1)));
}

// Constants begin at multiples of the alignment.
inline uint64_t align_weight(uint64_t offset) {
  return (offset + kWeightAlignment - 1) / kWeightAlignment * kWeightAlignment;
}

}  // namespace redline
