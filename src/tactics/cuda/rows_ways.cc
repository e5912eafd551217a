// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rows_ways.h"

#include <algorithm>

#include "base/checked.h"
#include "tactics/cuda/rows_teams.h"

namespace redline {
namespace {

constexpr int kMaxLanes = 8;
constexpr int kMostCluster = 16;
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kStateBytes = 16;  // the largest
// For sizes that are not known: rows enough to fill the GPU.
constexpr int64_t kManyRows = 1 << 14;
// What a thread has read before it uses the first, so that enough bytes are on their way.
constexpr int kBytesAhead = 64;
// Between the passes of a relay: more than the blocks that run at once read, and little enough that
// the L2 has it beside as much of the results.
constexpr int64_t kRelayBytes = 8 << 20;
// Of a multiprocessor that runs a relay.
constexpr int kRelayThreads = 1024;
// Of short rows in the shared memory of a block.
constexpr int64_t kShortBytes = 32 << 10;
// Rows of teams, in bytes, and columns, in elements.
constexpr int64_t kTeamRow = 64 << 10;
constexpr int64_t kTeamColumn = 512;
// From this many elements on what counts is that enough bytes are on their way.
constexpr int64_t kLarge = 4 << 20;

// Elements of an access: 16 bytes of the widest operand that has neighbours there.
int widest_lanes(const Problem& problem, const RowsProblem& rows) {
  size_t bytes = 1;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    if (rows.dims[i].empty() || rows.dims[i].back() == "1") continue;
    bytes = std::max(bytes, dtype_bytes(problem.inputs[i].dtype));
  }
  for (const OperandDesc& output : problem.outputs) {
    bytes = std::max(bytes, rows.applies() ? dtype_bytes(output.dtype) : 1);
  }
  int lanes = std::min(kMaxLanes, static_cast<int>(16 / bytes));
  const RowAxis& last = rows.axes.back();
  while (last.known && *last.known % lanes != 0) lanes /= 2;
  return lanes;
}

struct Sizes {
  int64_t rows, length;
  int lanes;
  int held;            // elements that a thread's registers hold
  int bytes = 4;       // of an element of the source
  int raw_bytes = 4;   // of one as a kernel holds it until it is used
  bool twice = false;  // two statistics
  bool applies = true;
  bool in_place = false;  // can_be_short()
  bool teams = false;     // can_be_team()
  int64_t side = 1;       // columns_side_by_side()
  // Rows of which few allow the widest accesses.
  bool begin_anywhere() const {
    return in_place && length <= kShortBytes && length * bytes % 16 != 0;
  }
  bool large() const { return rows * length >= kLarge; }
};

RowsShape registers(const Sizes& s, int threads, int across, int64_t groups, int rows = 1) {
  return {RowsKernel::kRegisters, threads, across, s.lanes, static_cast<int>(groups), rows};
}

// A thread of a large block has half the registers.
bool holds(const Sizes& s, int64_t elements, int threads) {
  return elements <= (threads > 512 ? s.held / 2 : s.held);
}

// A warp or less a row; several rows at once where one gives a thread little to read.
bool warp_rows(const Sizes& s, bool several, std::vector<RowsWay>& ways) {
  int64_t vectors = std::max<int64_t>(1, divide_up(s.length, s.lanes));
  int across = power_of_two(vectors, 32);
  int64_t groups = divide_up(vectors, across);
  if (!holds(s, groups * s.lanes, 256)) return false;
  int threads = s.rows * across <= 32 * 4 * kMultiprocessors ? 64 : 256;
  int rows = 1;
  if (several) {
    auto fits = [&](int64_t n) {
      return n <= 16 && holds(s, n * groups * s.lanes, threads) &&
             n * groups * s.lanes * s.bytes <= kBytesAhead;
    };
    while (fits(2 * rows)) rows *= 2;
  }
  if (several && rows == 1) return false;
  ways.push_back({{registers(s, threads, across, groups, rows)}});
  return true;
}

// A block a row, with about `groups` accesses a thread.
bool block_rows(const Sizes& s, int groups, std::vector<RowsWay>& ways) {
  int64_t vectors = std::max<int64_t>(1, divide_up(s.length, s.lanes));
  int threads = std::max(64, power_of_two(divide_up(vectors, groups), 1024));
  int64_t held = divide_up(vectors, threads);
  if (!holds(s, held * s.lanes, threads)) return false;
  ways.push_back({{registers(s, threads, threads, held)}});
  return true;
}

RowsWay streamed(const Sizes& s, int threads, int across) {
  return {{{RowsKernel::kStreamed, threads, across, s.lanes, 1}}};
}

RowsWay in_parts(const Sizes& s, int threads, int64_t parts) {
  RowsWay way;
  way.parts = static_cast<int>(parts);
  for (RowsKernel kernel :
       {RowsKernel::kPartsFirst, RowsKernel::kPartsSecond, RowsKernel::kPartsLast}) {
    if (kernel == RowsKernel::kPartsSecond && !s.twice) continue;
    way.launches.push_back({kernel, threads, threads, s.lanes, 1});
  }
  return way;
}

// `part`: elements of a row in an access of all threads of a block. `rows`: of a group.
RowsWay relay(const Sizes& s, RowsShape shape, int64_t part, int64_t rows) {
  shape.lanes = s.lanes;
  shape.groups = std::clamp(kBytesAhead / (s.lanes * s.bytes), 1, 16);
  int64_t groups = divide_up(s.rows, rows);
  int64_t lag = kRelayBytes / std::max<int64_t>(1, rows * s.length * s.bytes);
  shape.lag = static_cast<int>(std::max<int64_t>(1, std::min(lag, groups / 2)));
  RowsShape reset = {RowsKernel::kRelayReset, 256, shape.across, s.lanes, 1};
  int64_t parts = std::max<int64_t>(1, divide_up(s.length, part * shape.groups));
  return {{reset, shape}, static_cast<int>(parts)};
}

RowsWay row_relay(const Sizes& s, int threads) {
  return relay(s, {RowsKernel::kRowRelay, threads, threads}, int64_t{threads} * s.lanes, 1);
}

// `across` times the lanes is what lies together of each row of memory.
RowsWay column_relay(const Sizes& s, int threads, int across) {
  return relay(s, {RowsKernel::kColumnRelay, threads, across}, threads / across,
               int64_t{across} * s.lanes);
}

// A row of `vectors` accesses of `along` threads a block in the registers of a cluster, of as few
// blocks as can be: 32 of a thread's are for it.
void clustered(RowsShape shape, int64_t vectors, int64_t along, const Sizes& s,
               std::vector<RowsWay>& ways) {
  int64_t access = std::max<int64_t>(1, divide_up(int64_t{s.lanes} * s.raw_bytes, 4));
  int64_t blocks = divide_up(vectors, along * std::max<int64_t>(1, 32 / access));
  if (blocks < 2 || blocks > kMostCluster) return;
  shape.lanes = s.lanes;
  shape.cluster = power_of_two(blocks, kMostCluster);
  shape.groups = static_cast<int>(divide_up(vectors, along * shape.cluster));
  ways.push_back({{shape}, shape.cluster});
}

void row_clusters(const Sizes& s, size_t most, std::vector<RowsWay>& ways) {
  size_t before = ways.size();
  for (int threads : {256, 512, 1024}) {
    if (ways.size() - before == most) return;
    clustered({RowsKernel::kRowCluster, threads, threads}, divide_up(s.length, s.lanes), threads, s,
              ways);
  }
}

// In the order of how much lies together and how many blocks run beside each other. Four elements a
// thread side by side leave registers for the states of all of them.
void column_clusters(const Sizes& s, size_t most, std::vector<RowsWay>& ways) {
  size_t before = ways.size();
  Sizes narrow = s;
  narrow.lanes = std::min(s.lanes, 4);
  int64_t vectors = std::max<int64_t>(1, s.rows / narrow.lanes);
  for (auto [threads, bytes] :
       {std::pair(256, 128), {512, 128}, {256, 64}, {512, 64}, {256, 32}, {1024, 64}}) {
    if (ways.size() - before == most) return;
    int across = bytes / (narrow.lanes * s.bytes);
    if (across < 1 || across > std::min<int64_t>(vectors, 32)) continue;
    clustered({RowsKernel::kColumnCluster, threads, across}, s.length, threads / across, narrow,
              ways);
  }
}

// Pieces of up to `groups` accesses of a thread, which come in boxes of `box`. A block has as many
// of a row at once as shape.rows says. `even`: as many parts as take no more rounds of all blocks.
void team(const Sizes& s, RowsShape shape, int groups, int box, std::vector<RowsWay>& ways,
          bool even = false) {
  shape.groups = groups;
  int64_t parts = divide_up(s.length, longest_of_team(shape) * shape.rows) * shape.rows;
  if (even) {
    int64_t rounds = divide_up(s.rows * parts, kMultiprocessors);
    int64_t most = rounds * kMultiprocessors / std::max<int64_t>(1, s.rows);
    if (most <= parts) return;
    parts = most;
  }
  if (!s.teams || parts > std::min(kMostTeam, kMultiprocessors)) return;
  shape.groups = box;
  while (parts * longest_of_team(shape) < s.length) shape.groups += box;
  shape.team = static_cast<int>(parts);
  if (is_team(shape, s.length, s.side, s.bytes)) ways.push_back({{shape}, shape.team});
}

// Of each shape pieces of `groups` accesses of a thread, of which a block has one of a row at once,
// or two, or smaller ones, of which it holds more, also of as many as let all blocks have the same
// to do; and with more boxes on their way for faster memory.
void add_teams(const Sizes& s, const std::vector<RowsShape>& shapes, int groups, int box,
               std::vector<RowsWay>& ways) {
  struct Variant {
    int pieces, rows, pace;
    bool even = false;
  };
  for (Variant variant : {Variant{1, 1, 0},
                          {2, 1, 0},
                          {2, 1, 0, true},
                          {1, 1, 4},
                          {2, 1, 4},
                          {1, 2, 0},
                          {1, 2, 3},
                          {2, 2, 3}}) {
    for (RowsShape shape : shapes) {
      if (variant.even && in_team_columns(shape.kernel)) continue;
      shape.rows = variant.rows;
      shape.pace = variant.pace;
      team(s, shape, groups / variant.pieces, box, ways, variant.even);
    }
  }
}

void row_team(const Sizes& s, int threads, std::vector<RowsWay>& ways) {
  add_teams(s, {{RowsKernel::kRowTeam, threads, threads, s.lanes}}, 8, 2, ways);
}
void row_whole(const Sizes& s, int threads, std::vector<RowsWay>& ways) {
  team(s, {RowsKernel::kRowWhole, threads, threads, s.lanes}, 8, 2, ways);
}

// `across` words of a row in a piece.
void column_teams(const Sizes& s, int threads, std::initializer_list<int> across,
                  std::vector<RowsWay>& ways) {
  std::vector<RowsShape> shapes;
  for (int words : across) {
    shapes.push_back({RowsKernel::kColumnTeam, threads, words, 4 / s.bytes});
  }
  add_teams(s, shapes, 32, 8, ways);
}
// As many as let a block have whole columns.
void column_whole(const Sizes& s, int threads, std::vector<RowsWay>& ways) {
  size_t before = ways.size();
  for (int across = 64; across >= 16 && ways.size() == before; across /= 2) {
    team(s, {RowsKernel::kColumnWhole, threads, across, 4 / s.bytes}, 32, 8, ways);
  }
}

// Only statistics of long rows: one wave of blocks that have the same to do, or many small ones.
void reduced_rows(const Sizes& s, std::vector<RowsWay>& ways) {
  for (int64_t blocks : {2 * kMultiprocessors, 16 * kMultiprocessors}) {
    int64_t parts = std::min(divide_up(blocks, s.rows), s.length / (512 * s.lanes * 2));
    if (parts > 1) ways.push_back(in_parts(s, 512, parts));
  }
  ways.push_back(streamed(s, 256, 256));
  ways.push_back(streamed(s, 512, 512));
}

// Whether the rows lie together in an input and nothing but their statistics is wanted.
bool can_be_short(const Problem& problem, const RowsProblem& rows) {
  return !rows.applies() && rows.source < static_cast<int>(problem.inputs.size()) &&
         rows.axes.size() == 2 && rows.last_is_reduced() && !rows.axes[0].reduced &&
         rows.axes[1].known;
}

// Those of a block, in bytes, fill accesses.
bool is_short(const RowsShape& shape, int64_t length, int bytes) {
  int64_t count = int64_t{shape.threads / shape.across} * shape.rows;
  return shape.across <= 32 && shape.lanes == 1 && shape.groups == 1 && length >= 1 &&
         length * bytes <= kShortBytes && count * length * bytes <= kShortBytes &&
         count * length * bytes % 16 == 0;
}

// With as few threads a row, or as many rows a thread, as make `most` bytes of a block.
void staged_rows(const Sizes& s, int threads, int64_t most, std::vector<RowsWay>& ways) {
  RowsShape shape = {RowsKernel::kShortRows, threads, 1, 1, 1};
  int64_t bytes = threads * s.length * s.bytes;
  for (; bytes > most && shape.across < 32; bytes /= 2) shape.across *= 2;
  for (; 2 * bytes <= most && shape.rows < 16 && shape.across == 1; bytes *= 2) shape.rows *= 2;
  if (is_short(shape, s.length, s.bytes)) ways.push_back({{shape}});
}

std::vector<RowsWay> row_ways(const Sizes& s) {
  std::vector<RowsWay> ways;
  if (s.large() && s.begin_anywhere()) {
    staged_rows(s, 256, kShortBytes / 2, ways);
    staged_rows(s, 128, kShortBytes / 2, ways);
  }
  bool long_rows = s.length >= 1 << 13;
  if (s.large() && long_rows && !s.applies && !s.twice) reduced_rows(s, ways);
  bool relays = s.large() && long_rows && s.applies;
  bool teams = relays && s.length * s.bytes >= kTeamRow;
  if (teams) row_whole(s, 512, ways);
  if (teams) row_team(s, 512, ways);
  if (relays) row_clusters(s, 2, ways);
  // Long rows too few for all multiprocessors are divided.
  int64_t parts = std::min(divide_up(4 * kMultiprocessors, std::max<int64_t>(1, s.rows)),
                           s.length / (512 * s.lanes * 2));
  bool few = 2 * s.rows <= kMultiprocessors && parts > 1 && s.length >= 1 << 15;
  if (relays && few) ways.push_back(row_relay(s, 512));
  if (few) ways.push_back(in_parts(s, 512, parts));
  bool short_rows = s.length <= 1024 || s.rows >= 8 * kMultiprocessors;
  if (short_rows && s.large()) warp_rows(s, true, ways);
  if (short_rows) warp_rows(s, false, ways);
  if (relays) block_rows(s, 4, ways);
  if (relays && ways.size() < 2) ways.push_back(streamed(s, 1024, 1024));
  block_rows(s, 1, ways);
  if (relays && !teams) row_team(s, 512, ways);
  block_rows(s, 4, ways);
  if (relays) ways.push_back(row_relay(s, 256));
  if (relays) ways.push_back(row_relay(s, 512));
  if (!short_rows) warp_rows(s, false, ways);
  if (ways.size() < 3) {
    int threads = long_rows ? 1024 : 256;
    ways.push_back(streamed(s, threads, threads));
    ways.push_back(streamed(s, 512, 512));
  }
  warp_rows(s, true, ways);
  if (s.applies) ways.push_back(row_relay(s, 256));
  if (s.begin_anywhere()) staged_rows(s, 256, kShortBytes, ways);
  if (s.applies || s.twice) row_clusters(s, 3, ways);
  if (!teams) row_team(s, 64, ways);
  if (!teams) row_whole(s, 64, ways);
  return ways;
}

RowsWay columns_of(const Sizes& s, int threads, int across, int ahead, int64_t parts) {
  RowsWay way;
  way.parts = static_cast<int>(parts);
  if (parts == 1) {
    way.launches.push_back({RowsKernel::kColumns, threads, across, s.lanes, ahead});
    return way;
  }
  // The states of a column are merged by threads enough to read them at once.
  int together = std::max(1, threads / power_of_two(parts, threads));
  way.launches.push_back({RowsKernel::kColumnPartsFirst, threads, across, s.lanes, ahead});
  way.launches.push_back(
      {RowsKernel::kColumnPartsLast, threads, std::min(across, together), s.lanes, 1});
  return way;
}

// The whole of a column in the registers of a block, `across` threads wide.
bool held_columns(const Sizes& s, int across, std::vector<RowsWay>& ways) {
  int most = s.held / s.lanes;
  int along = std::max(32 / std::min(across, 32), power_of_two(divide_up(s.length, most), 1024));
  while (along * across < 128) along *= 2;
  if (along * across > 1024) return false;
  int64_t groups = std::max<int64_t>(1, divide_up(s.length, along));
  if (!holds(s, groups * s.lanes, along * across)) return false;
  ways.push_back({{{RowsKernel::kColumnsInRegisters, along * across, across, s.lanes,
                    static_cast<int>(groups)}}});
  return true;
}

// Short columns in four threads each, which have so much of one that merging is little beside it.
void short_columns(const Sizes& s, std::vector<RowsWay>& ways) {
  int64_t groups = divide_up(s.length, 4);
  int64_t held = groups * s.lanes;
  if (2 * held <= s.held || 2 * held > 3 * s.held) return;
  for (int across : {8, 32}) {
    if (across > s.rows / s.lanes) continue;
    ways.push_back({{{RowsKernel::kColumnsInRegisters, 4 * across, across, s.lanes,
                      static_cast<int>(groups)}}});
  }
}

// Columns that are read once though they are wanted twice, in the order of how much lies together.
void columns_held(const Sizes& s, std::vector<RowsWay>& ways) {
  int64_t vectors = std::max<int64_t>(1, s.rows / s.lanes);
  if (s.large()) short_columns(s, ways);
  int kept = 0;
  for (int across : {16, 8, 32, 4}) {
    if (across > vectors || kept == 2) continue;
    kept += held_columns(s, across, ways) ? 1 : 0;
  }
  if (vectors >= 32) held_columns(s, 32, ways);
  if (!s.large()) short_columns(s, ways);
}

void columns_relayed(const Sizes& s, std::vector<RowsWay>& ways) {
  int64_t vectors = std::max<int64_t>(1, s.rows / s.lanes);
  if (!s.applies || (s.large() && s.length < 256)) return;
  for (auto [threads, across] : {std::pair(512, 16), {256, 8}, {512, 32}}) {
    if (across <= vectors) ways.push_back(column_relay(s, threads, across));
  }
}

// Sums of many columns: 8 accesses ahead, with blocks enough for several waves, or for one.
void reduced_columns(const Sizes& s, int ahead, std::vector<RowsWay>& ways) {
  int64_t vectors = std::max<int64_t>(1, divide_up(s.rows, s.lanes));
  int threads = 256;
  int across = power_of_two(vectors, 32);
  int along = threads / across;
  int64_t blocks = divide_up(vectors, across);
  int64_t most = s.length / (along * ahead);
  // A block a multiprocessor has too few bytes on their way.
  bool enough = 2 * blocks > kMultiprocessors;
  if (enough && blocks <= 2 * kMultiprocessors) {
    for (auto [more, wide] : {std::pair(512, across), {512, across / 2}, {256, across / 2}}) {
      if (wide >= 4) ways.push_back(columns_of(s, more, wide, ahead, 1));
    }
  }
  for (int64_t waves : {8, 4, 2, 1}) {
    int64_t parts =
        std::clamp<int64_t>(waves * kMultiprocessors / blocks, 1, std::max<int64_t>(1, most));
    ways.push_back(columns_of(s, threads, across, ahead, parts));
  }
  if (enough && blocks <= 4 * kMultiprocessors) {
    ways.push_back(columns_of(s, 512, across, ahead, 1));
  }
}

std::vector<RowsWay> column_ways(const Sizes& s, int ahead) {
  std::vector<RowsWay> ways;
  bool divisible = !s.twice && !s.applies;
  bool long_ones = s.large() && s.length >= kTeamColumn;
  if (long_ones) column_whole(s, 512, ways);
  if (long_ones) column_teams(s, 512, {16, 32}, ways);
  if (s.large() && s.applies) column_clusters(s, 2, ways);
  if (s.large() && (s.applies || s.twice)) columns_held(s, ways);
  // Shorter ones leave blocks less to compute while pieces are on their way.
  bool short_ones = s.large() && !long_ones && s.length >= kTeamColumn / 4;
  if (short_ones) column_teams(s, 512, {32, 16}, ways);
  if (s.large() && divisible && ahead > 1) reduced_columns(s, ahead, ways);
  int64_t vectors = std::max<int64_t>(1, divide_up(s.rows, s.lanes));
  for (int threads : {256, 512, 128}) {
    // Enough threads along a column for its length, the rest side by side.
    int along = power_of_two(divide_up(s.length, 8), threads / power_of_two(vectors, 32));
    int across = threads / along;
    int64_t blocks = divide_up(vectors, across);
    int64_t parts = std::min(divide_up(4 * kMultiprocessors, blocks), s.length / (along * 8));
    if (divisible && parts > 1 && blocks < kMultiprocessors) {
      ways.push_back(columns_of(s, threads, across, 1, parts));
    }
    ways.push_back(columns_of(s, threads, across, 1, 1));
    // An H100 was slower with it than with two or three reads, where it was tried first.
    if (threads == 512) columns_relayed(s, ways);
  }
  columns_held(s, ways);
  if (!divisible) column_clusters(s, 5, ways);
  if (divisible && ahead > 1) reduced_columns(s, ahead, ways);
  if (!long_ones) column_teams(s, 64, {16}, ways);
  if (!long_ones) column_teams(s, 128, {32}, ways);
  if (!long_ones) column_whole(s, 128, ways);
  return ways;
}

// For rows of any length, and a last axis of any size: the first that fits is taken.
std::vector<RowsWay> ways_for_any(const RowsProblem& rows, const Sizes& s) {
  Sizes single = s;
  single.lanes = 1;
  if (!rows.last_is_reduced()) {
    return {columns_of(s, 256, 32, 1, 1), columns_of(single, 256, 32, 1, 1)};
  }
  int held = s.held / s.lanes;
  return {{{registers(s, 128, 32, held)}},
          {{registers(s, 256, 256, held)}},
          streamed(s, 256, 256),
          streamed(single, 128, 32),
          streamed(single, 256, 256)};
}

bool has_any_length(const RowsProblem& rows) {
  bool in_rows = rows.last_is_reduced();
  return !rows.axes.back().known || (in_rows && !rows.known_size(true));
}

bool is_twice(const Problem& problem, const RowsProblem& rows) {
  Body body = body_of(problem);
  ElementWriter writer(problem);
  return write_row_op(body.nodes[static_cast<size_t>(rows.anchor)], writer.value(rows.source).dtype,
                      rows.applies(), false)
      .twice;
}

std::vector<RowsWay> all_ways(const Problem& problem, const RowsProblem& rows) {
  ElementWriter writer(problem);
  DType source = writer.value(rows.source).dtype;
  bool wide = is_int(source) || source == DType::kFloat64;
  Sizes s = {rows.known_size(false).value_or(kManyRows), rows.known_size(true).value_or(1024),
             widest_lanes(problem, rows), wide ? 16 : 32};
  s.bytes = static_cast<int>(dtype_bytes(source));
  Body body = body_of(problem);
  // What is computed is held as it is.
  s.raw_bytes = rows.source < body.num_inputs ? s.bytes : std::max(4, s.bytes);
  s.twice = is_twice(problem, rows);
  s.applies = rows.applies();
  s.in_place = can_be_short(problem, rows);
  s.teams = can_be_team(problem, rows);
  s.side = columns_side_by_side(rows);
  if (has_any_length(rows)) return ways_for_any(rows, s);
  if (rows.last_is_reduced()) return row_ways(s);
  // States that are wide leave no registers to read ahead, nor do values that are computed.
  bool places = body.nodes[static_cast<size_t>(rows.anchor)].op->name.starts_with("arg_");
  return column_ways(s, wide || places || rows.source >= body.num_inputs ? 1 : 8);
}

Config encode(const RowsWay& way) {
  std::vector<int64_t> codes;
  int64_t rows = 1;
  int64_t lag = 0;
  int64_t pace = 0;
  for (const RowsShape& shape : way.launches) {
    codes.insert(codes.end(), {static_cast<int64_t>(shape.kernel), shape.threads, shape.across,
                               shape.lanes, shape.groups});
    rows = std::max<int64_t>(rows, shape.rows);
    lag = std::max<int64_t>(lag, shape.lag);
    pace = std::max<int64_t>(pace, shape.pace);
  }
  Config config = {{"kernels", codes}, {"parts", static_cast<int64_t>(way.parts)}};
  if (rows > 1) config.push_back({"rows", rows});
  if (lag > 0) config.push_back({"lag", lag});
  if (pace > 0) config.push_back({"pace", pace});
  return config;
}

// The kernels that belong together.
bool is_sequence(const std::vector<RowsShape>& launches, bool in_rows, bool twice, bool applies) {
  std::vector<RowsKernel> kernels;
  for (const RowsShape& shape : launches) kernels.push_back(shape.kernel);
  using K = RowsKernel;
  using Kernels = std::vector<RowsKernel>;
  bool relay = kernels == Kernels{K::kRelayReset, in_rows ? K::kRowRelay : K::kColumnRelay};
  if (relay) {
    return launches[0].across == launches[1].across && launches[0].lanes == launches[1].lanes;
  }
  if (in_rows) {
    Kernels parts = twice ? Kernels{K::kPartsFirst, K::kPartsSecond, K::kPartsLast}
                          : Kernels{K::kPartsFirst, K::kPartsLast};
    return kernels == Kernels{K::kRegisters} || kernels == Kernels{K::kStreamed} ||
           kernels == parts || kernels == Kernels{K::kRowCluster} ||
           (applies && (kernels == Kernels{K::kRowTeam} || kernels == Kernels{K::kRowWhole})) ||
           (!applies && kernels == Kernels{K::kShortRows});
  }
  bool divisible = !twice && !applies;
  return kernels == Kernels{K::kColumns} || kernels == Kernels{K::kColumnsInRegisters} ||
         kernels == Kernels{K::kColumnCluster} ||
         (applies && (kernels == Kernels{K::kColumnTeam} || kernels == Kernels{K::kColumnWhole})) ||
         (divisible && kernels == Kernels{K::kColumnPartsFirst, K::kColumnPartsLast});
}

bool is_cluster(RowsKernel kernel) {
  return kernel == RowsKernel::kRowCluster || kernel == RowsKernel::kColumnCluster;
}

bool is_shape(const RowsShape& shape, bool in_rows) {
  if (is_cluster(shape.kernel)) {
    // Several warps a block, each of which has whole columns' neighbours.
    bool blocks = shape.cluster > 1 && is_power_of_two(shape.cluster, kMostCluster);
    if (!blocks || shape.threads < 64 || (!in_rows && shape.across > 32)) return false;
  }
  bool whole_rows = shape.across <= 32 || shape.across == shape.threads ||
                    shape.kernel == RowsKernel::kRelayReset;
  bool several =
      is_team(shape.kernel) || (shape.across <= 32 && (shape.kernel == RowsKernel::kRegisters ||
                                                       shape.kernel == RowsKernel::kShortRows));
  return is_power_of_two(shape.threads, 1024) && shape.threads >= 32 &&
         is_power_of_two(shape.across, 1024) &&
         (shape.across <= shape.threads || shape.kernel == RowsKernel::kRelayReset) &&
         is_power_of_two(shape.lanes, kMaxLanes) && shape.groups >= 1 && shape.groups <= 64 &&
         is_power_of_two(shape.rows, 16) && (shape.rows == 1 || several) && shape.lag >= 0 &&
         shape.lag <= 1 << 20 && (!in_rows || whole_rows);
}

// A config may come from a file: whatever it says must make a kernel that works or none.
Result<RowsWay> decode(const Config& config, const Problem& problem, const RowsProblem& rows) {
  bool twice = is_twice(problem, rows);
  Status bad = incompatible("a step over rows whose kernels are none that we have");
  const auto* given = find_knob<std::vector<int64_t>>(config, "kernels");
  const auto* parts = find_knob<int64_t>(config, "parts");
  const auto* more_rows = find_knob<int64_t>(config, "rows");
  const auto* lag = find_knob<int64_t>(config, "lag");
  const auto* pace = find_knob<int64_t>(config, "pace");
  if (given == nullptr || parts == nullptr || *parts < 1 || *parts > 1 << 20) return bad;
  RowsWay way;
  way.parts = static_cast<int>(*parts);
  bool in_rows = rows.last_is_reduced();
  auto small = [](int64_t n) { return n >= 0 && n <= 1 << 20; };
  for (const auto* knob : {more_rows, lag, pace}) {
    if (knob != nullptr && !small(*knob)) return bad;
  }
  if (given->size() % 5 != 0 || !std::all_of(given->begin(), given->end(), small)) return bad;
  for (auto code = given->begin(); code != given->end(); code += 5) {
    if (code[0] > static_cast<int64_t>(RowsKernel::kColumnWhole)) return bad;
    RowsShape shape = {static_cast<RowsKernel>(code[0]), static_cast<int>(code[1]),
                       static_cast<int>(code[2]), static_cast<int>(code[3]),
                       static_cast<int>(code[4])};
    bool relay = shape.kernel == RowsKernel::kRowRelay || shape.kernel == RowsKernel::kColumnRelay;
    if (more_rows != nullptr) shape.rows = static_cast<int>(*more_rows);
    if (lag != nullptr && relay) shape.lag = static_cast<int>(*lag);
    if (is_cluster(shape.kernel)) shape.cluster = way.parts;
    if (is_team(shape.kernel)) shape.team = way.parts;
    if (is_team(shape.kernel) && pace != nullptr) shape.pace = static_cast<int>(*pace);
    if (!is_shape(shape, in_rows) || rows.axes.back().known.value_or(0) % shape.lanes != 0) {
      return bad;
    }
    if (shape.kernel == RowsKernel::kShortRows) {
      DType source = ElementWriter(problem).value(rows.source).dtype;
      if (!can_be_short(problem, rows)) return bad;
      if (!is_short(shape, *rows.axes[1].known, static_cast<int>(dtype_bytes(source)))) return bad;
    }
    if (is_team(shape.kernel)) {
      auto bytes = static_cast<int>(dtype_bytes(ElementWriter(problem).value(rows.source).dtype));
      if (!can_be_team(problem, rows) || *parts > kMostTeam) return bad;
      if (!is_team(shape, *rows.known_size(true), columns_side_by_side(rows), bytes)) return bad;
    }
    way.launches.push_back(shape);
  }
  if (!is_sequence(way.launches, in_rows, twice, rows.applies())) return bad;
  return way;
}

// The longest row that a kernel takes, in parts or whole.
int64_t longest(const RowsShape& shape, int64_t parts) {
  int64_t along = int64_t{shape.threads / std::max(1, shape.across)} * shape.groups;
  switch (shape.kernel) {
    case RowsKernel::kRegisters:
      return int64_t{shape.across} * shape.lanes * shape.groups;
    case RowsKernel::kColumnsInRegisters:
      return along;
    case RowsKernel::kRowRelay:
    case RowsKernel::kRowCluster:
      return parts * shape.threads * shape.lanes * shape.groups;
    case RowsKernel::kColumnRelay:
    case RowsKernel::kColumnCluster:
      return parts * along;
    case RowsKernel::kRowTeam:
    case RowsKernel::kColumnTeam:
    case RowsKernel::kRowWhole:
    case RowsKernel::kColumnWhole:
      return parts * longest_of_team(shape);
    default:
      return INT64_MAX;
  }
}

int64_t side_by_side(const RowsShape& shape, int64_t rows) {
  return divide_up(rows, int64_t{shape.across} * shape.lanes);
}

int64_t relay_blocks(const RowsShape& shape, int64_t groups, int64_t parts) {
  int64_t turns = (groups + shape.lag) * 2 * parts;
  // As many as their registers let run at once; more would come when all is done, and keep the next
  // kernel from starting. Turns that have no number are refused as blocks that have none.
  int64_t most = kMultiprocessors * std::max(1, kRelayThreads / shape.threads);
  return turns > INT32_MAX ? turns : std::min(turns, most);
}

// For any GPU.
RowsWay any_way(const Problem& problem, const RowsProblem& rows) {
  std::vector<RowsWay> all = all_ways(problem, rows);
  return *std::find_if(all.begin(), all.end(), [](const RowsWay& way) {
    const RowsShape& first = way.launches[0];
    return first.cluster == 1 && !is_team(first.kernel);
  });
}

}  // namespace

