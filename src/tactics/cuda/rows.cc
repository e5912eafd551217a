// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rows_text.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr int kMaxLanes = 8;
constexpr int64_t kMultiprocessors = 132;
constexpr size_t kStateBytes = 16;  // the largest
// For sizes that are not known: rows enough to fill the GPU.
constexpr int64_t kManyRows = 1 << 14;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

int power_of_two(int64_t least, int most) {
  int n = 1;
  while (n < least && n < most) n *= 2;
  return n;
}

// One way to carry a problem out: its kernels in turn.
struct Way {
  std::vector<RowsShape> launches;
  int parts = 1;
  bool wide = false;  // 64-bit indices
};

Result<RowsProblem> rows_of(const Problem& problem) {
  ElementWriter writer(problem);
  return describe_rows(problem, writer);
}

Status supports(const Problem& problem) {
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present) continue;
      if (!operand.is_tensor || !operand.has_rank)
        return unsupported("takes tensors of known rank");
      if (operand.dtype == DType::kString) return unsupported("takes no strings");
    }
  }
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check_described());
  REDLINE_ASSIGN(RowsProblem rows, describe_rows(problem, writer));
  REDLINE_TRY(writer.check_around(rows.anchor));
  if (writer.value(rows.source).dtype == DType::kBool) return unsupported("takes numbers");
  return {};
}

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
  int held;  // elements that a thread's registers hold
};

RowsShape registers(const Sizes& s, int threads, int across, int groups) {
  return {RowsKernel::kRegisters, threads, across, s.lanes, groups};
}

// A thread of a large block has half the registers.
bool holds(const Sizes& s, int64_t elements, int threads) {
  return elements <= (threads > 512 ? s.held / 2 : s.held);
}

// A warp or less a row.
bool warp_rows(const Sizes& s, std::vector<Way>& ways) {
  int64_t vectors = std::max<int64_t>(1, divide_up(s.length, s.lanes));
  int across = power_of_two(vectors, 32);
  int64_t groups = divide_up(vectors, across);
  if (!holds(s, groups * s.lanes, 256)) return false;
  int threads = s.rows * across <= 32 * 4 * kMultiprocessors ? 64 : 256;
  ways.push_back({{registers(s, threads, across, static_cast<int>(groups))}});
  return true;
}

// A block a row, with about `groups` accesses a thread.
bool block_rows(const Sizes& s, int groups, std::vector<Way>& ways) {
  int64_t vectors = std::max<int64_t>(1, divide_up(s.length, s.lanes));
  int threads = std::max(64, power_of_two(divide_up(vectors, groups), 1024));
  int64_t held = divide_up(vectors, threads);
  if (!holds(s, held * s.lanes, threads)) return false;
  ways.push_back({{registers(s, threads, threads, static_cast<int>(held))}});
  return true;
}

Way streamed(const Sizes& s, int threads, int across) {
  return {{{RowsKernel::kStreamed, threads, across, s.lanes, 1}}};
}

Way in_parts(const Sizes& s, bool twice, int64_t parts) {
  Way way;
  way.parts = static_cast<int>(parts);
  for (RowsKernel kernel :
       {RowsKernel::kPartsFirst, RowsKernel::kPartsSecond, RowsKernel::kPartsLast}) {
    if (kernel == RowsKernel::kPartsSecond && !twice) continue;
    way.launches.push_back({kernel, 512, 512, s.lanes, 1});
  }
  return way;
}

