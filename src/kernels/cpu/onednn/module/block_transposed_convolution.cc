// SPDX-License-Identifier: Apache-2.0
// A transposed convolution whose kernel equals its stride (no pads, no dilation) writes each output
// once: pixel (h, w) becomes the block at (h * KH, w * KW). In channels-last order it is
//   dst[(h, i), (w, j), m] = sum over c of src[(h, w), c] * weights[c, (i, j, m)]
// which is a matrix product whose rows are scattered. Wide rows (j, m) are written in place by one
// strided product for each i; narrow ones go through the scratchpad and a copy.
#include <algorithm>
#include <initializer_list>
#include <memory>

#include "kernels/cpu/onednn/module/primitive.h"

namespace redline::kernels::onednn {
namespace {

constexpr int64_t kWideRow = 16;  // floats; one AVX-512 register

struct Sizes {
  int64_t n, c, h, w, m, kh, kw;
  int64_t row() const { return kw * m; }        // what one input pixel gives to one output line
  int64_t block() const { return kh * row(); }  // and to all its lines
};

bool channels_last(const dnnl_memory_desc_t& desc) {
  if (desc.format_kind == dnnl_format_kind_any) return true;
  dnnl_memory_desc_t want;
  dnnl_memory_desc_init_by_tag(&want, 4, desc.dims, dnnl_f32, dnnl_nhwc);
  return dnnl_memory_desc_equal(&desc, &want) != 0;
}

bool applies(const Convolution& p, const Options& options) {
  const dnnl_memory_desc_t src = to_dnnl(p.src), weights = to_dnnl(p.weights), dst = to_dnnl(p.dst);
  if (p.spatial != 2 || p.groups != 1 || p.winograd) return false;
  if (src.data_type != dnnl_f32 || weights.data_type != dnnl_f32 || dst.data_type != dnnl_f32) {
    return false;
  }
  for (int i = 0; i < 2; ++i) {
    if (p.strides[i] != weights.dims[2 + i] || p.dilations[i] != 1 || p.pads_begin[i] != 0 ||
        p.pads_end[i] != 0 || dst.dims[2 + i] != src.dims[2 + i] * p.strides[i]) {
      return false;
    }
  }
  if (dst.dims[0] != src.dims[0] || weights.dims[0] != dst.dims[1] ||
      weights.dims[1] != src.dims[1] || (p.has_bias && to_dnnl(p.bias).dims[0] != dst.dims[1])) {
    return false;
  }
  for (int i = 0; i < options.post_op_count; ++i) {
    if (options.post_ops[i].kind != PostOp::Kind::kEltwise) return false;
  }
  return channels_last(src) && channels_last(dst) && weights.format_kind == dnnl_format_kind_any;
}

dnnl_memory_desc_t strided(std::initializer_list<int64_t> dims,
                           std::initializer_list<int64_t> strides) {
  dnnl_dims_t dnnl_dims = {}, dnnl_strides = {};
  std::copy(dims.begin(), dims.end(), dnnl_dims);
  std::copy(strides.begin(), strides.end(), dnnl_strides);
  dnnl_memory_desc_t desc = {};
  dnnl_memory_desc_init_by_strides(&desc, static_cast<int>(dims.size()), dnnl_dims, dnnl_f32,
                                   dnnl_strides);
  return desc;
}

struct Product {
  dnnl_memory_desc_t src, weights, bias, dst;
  std::vector<StageArg> args;
};

Code add_product(const Product& product, bool has_bias, dnnl_primitive_attr_t attr,
                 Primitive* primitive, Error* error) {
  dnnl_matmul_desc_t desc;
  dnnl_primitive_desc_t primitive_desc = nullptr;
  dnnl_status_t status = dnnl_matmul_desc_init(&desc, &product.src, &product.weights,
                                               has_bias ? &product.bias : nullptr, &product.dst);
  if (status == dnnl_success) {
    status = dnnl_primitive_desc_create(&primitive_desc, &desc, attr, cpu_engine(), nullptr);
  }
  if (Code c = check(status, error, "transposed convolution"); c != Code::kOk) return c;
  return add_stage(primitive_desc, product.args, "transposed convolution", primitive, error);
}

// The slots' indices.
struct Slots {
  int src = 0, weights = 1, bias = 2, dst = 2;
};

Code add_strided_products(const Sizes& t, const Slots& slots, bool has_bias, int64_t bias_offset,
                          dnnl_primitive_attr_t attr, Primitive* primitive, Error* error) {
  const int64_t lines = t.n * t.h;
  for (int64_t i = 0; i < t.kh; ++i) {
    Product product;
    product.src = strided({lines, t.w, t.c}, {t.w * t.c, t.c, 1});
    product.weights = strided({1, t.c, t.row()}, {t.c * t.block(), t.block(), 1});
    product.bias = strided({1, 1, t.row()}, {t.row(), t.row(), 1});
    product.dst = strided({lines, t.w, t.row()}, {t.w * t.block(), t.row(), 1});
    const int64_t float_bytes = sizeof(float);
    product.args = {{DNNL_ARG_SRC, slots.src, 0, product.src},
                    {DNNL_ARG_WEIGHTS, slots.weights, i * t.row() * float_bytes, product.weights},
                    {DNNL_ARG_DST, slots.dst, i * t.w * t.row() * float_bytes, product.dst}};
    if (has_bias) {
      product.args.push_back({DNNL_ARG_BIAS, StageArg::kScratchpad, bias_offset, product.bias});
    }
    if (Code c = add_product(product, has_bias, attr, primitive, error); c != Code::kOk) return c;
  }
  return Code::kOk;
}

Code add_product_and_copy(const Sizes& t, const Slots& slots, bool has_bias, int64_t bias_offset,
                          dnnl_primitive_attr_t attr, Primitive* primitive, Error* error) {
  const int64_t pixels = t.n * t.h * t.w;
  const int64_t blocks =
      reserve_scratchpad(primitive, pixels * t.block() * static_cast<int64_t>(sizeof(float)));
  Product product;
  product.src = strided({pixels, t.c}, {t.c, 1});
  product.weights = strided({t.c, t.block()}, {t.block(), 1});
  product.bias = strided({1, t.block()}, {t.block(), 1});
  product.dst = strided({pixels, t.block()}, {t.block(), 1});
  product.args = {{DNNL_ARG_SRC, slots.src, 0, product.src},
                  {DNNL_ARG_WEIGHTS, slots.weights, 0, product.weights},
                  {DNNL_ARG_DST, StageArg::kScratchpad, blocks, product.dst}};
  if (has_bias) {
    product.args.push_back({DNNL_ARG_BIAS, StageArg::kScratchpad, bias_offset, product.bias});
  }
  if (Code c = add_product(product, has_bias, attr, primitive, error); c != Code::kOk) return c;

  // (line, i, w, row) from the product's (line, w, i, row).
  const auto from =
      strided({t.n * t.h, t.kh, t.w, t.row()}, {t.w * t.block(), t.row(), t.block(), 1});
  const auto to =
      strided({t.n * t.h, t.kh, t.w, t.row()}, {t.w * t.block(), t.w * t.row(), t.row(), 1});
  dnnl_primitive_attr_t copy_attr = nullptr;
  if (Code c = make_attributes({.threads = primitive->threads}, &copy_attr, error);
      c != Code::kOk) {
    return c;
  }
  dnnl_primitive_desc_t copy = nullptr;
  const dnnl_status_t status =
      dnnl_reorder_primitive_desc_create(&copy, &from, cpu_engine(), &to, cpu_engine(), copy_attr);
  dnnl_primitive_attr_destroy(copy_attr);
  if (Code c = check(status, error, "copy"); c != Code::kOk) return c;
  return add_stage(
      copy, {{DNNL_ARG_FROM, StageArg::kScratchpad, blocks, from}, {DNNL_ARG_TO, slots.dst, 0, to}},
      "copy", primitive, error);
}

}  // namespace

Code make_block_transposed_convolution(const Convolution& p, const Options& options,
                                       Primitive** out, Error* error) {
  if (!applies(p, options)) {
    return fail(Code::kUnsupported, error, "the kernel is not the stride, or the layout is plain");
  }
  const dnnl_memory_desc_t src = to_dnnl(p.src), weights = to_dnnl(p.weights);
  const Sizes t = {.n = src.dims[0],
                   .c = src.dims[1],
                   .h = src.dims[2],
                   .w = src.dims[3],
                   .m = weights.dims[0],
                   .kh = weights.dims[2],
                   .kw = weights.dims[3]};
  auto primitive = std::make_unique<Primitive>();
  primitive->threads = options.threads;
  const int64_t oh = t.h * t.kh, ow = t.w * t.kw;
  primitive->slots = {
      {Role::kSrc, false, strided({t.n, t.c, t.h, t.w}, {t.h * t.w * t.c, 1, t.w * t.c, t.c})},
      {Role::kWeights, false, strided({t.m, t.c, t.kh, t.kw}, {1, t.block(), t.row(), t.m})}};
  Slots slots;
  int64_t bias_offset = 0;
  if (p.has_bias) {
    const int64_t copies = t.row() >= kWideRow ? t.kw : t.kh * t.kw;
    const int64_t bytes = t.m * static_cast<int64_t>(sizeof(float));
    bias_offset = reserve_scratchpad(primitive.get(), copies * bytes);
    primitive->tile = {.slot = slots.bias, .offset = bias_offset, .bytes = bytes, .copies = copies};
    primitive->slots.push_back({Role::kBias, false, to_dnnl(p.bias)});
    slots.dst = 3;
  }
  primitive->slots.push_back(
      {Role::kDst, true, strided({t.n, t.m, oh, ow}, {oh * ow * t.m, 1, ow * t.m, t.m})});

  dnnl_primitive_attr_t attr = nullptr;
  if (Code c = make_attributes(options, &attr, error); c != Code::kOk) return c;
  TeamSize team(options.threads);
  const auto add = t.row() >= kWideRow ? add_strided_products : add_product_and_copy;
  const Code code = add(t, slots, p.has_bias, bias_offset, attr, primitive.get(), error);
  dnnl_primitive_attr_destroy(attr);
  if (code != Code::kOk) return code;
  *out = primitive.release();
  return Code::kOk;
}

}  // namespace redline::kernels::onednn
