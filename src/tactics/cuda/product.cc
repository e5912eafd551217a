// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/product.h"

#include <algorithm>
#include <numeric>

#include "base/checked.h"
#include "kernels/cuda/sources.h"
#include "tactics/cuda/element.h"
#include "tactics/cuda/tail_launch.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr std::string_view kMainEntry = "product_tiles";
constexpr std::string_view kSumEntry = "product_sums";
constexpr int kSumThreads = 256;
// So that none of a last tile's rows has a number beyond 2^31.
constexpr int64_t kMostRows = INT32_MAX - 256;

size_t packed_bytes(const ProductSpec& spec, const ProductKnobs& knobs) {
  int64_t tiles =
      divide_up(spec.columns, knobs.tile_columns) * divide_up(spec.depth, knobs.tile_depth);
  return static_cast<size_t>(spec.batch * tiles * knobs.tile_columns * knobs.tile_depth) *
         dtype_bytes(spec.dtype);
}

// The instruction for 64 rows of a times `columns` of b (kernels/cuda/arch/wgmma.cuh).
std::string multiply_text(DType dtype, int64_t columns) {
  std::string_view type = storage_type(dtype);
  std::string places;
  std::string operands;
  int64_t sums = columns / 2;
  for (int64_t i = 0; i < sums; ++i) {
    places += str_cat(i == 0 ? "%" : ", %", i);
    operands += str_cat(i == 0 ? "" : ", ", "\"+f\"(d[", i, "])");
  }
  return str_cat("  __device__ static inline void multiply(float (&d)[", sums,
                 "], const Chunk* a, const Chunk* b, int step) {\n#ifdef REDLINE_EMULATED\n"
                 "    emulated_wgmma<",
                 type, ", ", columns,
                 ">(d, a, b, step);\n#else\n    u64 x = matrix_descriptor(a) + 2 * step;\n"
                 "    u64 y = matrix_descriptor(b) + 2 * step;\n"
                 "    asm volatile(\"{\\n.reg .pred p;\\nsetp.eq.u32 p, 0, 0;\\n"
                 "wgmma.mma_async.sync.aligned.m64n",
                 columns, "k16.f32.", type, ".", type, " {", places, "}, %", sums, ", %", sums + 1,
                 ", p, 1, 1, 0, 0;\\n}\"\n        : ", operands,
                 "\n        : \"l\"(x), \"l\"(y));\n#endif\n  }\n");
}

std::string numbers(const ProductSpec& spec, const ProductTail& tail, const ProductKnobs& knobs,
                    bool cluster) {
  std::string text =
      str_cat("struct Numbers {\n  typedef ", storage_type(spec.dtype), " Element;\n");
  for (auto [name, value] : {std::pair<const char*, int64_t>{"int kTileRows", knobs.tile_rows},
                             {"int kTileColumns", knobs.tile_columns},
                             {"int kTileDepth", knobs.tile_depth},
                             {"int kWarpsRows", knobs.warps_rows},
                             {"int kWarpsColumns", knobs.warps_columns},
                             {"int kWarpsDepth", knobs.warps_depth},
                             {"int kStages", knobs.stages},
                             {"int kSplits", knobs.splits},
                             {"bool kCluster", cluster},
                             {"bool kMatrix", knobs.matrix},
                             {"bool kTf32", spec.tf32},
                             {"bool kWarpgroups", knobs.wgmma},
                             {"int kResident", knobs.resident},
                             {"int kTrigger", knobs.trigger},
                             {"int kColumns", spec.columns},
                             {"int kDepth", spec.depth},
                             {"bool kColumnsTogether", spec.columns_together && knobs.packed == 0},
                             {"bool kConstant", spec.constant},
                             {"int kLanes", tail.lanes()}}) {
    text += str_cat("  static constexpr ", name, " = ", value, ";\n");
  }
  if (knobs.wgmma != 0) text += multiply_text(spec.dtype, knobs.tile_columns / knobs.warps_columns);
  return text + "};\n";
}

std::string tile_types(const ProductSpec& spec, const ProductKnobs& knobs) {
  if (knobs.mapped != 0) {
    return "typedef MappedTiles<Numbers::kTileRows> A;\n"
           "typedef PackedTiles<Numbers::kTileColumns, N::kDepthChunks, N::kThreads> B;\n";
  }
  std::string a = str_cat("typedef AlongRows<Numbers::kTileRows, N::kDepthChunks, ", spec.a.vector,
                          ", N::kThreads, ", spec.a.type, "> A;\n");
  if (knobs.packed != 0) {
    return a + "typedef PackedTiles<Numbers::kTileColumns, N::kDepthChunks, N::kThreads> B;\n";
  }
  std::string tile = spec.columns_together ? "AlongColumns<Numbers::kTileDepth, N::kColumnChunks, "
                                           : "AlongRows<Numbers::kTileColumns, N::kDepthChunks, ";
  return str_cat(a, "typedef ", tile, spec.b.vector, ", N::kThreads, ", spec.b.type, "> B;\n");
}

