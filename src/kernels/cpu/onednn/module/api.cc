// SPDX-License-Identifier: Apache-2.0
// The exported table, and the functions on descriptors.
#include <algorithm>
#include <cstdio>
#include <new>
#include <string>

#include "kernels/cpu/onednn/module/convert.h"
#include "kernels/cpu/onednn/module/primitive.h"
#include "kernels/cpu/onednn/module/recycle.h"

namespace redline::kernels::onednn {
namespace {

bool dnnl_type(DataType type, dnnl_data_type_t* out) {
  switch (type) {
    case DataType::kF32:
      return *out = dnnl_f32, true;
    case DataType::kBf16:
      return *out = dnnl_bf16, true;
    case DataType::kF16:
      return *out = dnnl_f16, true;
    case DataType::kS32:
      return *out = dnnl_s32, true;
    case DataType::kS8:
      return *out = dnnl_s8, true;
    case DataType::kU8:
      return *out = dnnl_u8, true;
  }
  return false;
}

// Index 0 is for rank 3 (one spatial dim).
constexpr dnnl_format_tag_t kChannelsLastTags[] = {dnnl_nwc, dnnl_nhwc, dnnl_ndhwc};
constexpr dnnl_format_tag_t kBlocked16Tags[] = {dnnl_nCw16c, dnnl_nChw16c, dnnl_nCdhw16c};

Code desc_create(DataType type, int32_t rank, const int64_t* dims, Format format,
                 const int64_t* strides, MemoryDesc* out, Error* error) {
  dnnl_data_type_t data_type;
  if (!dnnl_type(type, &data_type)) {
    return fail(Code::kInvalidArgument, error, "unknown data type %d", static_cast<int>(type));
  }
  if (rank < 1 || rank > kMaxDims) {
    return fail(Code::kUnsupported, error, "rank %d; 1 to %d is supported", rank, kMaxDims);
  }
  dnnl_dims_t dnnl_dims = {}, dnnl_strides = {};
  int64_t dense = 1;
  for (int i = rank - 1; i >= 0; --i) {
    if (dims[i] < 1) {
      return fail(Code::kInvalidArgument, error, "dim %d is %lld, at least 1 is needed", i,
                  static_cast<long long>(dims[i]));
    }
    dnnl_dims[i] = dims[i];
    dnnl_strides[i] = strides != nullptr ? strides[i] : dense;
    if (dnnl_strides[i] < 0) {
      return fail(Code::kUnsupported, error, "stride %lld of dim %d is negative",
                  static_cast<long long>(dnnl_strides[i]), i);
    }
    if (__builtin_mul_overflow(dense, dims[i], &dense) || dense > INT64_MAX / 8) {
      return fail(Code::kInvalidArgument, error, "the dims overflow a size");
    }
  }
  if (strides != nullptr && format != Format::kPlain) {
    return fail(Code::kInvalidArgument, error, "strides given for a layout that has its own");
  }
  dnnl_memory_desc_t desc;
  dnnl_status_t status;
  if (format == Format::kPlain) {
    status = dnnl_memory_desc_init_by_strides(&desc, rank, dnnl_dims, data_type, dnnl_strides);
  } else {
    dnnl_format_tag_t tag = dnnl_format_tag_any;
    if (format != Format::kAny) {
      if (rank < 3 || rank > 5) {
        return fail(Code::kInvalidArgument, error,
                    "a layout of channels needs a rank of 3 to 5, not %d", rank);
      }
      tag =
          format == Format::kChannelsLast ? kChannelsLastTags[rank - 3] : kBlocked16Tags[rank - 3];
    }
    status = dnnl_memory_desc_init_by_tag(&desc, rank, dnnl_dims, data_type, tag);
  }
  if (Code code = check(status, error, "descriptor"); code != Code::kOk) return code;
  *out = from_dnnl(desc);
  return Code::kOk;
}

Code desc_window(const MemoryDesc& parent, const int64_t* dims, const int64_t* offsets,
                 MemoryDesc* out, Error* error) {
  const dnnl_memory_desc_t from = to_dnnl(parent);
  if (Code code = check_desc(from, 0, "parent", error); code != Code::kOk) return code;
  for (int i = 0; i < from.ndims; ++i) {
    if (dims[i] < 1 || offsets[i] < 0 || dims[i] > from.dims[i] ||
        offsets[i] > from.dims[i] - dims[i]) {
      return fail(Code::kInvalidArgument, error, "window of %lld at %lld leaves dim %d of %lld",
                  static_cast<long long>(dims[i]), static_cast<long long>(offsets[i]), i,
                  static_cast<long long>(from.dims[i]));
    }
  }
  dnnl_memory_desc_t desc;
  const dnnl_status_t status = dnnl_memory_desc_init_submemory(&desc, &from, dims, offsets);
  if (Code code = check(status, error, "window"); code != Code::kOk) return code;
  *out = from_dnnl(desc);
  return Code::kOk;
}

bool desc_equal(const MemoryDesc& a, const MemoryDesc& b) {
  const dnnl_memory_desc_t left = to_dnnl(a), right = to_dnnl(b);
  return dnnl_memory_desc_equal(&left, &right) != 0;
}

int64_t desc_bytes(const MemoryDesc& desc) {
  const dnnl_memory_desc_t from = to_dnnl(desc);
  if (!valid(from) || from.format_kind == dnnl_format_kind_any) return 0;
  return static_cast<int64_t>(dnnl_memory_desc_get_size(&from));
}

// oneDNN's own notation: axes a, b, c from the outermost, a capital when it is also blocked.
std::string layout_text(const dnnl_memory_desc_t& desc) {
  if (desc.format_kind == dnnl_format_kind_any) return "any";
  if (desc.format_kind == dnnl_format_kind_wino) return "winograd";
  if (desc.format_kind != dnnl_blocked) return "opaque";
  const dnnl_blocking_desc_t& blocking = desc.format_desc.blocking;
  int order[kMaxDims];
  bool blocked[kMaxDims] = {};
  for (int i = 0; i < desc.ndims; ++i) order[i] = i;
  for (int i = 0; i < blocking.inner_nblks; ++i) blocked[blocking.inner_idxs[i]] = true;
  std::stable_sort(order, order + desc.ndims, [&](int left, int right) {
    return blocking.strides[left] > blocking.strides[right];
  });
  std::string text;
  for (int i = 0; i < desc.ndims; ++i) {
    text += static_cast<char>((blocked[order[i]] ? 'A' : 'a') + order[i]);
  }
  for (int i = 0; i < blocking.inner_nblks; ++i) {
    text += std::to_string(blocking.inner_blks[i]);
    text += static_cast<char>('a' + blocking.inner_idxs[i]);
  }
  return text;
}

void desc_text(const MemoryDesc& desc, char* text, size_t capacity) {
  const dnnl_memory_desc_t from = to_dnnl(desc);
  if (!valid(from)) {
    std::snprintf(text, capacity, "none");
    return;
  }
  static constexpr const char* kTypes[] = {"?", "f16", "bf16", "f32", "s32", "s8", "u8"};
  std::string line = from.data_type <= dnnl_u8 ? kTypes[from.data_type] : "?";
  for (int i = 0; i < from.ndims; ++i) {
    line += i == 0 ? ' ' : 'x';
    line += std::to_string(from.dims[i]);
  }
  line += ' ';
  line += layout_text(from);
  std::snprintf(text, capacity, "%s", line.c_str());
}

bool desc_strides(const MemoryDesc& desc, int64_t* strides) {
  const dnnl_memory_desc_t from = to_dnnl(desc);
  if (!valid(from) || from.format_kind != dnnl_blocked ||
      from.format_desc.blocking.inner_nblks != 0) {
    return false;
  }
  std::copy_n(from.format_desc.blocking.strides, from.ndims, strides);
  return true;
}

const char* isa_name() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "sse41";
    case dnnl_cpu_isa_avx:
      return "avx";
    case dnnl_cpu_isa_avx2:
      return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
      return "avx2_vnni";
    case dnnl_cpu_isa_avx512_mic:
    case dnnl_cpu_isa_avx512_mic_4ops:
      return "avx512_mic";
    case dnnl_cpu_isa_avx512_core:
      return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
      return "avx512_core_amx";
    default:
      return "generic";
  }
}

