// SPDX-License-Identifier: Apache-2.0
#include "ops/col2im.h"

#include <cstring>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// Every size and step of the sliding blocks is below this, so that their sums and products by two
// stay in range.
constexpr int64_t kMostExtent = INT32_MAX;

Status check_extents(const InferContext& c, std::string_view what, std::span<const int64_t> values,
                     size_t expected, int64_t least) {
  if (values.empty() && expected > 0) return {};
  if (values.size() != expected) {
    return c.error(str_cat(what, " has ", values.size(), " elements, expected ", expected));
  }
  for (int64_t value : values) {
    if (value < least || value > kMostExtent) return c.error(str_cat(what, " holds ", value));
  }
  return {};
}

// How many blocks fit along each axis.
Result<std::vector<int64_t>> block_counts(const Col2ImAttrs& attrs, std::span<const int64_t> image,
                                          std::span<const int64_t> block) {
  std::vector<int64_t> counts;
  for (size_t d = 0; d < image.size(); ++d) {
    int64_t stride = attrs.strides.empty() ? 1 : attrs.strides[d];
    int64_t dilation = attrs.dilations.empty() ? 1 : attrs.dilations[d];
    int64_t padded = image[d];
    if (!attrs.pads.empty()) padded += attrs.pads[d] + attrs.pads[d + image.size()];
    int64_t reach = dilation * (block[d] - 1) + 1;
    if (padded < reach) {
      return invalid_argument("a block of ", reach, " does not fit an image axis of ", padded);
    }
    counts.push_back((padded - reach) / stride + 1);
  }
  return counts;
}