// Tile after tile along the depth, then along the columns; zeros where b has ended.
template <class T>
void pack_tiles(const ProductSpec& spec, const ProductKnobs& knobs, const Tensor& constant,
                const ProductStrides& strides, Tensor& bytes, ThreadPool* pool) {
  constexpr int64_t kLanes = 16 / sizeof(T);
  int64_t across = divide_up(spec.columns, knobs.tile_columns);
  int64_t deep = divide_up(spec.depth, knobs.tile_depth);
  int64_t chunks = knobs.tile_depth / kLanes;
  const auto* from = static_cast<const T*>(constant.raw());
  auto* to = static_cast<T*>(bytes.mutable_raw());
  auto pack_tile = [&](int64_t tile) {
    int64_t batch = tile / (across * deep);
    int64_t first_column = tile / deep % across * knobs.tile_columns;
    int64_t first_depth = tile % deep * knobs.tile_depth;
    int64_t rows = std::min(knobs.tile_columns, spec.columns - first_column);
    int64_t columns = std::min(knobs.tile_depth, spec.depth - first_depth);
    T* own = to + tile * knobs.tile_columns * knobs.tile_depth;
    std::fill_n(own, knobs.tile_columns * knobs.tile_depth, T(0));
    auto place = [&](int64_t row, int64_t i) {  // chunk_place() of chunks.cuh
      int64_t swizzle = chunks == 4 ? row / 2 % 4 : row % 8;
      return (row * chunks + ((i / kLanes) ^ swizzle)) * kLanes + i % kLanes;
    };
    if (strides.column == 1) {  // read as it lies
      for (int64_t i = 0; i < columns; ++i) {
        const T* line = from + strides.at(batch, first_column, first_depth + i);
        for (int64_t row = 0; row < rows; ++row) own[place(row, i)] = line[row];
      }
      return;
    }
    for (int64_t row = 0; row < rows; ++row) {
      int64_t next = strides.at(batch, first_column + row, first_depth);
      int64_t inside = first_depth % strides.inner_count;
      for (int64_t i = 0; i < columns; ++i) {
        own[place(row, i)] = from[next];
        next += strides.inner;
        if (++inside < strides.inner_count) continue;
        inside = 0;
        next += strides.outer - strides.inner_count * strides.inner;
      }
    }
  };
  pool->parallel_for(spec.batch * across * deep, 4, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) pack_tile(tile);
  });
}

int packed_input(const ProductSpec& spec, const ProductKnobs& knobs) {
  return knobs.packed != 0 ? static_cast<int>(spec.b_input) : -1;
}

std::string main_text(const Problem& problem, const ProductSpec& spec, const ProductTail& tail,
                      const ProductKnobs& knobs, bool cluster) {
  std::string text = launch_signature(problem, tail, spec.parameters, kMainEntry, knobs.threads(),
                                      packed_input(spec, knobs), knobs.resident);
  if (knobs.mapped != 0) {
    text.pop_back();
    text += ", const __grid_constant__ TensorMap map)";
  }
  text += " {\n";
  if (knobs.turns != 0) {
    return str_cat(text, "  A a{&map};\n  B b{in", spec.b_input,
                   ", N::kTiles};\n  Tail tail{out, rows", tail.arguments(),
                   "};\n  product_in_turns<Numbers>(a, b, tail, rows);\n}\n");
  }
  text +=
      "  const ProductPlace at = product_place<Numbers>(rows, (int)blockIdx.x, "
      "(int)blockIdx.z);\n  const int batch = at.batch;\n";
  text += spec.statements;
  text += knobs.mapped != 0 ? "  A a{&map};\n" : str_cat("  A a{{", spec.a.members, "}};\n");
  if (knobs.packed != 0) {
    int64_t chunks = divide_up(spec.columns, knobs.tile_columns);
    text += str_cat("  B b{in", spec.b_input, " + (i64)batch * ", chunks,
                    " * N::kTiles * N::kChunksB, N::kTiles};\n");
  } else {
    text += str_cat("  B b{{", spec.b.members, "}};\n");
  }
  if (knobs.splits > 1 && !cluster) {
    text += str_cat("  PartTail<Numbers::kLanes> tail{parts, rows, Numbers::kColumns, ", spec.batch,
                    ", at.part};\n");
  } else {
    text += str_cat("  Tail tail{out, rows", tail.arguments(), "};\n");
  }
  return text + "  product<Numbers>(a, b, tail, at, rows);\n}\n";
}

