// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/transpose_ways.h"

#include <algorithm>

#include "base/checked.h"
#include "ops/transpose.h"

namespace redline {
namespace {

constexpr int kAccessBytes = 16;
constexpr int kSectorBytes = 32;
constexpr int64_t kMultiprocessors = 132;
// From here on the accesses to shared memory count more than how many blocks there are.
constexpr int64_t kLargeBytes = 4 << 20;

int widest(const Movement& m, std::optional<int64_t> size) {
  int lanes = kAccessBytes / m.bytes;
  while (size && *size % lanes != 0) lanes /= 2;
  return lanes;
}

// `elements` in a tile that is as square as the axes allow.
TransposeWay tiles(const Movement& m, int elements, int lanes_a, int lanes_b) {
  int side = power_of_two(elements, 128);
  while (int64_t{side} * side > elements) side /= 2;
  constexpr int kMaxSide = 1024;
  int a = m.known[m.a()] ? power_of_two(*m.known[m.a()], side) : side;
  a = std::max(a, lanes_a);
  int b = m.known[m.b()] ? power_of_two(*m.known[m.b()], std::min(kMaxSide, elements / a))
                         : elements / a;
  b = std::max(b, lanes_b);
  if (b < side && m.known[m.b()])
    a = std::max(a, power_of_two(m.known[m.a()].value_or(side), std::min(kMaxSide, elements / b)));
  // Every thread has an access to make.
  while (a * b < kTransposeThreads * std::max(lanes_a, lanes_b)) b *= 2;
  return {a, b, lanes_a, lanes_b};
}

// Whether a tile of words can be `a` by `b` elements.
bool can_be_words(const Movement& m, const TransposeWay& way) {
  int64_t across = int64_t{way.a} * m.bytes;
  return m.bytes <= 4 && way.lanes_a * m.bytes >= 4 && way.lanes_b * m.bytes >= 4 && across >= 64 &&
         across <= 256 && across * way.b <= 32 << 10 &&
         int64_t{way.a} * way.b >= int64_t{kTransposeThreads} * way.lanes_a && way.b >= way.lanes_b;
}

// Tiles of words that are `across` bytes wide where the axis is that long.
void word_tiles(const Movement& m, int across, int bytes, int lanes_a, int lanes_b,
                std::vector<TransposeWay>& ways) {
  while (across > 64 && across / 2 / m.bytes >= *m.known[m.a()]) across /= 2;
  int b = bytes / across;
  while (b / 2 >= *m.known[m.b()] && across * b > kTransposeThreads * kAccessBytes) b /= 2;
  TransposeWay way = {across / m.bytes, b, lanes_a, lanes_b, TransposeMove::kWords};
  if (can_be_words(m, way)) ways.push_back(way);
}

bool can_be_long_words(const Movement& m, const TransposeWay& way) {
  int64_t across = int64_t{way.a} * m.bytes;
  return can_be_words(m, way) && across <= 128 && across / 4 * way.lanes_b >= 32 &&
         way.b >= 32 * way.lanes_b;
}

void long_word_tiles(const Movement& m, int across, int turns, int lanes_a, int lanes_b,
                     std::vector<TransposeWay>& ways) {
  int b = turns * std::max(32 * lanes_b, 256 / m.bytes);
  TransposeWay way = {across / m.bytes, b, lanes_a, lanes_b, TransposeMove::kLongWords};
  if (across <= *m.known[m.a()] * m.bytes && b <= 2 * *m.known[m.b()] && can_be_long_words(m, way))
    ways.push_back(way);
}

// Strips of which a thread has `bytes` each, or fewer where that would take too many registers.
std::optional<TransposeWay> strips(const Movement& m, int bytes) {
  constexpr int64_t kMostStrips = 16;
  constexpr int64_t kMostBytes = 96;  // of a thread
  bool mixes = m.mixes() && *m.known[m.b()] <= kMostStrips;
  if (!mixes && !(m.unmixes() && *m.known[m.a()] <= kMostStrips)) return std::nullopt;
  int64_t count = *m.known[mixes ? m.b() : m.a()];
  int64_t size = *m.known[mixes ? m.a() : m.b()];
  int lanes = widest(m, size);
  int least = std::max(4, m.bytes);
  bytes = std::max(least, std::min(bytes, lanes * m.bytes));
  while (bytes > least && bytes * count > kMostBytes) bytes /= 2;
  int places = bytes / m.bytes;
  lanes = std::min(lanes, places);
  int mixed = widest(m, size % kAccessBytes * count);
  if (size < int64_t{kTransposeThreads} * places / 2 || count < 2) return std::nullopt;
  places *= kTransposeThreads;
  auto across = static_cast<int>(count);
  if (mixes) return TransposeWay{places, across, lanes, mixed, TransposeMove::kStrips};
  return TransposeWay{across, places, mixed, lanes, TransposeMove::kStrips};
}

// The best guess is the first for large problems.
void strip_ways(const Movement& m, bool large, std::vector<TransposeWay>& ways) {
  for (int bytes : {kAccessBytes, kAccessBytes / 2}) {
    std::optional<TransposeWay> way = strips(m, bytes);
    if (!way) continue;
    bool first = large && bytes == kAccessBytes;
    ways.insert(ways.begin() + std::min<int64_t>(first ? 0 : 2, std::ssize(ways)), *way);
  }
}

std::vector<TransposeWay> ways_of(const Movement& m) {
  if (m.sizes.empty()) return {{0, 0, 1, 1}};
  if (m.keeps_last()) {
    int lanes = widest(m, m.known.back());
    if (m.known.back()) return {{0, 0, lanes, lanes}};
    return {{0, 0, lanes, lanes}, {0, 0, 1, 1}};
  }
  int lanes_a = widest(m, m.known[m.a()]);
  int lanes_b = widest(m, m.known[m.b()]);
  bool known = m.known[m.a()] && m.known[m.b()];
  int elements = (16 << 10) / std::max(m.bytes, 1);
  elements = std::min(elements, 16 << 10);
  if (!known) return {tiles(m, elements, lanes_a, lanes_b), tiles(m, elements / 2, 1, 1)};
  TransposeWay gathered = {0, 0, 1, lanes_b};
  // Between two short axes a tile would be nearly empty.
  if (*m.known[m.a()] * *m.known[m.b()] < kTransposeThreads) return {gathered};
  std::vector<TransposeWay> ways = {tiles(m, elements, lanes_a, lanes_b),
                                    tiles(m, elements / 2, lanes_a, lanes_b),
                                    tiles(m, elements / 4, lanes_a, lanes_b), gathered};
  std::vector<TransposeWay> words;
  for (auto [across, bytes] : {std::pair(128, 16 << 10), {256, 16 << 10}, {128, 8 << 10}}) {
    word_tiles(m, across, bytes, lanes_a, lanes_b, words);
  }
  // Small problems want more blocks than large tiles give.
  int64_t count = 1;
  for (const std::optional<int64_t>& size : m.known) count *= size.value_or(64);
  if (count < int64_t{2} * kMultiprocessors * ways[0].a * ways[0].b) {
    std::reverse(ways.begin(), ways.end() - 1);
  }
  bool large = count * m.bytes >= kLargeBytes;
  // Where rows of the result begin within sectors, warps should have long pieces of one.
  bool within = *m.known[m.b()] * m.bytes % kSectorBytes != 0;
  std::vector<TransposeWay> long_words;
  // 512 bytes of a row of the result are better than 256, more of the operand's than 64 hardly.
  if (m.bytes == 1) long_word_tiles(m, 64, 2, lanes_a, lanes_b, long_words);
  for (int across : {128, 64}) long_word_tiles(m, across, 1, lanes_a, lanes_b, long_words);
  words.insert(within ? words.begin() : words.end(), long_words.begin(), long_words.end());
  ways.insert(large ? ways.begin() : ways.end(), words.begin(), words.end());
  strip_ways(m, large, ways);
  return ways;
}

bool is_known(const Movement& m) {
  return m.sizes.empty() ||
         (m.keeps_last() ? m.known.back().has_value() : m.known[m.a()] && m.known[m.b()]);
}

Result<TransposeWay> strips_of(const Movement& m, const std::vector<int64_t>& tile) {
  bool known = !m.keeps_last() && m.known[m.a()] && m.known[m.b()];
  for (int bytes = kAccessBytes; known && bytes >= 4; bytes /= 2) {
    std::optional<TransposeWay> way = strips(m, bytes);
    if (way && tile == std::vector<int64_t>{way->a, way->b, way->lanes_a, way->lanes_b})
      return *way;
  }
  return incompatible("strips that are none of ours");
}

// A config may come from a file.
Result<TransposeWay> way_of(const Movement& m, const Config& config) {
  const auto* tile = find_knob<std::vector<int64_t>>(config, "tile");
  if (tile == nullptr || tile->size() != 4) return incompatible("a transpose without its tile");
  const std::vector<int64_t>& t = *tile;
  Status bad = incompatible("a transpose in tiles that are none of ours");
  const auto* given = find_knob<int64_t>(config, "move");
  if (given != nullptr && (*given < 0 || *given > static_cast<int64_t>(TransposeMove::kStrips)))
    return bad;
  TransposeMove move =
      given == nullptr ? TransposeMove::kElements : static_cast<TransposeMove>(*given);
  if (move == TransposeMove::kStrips) return strips_of(m, t);
  int64_t most = kAccessBytes / m.bytes;
  bool good = is_power_of_two(t[2], most) && is_power_of_two(t[3], most);
  if (!m.sizes.empty()) {
    good = good && m.known[m.a()].value_or(0) % t[2] == 0;
    good = good && (m.keeps_last() || m.known[m.b()].value_or(0) % t[3] == 0);
  }
  if (m.keeps_last() || (t[0] == 0 && t[1] == 0)) {
    good = good && t[0] == 0 && t[1] == 0;
  } else {
    good = good && is_power_of_two(t[0], 1 << 12) && is_power_of_two(t[1], 1 << 12) &&
           t[0] >= t[2] && t[1] >= t[3] &&
           t[0] * t[1] >= kTransposeThreads * std::max(t[2], t[3]) &&
           (t[0] + 4) * t[1] * m.bytes <= 48 << 10;
  }
  TransposeWay way = {static_cast<int>(t[0]), static_cast<int>(t[1]), static_cast<int>(t[2]),
                      static_cast<int>(t[3]), move};
  bool tiled = !m.keeps_last() && way.a > 0;
  good = good && (move != TransposeMove::kWords || (tiled && can_be_words(m, way)));
  good = good && (move != TransposeMove::kLongWords || (tiled && can_be_long_words(m, way)));
  if (!good) return bad;
  return way;
}

}  // namespace

Movement movement_of(const Problem& problem, const ElementWriter& writer) {
  const ElementOperand& in = writer.value(0);
  std::vector<int64_t> given = problem.attrs.as<TransposeAttrs>().perm;
  std::vector<size_t> perm(in.dims.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    perm[i] = given.empty() ? perm.size() - 1 - i : static_cast<size_t>(given[i]);
  }
  std::erase_if(perm, [&](size_t axis) { return in.dims[axis] == "1"; });
  // Runs of axes in the order of the result; then by where they lie in the operand.
  std::vector<std::vector<size_t>> runs;
  for (size_t axis : perm) {
    size_t before = axis;
    while (before > 0 && in.dims[before - 1] == "1") --before;
    if (!runs.empty() && before > 0 && runs.back().back() == before - 1) {
      runs.back().push_back(axis);
    } else {
      runs.push_back({axis});
    }
  }
  Movement m;
  m.bytes = static_cast<int>(dtype_bytes(in.dtype));
  m.from = runs;
  std::sort(m.from.begin(), m.from.end());
  for (const std::vector<size_t>& run : runs) {
    m.perm.push_back(
        static_cast<size_t>(std::find(m.from.begin(), m.from.end(), run) - m.from.begin()));
  }
  for (const std::vector<size_t>& run : m.from) {
    std::string text;
    std::optional<int64_t> size = 1;
    for (size_t axis : run) {
      text += str_cat(text.empty() ? "(" : " * ", in.dims[axis]);
      std::optional<int64_t> one = in.static_dim(static_cast<int>(axis));
      size = size && one ? std::optional(*size * *one) : std::nullopt;
    }
    m.sizes.push_back(size ? std::to_string(*size) : text + ")");
    m.known.push_back(size);
  }
  return m;
}

std::vector<Config> transpose_configs(const Problem& problem) {
  ElementWriter writer(problem);
  Movement m = movement_of(problem, writer);
  std::vector<TransposeWay> ways = ways_of(m);
  if (!is_known(m)) ways.resize(1);
  std::vector<Config> result;
  for (size_t i = 0; i < ways.size(); ++i) {
    const TransposeWay& way = ways[i];
    if (std::find(ways.begin(), ways.begin() + static_cast<int64_t>(i), way) !=
        ways.begin() + static_cast<int64_t>(i)) {
      continue;
    }
    Config config = {{"tile", std::vector<int64_t>{way.a, way.b, way.lanes_a, way.lanes_b}}};
    if (way.move != TransposeMove::kElements)
      config.push_back({"move", static_cast<int64_t>(way.move)});
    result.push_back(std::move(config));
  }
  return result;
}

Result<std::vector<TransposeWay>> transpose_ways(const Problem& problem, const Movement& m,
                                                 const Config& config) {
  std::vector<TransposeWay> ways;
  if (is_known(m)) {
    Result<TransposeWay> way = way_of(m, config);
    if (element_parameters(problem).empty() && !way.ok()) return way.status();
    // Where sizes were known more axes may have become one.
    ways.push_back(way.ok() ? *way : ways_of(m).front());
  } else {
    ways = ways_of(m);
  }
  if (element_parameters(problem).empty()) return ways;
  TransposeWay wide = {0, 0, 1, 1, TransposeMove::kElements, true};
  ways.push_back(wide);
  return ways;
}

std::optional<int64_t> transpose_blocks(const Movement& m, const TransposeWay& way,
                                        const Dims& dims) {
  std::vector<int64_t> sizes;
  int64_t count = 1;
  for (const std::vector<size_t>& run : m.from) {
    int64_t size = 1;
    for (size_t axis : run) size *= dims[axis];
    sizes.push_back(size);
    count *= size;
  }
  if (count == 0) return 0;
  if (m.keeps_last()) {
    if (!sizes.empty() && sizes.back() % way.lanes_a != 0) return std::nullopt;
    return divide_up(count / way.lanes_a, kTransposeThreads);
  }
  int64_t a = sizes[m.a()];
  int64_t b = sizes[m.b()];
  if (way.a == 0) {
    if (b % way.lanes_b != 0) return std::nullopt;
    return divide_up(count / way.lanes_b, kTransposeThreads);
  }
  // Strips are for the sizes that were known.
  bool fits = way.move == TransposeMove::kStrips || (a % way.lanes_a == 0 && b % way.lanes_b == 0);
  if (!fits) return std::nullopt;
  return count / a / b * divide_up(a, way.a) * divide_up(b, way.b);
}

}  // namespace redline
