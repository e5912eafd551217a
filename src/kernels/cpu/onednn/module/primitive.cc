// SPDX-License-Identifier: Apache-2.0
// Attributes, compiled primitives and their execution.
#include <cstdio>
#include <memory>
#include <new>

#include "kernels/cpu/onednn/module/convert.h"
#include "kernels/cpu/onednn/module/primitive.h"

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

Code append_post_ops(const Options& options, dnnl_primitive_attr_t attr, Error* error) {
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

}  // namespace

Primitive::~Primitive() {
  if (handle != nullptr) dnnl_primitive_destroy(handle);
  if (desc != nullptr) dnnl_primitive_desc_destroy(desc);
}

Execution::~Execution() {
  for (dnnl_exec_arg_t& arg : args) {
    if (arg.memory != nullptr) dnnl_memory_destroy(arg.memory);
  }
  if (stream != nullptr) dnnl_stream_destroy(stream);
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

Code finish_primitive(dnnl_primitive_desc_t primitive_desc, const Options& options,
                      const char* what, const std::vector<SlotSpec>& specs, Primitive** out,
                      Error* error) {
  auto primitive = std::unique_ptr<Primitive>(new (std::nothrow) Primitive);
  if (primitive == nullptr) {
    dnnl_primitive_desc_destroy(primitive_desc);
    return fail(Code::kOutOfMemory, error, "no memory for a %s", what);
  }
  primitive->desc = primitive_desc;
  primitive->threads = options.threads;
  TeamSize team(options.threads);
  if (Code code = check(dnnl_primitive_create(&primitive->handle, primitive_desc), error, what);
      code != Code::kOk) {
    return code;
  }
  for (const SlotSpec& spec : specs) {
    if (!spec.present) continue;
    const dnnl_memory_desc_t* desc =
        dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_exec_arg_md, spec.dnnl_arg);
    if (desc == nullptr || desc->ndims == 0) {
      return fail(Code::kInternal, error, "oneDNN names no layout for argument %d of a %s",
                  spec.dnnl_arg, what);
    }
    const bool output =
        spec.role == Role::kDst || spec.role == Role::kDstIter || spec.role == Role::kDstCell;
    primitive->slots.push_back({spec.role, output, spec.dnnl_arg, *desc});
  }
  for (int i = 0; i < options.post_op_count; ++i) {
    if (options.post_ops[i].kind != PostOp::Kind::kBinary) continue;
    primitive->slots.push_back({Role::kPostOp, false,
                                DNNL_ARG_ATTR_MULTIPLE_POST_OP(i) | DNNL_ARG_SRC_1,
                                to_dnnl(*options.post_ops[i].operand)});
  }
  primitive->scratchpad =
      *dnnl_primitive_desc_query_md(primitive_desc, dnnl_query_scratchpad_md, 0);
  *out = primitive.release();
  return Code::kOk;
}

void primitive_info(const Primitive& primitive, PrimitiveInfo* out) {
  *out = {};
  out->arg_count = static_cast<int32_t>(primitive.slots.size());
  out->scratchpad_bytes = static_cast<int64_t>(dnnl_memory_desc_get_size(&primitive.scratchpad));
  const char* name = nullptr;
  if (dnnl_primitive_desc_query(primitive.desc, dnnl_query_impl_info_str, 0, &name) ==
          dnnl_success &&
      name != nullptr) {
    std::snprintf(out->implementation, sizeof out->implementation, "%s", name);
  }
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

Code execution_create(const Primitive& primitive, Execution** out, Error* error) {
  auto execution = std::unique_ptr<Execution>(new (std::nothrow) Execution);
  if (execution == nullptr) return fail(Code::kOutOfMemory, error, "no memory for an execution");
  execution->primitive = &primitive;
  Code code = check(dnnl_stream_create(&execution->stream, cpu_engine(), dnnl_stream_default_flags),
                    error, "stream");
  if (code != Code::kOk) return code;
  execution->args.reserve(primitive.slots.size() + 1);
  const auto add = [&](int arg, const dnnl_memory_desc_t& desc) {
    dnnl_memory_t memory = nullptr;
    if (code == Code::kOk) {
      code = check(dnnl_memory_create(&memory, &desc, cpu_engine(), DNNL_MEMORY_NONE), error,
                   "memory object");
    }
    if (code == Code::kOk) execution->args.push_back({arg, memory});
  };
  for (const ArgSlot& slot : primitive.slots) add(slot.dnnl_arg, slot.desc);
  if (dnnl_memory_desc_get_size(&primitive.scratchpad) > 0) {
    add(DNNL_ARG_SCRATCHPAD, primitive.scratchpad);
  }
  if (code != Code::kOk) return code;
  *out = execution.release();
  return Code::kOk;
}

Code execute(Execution& execution, void* const* pointers, void* scratchpad, Error* error) {
  const size_t slots = execution.primitive->slots.size();
  for (size_t i = 0; i < execution.args.size(); ++i) {
    void* pointer = i < slots ? pointers[i] : scratchpad;
    if (pointer == nullptr) {
      return fail(Code::kInvalidArgument, error, "argument %zu of %zu of a oneDNN step is null", i,
                  slots);
    }
    dnnl_memory_set_data_handle(execution.args[i].memory, pointer);
  }
  TeamSize team(execution.primitive->threads);
  return check(
      dnnl_primitive_execute(execution.primitive->handle, execution.stream,
                             static_cast<int>(execution.args.size()), execution.args.data()),
      error, "step");
}

void execution_destroy(Execution* execution) { delete execution; }

}  // namespace redline::kernels::onednn