std::vector<Config> rows_configs(const Problem& problem, const RowsProblem& rows) {
  if (has_any_length(rows)) return {{}};
  std::vector<Config> result;
  std::vector<RowsWay> seen;
  for (RowsWay& way : all_ways(problem, rows)) {
    if (std::find(seen.begin(), seen.end(), way) != seen.end()) continue;
    result.push_back(encode(way));
    seen.push_back(std::move(way));
  }
  return result;
}

bool rows_config_fits(const Config& config, const cuda::DeviceInfo& device) {
  const auto* kernels = find_knob<std::vector<int64_t>>(config, "kernels");
  const auto* parts = find_knob<int64_t>(config, "parts");
  if (kernels == nullptr || kernels->empty() || parts == nullptr) return true;
  // Data-centre GPUs have clusters of more than 8 blocks, and shared memory for teams.
  bool large = device.compute_major == 9 || device.compute_major == 10;
  if (is_team(static_cast<RowsKernel>(kernels->front()))) {
    return large && *parts <= device.multiprocessors;
  }
  if (!is_cluster(static_cast<RowsKernel>(kernels->front()))) return true;
  return device.has_clusters() && (*parts <= kPortableCluster || large);
}

Result<std::vector<RowsWay>> rows_ways(const Problem& problem, const RowsProblem& rows,
                                       const Config& config) {
  bool known = element_parameters(problem).empty();
  std::vector<RowsWay> ways;
  if (has_any_length(rows)) {
    ways = all_ways(problem, rows);
  } else {
    Result<RowsWay> way = decode(config, problem, rows);
    if (known && !way.ok()) return way.status();
    // Where sizes were known more axes may have become one, and accesses wider than these allow.
    ways.push_back(way.ok() ? *way : any_way(problem, rows));
  }
  if (known) return ways;
  // Sizes may grow beyond what short indices reach.
  Sizes s = {kManyRows, 1024, 1, 1};
  RowsWay wide = rows.last_is_reduced() ? streamed(s, 256, 256) : columns_of(s, 256, 32, 1, 1);
  wide.wide = true;
  ways.push_back(std::move(wide));
  return ways;
}

