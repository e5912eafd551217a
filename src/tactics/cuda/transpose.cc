// SPDX-License-Identifier: Apache-2.0
#include "ops/transpose.h"

#include <algorithm>

#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr const char* kEntry = "transpose";
constexpr int kThreads = 256;
constexpr int kAccessBytes = 16;
constexpr int64_t kMultiprocessors = 132;
// From here on the accesses to shared memory count more than how many blocks there are.
constexpr int64_t kLargeBytes = 4 << 20;

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
};

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

Status supports(const Problem& problem) {
  const OperandDesc& in = problem.inputs[0];
  if (!in.is_tensor || !in.has_rank) return unsupported("takes tensors of known rank");
  if (in.dtype == DType::kString) return unsupported("takes no strings");
  const std::vector<int64_t>& perm = problem.attrs.as<TransposeAttrs>().perm;
  if (!perm.empty() && perm.size() != static_cast<size_t>(in.dims.rank())) {
    return unsupported("a permutation of another rank");
  }
  return {};
}

// Tiles of A by B with accesses of LA and LB elements. Without tiles: LA elements at once when the
// last axis stays, else each thread gathers LB elements that are neighbours in the result.
struct Way {
  int a = 0, b = 0, lanes_a = 1, lanes_b = 1;
  bool wide = false;
  bool words = false;  // tiles of words, which are turned in registers
  bool operator==(const Way&) const = default;
};

int widest(const Movement& m, std::optional<int64_t> size) {
  int lanes = kAccessBytes / m.bytes;
  while (size && *size % lanes != 0) lanes /= 2;
  return lanes;
}

int power_of_two(int64_t least, int most) {
  int n = 1;
  while (n < least && n < most) n *= 2;
  return n;
}

// `elements` in a tile that is as square as the axes allow.
Way tiles(const Movement& m, int elements, int lanes_a, int lanes_b) {
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
  while (a * b < kThreads * std::max(lanes_a, lanes_b)) b *= 2;
  return {a, b, lanes_a, lanes_b};
}

// Whether a tile of words can be `a` by `b` elements.
bool can_be_words(const Movement& m, const Way& way) {
  int64_t across = int64_t{way.a} * m.bytes;
  return m.bytes <= 4 && way.lanes_a * m.bytes >= 4 && way.lanes_b * m.bytes >= 4 && across >= 64 &&
         across <= 256 && across * way.b <= 32 << 10 &&
         int64_t{way.a} * way.b >= int64_t{kThreads} * way.lanes_a && way.b >= way.lanes_b;
}

// Tiles of words that are `across` bytes wide where the axis is that long.
void word_tiles(const Movement& m, int across, int bytes, int lanes_a, int lanes_b,
                std::vector<Way>& ways) {
  while (across > 64 && across / 2 / m.bytes >= *m.known[m.a()]) across /= 2;
  int b = bytes / across;
  while (b / 2 >= *m.known[m.b()] && across * b > kThreads * kAccessBytes) b /= 2;
  Way way = {across / m.bytes, b, lanes_a, lanes_b, false, true};
  if (can_be_words(m, way)) ways.push_back(way);
}

std::vector<Way> ways_of(const Movement& m) {
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
  Way gathered = {0, 0, 1, lanes_b};
  // Between two short axes a tile would be nearly empty.
  if (*m.known[m.a()] * *m.known[m.b()] < kThreads) return {gathered};
  std::vector<Way> ways = {tiles(m, elements, lanes_a, lanes_b),
                           tiles(m, elements / 2, lanes_a, lanes_b),
                           tiles(m, elements / 4, lanes_a, lanes_b), gathered};
  std::vector<Way> words;
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
  ways.insert(large ? ways.begin() : ways.end(), words.begin(), words.end());
  return ways;
}

bool is_known(const Movement& m) {
  return m.sizes.empty() ||
         (m.keeps_last() ? m.known.back().has_value() : m.known[m.a()] && m.known[m.b()]);
}

std::vector<Config> configs(const Problem& problem) {
  ElementWriter writer(problem);
  Movement m = movement_of(problem, writer);
  std::vector<Way> ways = ways_of(m);
  if (!is_known(m)) ways.resize(1);
  std::vector<Config> result;
  for (size_t i = 0; i < ways.size(); ++i) {
    const Way& way = ways[i];
    if (std::find(ways.begin(), ways.begin() + static_cast<int64_t>(i), way) !=
        ways.begin() + static_cast<int64_t>(i)) {
      continue;
    }
    Config config = {{"tile", std::vector<int64_t>{way.a, way.b, way.lanes_a, way.lanes_b}}};
    if (way.words) config.push_back({"words", int64_t{1}});
    result.push_back(std::move(config));
  }
  return result;
}