Status infer_col2im(InferContext& c) {
  const auto& attrs = c.attrs<Col2ImAttrs>();
  REDLINE_TRY(c.expect_rank(0, 3));
  REDLINE_TRY(c.expect_rank(1, 1));
  REDLINE_TRY(c.expect_rank(2, 1));
  if (c.dtype(0) == DType::kString) return c.input_error(0, "must hold numbers");
  const Shape& in = c.shape(0);
  std::optional<SymDims> image = c.contents(1);
  std::optional<std::vector<int64_t>> block = c.const_ints(2);
  std::optional<int64_t> axes = const_length(c, 1);
  if (!axes) axes = const_length(c, 2);
  if (image) axes = static_cast<int64_t>(image->size());
  c.set_output(0, c.dtype(0), Shape());
  if (!axes) return {};
  REDLINE_TRY(check_output_rank(c, *axes + 2));
  auto count = static_cast<size_t>(*axes);
  REDLINE_TRY(check_extents(c, "strides", attrs.strides, count, 1));
  REDLINE_TRY(check_extents(c, "dilations", attrs.dilations, count, 1));
  REDLINE_TRY(check_extents(c, "pads", attrs.pads, 2 * count, 0));
  SymDims out = fresh_dims(c, *axes + 2, "col2im");
  if (in.has_rank()) out[0] = in[0];
  if (image) std::copy(image->begin(), image->end(), out.begin() + 2);
  if (block) {
    REDLINE_TRY(check_extents(c, "block_shape", *block, count, 1));
    Dim elements(1);
    for (int64_t size : *block) elements *= size;
    if (elements.is_invalid()) return c.input_error(2, "is too large");
    if (in.has_rank()) {
      if (in[1].is_const() && in[1].value() % elements.value() != 0) {
        return c.input_error(
            0, str_cat("must have a size divisible by ", elements.value(), " at axis 1"));
      }
      out[1] = floor_div(in[1], elements);
    }
  }
  std::optional<std::vector<int64_t>> sizes = c.const_ints(1);
  if (sizes && block) {
    REDLINE_TRY(check_extents(c, "image_shape", *sizes, count, 0));
    Result<std::vector<int64_t>> counts = block_counts(attrs, *sizes, *block);
    if (!counts.ok()) return c.error(counts.status().message());
    Dim blocks(1);
    for (int64_t n : *counts) blocks *= n;
    if (in.has_rank() && conflict(in[2], blocks)) {
      return c.input_error(0, str_cat("must have ", blocks.to_string(), " blocks at axis 2"));
    }
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

// For each axis: image index of block b and offset k at [b * block + k], -1 outside.
std::vector<std::vector<int64_t>> image_indices(const Col2ImAttrs& attrs,
                                                std::span<const int64_t> image,
                                                std::span<const int64_t> block,
                                                std::span<const int64_t> counts) {
  std::vector<std::vector<int64_t>> result;
  for (size_t d = 0; d < image.size(); ++d) {
    int64_t stride = attrs.strides.empty() ? 1 : attrs.strides[d];
    int64_t dilation = attrs.dilations.empty() ? 1 : attrs.dilations[d];
    int64_t pad = attrs.pads.empty() ? 0 : attrs.pads[d];
    std::vector<int64_t> at;
    for (int64_t b = 0; b < counts[d]; ++b) {
      for (int64_t k = 0; k < block[d]; ++k) {
        int64_t i = b * stride - pad + k * dilation;
        at.push_back(i < 0 || i >= image[d] ? -1 : i);
      }
    }
    result.push_back(std::move(at));
  }
  return result;
}

template <class W>
void add_blocks(const TensorView& in, const TensorView& out, std::span<const int64_t> block,
                std::span<const int64_t> counts, const std::vector<std::vector<int64_t>>& indices) {
  size_t axes = block.size();
  std::vector<W> columns = read_elements<W>(in);
  std::vector<W> images(static_cast<size_t>(out.count()));
  Dims walk;  // (block offsets..., blocks...)
  for (int64_t size : block) walk.push_back(size);
  for (int64_t n : counts) walk.push_back(n);
  int64_t image_size = out.dims.count(2, out.dims.rank());
  Dims strides = out.dims.strides();
  int64_t columns_count = walk.count();
  const W* src = columns.data();
  for (int64_t image = 0; image < out.dims[0] * out.dims[1]; ++image) {
    W* dst = images.data() + image * image_size;
    std::vector<int64_t> index(2 * axes, 0);
    for (int64_t i = 0; i < columns_count; ++i, ++src) {
      int64_t offset = 0;
      bool outside = false;
      for (size_t d = 0; d < axes; ++d) {
        int64_t at = indices[d][static_cast<size_t>(index[axes + d] * block[d] + index[d])];
        outside |= at < 0;
        offset += at * strides[d + 2];
      }
      if (!outside) {
        if constexpr (std::is_same_v<W, double>) {
          dst[offset] += *src;
        } else {
          dst[offset] =
              static_cast<W>(static_cast<uint64_t>(dst[offset]) + static_cast<uint64_t>(*src));
        }
      }
      for (size_t d = 2 * axes; d-- > 0;) {
        if (++index[d] < walk[d]) break;
        index[d] = 0;
      }
    }
  }
  write_elements(images, out);
}

Status reference_col2im(ReferenceContext& c) {
  const auto& attrs = c.attrs<Col2ImAttrs>();
  if (c.input(0).count() == 0) {
    std::memset(c.output(0).data, 0, c.output(0).bytes());
    return {};
  }
  std::vector<int64_t> image = read_ints(c.input(1));
  std::vector<int64_t> block = read_ints(c.input(2));
  if (2 * block.size() > kMaxRank) return invalid_argument("has ", block.size(), " image axes");
  REDLINE_ASSIGN(std::vector<int64_t> counts, block_counts(attrs, image, block));
  auto indices = image_indices(attrs, image, block, counts);
  with_wide_type(c.input(0).dtype, [&](auto wide) {
    add_blocks<decltype(wide)>(c.input(0), c.output(0), block, counts, indices);
  });
  return {};
}

}  // namespace

void register_op_col2im(OpRegistry& registry) {
  registry.add({.name = "col2im",
                .inputs = {{"columns"}, {"image_shape"}, {"block_shape"}},
                .outputs = {{"images"}},
                .attrs = attrs_type<Col2ImAttrs>(),
                .infer = infer_col2im,
                .reference = reference_col2im});
}

}  // namespace redline