bool rows_way_takes(const RowsWay& way, const RowsProblem& written, const RowsProblem& rows,
                    int64_t length) {
  const RowAxis& last = written.axes.back();
  int64_t last_size = 1;
  for (size_t axis : last.from) last_size *= std::stoll(rows.sizes[axis]);
  for (const RowsShape& shape : way.launches) {
    if (longest(shape, way.parts) < length) return false;
    if (shape.lanes == 1) continue;
    if (last_size % shape.lanes != 0) return false;
    for (size_t v = 0; v < rows.aligned.size(); ++v) {
      if (rows.aligned[v].empty() || written.dims[v].back() == "1") continue;
      for (size_t axis : last.from) {
        if (rows.aligned[v][axis] != rows.sizes[axis]) return false;
      }
    }
  }
  return true;
}

int64_t rows_blocks(const RowsShape& shape, const RowsProblem& problem, int64_t parts, bool applies,
                    int multiprocessors) {
  int64_t rows = problem.known_size(false).value_or(0);
  switch (shape.kernel) {
    case RowsKernel::kRegisters:
    case RowsKernel::kStreamed:
    case RowsKernel::kShortRows:
      return divide_up(rows, int64_t{shape.threads / shape.across} * shape.rows);
    case RowsKernel::kPartsFirst:
    case RowsKernel::kPartsSecond:
    case RowsKernel::kRowCluster:
      return rows * parts;
    case RowsKernel::kPartsLast:
      return applies ? rows * parts : rows;
    case RowsKernel::kColumns:
    case RowsKernel::kColumnsInRegisters:
    case RowsKernel::kColumnPartsLast:
      return side_by_side(shape, rows);
    case RowsKernel::kColumnPartsFirst:
    case RowsKernel::kColumnCluster:
      return side_by_side(shape, rows) * parts;
    case RowsKernel::kRelayReset:
      return divide_up(rows + 1, shape.threads);
    case RowsKernel::kRowRelay:
      return relay_blocks(shape, rows, parts);
    case RowsKernel::kColumnRelay:
      return relay_blocks(shape, side_by_side(shape, rows), parts);
    case RowsKernel::kRowTeam:
    case RowsKernel::kColumnTeam:
    case RowsKernel::kRowWhole:
    case RowsKernel::kColumnWhole:
      return team_blocks(shape, problem, multiprocessors);
  }
  return 0;
}

unsigned int rows_shared_bytes(const RowsShape& shape) {
  if (is_team(shape.kernel)) return team_shared_bytes(shape);
  if (!is_cluster(shape.kernel)) return 0;
  int rows = shape.kernel == RowsKernel::kRowCluster ? 1 : shape.across * shape.lanes;
  return static_cast<unsigned int>(2 * rows * kStateBytes);
}

size_t rows_workspace(const RowsWay& way, int64_t rows) {
  if (way.launches.size() < 2) return 0;
  const RowsShape& last = way.launches.back();
  int64_t groups = rows;
  int64_t width = 1;
  if (last.kernel == RowsKernel::kColumnRelay) {
    groups = side_by_side(last, rows);
    width = int64_t{last.across} * last.lanes;
  }
  bool relay = last.kernel == RowsKernel::kRowRelay || last.kernel == RowsKernel::kColumnRelay;
  int64_t states = groups * width * (way.parts + (relay ? 1 : 0));
  int64_t counts = relay ? 4 * groups : 0;
  return static_cast<size_t>((2 * states + 8) * kStateBytes + counts);
}

}  // namespace redline
