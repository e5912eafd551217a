// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/convert.h"

#include <cstdarg>
#include <cstdio>

namespace redline::kernels::onednn {

Code fail(Code code, Error* error, const char* format, ...) {
  va_list values;
  va_start(values, format);
  if (error != nullptr) std::vsnprintf(error->text, sizeof error->text, format, values);
  va_end(values);
  return code;
}

Code check(dnnl_status_t status, Error* error, const char* what) {
  switch (status) {
    case dnnl_success:
      return Code::kOk;
    case dnnl_out_of_memory:
      return fail(Code::kOutOfMemory, error, "oneDNN ran out of memory making a %s", what);
    case dnnl_invalid_arguments:
      return fail(Code::kInvalidArgument, error,
                  "oneDNN refuses the dims or attributes of this %s as inconsistent", what);
    case dnnl_unimplemented:
      return fail(Code::kUnsupported, error,
                  "oneDNN has no %s for these types, layouts and post-ops", what);
    default:
      return fail(Code::kInternal, error, "oneDNN failed at a %s (status %d)", what,
                  static_cast<int>(status));
  }
}

dnnl_engine_t cpu_engine() {
  static const dnnl_engine_t engine = [] {
    dnnl_engine_t made = nullptr;
    return dnnl_engine_create(&made, dnnl_cpu, 0) == dnnl_success ? made : nullptr;
  }();
  return engine;
}

bool valid(const dnnl_memory_desc_t& desc) {
  if (desc.ndims < 1 || desc.ndims > kMaxDims || desc.data_type == dnnl_data_type_undef) {
    return false;
  }
  for (int i = 0; i < desc.ndims; ++i) {
    if (desc.dims[i] < 1) return false;
  }
  return true;
}

Code check_desc(const dnnl_memory_desc_t& desc, int rank, const char* name, Error* error) {
  if (!valid(desc)) {
    return fail(Code::kInvalidArgument, error, "%s has no descriptor or a dim below 1", name);
  }
  if (rank != 0 && desc.ndims != rank) {
    return fail(Code::kInvalidArgument, error, "%s has rank %d, expected %d", name, desc.ndims,
                rank);
  }
  return Code::kOk;
}

dnnl_alg_kind_t to_dnnl(Eltwise eltwise) {
  switch (eltwise) {
    case Eltwise::kRelu:
      return dnnl_eltwise_relu;
    case Eltwise::kTanh:
      return dnnl_eltwise_tanh;
    case Eltwise::kElu:
      return dnnl_eltwise_elu;
    case Eltwise::kSquare:
      return dnnl_eltwise_square;
    case Eltwise::kAbs:
      return dnnl_eltwise_abs;
    case Eltwise::kSqrt:
      return dnnl_eltwise_sqrt;
    case Eltwise::kLinear:
      return dnnl_eltwise_linear;
    case Eltwise::kSoftplus:
      return dnnl_eltwise_soft_relu;
    case Eltwise::kSigmoid:
      return dnnl_eltwise_logistic;
    case Eltwise::kExp:
      return dnnl_eltwise_exp;
    case Eltwise::kGeluTanh:
      return dnnl_eltwise_gelu_tanh;
    case Eltwise::kGeluErf:
      return dnnl_eltwise_gelu_erf;
    case Eltwise::kSwish:
      return dnnl_eltwise_swish;
    case Eltwise::kLog:
      return dnnl_eltwise_log;
    case Eltwise::kClip:
      return dnnl_eltwise_clip;
    case Eltwise::kPow:
      return dnnl_eltwise_pow;
    case Eltwise::kRound:
      return dnnl_eltwise_round;
    case Eltwise::kMish:
      return dnnl_eltwise_mish;
    case Eltwise::kHardSwish:
      return dnnl_eltwise_hardswish;
  }
  return dnnl_alg_kind_undef;
}

dnnl_alg_kind_t to_dnnl(Binary binary) {
  switch (binary) {
    case Binary::kAdd:
      return dnnl_binary_add;
    case Binary::kSub:
      return dnnl_binary_sub;
    case Binary::kMul:
      return dnnl_binary_mul;
    case Binary::kDiv:
      return dnnl_binary_div;
    case Binary::kMax:
      return dnnl_binary_max;
    case Binary::kMin:
      return dnnl_binary_min;
  }
  return dnnl_alg_kind_undef;
}

}  // namespace redline::kernels::onednn
