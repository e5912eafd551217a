// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/window.h"

#include <algorithm>

#include "base/checked.h"
#include "kernels/cuda/sources.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/tail_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr std::string_view kEntry = "windows_of_channels";
constexpr int64_t kThreads = 128;
// As many threads keep an H100 busy.
constexpr int64_t kManyThreads = 132 * 1024;

// Reads that a thread has under way at once take registers, as sums do.
constexpr int64_t most_reads(int64_t pixels) { return std::max<int64_t>(56 - 6 * pixels, 1); }
constexpr int64_t kMostRows = 50;

struct Knobs {
  int64_t pixels = 1;
  int64_t rows = 1;  // of taps, at a time
  bool packed = false;
};

Result<Knobs> knobs_of(const Config& config) {
  const auto* pixels = find_knob<int64_t>(config, "pixels");
  if (pixels == nullptr || *pixels < 1 || *pixels > 16) {
    return incompatible("a window step whose knob pixels is missing or not in [1, 16]");
  }
  const auto* rows = find_knob<int64_t>(config, "rows");
  if (rows == nullptr || *rows < 1 || *rows > kMostRows) {
    return incompatible("a window step whose knob rows is missing or not in [1, ", kMostRows, "]");
  }
  const auto* packed = find_knob<int64_t>(config, "packed");
  return Knobs{*pixels, *rows, packed != nullptr && *packed != 0};
}

// What a thread reads for one row of taps, weights too.
int64_t row_reads(const WindowSpec& spec, int64_t pixels) {
  const WindowAxis& x = spec.window.x;
  int64_t reach = (pixels - 1) * x.stride + (x.kernel - 1) * x.dilation + 1;
  return std::min(reach, pixels * x.kernel) + (spec.packed_input < 0 ? 0 : x.kernel);
}

// Rows at a time: as many as there is room for, in equal turns.
int64_t rows_at_once(const WindowSpec& spec, int64_t pixels) {
  int64_t kernel = spec.window.y.kernel;
  int64_t most = std::clamp<int64_t>(most_reads(pixels) / row_reads(spec, pixels), 1, kernel);
  int64_t turns = (kernel + most - 1) / most;
  return (kernel + turns - 1) / turns;
}

// Threads of a line of windows.
int64_t line_threads(const WindowSpec& spec, const ProductTail& tail, int64_t pixels) {
  if (spec.window.x.out == kDynamicDim) return kDynamicDim;
  return spec.channels / tail.lanes() * divide_up(spec.window.x.out, pixels);
}

KernelSizes sizes_of(const WindowSpec& spec, const ProductTail& tail, int64_t pixels) {
  KernelSizes sizes = spec.window.sizes();
  int64_t threads = line_threads(spec, tail, pixels);
  sizes.add("pad_end_y", spec.window.y.pad_end);
  sizes.add("pad_end_x", spec.window.x.pad_end);
  sizes.add("line_threads", threads);
  sizes.add_quotient("by_line_threads", threads);
  sizes.add_quotient("by_out_height", spec.window.y.out);
  return sizes;
}

}  // namespace

std::vector<Config> window_configs(const WindowSpec& spec, const ProductTail& tail) {
  int64_t images = known_or(spec.images, kUsualImages);
  int64_t width = known_or(spec.window.x.out, kUsualSize);
  int64_t height = known_or(spec.window.y.out, kUsualSize);
  auto threads = [&](int64_t pixels) {
    return images * height * divide_up(width, pixels) * (spec.channels / tail.lanes());
  };
  std::vector<int64_t> order = {1, 2, 4};
  if (threads(4) >= kManyThreads) {
    order = {4, 2, 1};
  } else if (threads(2) >= kManyThreads) {
    order = {2, 4, 1};
  }
  std::vector<Config> configs;
  for (int64_t pixels : order) {
    bool many = pixels > width || row_reads(spec, pixels) > most_reads(pixels);
    if (pixels > 1 && many) continue;
    int64_t rows = rows_at_once(spec, pixels);
    configs.push_back({{"pixels", pixels}, {"rows", rows}});
    if (rows > 1) configs.push_back({{"pixels", pixels}, {"rows", int64_t{1}}});
  }
  return configs;
}