bool is_power_of_two(int64_t n, int64_t most) { return n >= 1 && n <= most && (n & (n - 1)) == 0; }

// A config may come from a file.
Result<Way> way_of(const Movement& m, const Config& config) {
  const auto* tile = find_knob<std::vector<int64_t>>(config, "tile");
  if (tile == nullptr || tile->size() != 4) return incompatible("a transpose without its tile");
  const std::vector<int64_t>& t = *tile;
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
           t[0] >= t[2] && t[1] >= t[3] && t[0] * t[1] >= kThreads * std::max(t[2], t[3]) &&
           (t[0] + 4) * t[1] * m.bytes <= 48 << 10;
  }
  const auto* words = find_knob<int64_t>(config, "words");
  Way way = {static_cast<int>(t[0]),
             static_cast<int>(t[1]),
             static_cast<int>(t[2]),
             static_cast<int>(t[3]),
             false,
             words != nullptr && *words != 0};
  good = good && (!way.words || (!m.keeps_last() && can_be_words(m, way)));
  if (!good) return incompatible("a transpose in tiles that are none of ours");
  return way;
}

Result<std::vector<Way>> ways_of(const Problem& problem, const Movement& m, const Config& config) {
  std::vector<Way> ways;
  if (is_known(m)) {
    Result<Way> way = way_of(m, config);
    if (element_parameters(problem).empty() && !way.ok()) return way.status();
    // Where sizes were known more axes may have become one.
    ways.push_back(way.ok() ? *way : ways_of(m).front());
  } else {
    ways = ways_of(m);
  }
  if (element_parameters(problem).empty()) return ways;
  Way wide = {0, 0, 1, 1, true};
  ways.push_back(wide);
  return ways;
}

// The steps of one along each axis, in the operand and in the result.
std::vector<std::string> strides(const Movement& m, const std::vector<size_t>& order) {
  std::vector<std::string> result(m.sizes.size());
  std::string stride = "idx(1)";
  for (size_t i = order.size(); i-- > 0;) {
    result[order[i]] = stride;
    stride += " * " + m.sizes[order[i]];
  }
  return result;
}

std::vector<size_t> in_order(size_t count) {
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  return order;
}

class TransposeText {
 public:
  TransposeText(const Movement& m, const Way& way)
      : m_(m),
        way_(way),
        in_(strides(m, in_order(m.sizes.size()))),
        out_(strides(m, m.perm)),
        type_(m.bytes == 1   ? "u8"
              : m.bytes == 2 ? "u16"
              : m.bytes == 4 ? "u32"
                             : "u64") {}

  std::string statements() {
    text_ = "  wait_for_former_kernels();\n  let_next_kernel_start();\n";
    return m_.keeps_last() ? rows() : way_.a == 0 ? gathered() : tiles();
  }

 private:
  // Takes `rest` apart along the axes of the result but for those left out.
  void decode(const std::vector<size_t>& left_out) {
    text_ += "  idx from = 0, to = 0;\n";
    for (size_t i = m_.perm.size(); i-- > 0;) {
      size_t axis = m_.perm[i];
      if (std::find(left_out.begin(), left_out.end(), axis) != left_out.end()) continue;
      text_ += str_cat("  {\n    const idx x = rest % ", m_.sizes[axis],
                       ";\n    rest /= ", m_.sizes[axis], ";\n    from += x * (", in_[axis],
                       ");\n    to += x * (", out_[axis], ");\n  }\n");
    }
  }

  // The last axis stays: its elements move together.
  std::string rows() {
    std::string last = m_.sizes.empty() ? "1" : m_.sizes.back();
    std::string total = "idx(1)";
    for (const std::string& size : m_.sizes) total += " * " + size;
    std::string lanes = std::to_string(way_.lanes_a);
    text_ += str_cat("  const idx groups = ", last, " / ", lanes, ";\n",
                     "  idx rest = (idx)blockIdx.x * ", kThreads, " + (int)threadIdx.x;\n",
                     "  if (rest >= (", total, ") / ", lanes, ") return;\n",
                     "  const idx k = rest % groups * ", lanes, ";\n  rest /= groups;\n");
    decode({m_.sizes.empty() ? 0 : m_.a()});
    text_ += str_cat("  const ", type_, "* source = (const ", type_, "*)in0 + from + k;\n",
                     "  store_lanes((", type_, "*)out_raw0 + to + k, load_lanes<", lanes,
                     ">(source));\n");
    return text_;
  }

