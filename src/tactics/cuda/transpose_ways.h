// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tactics/cuda/element_writer.h"
#include "tactics/knob.h"

namespace redline {

inline constexpr int kTransposeThreads = 256;

// The operand's axes with those joined that stay neighbours, and those of size 1 left out.
struct Movement {
  std::vector<std::string> sizes;
  std::vector<std::optional<int64_t>> known;
  std::vector<std::vector<size_t>> from;  // the operand's own axes
  std::vector<size_t> perm;
  int bytes = 1;  // of an element
  bool keeps_last() const { return perm.empty() || perm.back() + 1 == sizes.size(); }
  size_t a() const { return sizes.size() - 1; }  // along which the operand is contiguous
  size_t b() const { return perm.back(); }       // along which the result is
  // Whether both lie together on one side: a before b in the result, b before a in the operand.
  bool mixes() const { return perm.size() > 1 && perm[perm.size() - 2] == a(); }
  bool unmixes() const { return b() + 1 == a(); }
};

Movement movement_of(const Problem& problem, const ElementWriter& writer);

// What is done with a tile.
enum class TransposeMove {
  kElements,   // they are stored one by one
  kWords,      // words are turned in registers
  kLongWords,  // with a warp along b
  kStrips      // all of the shorter axis, mixed or taken apart in registers
};

// Tiles of A by B with accesses of LA and LB elements. Without tiles: LA elements at once when the
// last axis stays, else each thread gathers LB elements that are neighbours in the result.
struct TransposeWay {
  int a = 0, b = 0, lanes_a = 1, lanes_b = 1;
  TransposeMove move = TransposeMove::kElements;
  bool wide = false;
  bool operator==(const TransposeWay&) const = default;
};

// Those worth trying, best guess first.
std::vector<Config> transpose_configs(const Problem& problem);

// What a config stands for, then what is taken where sizes turn out to be others.
Result<std::vector<TransposeWay>> transpose_ways(const Problem& problem, const Movement& m,
                                                 const Config& config);

// How many blocks move elements of these sizes; none: the way does not take them.
std::optional<int64_t> transpose_blocks(const Movement& m, const TransposeWay& way,
                                        const Dims& dims);

}  // namespace redline