// Best guess first.
std::vector<Way> row_ways(const Sizes& s, bool twice) {
  std::vector<Way> ways;
  // Long rows too few for all multiprocessors are divided.
  int64_t parts = std::min(divide_up(4 * kMultiprocessors, std::max<int64_t>(1, s.rows)),
                           s.length / (512 * s.lanes * 2));
  bool few = 2 * s.rows <= kMultiprocessors && parts > 1 && s.length >= 1 << 15;
  if (few) ways.push_back(in_parts(s, twice, parts));
  bool short_rows = s.length <= 1024 || s.rows >= 8 * kMultiprocessors;
  if (short_rows) warp_rows(s, ways);
  block_rows(s, 1, ways);
  block_rows(s, 4, ways);
  if (!short_rows) warp_rows(s, ways);
  if (ways.size() < 3) {
    int threads = s.length >= 1 << 13 ? 1024 : 256;
    ways.push_back(streamed(s, threads, threads));
    ways.push_back(streamed(s, 512, 512));
  }
  return ways;
}

Way columns_of(const Sizes& s, int threads, int across, int64_t parts) {
  Way way;
  way.parts = static_cast<int>(parts);
  if (parts == 1) {
    way.launches.push_back({RowsKernel::kColumns, threads, across, s.lanes, 1});
    return way;
  }
  way.launches.push_back({RowsKernel::kColumnPartsFirst, threads, across, s.lanes, 1});
  way.launches.push_back({RowsKernel::kColumnPartsLast, threads, across, s.lanes, 1});
  return way;
}

std::vector<Way> column_ways(const Sizes& s, bool divisible) {
  std::vector<Way> ways;
  int64_t vectors = std::max<int64_t>(1, divide_up(s.rows, s.lanes));
  for (int threads : {256, 512, 128}) {
    // Enough threads along a column for its length, the rest side by side.
    int along = power_of_two(divide_up(s.length, 8), threads / power_of_two(vectors, 32));
    int across = threads / along;
    int64_t blocks = divide_up(vectors, across);
    int64_t parts = std::min(divide_up(4 * kMultiprocessors, blocks), s.length / (along * 8));
    if (divisible && parts > 1 && blocks < kMultiprocessors) {
      ways.push_back(columns_of(s, threads, across, parts));
    }
    ways.push_back(columns_of(s, threads, across, 1));
  }
  return ways;
}