  // Neighbours in the result, from where they lie.
  std::string gathered() {
    const std::string& b = m_.sizes[m_.b()];
    std::string total = "idx(1)";
    for (const std::string& size : m_.sizes) total += " * " + size;
    text_ += str_cat("  const idx groups = ", b, " / ", way_.lanes_b, ";\n",
                     "  idx rest = (idx)blockIdx.x * ", kThreads, " + (int)threadIdx.x;\n",
                     "  if (rest >= (", total, ") / ", way_.lanes_b, ") return;\n",
                     "  const idx b = rest % groups * ", way_.lanes_b, ";\n  rest /= groups;\n");
    decode({m_.b()});
    text_ += str_cat("  const ", type_, "* source = (const ", type_, "*)in0 + from + b * (",
                     in_[m_.b()], ");\n  lanes_of<", type_, ", ", way_.lanes_b, "> lanes;\n",
                     "#pragma unroll\n  for (int l = 0; l < ", way_.lanes_b,
                     "; ++l) lanes.element[l] = source[l * (", in_[m_.b()], ")];\n",
                     "  store_lanes((", type_, "*)out_raw0 + to + b, lanes);\n");
    return text_;
  }

  std::string tiles() {
    const std::string& a = m_.sizes[m_.a()];
    const std::string& b = m_.sizes[m_.b()];
    text_ += str_cat("  idx rest = (idx)blockIdx.x;\n", "  const idx tiles_a = (", a, " + ",
                     way_.a - 1, ") / ", way_.a, ";\n", "  const idx tiles_b = (", b, " + ",
                     way_.b - 1, ") / ", way_.b, ";\n", "  const idx a0 = rest % tiles_a * ",
                     way_.a, ";\n  rest /= tiles_a;\n", "  const idx b0 = rest % tiles_b * ",
                     way_.b, ";\n  rest /= tiles_b;\n");
    decode({m_.a(), m_.b()});
    text_ += str_cat("  transpose_", way_.words ? "words<" : "tile<", type_, ", ", way_.a, ", ",
                     way_.b, ", ", way_.lanes_a, ", ", way_.lanes_b, ", ", kThreads, ">((const ",
                     type_, "*)in0 + from, (", type_, "*)out_raw0 + to, ", a, ", ", b, ", ",
                     in_[m_.b()], ", ", out_[m_.a()], ", a0, b0);\n");
    return text_;
  }

  const Movement& m_;
  const Way& way_;
  std::vector<std::string> in_, out_;
  std::string type_;
  std::string text_;
};

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  Movement m = movement_of(problem, writer);
  REDLINE_ASSIGN(std::vector<Way> ways, ways_of(problem, m, config));
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const Way& way : ways) {
    ElementKernel kernel =
        writer.whole(kEntry, kThreads, {"lanes.cuh", "block.cuh", "transpose.cuh"},
                     TransposeText(m, way).statements());
    bool wide = way.wide || (known && !fits_short_indices(problem));
    sources.push_back(indexed_source(kernel, wide, device));
  }
  return sources;
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How many blocks move this many elements along the written axes; 0: the way does not take them.
std::optional<int64_t> blocks_of(const Movement& m, const Way& way, const Dims& dims) {
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
    return divide_up(count / way.lanes_a, kThreads);
  }
  int64_t a = sizes[m.a()];
  int64_t b = sizes[m.b()];
  if (way.a == 0) {
    if (b % way.lanes_b != 0) return std::nullopt;
    return divide_up(count / way.lanes_b, kThreads);
  }
  if (a % way.lanes_a != 0 || b % way.lanes_b != 0) return std::nullopt;
  return count / a / b * divide_up(a, way.a) * divide_up(b, way.b);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  ElementWriter writer(*args.written);
  Movement m = movement_of(*args.written, writer);
  REDLINE_ASSIGN(std::vector<Way> ways, ways_of(*args.written, m, config));
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  bool known = sizes.empty();
  for (size_t i = 0; i < ways.size(); ++i) {
    if (!ways[i].wide && !known && !fits_short_indices(problem)) continue;
    std::optional<int64_t> blocks = blocks_of(m, ways[i], problem.inputs[0].dims);
    if (!blocks) continue;
    REDLINE_ASSIGN(KernelLaunch::Step step, KernelLaunch::step(args, i, kEntry, *blocks, kThreads));
    return KernelLaunch::create(problem, "cuda.transpose", {std::move(step)}, std::move(sizes));
  }
  return incompatible("a transpose whose kernels do not take its sizes");
}

}  // namespace

void register_tactic_transpose(TacticRegistry& registry) {
  registry.add({.name = "cuda.transpose",
                .device = "cuda",
                .ops = {"transpose"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
