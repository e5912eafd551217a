// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

struct Primitive {
  dnnl_primitive_desc_t desc = nullptr;
  dnnl_primitive_t handle = nullptr;
  dnnl_memory_desc_t scratchpad = {};
  std::vector<ArgSlot> slots;
  int threads = 1;

  Primitive() = default;
  ~Primitive();
  Primitive(const Primitive&) = delete;
  Primitive& operator=(const Primitive&) = delete;
};

// The slots' memory objects in their order, then the scratchpad's when there is one. Made once, so
// that a request only sets their addresses.
struct Execution {
  const Primitive* primitive = nullptr;
  dnnl_stream_t stream = nullptr;
  std::vector<dnnl_exec_arg_t> args;

  Execution() = default;
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;
};

void primitive_info(const Primitive& primitive, PrimitiveInfo* out);
void primitive_arg(const Primitive& primitive, int32_t index, Arg* out);
void primitive_destroy(Primitive* primitive);
Code execution_create(const Primitive& primitive, Execution** out, Error* error);
Code execute(Execution& execution, void* const* pointers, void* scratchpad, Error* error);
void execution_destroy(Execution* execution);

}  // namespace redline::kernels::onednn
