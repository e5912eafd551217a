// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "device/nvrtc.h"

// Kernels that note on the GPU's clock when their blocks pass marks: what a profile is made of
// where steps run one behind another in a graph.
namespace redline::cuda {

enum StampMark : size_t {
  kStampStart,       // a block begins; with programmatic launch the former step may still run
  kStampWaited,      // what the former steps wrote can be read
  kStampLoaded,      // the first tiles of a product or of attention, or a recurrence's weights, are
                     // there
  kStampMultiplied,  // the last tile was added, or step taken
  kStampEnd,
  kStampMarks,
};

// The variable of a module where its blocks leave their stamps: kStampSlots rows of kStampMarks
// cells, which start as zeros. Neighbouring multiprocessors use different rows.
inline constexpr const char* kStampVariable = "redline_stamps";
inline constexpr size_t kStampSlots = 32;
struct StampCell {
  uint64_t count = 0;
  uint64_t sum = 0;
  uint64_t most = 0;
  uint64_t least = 0;  // inverted, so that zero is none
};
inline constexpr size_t kStampBytes = kStampSlots * kStampMarks * sizeof(StampCell);
// Stamps are the low bits of the GPU's nanoseconds, so that sums of many fit: they start again
// every 18 minutes.
inline constexpr int kStampBits = 40;

// Of all blocks of a kernel, in nanoseconds; the first thread of each block stamps for it.
struct Stamps {
  uint64_t count = 0;  // of blocks that passed the mark
  uint64_t least = 0;
  uint64_t most = 0;
  double mean = 0;
};
std::array<Stamps, kStampMarks> sum_up_stamps(std::span<const StampCell> cells);

// The same kernel with stamps: at its start and at each of its ends, behind griddepcontrol.wait,
// and what its text has in REDLINE_STAMPED(). A text without the kernel is a bug of ours.
Result<KernelSource> with_timestamps(KernelSource source);

}  // namespace redline::cuda