// For rows of any length, and a last axis of any size: the first that fits is taken.
std::vector<Way> ways_for_any(const RowsProblem& rows, const Sizes& s) {
  Sizes single = {s.rows, s.length, 1, s.held};
  if (!rows.last_is_reduced()) {
    return {columns_of(s, 256, 32, 1), columns_of(single, 256, 32, 1)};
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

std::vector<Way> all_ways(const Problem& problem, const RowsProblem& rows) {
  Body body = body_of(problem);
  ElementWriter writer(problem);
  DType source = writer.value(rows.source).dtype;
  bool twice =
      write_row_op(body.nodes[static_cast<size_t>(rows.anchor)], source, rows.applies(), false)
          .twice;
  bool wide = is_int(source) || source == DType::kFloat64;
  Sizes s = {rows.known_size(false).value_or(kManyRows), rows.known_size(true).value_or(1024),
             widest_lanes(problem, rows), wide ? 16 : 32};
  if (has_any_length(rows)) return ways_for_any(rows, s);
  if (rows.last_is_reduced()) return row_ways(s, twice);
  return column_ways(s, !twice && !rows.applies());
}

std::vector<int64_t> encode(const Way& way) {
  std::vector<int64_t> codes;
  for (const RowsShape& shape : way.launches) {
    codes.insert(codes.end(), {static_cast<int64_t>(shape.kernel), shape.threads, shape.across,
                               shape.lanes, shape.groups});
  }
  return codes;
}

bool is_power_of_two(int64_t n, int64_t most) { return n >= 1 && n <= most && (n & (n - 1)) == 0; }

// The kernels that belong together.
bool is_sequence(const std::vector<RowsShape>& launches, bool in_rows, bool twice, bool applies) {
  std::vector<RowsKernel> kernels;
  for (const RowsShape& shape : launches) kernels.push_back(shape.kernel);
  using K = RowsKernel;
  using Kernels = std::vector<RowsKernel>;
  if (in_rows) {
    Kernels parts = twice ? Kernels{K::kPartsFirst, K::kPartsSecond, K::kPartsLast}
                          : Kernels{K::kPartsFirst, K::kPartsLast};
    return kernels == Kernels{K::kRegisters} || kernels == Kernels{K::kStreamed} ||
           kernels == parts;
  }
  bool divisible = !twice && !applies;
  return kernels == Kernels{K::kColumns} ||
         (divisible && kernels == Kernels{K::kColumnPartsFirst, K::kColumnPartsLast});
}

// A config may come from a file: whatever it says must make a kernel that works or none.
Result<Way> decode(const Config& config, const RowsProblem& rows, bool twice) {
  Status bad = incompatible("a step over rows whose kernels are none that we have");
  const auto* given = find_knob<std::vector<int64_t>>(config, "kernels");
  const auto* parts = find_knob<int64_t>(config, "parts");
  if (given == nullptr || parts == nullptr || *parts < 1 || *parts > 1 << 20) return bad;
  const std::vector<int64_t>& codes = *given;
  if (codes.size() % 5 != 0) return bad;
  Way way;
  way.parts = static_cast<int>(*parts);
  bool in_rows = rows.last_is_reduced();
  for (size_t i = 0; i < codes.size(); i += 5) {
    int64_t kernel = codes[i];
    int64_t threads = codes[i + 1];
    int64_t across = codes[i + 2];
    int64_t lanes = codes[i + 3];
    int64_t groups = codes[i + 4];
    if (kernel < 0 || kernel > static_cast<int64_t>(RowsKernel::kColumnPartsLast) ||
        !is_power_of_two(threads, 1024) || threads < 32 || !is_power_of_two(across, threads) ||
        !is_power_of_two(lanes, kMaxLanes) || groups < 1 || groups > 64 ||
        (in_rows && across > 32 && across != threads) ||
        rows.axes.back().known.value_or(0) % lanes != 0) {
      return bad;
    }
    way.launches.push_back({static_cast<RowsKernel>(kernel), static_cast<int>(threads),
                            static_cast<int>(across), static_cast<int>(lanes),
                            static_cast<int>(groups)});
  }
  if (!is_sequence(way.launches, in_rows, twice, rows.applies())) return bad;
  return way;
}

Result<std::vector<Way>> ways_of(const Problem& problem, const RowsProblem& rows,
                                 const Config& config) {
  bool known = element_parameters(problem).empty();
  std::vector<Way> ways;
  if (has_any_length(rows)) {
    ways = all_ways(problem, rows);
  } else {
    Result<Way> way = decode(config, rows, is_twice(problem, rows));
    if (known && !way.ok()) return way.status();
    // Where sizes were known more axes may have become one, and accesses wider than these allow.
    ways.push_back(way.ok() ? *way : all_ways(problem, rows).front());
  }
  if (known) return ways;
  // Sizes may grow beyond what short indices reach.
  Sizes s = {kManyRows, 1024, 1, 1};
  Way wide = rows.last_is_reduced() ? streamed(s, 256, 256) : columns_of(s, 256, 32, 1);
  wide.wide = true;
  ways.push_back(std::move(wide));
  return ways;
}

std::vector<Config> configs(const Problem& problem) {
  Result<RowsProblem> rows = rows_of(problem);
  if (!rows.ok()) return {{}};
  if (has_any_length(*rows)) return {{}};
  std::vector<Config> result;
  std::vector<std::vector<int64_t>> seen;
  for (const Way& way : all_ways(problem, *rows)) {
    std::vector<int64_t> codes = encode(way);
    if (std::find(seen.begin(), seen.end(), codes) != seen.end()) continue;
    seen.push_back(codes);
    result.push_back({{"kernels", codes}, {"parts", static_cast<int64_t>(way.parts)}});
  }
  return result;
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(RowsProblem rows, rows_of(problem));
  REDLINE_ASSIGN(std::vector<Way> ways, ways_of(problem, rows, config));
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const Way& way : ways) {
    bool wide = way.wide || (known && !fits_short_indices(problem));
    for (const RowsShape& shape : way.launches) {
      REDLINE_ASSIGN(ElementKernel kernel, write_rows_kernel(problem, shape));
      sources.push_back(indexed_source(kernel, wide, device));
    }
  }
  return sources;
}

// Whether a way that was written for some sizes takes these.
bool takes(const Way& way, const RowsProblem& written, const RowsProblem& rows, int64_t length) {
  const RowAxis& last = written.axes.back();
  int64_t last_size = 1;
  for (size_t axis : last.from) last_size *= std::stoll(rows.sizes[axis]);
  for (const RowsShape& shape : way.launches) {
    if (shape.kernel == RowsKernel::kRegisters &&
        int64_t{shape.across} * shape.lanes * shape.groups < length) {
      return false;
    }
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

int64_t blocks_of(const RowsShape& shape, int64_t rows, int64_t parts, bool applies) {
  int64_t side_by_side = divide_up(rows, int64_t{shape.across} * shape.lanes);
  switch (shape.kernel) {
    case RowsKernel::kRegisters:
    case RowsKernel::kStreamed:
      return divide_up(rows, shape.threads / shape.across);
    case RowsKernel::kPartsFirst:
    case RowsKernel::kPartsSecond:
      return rows * parts;
    case RowsKernel::kPartsLast:
      return applies ? rows * parts : rows;
    case RowsKernel::kColumns:
    case RowsKernel::kColumnPartsLast:
      return side_by_side;
    case RowsKernel::kColumnPartsFirst:
      return side_by_side * parts;
  }
  return 0;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  const Problem& written_problem = *args.written;
  std::vector<int64_t> sizes = parameter_values(written_problem, problem);
  REDLINE_ASSIGN(RowsProblem written, rows_of(written_problem));
  REDLINE_ASSIGN(RowsProblem rows, rows_of(problem));
  REDLINE_ASSIGN(std::vector<Way> ways, ways_of(written_problem, written, config));
  std::optional<int64_t> count = rows.known_size(false);
  std::optional<int64_t> length = rows.known_size(true);
  if (!count || !length) return unsupported("sizes that overflow");
  size_t first = 0;
  bool known = sizes.empty();
  for (const Way& way : ways) {
    size_t module = first;
    first += way.launches.size();
    bool indices = way.wide || known || fits_short_indices(problem);
    if (!indices || !takes(way, written, rows, *length)) continue;
    std::vector<KernelLaunch::Step> steps;
    for (const RowsShape& shape : way.launches) {
      int64_t blocks = blocks_of(shape, *count, way.parts, written.applies());
      REDLINE_ASSIGN(KernelLaunch::Step step,
                     KernelLaunch::step(args, module++, kRowsEntry, blocks, shape.threads));
      steps.push_back(std::move(step));
    }
    size_t states = way.launches.size() > 1 ? static_cast<size_t>(*count * way.parts) : 0;
    size_t workspace = states == 0 ? 0 : (2 * states + 1) * kStateBytes;
    return KernelLaunch::create(problem, "cuda.rows", std::move(steps), std::move(sizes), way.parts,
                                workspace);
  }
  return incompatible("a step over rows whose kernels do not take its sizes");
}

}  // namespace

void register_tactic_rows(TacticRegistry& registry) {
  registry.add({.name = "cuda.rows",
                .device = "cuda",
                .ops = {"fused",
                        "reduce_sum",
                        "reduce_mean",
                        "reduce_max",
                        "reduce_min",
                        "reduce_prod",
                        "reduce_l1",
                        "reduce_l2",
                        "reduce_sum_square",
                        "reduce_log_sum",
                        "reduce_log_sum_exp",
                        "arg_max",
                        "arg_min",
                        "softmax",
                        "log_softmax",
                        "hardmax",
                        "layer_norm",
                        "rms_norm",
                        "lp_norm",
                        "mean_variance_norm",
                        "group_norm",
                        "instance_norm"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
