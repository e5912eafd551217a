// SPDX-License-Identifier: Apache-2.0
// Attributes, compiled primitives and their execution.
#include <cstdio>
#include <memory>
#include <utility>

#include "kernels/cpu/onednn/module/convert.h"
#include "kernels/cpu/onednn/module/primitive.h"
#include "kernels/cpu/onednn/module/recycle.h"

namespace redline::kernels::onednn {
namespace {

Code append_post_op(const PostOp& op, dnnl_post_ops_t ops, Error* error) {
  switch (op.kind) {
    case PostOp::Kind::kEltwise:
      return check(
          dnnl_post_ops_append_eltwise(ops, op.scale, to_dnnl(op.eltwise), op.alpha, op.beta),
          error, "pointwise post-op");
    case PostOp::Kind::kSum:
      return check(dnnl_post_ops_append_sum(ops, op.scale), error, "sum post-op");
    case PostOp::Kind::kBinary: {
      if (op.operand == nullptr) {
        return fail(Code::kInvalidArgument, error, "a binary post-op has no operand descriptor");
      }
      const dnnl_memory_desc_t desc = to_dnnl(*op.operand);
      if (Code code = check_desc(desc, 0, "operand of a post-op", error); code != Code::kOk) {
        return code;
      }
      return check(dnnl_post_ops_append_binary(ops, to_dnnl(op.binary), &desc), error,
                   "binary post-op");
    }
  }
  return fail(Code::kInvalidArgument, error, "unknown kind of post-op");
}

// libdnnl 2.6.3 keeps one table of constants for each eltwise function of a chain: a second one
// with other constants silently computes with the first one's.
Code check_post_ops(const Options& options, Error* error) {
  for (int i = 0; i < options.post_op_count; ++i) {
    for (int j = 0; j < i; ++j) {
      const PostOp& a = options.post_ops[i];
      const PostOp& b = options.post_ops[j];
      bool same = a.kind == PostOp::Kind::kEltwise && b.kind == PostOp::Kind::kEltwise &&
                  a.eltwise == b.eltwise;
      if (same && (a.alpha != b.alpha || a.beta != b.beta)) {
        return fail(Code::kUnsupported, error,
                    "post-ops %d and %d are one eltwise function with different constants", j, i);
      }
    }
  }
  return Code::kOk;
}

Code append_post_ops(const Options& options, dnnl_primitive_attr_t attr, Error* error) {
  if (Code code = check_post_ops(options, error); code != Code::kOk) return code;
  dnnl_post_ops_t ops = nullptr;
  if (Code code = check(dnnl_post_ops_create(&ops), error, "post-op list"); code != Code::kOk) {
    return code;
  }
  Code code = Code::kOk;
  for (int i = 0; i < options.post_op_count && code == Code::kOk; ++i) {
    code = append_post_op(options.post_ops[i], ops, error);
  }
  if (code == Code::kOk) {
    code = check(dnnl_primitive_attr_set_post_ops(attr, ops), error, "post-op list");
  }
  dnnl_post_ops_destroy(ops);
  return code;
}

const char* implementation(const_dnnl_primitive_desc_t desc) {
  const char* name = nullptr;
  const dnnl_status_t status = dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name);
  return status == dnnl_success && name != nullptr ? name : "";
}

Code make_execution(const Primitive& primitive, std::unique_ptr<Execution>* out, Error* error) {
  auto execution = std::make_unique<Execution>();
  execution->primitive = &primitive;
  if (Code code =
          check(dnnl_stream_create(&execution->stream, cpu_engine(), dnnl_stream_default_flags),
                error, "stream");
      code != Code::kOk) {
    return code;
  }
  for (const Stage& stage : primitive.stages) {
    auto& args = execution->args.emplace_back();
    args.reserve(stage.args.size());
    for (const StageArg& arg : stage.args) {
      dnnl_memory_t memory = nullptr;
      const dnnl_status_t status =
          dnnl_memory_create(&memory, &arg.desc, cpu_engine(), DNNL_MEMORY_NONE);
      if (Code code = check(status, error, "memory object"); code != Code::kOk) return code;
      args.push_back({arg.dnnl_arg, memory});
    }
  }
  *out = std::move(execution);
  return Code::kOk;
}

Code run_stages(Execution& execution, void* const* pointers, void* scratchpad, Error* error) {
  const Primitive& primitive = *execution.primitive;
  for (int64_t i = 0; i < primitive.tile.copies; ++i) {
    std::memcpy(static_cast<char*>(scratchpad) + primitive.tile.offset + i * primitive.tile.bytes,
                pointers[primitive.tile.slot], static_cast<size_t>(primitive.tile.bytes));
  }
  TeamSize team(primitive.threads);
  ExecutionScope scope;
  for (size_t s = 0; s < primitive.stages.size(); ++s) {
    const Stage& stage = primitive.stages[s];
    const auto& args = execution.args[s];
    for (size_t i = 0; i < args.size(); ++i) {
      const StageArg& arg = stage.args[i];
      void* base = arg.slot == StageArg::kScratchpad ? scratchpad : pointers[arg.slot];
      dnnl_memory_set_data_handle(args[i].memory, static_cast<char*>(base) + arg.offset);
    }
    const dnnl_status_t status = dnnl_primitive_execute(stage.handle, execution.stream,
                                                        static_cast<int>(args.size()), args.data());
    if (Code code = check(status, error, "step"); code != Code::kOk) return code;
  }
  return Code::kOk;
}

std::unique_ptr<Execution> take_idle(const Primitive& primitive) {
  for (auto& slot : primitive.idle) {
    if (slot.load(std::memory_order_relaxed) == nullptr) continue;
    if (Execution* taken = slot.exchange(nullptr, std::memory_order_acquire)) {
      return std::unique_ptr<Execution>(taken);
    }
  }
  return nullptr;
}

void put_idle(const Primitive& primitive, std::unique_ptr<Execution> execution) {
  for (auto& slot : primitive.idle) {
    Execution* empty = nullptr;
    if (slot.compare_exchange_strong(empty, execution.get(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
      static_cast<void>(execution.release());  // the slot owns it
      return;
    }
  }
}

}  // namespace

Stage::Stage(Stage&& other) noexcept
    : desc(std::exchange(other.desc, nullptr)),
      handle(std::exchange(other.handle, nullptr)),
      args(std::move(other.args)) {}

Stage::~Stage() {
  if (handle != nullptr) dnnl_primitive_destroy(handle);
  if (desc != nullptr) dnnl_primitive_desc_destroy(desc);
}

Execution::~Execution() {
  for (const auto& stage : args) {
    for (const dnnl_exec_arg_t& arg : stage) dnnl_memory_destroy(arg.memory);
  }
  if (stream != nullptr) dnnl_stream_destroy(stream);
}

Primitive::~Primitive() {
  for (auto& slot : idle) delete slot.load();
}

Code make_attributes(const Options& options, dnnl_primitive_attr_t* out, Error* error) {
  if (options.threads < 1) {
    return fail(Code::kInvalidArgument, error, "%d threads asked for, at least 1 is needed",
                options.threads);
  }
  if (options.post_op_count < 0 || options.post_op_count > kMaxPostOps ||
      (options.post_op_count > 0 && options.post_ops == nullptr)) {
    return fail(Code::kInvalidArgument, error, "%d post-ops given, at most %d are possible",
                options.post_op_count, kMaxPostOps);
  }
  dnnl_primitive_attr_t attr = nullptr;
  Code code = check(dnnl_primitive_attr_create(&attr), error, "attribute list");
  if (code != Code::kOk) return code;
  code = check(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), error,
               "scratchpad mode");
  if (code == Code::kOk) {
    // Said explicitly, because the default comes from the environment.
    const auto mode = options.allow_bf16 ? dnnl_fpmath_mode_bf16 : dnnl_fpmath_mode_strict;
    code = check(dnnl_primitive_attr_set_fpmath_mode(attr, mode), error, "math mode");
  }
  if (code == Code::kOk) code = append_post_ops(options, attr, error);
  if (code != Code::kOk) {
    dnnl_primitive_attr_destroy(attr);
    return code;
  }
  *out = attr;
  return Code::kOk;
}

Code make_primitive(const void* op_desc, const Options& options, const char* what,
                    const std::vector<SlotSpec>& specs, Primitive** out, Error* error) {
  if (cpu_engine() == nullptr) return fail(Code::kInternal, error, "oneDNN has no CPU engine");
  dnnl_primitive_attr_t attr = nullptr;
  if (Code code = make_attributes(options, &attr, error); code != Code::kOk) return code;
  TeamSize team(options.threads);
  dnnl_primitive_desc_t desc = nullptr;
  const dnnl_status_t status =
      dnnl_primitive_desc_create(&desc, op_desc, attr, cpu_engine(), nullptr);
  dnnl_primitive_attr_destroy(attr);
  if (Code code = check(status, error, what); code != Code::kOk) return code;
  return finish_primitive(desc, options, what, specs, out, error);
}

int64_t reserve_scratchpad(Primitive* primitive, int64_t bytes) {
  const int64_t offset = primitive->scratchpad_bytes;
  primitive->scratchpad_bytes = offset + (bytes + 63) / 64 * 64;
  return offset;
}

Code add_stage(dnnl_primitive_desc_t primitive_desc, std::vector<StageArg> args, const char* what,
               Primitive* primitive, Error* error) {
  Stage stage;
  stage.desc = primitive_desc;
  TeamSize team(primitive->threads);
  if (Code code = check(dnnl_primitive_create(&stage.handle, primitive_desc), error, what);
      code != Code::kOk) {
    return code;
  }
  const dnnl_memory_desc_t* scratchpad =
      dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_scratchpad_md, 0);
  if (const size_t bytes = dnnl_memory_desc_get_size(scratchpad); bytes > 0) {
    const int64_t offset = reserve_scratchpad(primitive, static_cast<int64_t>(bytes));
    args.push_back({DNNL_ARG_SCRATCHPAD, StageArg::kScratchpad, offset, *scratchpad});
  }
  stage.args = std::move(args);
  primitive->stages.push_back(std::move(stage));
  return Code::kOk;
}