Result<std::vector<cuda::KernelSource>> window_kernels(const Problem& problem,
                                                       const WindowSpec& spec,
                                                       const ProductTail& tail,
                                                       const Config& config,
                                                       const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  std::string text;
  for (const char* file : {"types.cuh", "math.cuh", "index.cuh", "division.cuh", "lanes.cuh",
                           "arch/pdl.cuh", "window/windows.cuh"}) {
    text += kernels::cuda::source(file);
  }
  REDLINE_ASSIGN(std::string tail_text, tail.text());
  KernelSizes sizes = sizes_of(spec, tail, knobs.pixels);
  text += str_cat("struct Geometry {\n", spec.window.numbers(), sizes.members(),
                  "  static constexpr int kPixel = ", spec.channels,
                  ";\n};\nconstexpr int LANES = ", tail.lanes(),
                  ";\nconstexpr bool PACKED = ", knobs.packed ? "true" : "false", ";\n", tail_text);
  text += launch_signature(problem, tail, sizes.parameters(), kEntry, kThreads);
  std::string_view type = storage_type(spec.dtype);
  text += str_cat(" {\n", sizes.definition(), "  Tail tail{out, rows", tail.arguments(), "};\n  ",
                  spec.op_type, " op{", spec.op_members, "};\n  windows<", type,
                  ", Geometry, LANES, ", knobs.pixels, ", ", knobs.rows, ", ", kThreads, ">(in",
                  spec.x_input, ", op, tail, sizes, sizes.by_places(rows));\n}\n");
  return std::vector<cuda::KernelSource>{
      {std::string(kEntry), std::move(text), device.arch(), {"-DREDLINE_INDEX=int"}}};
}

Result<std::unique_ptr<Kernel>> prepare_window(const Problem& problem, const WindowSpec& spec,
                                               const WindowSpec& written, const ProductTail& tail,
                                               const Config& config, const PrepareArgs& args) {
  REDLINE_ASSIGN(Knobs knobs, knobs_of(config));
  if (args.modules.size() != 1) return incompatible("a window step without its kernel");
  if (knobs.packed) {
    auto bytes = static_cast<size_t>(spec.window.taps() * spec.channels) * dtype_bytes(spec.dtype);
    const Tensor* filters = spec.packed_input < 0
                                ? nullptr
                                : problem.inputs[static_cast<size_t>(spec.packed_input)].packed;
    if (filters == nullptr || filters->bytes() != bytes) {
      return incompatible("a window step whose packed filters have other sizes");
    }
  }
  int64_t lines = spec.images * spec.window.y.out;
  int64_t rows = lines * spec.window.x.out;
  int64_t blocks = divide_up(lines * line_threads(spec, tail, knobs.pixels), kThreads);
  if (rows > INT32_MAX || blocks > INT32_MAX) return unsupported("more than 2^31 windows");
  if (written.window.places() == kDynamicDim && blocks > INT32_MAX / kThreads) {
    return unsupported(
        "sizes that are not known when the engine is built, of more than 2^31 "
        "threads' work");
  }
  std::vector<TailLaunch::Step> steps;
  if (rows > 0) {
    TailLaunch::Step step;
    REDLINE_ASSIGN(step.function, cuda::Function::create(args.modules[0], std::string(kEntry)));
    step.shape.grid.x = static_cast<unsigned int>(blocks);
    step.shape.block.x = static_cast<unsigned int>(kThreads);
    step.shape.programmatic = args.context->info().has_programmatic_launch();
    steps.push_back(std::move(step));
  }
  std::vector<int> values =
      sizes_of(spec, tail, knobs.pixels).values(sizes_of(written, tail, knobs.pixels));
  return TailLaunch::create(problem, tail, rows, values, str_cat("windows of ", problem.op->name),
                            std::move(steps), 0);
}

}  // namespace redline
