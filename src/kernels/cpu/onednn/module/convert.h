// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the module's files share: status text, descriptor conversion, attributes, primitives.

#include <oneapi/dnnl/dnnl.h>

#include <cstring>
#include <vector>

#include "kernels/cpu/onednn/module/team.h"
#include "kernels/cpu/onednn/onednn_api.h"

namespace redline::kernels::onednn {

// Formats `error->text` as printf does.
[[gnu::format(printf, 3, 4)]] Code fail(Code code, Error* error, const char* format, ...);
// kOk, or `what` with oneDNN's reason.
Code check(dnnl_status_t status, Error* error, const char* what);

// The library's only engine: the CPU. Null when it could not be made.
dnnl_engine_t cpu_engine();

inline dnnl_memory_desc_t to_dnnl(const MemoryDesc& desc) {
  static_assert(sizeof(dnnl_memory_desc_t) <= sizeof(MemoryDesc));
  dnnl_memory_desc_t out;
  std::memcpy(&out, desc.bytes, sizeof out);
  return out;
}

inline MemoryDesc from_dnnl(const dnnl_memory_desc_t& desc) {
  MemoryDesc out = {};
  std::memcpy(out.bytes, &desc, sizeof desc);
  return out;
}

// False for a descriptor that was never made, or has a dim below 1.
bool valid(const dnnl_memory_desc_t& desc);
// Fails when `desc` is not valid, or its rank is not `rank` (0: any).
Code check_desc(const dnnl_memory_desc_t& desc, int rank, const char* name, Error* error);

dnnl_alg_kind_t to_dnnl(Eltwise eltwise);
dnnl_alg_kind_t to_dnnl(Binary binary);

struct SlotSpec {
  Role role;
  int dnnl_arg;
  bool present = true;
};

// A primitive of one stage: compiles `op_desc` with `options` and takes its slots from `specs` and
// the post-ops.
Code make_primitive(const void* op_desc, const Options& options, const char* what,
                    const std::vector<SlotSpec>& specs, Primitive** out, Error* error);
// The same from an attribute-bearing descriptor, of which it takes ownership.
Code finish_primitive(dnnl_primitive_desc_t primitive_desc, const Options& options,
                      const char* what, const std::vector<SlotSpec>& specs, Primitive** out,
                      Error* error);

// An attribute handle of `options`, to be destroyed by the caller.
Code make_attributes(const Options& options, dnnl_primitive_attr_t* out, Error* error);

// The problems, one file a family; same signatures as in Api.
Code make_convolution(const Convolution&, const Options&, Primitive**, Error*);
Code make_block_transposed_convolution(const Convolution&, const Options&, Primitive**, Error*);
Code make_matmul(const MatMul&, const Options&, Primitive**, Error*);
Code make_pool(const Pool&, const Options&, Primitive**, Error*);
Code make_lrn(const Lrn&, const Options&, Primitive**, Error*);
Code make_softmax(const Softmax&, const Options&, Primitive**, Error*);
Code make_layer_norm(const LayerNorm&, const Options&, Primitive**, Error*);
Code make_eltwise(const EltwiseProblem&, const Options&, Primitive**, Error*);
Code make_binary(const BinaryProblem&, const Options&, Primitive**, Error*);
Code make_reorder(const Reorder&, const Options&, Primitive**, Error*);
Code make_concat(const Concat&, const Options&, Primitive**, Error*);
Code make_resize(const Resize&, const Options&, Primitive**, Error*);
Code make_reduce(const Reduce&, const Options&, Primitive**, Error*);
Code make_rnn(const Rnn&, const Options&, Primitive**, Error*);

}  // namespace redline::kernels::onednn