Code finish_primitive(dnnl_primitive_desc_t primitive_desc, const Options& options,
                      const char* what, const std::vector<SlotSpec>& specs, Primitive** out,
                      Error* error) {
  if (const char* name = implementation(primitive_desc);
      !options.allow_reference && std::strncmp(name, "ref", 3) == 0) {
    dnnl_primitive_desc_destroy(primitive_desc);
    return fail(
        Code::kUnsupported, error,
        "oneDNN has only slow reference code for a %s of these types, layouts and post-ops; "
        "dense channels-last layouts are served best",
        what);
  }
  auto primitive = std::make_unique<Primitive>();
  primitive->threads = options.threads;
  std::vector<StageArg> args;
  const auto add = [&](Role role, int dnnl_arg, const dnnl_memory_desc_t& desc) {
    const bool output = role == Role::kDst || role == Role::kDstIter || role == Role::kDstCell;
    args.push_back({dnnl_arg, static_cast<int>(primitive->slots.size()), 0, desc});
    primitive->slots.push_back({role, output, desc});
  };
  for (const SlotSpec& spec : specs) {
    if (!spec.present) continue;
    const dnnl_memory_desc_t* desc =
        dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_exec_arg_md, spec.dnnl_arg);
    if (desc == nullptr || desc->ndims == 0) {
      dnnl_primitive_desc_destroy(primitive_desc);
      return fail(Code::kInternal, error, "oneDNN names no layout for argument %d of a %s",
                  spec.dnnl_arg, what);
    }
    add(spec.role, spec.dnnl_arg, *desc);
  }
  for (int i = 0; i < options.post_op_count; ++i) {
    if (options.post_ops[i].kind != PostOp::Kind::kBinary) continue;
    add(Role::kPostOp, DNNL_ARG_ATTR_MULTIPLE_POST_OP(i) | DNNL_ARG_SRC_1,
        to_dnnl(*options.post_ops[i].operand));
  }
  if (Code code = add_stage(primitive_desc, std::move(args), what, primitive.get(), error);
      code != Code::kOk) {
    return code;
  }
  *out = primitive.release();
  return Code::kOk;
}

