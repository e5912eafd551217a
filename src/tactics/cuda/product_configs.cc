// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "tactics/cuda/product.h"

namespace redline {
namespace {

constexpr size_t kMostConfigs = 12;
// What the model below believes of a GPU; measured order of magnitude of an H100.
constexpr double kMultiprocessors = 132;
constexpr double kSharedBytes = 220 * 1024;
constexpr double kBytesPerClock = 48;  // into one multiprocessor, from the L2
constexpr double kLatency = 700;       // clocks from a load to its use
constexpr double kStart = 2500;        // clocks before the first and behind the last tile
constexpr double kMappedStart = 2000;  // ... where one thread fetches all
constexpr double kTurnStart = 800;     // ... where a warpgroup of its own fetches the tiles
constexpr double kClusterCost = 1500;  // clocks to meet in a cluster ...
constexpr double kBlockCost = 150;     // ... for each block of it
constexpr double kSumBytes = 12;       // of sums that a block adds up per clock
constexpr double kSumCost = 4000;      // ... by another kernel

struct Tile {
  int rows, columns, depth, warps_rows, warps_columns, warps_depth, stages;
  int resident = 1;
};

// 16-bit floats on tensor cores; what fits the 99 KB that every GPU since sm_80 has.
constexpr Tile kMatrixTiles[] = {
    {128, 128, 32, 2, 2, 1, 4}, {128, 128, 64, 2, 4, 1, 3}, {128, 64, 64, 2, 2, 1, 4},
    {64, 128, 64, 2, 2, 1, 4},  {64, 64, 64, 2, 2, 1, 4},   {64, 64, 64, 2, 2, 2, 5},
    {64, 32, 64, 2, 1, 2, 6},   {32, 64, 64, 1, 2, 2, 6},   {32, 32, 128, 1, 1, 4, 4},
    {16, 128, 64, 1, 4, 2, 5},  {16, 64, 128, 1, 2, 4, 4},  {16, 32, 128, 1, 1, 4, 6},
};
// The same by warpgroups; what fits an H100's 227 KB.
constexpr Tile kWarpgroupTiles[] = {
    {128, 256, 64, 8, 1, 1, 4},    {128, 192, 64, 8, 1, 1, 5},  {128, 128, 64, 8, 1, 1, 6},
    {128, 128, 64, 8, 1, 1, 3, 2}, {256, 64, 64, 8, 1, 1, 5},   {128, 64, 64, 8, 1, 1, 4, 2},
    {64, 128, 64, 4, 1, 1, 4, 2},  {64, 64, 64, 4, 1, 1, 6, 2}, {64, 32, 64, 4, 1, 1, 8, 2},
    {64, 64, 64, 4, 1, 1, 12},     {64, 32, 64, 4, 1, 1, 16},
};
// ... in turns.
constexpr Tile kTurnTiles[] = {
    {128, 256, 64, 8, 1, 1, 4},   {256, 128, 64, 8, 1, 1, 4},  {128, 192, 64, 8, 1, 1, 5},
    {128, 128, 64, 8, 1, 1, 6},   {64, 256, 64, 4, 2, 1, 5},   {128, 64, 64, 8, 1, 1, 8},
    {64, 128, 64, 4, 1, 1, 4, 2}, {64, 64, 64, 4, 1, 1, 6, 2},
};
// f32 on tensor cores, its numbers split in two or rounded.
constexpr Tile kSplitTiles[] = {
    {128, 128, 32, 2, 4, 1, 3}, {128, 64, 32, 4, 2, 1, 3}, {64, 64, 32, 2, 2, 1, 4},
    {64, 64, 32, 2, 2, 2, 4},   {32, 64, 32, 1, 2, 4, 4},  {32, 32, 32, 1, 1, 4, 6},
    {16, 64, 32, 1, 2, 4, 5},   {16, 32, 32, 1, 1, 4, 6},
};
// f32 by multiplications of the threads.
constexpr Tile kScalarTiles[] = {
    {128, 128, 16, 4, 2, 1, 3}, {64, 128, 16, 2, 2, 1, 4}, {64, 64, 16, 4, 2, 1, 4},
    {32, 64, 32, 2, 1, 4, 3},   {32, 32, 32, 2, 1, 4, 4},  {16, 64, 32, 1, 2, 4, 4},
    {16, 32, 32, 1, 1, 8, 4},
};

double div_up(double a, double b) { return std::ceil(a / b); }

// Clocks from the start to the end of a product, roughly.
double cost(const ProductSpec& spec, const ProductKnobs& knobs, double rows) {
  double element = static_cast<double>(dtype_bytes(spec.dtype));
  auto tile_rows = static_cast<double>(knobs.tile_rows);
  auto tile_columns = static_cast<double>(knobs.tile_columns);
  auto depth = static_cast<double>(knobs.tile_depth);
  auto splits = static_cast<double>(knobs.splits);
  double tiles = div_up(div_up(static_cast<double>(spec.depth), depth), splits);
  double blocks = div_up(rows, tile_rows) *
                  div_up(static_cast<double>(spec.columns), tile_columns) *
                  static_cast<double>(spec.batch) * splits;
  double resident = std::floor(kSharedBytes / static_cast<double>(knobs.shared_bytes(spec.dtype)));
  resident = std::clamp(resident, 1.0,
                        std::max(1.0, std::floor(1024.0 / static_cast<double>(knobs.threads()))));
  if (knobs.wgmma != 0) resident = static_cast<double>(knobs.resident);
  double at_once = std::min(resident, std::max(1.0, div_up(blocks, kMultiprocessors)));
  bool half = spec.dtype != DType::kFloat32;
  bool matrix = half || knobs.matrix != 0;
  double rate = half ? 1100 : spec.tf32 ? 400 : matrix ? 200 : 100;
  if (knobs.wgmma != 0) {
    // Operands come from shared memory, 128 bytes a clock.
    double across = tile_columns / static_cast<double>(knobs.warps_columns);
    rate = (knobs.turns != 0 ? 2000 : 1500) * std::min(1.0, across / 2 / (16 + across / 4));
    double groups = at_once * static_cast<double>(knobs.threads()) / 128;
    rate *= std::min(1.0, 0.5 + groups / 4);
  } else {
    // A warp's own tile bounds how often a fragment is used again.
    double warp_rows = tile_rows / static_cast<double>(knobs.warps_rows);
    double warp_columns = tile_columns / static_cast<double>(knobs.warps_columns);
    double reuse = warp_rows * warp_columns / (warp_rows + warp_columns);
    rate *= std::min(1.0, matrix ? 0.3 + reuse / 45 : 0.3 + reuse / 30);
    double warps = at_once * static_cast<double>(knobs.threads()) / 32;
    rate *= std::min(1.0, 0.4 + warps / 13);
  }
  double arithmetic = at_once * tile_rows * tile_columns * depth / rate;
  double bytes = at_once * (tile_rows + tile_columns) * depth * element / kBytesPerClock;
  bool by_all = knobs.wgmma != 0 && knobs.mapped == 0;  // fetched by the threads that multiply
  double waiting = kLatency / static_cast<double>(knobs.stages - (by_all ? 2 : 1));
  double per_tile = std::max({arithmetic, bytes, waiting});
  double start = knobs.turns != 0 ? kTurnStart : knobs.mapped != 0 ? kMappedStart : kStart;
  double stored = at_once * tile_rows * tile_columns * (element + 4) / kBytesPerClock;
  double clocks = div_up(blocks, kMultiprocessors * at_once) * (tiles * per_tile + stored + start);
  if (splits > 1) {
    double added = tile_rows * tile_columns * 4 / kSumBytes;
    clocks += knobs.cluster != 0 ? kClusterCost + kBlockCost * splits + added : kSumCost;
  }
  return clocks;
}

Config config_of(const ProductKnobs& knobs) {
  Config config = {{"tile_rows", knobs.tile_rows},
                   {"tile_columns", knobs.tile_columns},
                   {"tile_depth", knobs.tile_depth},
                   {"warps_rows", knobs.warps_rows},
                   {"warps_columns", knobs.warps_columns},
                   {"warps_depth", knobs.warps_depth},
                   {"stages", knobs.stages},
                   {"splits", knobs.splits},
                   {"cluster", knobs.cluster},
                   {"matrix", knobs.matrix},
                   {"wgmma", knobs.wgmma},
                   {"resident", knobs.resident},
                   {"turns", knobs.turns}};
  // Not said where there is none, as in databases of before.
  if (knobs.mapped != 0 && knobs.turns == 0) config.push_back({"mapped", knobs.mapped});
  return config;
}

}  // namespace

std::vector<Config> product_configs(const ProductSpec& spec, int64_t rows) {
  struct Candidate {
    ProductKnobs knobs;
    double clocks;
  };
  std::vector<Candidate> candidates;
  auto consider = [&](const Tile& tile, int64_t matrix, int64_t wgmma, int64_t mapped = 0,
                      int64_t turns = 0) {
    ProductKnobs knobs;
    knobs.matrix = matrix;
    knobs.wgmma = wgmma;
    knobs.mapped = mapped;
    knobs.turns = turns;
    knobs.resident = tile.resident;
    knobs.tile_rows = tile.rows;
    knobs.tile_columns = tile.columns;
    knobs.tile_depth = tile.depth;
    knobs.warps_rows = tile.warps_rows;
    knobs.warps_columns = tile.warps_columns;
    knobs.warps_depth = tile.warps_depth;
    knobs.stages = tile.stages;
    int64_t tiles = (spec.depth + tile.depth - 1) / tile.depth;
    double blocks = div_up(static_cast<double>(rows), tile.rows) *
                    div_up(static_cast<double>(spec.columns), tile.columns) *
                    static_cast<double>(spec.batch);
    for (int64_t splits : {1, 2, 4, 8}) {
      // What fills the GPU twice over is not split further.
      bool full = blocks * static_cast<double>(splits) / 2 >= 2 * kMultiprocessors;
      if (splits > tiles || (splits > 1 && (full || turns != 0))) break;
      knobs.splits = splits;
      knobs.cluster = splits > 1 ? 1 : 0;
      candidates.push_back(
          {knobs, cost(spec, knobs, static_cast<double>(std::max<int64_t>(rows, 1)))});
    }
  };
  bool half = spec.dtype != DType::kFloat32;
  if (half) {
    for (const Tile& tile : kMatrixTiles) consider(tile, 0, 0);
    bool deep = !spec.columns_together || (spec.can_pack && spec.constant);
    if (deep) {
      for (const Tile& tile : kWarpgroupTiles) consider(tile, 0, 1, comes_in_bulk(spec) ? 1 : 0);
    }
    if (comes_in_bulk(spec)) {
      for (const Tile& tile : kTurnTiles) consider(tile, 0, 1, 1, 1);
    }
  } else {
    for (const Tile& tile : kSplitTiles) consider(tile, 1, 0);
    for (const Tile& tile : kScalarTiles) {
      if (!spec.tf32) consider(tile, 0, 0);
    }
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.clocks < b.clocks; });
  // Of both kinds in turns, best first: the model does not compare them well.
  auto kind_of = [](const Candidate& c) { return c.knobs.matrix + c.knobs.wgmma; };
  std::vector<Config> configs;
  size_t next[2] = {0, 0};
  for (int64_t kind = kind_of(candidates.front()); configs.size() < kMostConfigs; kind = 1 - kind) {
    size_t* i = &next[kind];
    while (*i < candidates.size() && kind_of(candidates[*i]) != kind) ++*i;
    if (*i == candidates.size()) {
      i = &next[1 - kind];  // one kind has ended
      while (*i < candidates.size() && kind_of(candidates[*i]) == kind) ++*i;
      if (*i == candidates.size()) break;
    }
    configs.push_back(config_of(candidates[(*i)++].knobs));
  }
  return configs;
}

}  // namespace redline