std::string sum_text(const Problem& problem, const ProductSpec& spec, const ProductTail& tail,
                     const ProductKnobs& knobs) {
  std::string text = launch_signature(problem, tail, spec.parameters, kSumEntry, kSumThreads,
                                      packed_input(spec, knobs));
  return str_cat(text, " {\n", spec.statements, "  Tail tail{out, rows", tail.arguments(),
                 "};\n  sum_parts<", knobs.splits, ", Numbers::kLanes, Numbers::kColumns, ",
                 kSumThreads, ">(parts, tail, rows, ", spec.batch, ");\n}\n");
}

}  // namespace

int64_t ProductKnobs::shared_bytes(DType dtype) const {
  auto element = static_cast<int64_t>(dtype_bytes(dtype));
  int64_t tiles = stages * (tile_rows + tile_columns) * tile_depth * element;
  bool in_registers = wgmma != 0 && (splits == 1 || cluster == 0);
  int64_t sums = in_registers ? 0 : warps_depth * tile_rows * (tile_columns + 8) * 4;
  int64_t barriers = wgmma != 0 ? 16 * stages : 0;
  return std::max(tiles, sums) + barriers;
}

std::string product_text() {
  std::string text;
  for (const char* file :
       {"types.cuh", "math.cuh", "index.cuh", "division.cuh", "lanes.cuh", "arch/pdl.cuh",
        "arch/cluster.cuh", "arch/async_copy.cuh", "arch/mma.cuh", "product/chunks.cuh",
        "arch/bulk_copy.cuh", "arch/copy_box.cuh", "arch/wgmma.cuh", "product/sources.cuh",
        "product/tiles.cuh", "product/numbers.cuh", "product/cores.cuh", "product/warpgroups.cuh",
        "product/product.cuh"}) {
    text += kernels::cuda::source(file);
  }
  return text;
}

bool comes_in_bulk(const ProductSpec& spec) {
  bool mapped = spec.a.stride > 0 && spec.a.stride % 8 == 0 && spec.batch == 1;
  return mapped && spec.constant && spec.can_pack && dtype_bytes(spec.dtype) == 2;
}

std::vector<Config> product_overlaps(const Config& config) {
  std::vector<Config> others;
  const auto* own = find_knob<int64_t>(config, kTriggerKnob);
  for (int64_t trigger = 0; trigger <= kLastTrigger; ++trigger) {
    if (trigger == (own != nullptr ? *own : 0)) continue;
    Config other = config;
    std::erase_if(other, [](const NamedAttr& knob) { return knob.name == kTriggerKnob; });
    if (trigger != 0) other.push_back({kTriggerKnob, trigger});
    others.push_back(std::move(other));
  }
  return others;
}

bool product_fits(const Config& config, const cuda::DeviceInfo& device) {
  const auto* wgmma = find_knob<int64_t>(config, "wgmma");
  return wgmma == nullptr || *wgmma == 0 || device.arch() == "sm_90a";
}

bool product_type(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat32;
}

int product_vector(DType dtype, int64_t period) {
  return static_cast<int>(std::gcd(period, static_cast<int64_t>(16 / dtype_bytes(dtype))));
}