void primitive_info(const Primitive& primitive, PrimitiveInfo* out) {
  *out = {};
  out->arg_count = static_cast<int32_t>(primitive.slots.size());
  out->scratchpad_bytes = primitive.scratchpad_bytes;
  std::snprintf(out->implementation, sizeof out->implementation, "%s",
                implementation(primitive.stages[0].desc));
}

void primitive_arg(const Primitive& primitive, int32_t index, Arg* out) {
  *out = {};
  if (index < 0 || index >= static_cast<int32_t>(primitive.slots.size())) return;
  const ArgSlot& slot = primitive.slots[static_cast<size_t>(index)];
  out->role = slot.role;
  out->is_output = slot.is_output;
  out->bytes = static_cast<int64_t>(dnnl_memory_desc_get_size(&slot.desc));
  out->desc = from_dnnl(slot.desc);
}

void primitive_destroy(Primitive* primitive) { delete primitive; }

Code execute(const Primitive& primitive, void* const* pointers, void* scratchpad, Error* error) {
  for (size_t i = 0; i < primitive.slots.size(); ++i) {
    if (pointers[i] == nullptr) {
      return fail(Code::kInvalidArgument, error, "argument %zu of %zu of a oneDNN step is null", i,
                  primitive.slots.size());
    }
  }
  if (primitive.scratchpad_bytes > 0 && scratchpad == nullptr) {
    return fail(Code::kInvalidArgument, error, "a oneDNN step needs a scratchpad of %lld bytes",
                static_cast<long long>(primitive.scratchpad_bytes));
  }
  std::unique_ptr<Execution> execution = take_idle(primitive);
  if (execution == nullptr) {
    if (Code code = make_execution(primitive, &execution, error); code != Code::kOk) return code;
  }
  const Code code = run_stages(*execution, pointers, scratchpad, error);
  put_idle(primitive, std::move(execution));
  return code;
}

}  // namespace redline::kernels::onednn
