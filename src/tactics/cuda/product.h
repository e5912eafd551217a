// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tactics/cuda/product_tail.h"
#include "tactics/tactic.h"

// Products as kernels/cuda/product makes them: what matrix products and convolutions have in
// common. A tactic says where the operands are; here are the tiles and the launch.
namespace redline {

// How a kernel reads an operand: a source of kernels/cuda/product/sources.cuh and its members, in
// terms of the inputs (in0, ...), `rows` and the number `batch` of the product.
struct ProductOperand {
  std::string type;
  std::string members;
  int vector = 1;  // elements that lie together and are aligned to their bytes
  // Set where it is an input as it is, a row-major matrix: which, and elements from row to row.
  size_t input = 0;
  int64_t stride = 0;
};

struct ProductSpec {
  DType dtype = DType::kFloat32;  // of both operands
  int64_t rows = kDynamicDim;     // of each product of the batch
  int64_t columns = 0, depth = 0;
  int64_t batch = 1;
  ProductOperand a, b;
  size_t b_input = 1;             // of the problem
  bool columns_together = false;  // b's source has a row for each step of the depth
  bool constant = false;          // b may be read ahead of the former step
  bool can_pack = false;
  bool tf32 = false;  // both are rounded
  // Of the kernels, beside those that all products have: ", int height", statements that make of
  // them what the members name, and, for sizes that are known, their values.
  std::string parameters;
  std::string statements;
  std::vector<int> values;
};

// How a kernel does it.
struct ProductKnobs {
  int64_t tile_rows = 0, tile_columns = 0, tile_depth = 0;
  int64_t warps_rows = 1, warps_columns = 1, warps_depth = 1;
  int64_t stages = 2;
  int64_t splits = 1;    // blocks that share the depth of a tile
  int64_t cluster = 0;   // 1: they add up in shared memory, where the GPU has clusters
  int64_t packed = 0;    // 1: b is packed in tiles
  int64_t matrix = 0;    // 1: f32 on tensor cores, its numbers split in two or rounded
  int64_t wgmma = 0;     // 1: by warpgroups, groups of 4 warps along the rows
  int64_t resident = 1;  // blocks that a multiprocessor has room for
  int64_t mapped = 0;    // 1: a comes in bulk too, by a tensor map
  int64_t turns = 0;     // 1: so, fetched by one warpgroup more, and blocks take tiles in turns
  // When the next kernel may start: 0 when the former one has ended, 1 with the first tile, 2
  // behind the last.
  int64_t trigger = 0;

  int64_t threads() const { return 32 * warps_rows * warps_columns * warps_depth + 128 * turns; }
  int64_t shared_bytes(DType dtype) const;
};
// The kernels' text up to product(), in which Numbers and the like are to be defined.
std::string product_text();
// Whether the tiles of both operands can be fetched in bulk.
bool comes_in_bulk(const ProductSpec& spec);
Result<ProductKnobs> product_knobs(const Config& config, DType dtype);
// Absent: 0.
inline constexpr const char* kTriggerKnob = "trigger";
inline constexpr int64_t kLastTrigger = 2;
// The same with another trigger (Tactic::overlaps).
std::vector<Config> product_overlaps(const Config& config);
// Whether the GPU has the instructions that a config is made of.
bool product_fits(const Config& config, const cuda::DeviceInfo& device);

bool product_type(DType dtype);
// How many elements lie together, and aligned to their bytes, where each row has `period` of them.
int product_vector(DType dtype, int64_t period);
// The ways worth trying, best guess first, for a number of rows.
std::vector<Config> product_configs(const ProductSpec& spec, int64_t rows);

// Where the elements of a constant b are: of product `batch`, column and step of the depth, which
// goes over `inner` elements before the next `outer` step.
struct ProductStrides {
  int64_t batch = 0, column = 1;
  int64_t inner_count = 1, inner = 1, outer = 1;
  int64_t at(int64_t product, int64_t of_column, int64_t depth) const {
    return product * batch + of_column * column + depth % inner_count * inner +
           depth / inner_count * outer;
  }
};
// What a tactic's `pack` does: b as tiles, for the config's knobs.
Result<std::vector<PackedOperand>> pack_product(const ProductSpec& spec, Config& config,
                                                const OperandDesc& operand,
                                                const ProductStrides& strides,
                                                const PrepareArgs& args);

// `definitions`: types that the sources name.
Result<std::vector<cuda::KernelSource>> product_kernels(
    const Problem& problem, const ProductSpec& spec, const ProductTail& tail,
    const std::string& definitions, const ProductKnobs& knobs, const cuda::DeviceInfo& device);
Result<std::unique_ptr<Kernel>> prepare_product(const Problem& problem, const ProductSpec& spec,
                                                const ProductTail& tail, const ProductKnobs& knobs,
                                                const PrepareArgs& args);

}  // namespace redline