const char* version_text() {
  static const std::string text = [] {
    const dnnl_version_t* version = dnnl_version();
    return std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
           std::to_string(version->patch);
  }();
  return text.c_str();
}

// Keeps an allocation failure inside the module.
template <auto kMake, class Problem>
Code guarded(const Problem& problem, const Options& options, Primitive** out, Error* error) {
  try {
    return kMake(problem, options, out, error);
  } catch (const std::bad_alloc&) {
    return fail(Code::kOutOfMemory, error, "out of memory");
  } catch (...) {
    return fail(Code::kInternal, error, "an exception inside oneDNN");
  }
}

Code guarded_execute(const Primitive& primitive, void* const* pointers, void* scratchpad,
                     Error* error) {
  try {
    return execute(primitive, pointers, scratchpad, error);
  } catch (...) {
    return fail(Code::kInternal, error, "an exception inside oneDNN");
  }
}

const Api* table() {
  static const Api api = {
      .api_version = kApiVersion,
      .struct_bytes = sizeof(Api),
      .version = version_text(),
      .isa = isa_name(),
      .desc_create = desc_create,
      .desc_window = desc_window,
      .desc_equal = desc_equal,
      .desc_bytes = desc_bytes,
      .desc_text = desc_text,
      .desc_strides = desc_strides,
      .convolution = guarded<make_convolution>,
      .matmul = guarded<make_matmul>,
      .pool = guarded<make_pool>,
      .lrn = guarded<make_lrn>,
      .softmax = guarded<make_softmax>,
      .layer_norm = guarded<make_layer_norm>,
      .eltwise = guarded<make_eltwise>,
      .binary = guarded<make_binary>,
      .reorder = guarded<make_reorder>,
      .concat = guarded<make_concat>,
      .resize = guarded<make_resize>,
      .reduce = guarded<make_reduce>,
      .rnn = guarded<make_rnn>,
      .info = primitive_info,
      .arg = primitive_arg,
      .destroy = primitive_destroy,
      .execute = guarded_execute,
      .parallel = run_team,
  };
  return &api;
}

}  // namespace
}  // namespace redline::kernels::onednn

extern "C" __attribute__((visibility("default"))) const redline::kernels::onednn::Api*
redline_onednn_api(int32_t api_version) {
  using namespace redline::kernels::onednn;  // NOLINT
  static const bool ready = (use_own_teams(), recycle_allocations(), true);
  (void)ready;
  return api_version == kApiVersion ? table() : nullptr;
}