Result<ProductKnobs> product_knobs(const Config& config, DType dtype) {
  ProductKnobs knobs;
  struct Knob {
    const char* name;
    int64_t* value;
    int64_t most;
  };
  for (const Knob& knob : std::initializer_list<Knob>{{"tile_rows", &knobs.tile_rows, 256},
                                                      {"tile_columns", &knobs.tile_columns, 256},
                                                      {"tile_depth", &knobs.tile_depth, 256},
                                                      {"warps_rows", &knobs.warps_rows, 16},
                                                      {"warps_columns", &knobs.warps_columns, 16},
                                                      {"warps_depth", &knobs.warps_depth, 16},
                                                      {"stages", &knobs.stages, 16},
                                                      {"splits", &knobs.splits, 16}}) {
    const auto* given = find_knob<int64_t>(config, knob.name);
    if (given == nullptr || *given < 1 || *given > knob.most) {
      return incompatible("a product whose knob ", knob.name, " is missing or not in [1, ",
                          knob.most, "]");
    }
    *knob.value = *given;
  }
  for (auto [name, value] : {std::pair{"cluster", &knobs.cluster},
                             {"packed", &knobs.packed},
                             {"matrix", &knobs.matrix},
                             {"wgmma", &knobs.wgmma},
                             {"mapped", &knobs.mapped},
                             {"turns", &knobs.turns}}) {
    if (const auto* given = find_knob<int64_t>(config, name)) *value = *given != 0 ? 1 : 0;
  }
  if (const auto* given = find_knob<int64_t>(config, "resident")) {
    knobs.resident = std::clamp<int64_t>(*given, 1, 8);
  }
  if (const auto* given = find_knob<int64_t>(config, kTriggerKnob)) {
    knobs.trigger = std::clamp<int64_t>(*given, 0, kLastTrigger);
  }
  bool half = dtype != DType::kFloat32;
  if (knobs.turns != 0) knobs.mapped = 1;
  if (knobs.wgmma != 0) {
    int64_t across = knobs.tile_columns / knobs.warps_columns;
    bool fits =
        half && knobs.warps_rows % 4 == 0 && knobs.tile_rows % (16 * knobs.warps_rows) == 0 &&
        knobs.tile_columns % (32 * knobs.warps_columns) == 0 && across <= 256 &&
        knobs.tile_depth == 64 && knobs.warps_depth == 1 && knobs.stages >= 3 &&
        knobs.threads() * knobs.resident <= 2048 && (knobs.turns == 0 || knobs.splits == 1) &&
        knobs.tile_rows / knobs.warps_rows / 16 * across <= 256;
    if (!fits) return incompatible("a product whose tiles and warpgroups do not fit each other");
    return knobs;
  }
  knobs.turns = knobs.mapped = 0;
  bool matrix = half || knobs.matrix != 0;
  int64_t warp_rows = matrix ? 16 : 4;
  int64_t warp_columns = matrix ? 16 : 32;
  int64_t step = half ? 16 : matrix ? 8 : 4;
  int64_t row_chunks = knobs.tile_depth * static_cast<int64_t>(dtype_bytes(dtype)) / 16;
  bool fits = knobs.tile_rows % (warp_rows * knobs.warps_rows) == 0 &&
              knobs.tile_columns % (warp_columns * knobs.warps_columns) == 0 &&
              knobs.tile_columns % 32 == 0 && knobs.tile_depth % (step * knobs.warps_depth) == 0 &&
              (row_chunks == 4 || (row_chunks > 0 && row_chunks % 8 == 0)) && knobs.stages >= 2 &&
              knobs.threads() <= 1024;
  if (!fits) return incompatible("a product whose tiles and warps do not fit each other");
  return knobs;
}

Result<std::vector<PackedOperand>> pack_product(const ProductSpec& spec, Config& config,
                                                const OperandDesc& operand,
                                                const ProductStrides& strides,
                                                const PrepareArgs& args) {
  std::vector<PackedOperand> result;
  if (!spec.can_pack || operand.constant == nullptr) return result;
  REDLINE_ASSIGN(ProductKnobs knobs, product_knobs(config, spec.dtype));
  REDLINE_ASSIGN(Tensor bytes,
                 Tensor::create(DType::kUInt8, {static_cast<int64_t>(packed_bytes(spec, knobs))}));
  if (spec.dtype == DType::kFloat32) {
    pack_tiles<uint32_t>(spec, knobs, *operand.constant, strides, bytes, args.pool);
  } else {
    pack_tiles<uint16_t>(spec, knobs, *operand.constant, strides, bytes, args.pool);
  }
  std::erase_if(config, [](const NamedAttr& knob) { return knob.name == "packed"; });
  config.push_back({"packed", int64_t{1}});
  std::string recipe = str_cat("product tiles ", knobs.tile_columns, "x", knobs.tile_depth);
  result.push_back({spec.b_input, std::move(bytes), std::move(recipe)});
  return result;
}

