// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

// What a caller passes a pointer for.
struct ArgSlot {
  Role role;
  bool is_output;
  dnnl_memory_desc_t desc;
};

// Where a stage's argument lies: `offset` bytes into a slot, or into the caller's scratchpad.
struct StageArg {
  static constexpr int kScratchpad = -1;
  int dnnl_arg;
  int slot;
  int64_t offset;
  dnnl_memory_desc_t desc;
};

// One oneDNN primitive with its places.
struct Stage {
  dnnl_primitive_desc_t desc = nullptr;
  dnnl_primitive_t handle = nullptr;
  std::vector<StageArg> args;

  Stage() = default;
  Stage(Stage&& other) noexcept;
  Stage& operator=(Stage&&) = delete;
  ~Stage();
};

// Copies of a slot's bytes, one behind the other in the scratchpad, made before the first stage.
struct Tile {
  int slot = 0;
  int64_t offset = 0;
  int64_t bytes = 0;
  int64_t copies = 0;
};

struct Primitive;

// The stages' memory objects, made once, so that a request only sets their addresses. Used by one
// thread at a time.
struct Execution {
  const Primitive* primitive = nullptr;
  dnnl_stream_t stream = nullptr;
  std::vector<std::vector<dnnl_exec_arg_t>> args;

  Execution() = default;
  ~Execution();
  Execution(const Execution&) = delete;
  Execution& operator=(const Execution&) = delete;
};

// Stages run one after the other. Most primitives have one.
struct Primitive {
  std::vector<ArgSlot> slots;
  std::vector<Stage> stages;
  Tile tile;
  int64_t scratchpad_bytes = 0;
  int threads = 1;
  // Executions not in use. A thread takes one by an exchange and puts it back after.
  mutable std::array<std::atomic<Execution*>, 16> idle = {};

  Primitive() = default;
  ~Primitive();
  Primitive(const Primitive&) = delete;
  Primitive& operator=(const Primitive&) = delete;
};

// Reserves `bytes` of the scratchpad, 64-byte aligned, and returns where.
int64_t reserve_scratchpad(Primitive* primitive, int64_t bytes);
// Compiles `primitive_desc`, of which it takes ownership, as the next stage. The stage's own
// scratchpad is added to its args.
Code add_stage(dnnl_primitive_desc_t primitive_desc, std::vector<StageArg> args, const char* what,
               Primitive* primitive, Error* error);

void primitive_info(const Primitive& primitive, PrimitiveInfo* out);
void primitive_arg(const Primitive& primitive, int32_t index, Arg* out);
void primitive_destroy(Primitive* primitive);
Code execute(const Primitive& primitive, void* const* pointers, void* scratchpad, Error* error);

}  // namespace redline::kernels::onednn