Result<std::vector<cuda::KernelSource>> product_kernels(
    const Problem& problem, const ProductSpec& spec, const ProductTail& tail,
    const std::string& definitions, const ProductKnobs& knobs, const cuda::DeviceInfo& device) {
  if (knobs.shared_bytes(spec.dtype) > device.shared_bytes_per_block) {
    return unsupported("its tiles take ", knobs.shared_bytes(spec.dtype),
                       " bytes of shared memory, a block has ", device.shared_bytes_per_block);
  }
  if (spec.tf32 && knobs.matrix == 0) return unsupported("only tensor cores round to tf32");
  if (knobs.wgmma != 0) {
    if (device.arch() != "sm_90a") return unsupported("its instructions are those of sm_90a");
    if (spec.columns_together && knobs.packed == 0) {
      return unsupported("takes a second operand whose columns each lie together");
    }
  }
  if (knobs.splits > divide_up(spec.depth, knobs.tile_depth)) {
    return unsupported("its depth cannot be divided among ", knobs.splits, " blocks");
  }
  bool cluster = knobs.splits > 1 && knobs.cluster != 0 && device.has_clusters();
  if (knobs.mapped != 0 && (!comes_in_bulk(spec) || knobs.packed == 0)) {
    return unsupported("takes a row-major first operand and a packed second one");
  }
  std::string text = product_text();
  REDLINE_ASSIGN(std::string tail_text, tail.text());
  text += str_cat(definitions, numbers(spec, tail, knobs, cluster),
                  "typedef ProductNumbers<Numbers> N;\n");
  text += str_cat(tile_types(spec, knobs), tail_text);
  std::vector<std::string> options = {"-DREDLINE_INDEX=int"};
  std::vector<cuda::KernelSource> sources;
  sources.push_back({std::string(kMainEntry), text + main_text(problem, spec, tail, knobs, cluster),
                     device.arch(), options, static_cast<int>(knobs.shared_bytes(spec.dtype))});
  if (knobs.splits > 1 && !cluster) {
    sources.push_back({std::string(kSumEntry), text + sum_text(problem, spec, tail, knobs),
                       device.arch(), options});
  }
  return sources;
}

Result<std::unique_ptr<Kernel>> prepare_product(const Problem& problem, const ProductSpec& spec,
                                                const ProductTail& tail, const ProductKnobs& knobs,
                                                const PrepareArgs& args) {
  const cuda::DeviceInfo& device = args.context->info();
  bool parts = knobs.splits > 1 && !(knobs.cluster != 0 && device.has_clusters());
  if (args.modules.size() != (parts ? 2U : 1U))
    return incompatible("a product without its kernels");
  if (knobs.packed != 0) {
    const Tensor* tiles = problem.inputs[spec.b_input].packed;
    if (tiles == nullptr || tiles->bytes() != packed_bytes(spec, knobs)) {
      return incompatible("a product whose packed operand has other sizes");
    }
  }
  std::vector<TailLaunch::Step> steps;
  std::string name = str_cat("a product of ", problem.op->name);
  int64_t total = spec.rows * spec.batch;
  if (total == 0) return TailLaunch::create(problem, tail, 0, {}, name, {}, 0);
  int64_t tiles =
      divide_up(spec.rows, knobs.tile_rows) * divide_up(spec.columns, knobs.tile_columns);
  int64_t groups = total * (spec.columns / tail.lanes());
  if (total > kMostRows || tiles > INT32_MAX || divide_up(groups, kSumThreads) > INT32_MAX) {
    return unsupported("a product of ", total, " rows and ", spec.columns, " columns");
  }
  TailLaunch::Step main;
  auto shared = static_cast<int>(knobs.shared_bytes(spec.dtype));
  REDLINE_ASSIGN(main.function,
                 cuda::Function::create(args.modules[0], std::string(kMainEntry), shared));
  int64_t blocks = tiles;
  if (knobs.turns != 0) {
    blocks = std::min<int64_t>(blocks, device.multiprocessors * knobs.resident);
  }
  main.shape.grid = {static_cast<unsigned int>(blocks), 1,
                     static_cast<unsigned int>(spec.batch * knobs.splits)};
  main.shape.block.x = static_cast<unsigned int>(knobs.threads());
  main.shape.shared_bytes = static_cast<unsigned int>(shared);
  main.shape.programmatic = device.has_programmatic_launch();
  if (knobs.splits > 1 && !parts) main.shape.cluster.z = static_cast<unsigned int>(knobs.splits);
  steps.push_back(std::move(main));
  size_t workspace = 0;
  if (parts) {
    workspace = static_cast<size_t>(knobs.splits * total * spec.columns) * sizeof(float);
    TailLaunch::Step sum;
    REDLINE_ASSIGN(sum.function, cuda::Function::create(args.modules[1], std::string(kSumEntry)));
    sum.shape.grid.x = static_cast<unsigned int>(divide_up(groups, kSumThreads));
    sum.shape.block.x = kSumThreads;
    sum.shape.programmatic = device.has_programmatic_launch();
    steps.push_back(std::move(sum));
  }
  std::optional<TailLaunch::Map> map;
  if (knobs.mapped != 0) {
    map = {spec.a.input, {spec.rows, spec.depth, spec.a.stride, knobs.tile_rows}};
  }
  return TailLaunch::create(problem, tail, spec.rows, spec.values, name, std::move(steps),
                            workspace, map);
}

}  // namespace redline
