// SPDX-License-Identifier: Apache-2.0
#include "onnx/tensor_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "core/sub_byte.h"
#include "onnx/onnx_fields_generated.h"
#include "onnx/wire_format.h"

namespace redline {
namespace {

struct TypeRow {
  int32_t data_type;
  DType dtype;
};

constexpr TypeRow kTypes[] = {
    {kTensorProto_DataType_FLOAT, DType::kFloat32},
    {kTensorProto_DataType_UINT8, DType::kUInt8},
    {kTensorProto_DataType_INT8, DType::kInt8},
    {kTensorProto_DataType_UINT16, DType::kUInt16},
    {kTensorProto_DataType_INT16, DType::kInt16},
    {kTensorProto_DataType_INT32, DType::kInt32},
    {kTensorProto_DataType_INT64, DType::kInt64},
    {kTensorProto_DataType_STRING, DType::kString},
    {kTensorProto_DataType_BOOL, DType::kBool},
    {kTensorProto_DataType_FLOAT16, DType::kFloat16},
    {kTensorProto_DataType_DOUBLE, DType::kFloat64},
    {kTensorProto_DataType_UINT32, DType::kUInt32},
    {kTensorProto_DataType_UINT64, DType::kUInt64},
    {kTensorProto_DataType_BFLOAT16, DType::kBFloat16},
    {kTensorProto_DataType_FLOAT8E4M3FN, DType::kFloat8E4M3FN},
    {kTensorProto_DataType_FLOAT8E4M3FNUZ, DType::kFloat8E4M3FNUZ},
    {kTensorProto_DataType_FLOAT8E5M2, DType::kFloat8E5M2},
    {kTensorProto_DataType_FLOAT8E5M2FNUZ, DType::kFloat8E5M2FNUZ},
    {kTensorProto_DataType_FLOAT8E8M0, DType::kFloat8E8M0},
    {kTensorProto_DataType_FLOAT4E2M1, DType::kFloat4E2M1},
    {kTensorProto_DataType_UINT4, DType::kUInt4},
    {kTensorProto_DataType_INT4, DType::kInt4},
    {kTensorProto_DataType_UINT2, DType::kUInt2},
    {kTensorProto_DataType_INT2, DType::kInt2},
};
static_assert(std::size(kTypes) == kNumDTypes);

using Runs = std::vector<std::string_view>;

uint64_t total_size(const Runs& runs) {
  uint64_t size = 0;
  for (std::string_view run : runs) size += run.size();
  return size;
}

uint64_t count_values(const Runs& runs) {
  uint64_t count = 0;
  for (std::string_view run : runs) count += count_varints(run);
  return count;
}

int elements_per_byte(DType dtype) { return is_sub_byte(dtype) ? 8 / dtype_bits(dtype) : 1; }

// Bytes of `count` elements in raw data, sub-byte types packed. The count was checked before.
std::optional<uint64_t> packed_bytes(DType dtype, int64_t count) {
  const auto elements = static_cast<uint64_t>(count);
  const auto per_byte = static_cast<uint64_t>(elements_per_byte(dtype));
  if (per_byte > 1) return elements / per_byte + (elements % per_byte != 0);
  return checked_mul(elements, static_cast<uint64_t>(dtype_bytes(dtype)));
}

// Splits a packed byte, first element in the lowest bits.
void unpack_byte(DType dtype, uint8_t packed, size_t count, uint8_t* out) {
  const auto width = static_cast<size_t>(dtype_bits(dtype));
  for (size_t i = 0; i < count; ++i) {
    out[i] = widen_sub_byte(dtype, static_cast<uint8_t>(packed >> (i * width)));
  }
}

// The key-value list of an external tensor.
struct Place {
  std::string_view location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};

Result<uint64_t> parse_size(const StringStringEntryProto& entry) {
  uint64_t value = 0;
  const char* const end = entry.value.data() + entry.value.size();
  const auto [stop, error] = std::from_chars(entry.value.data(), end, value);
  if (error != std::errc() || stop != end) {
    return invalid_argument("external data has ", entry.key, " '", entry.value,
                            "'; expected a number of bytes");
  }
  return value;
}

Result<Place> find_place(const TensorProto& proto) {
  Place place;
  for (const StringStringEntryProto& entry : proto.external_data) {
    if (entry.key == "location") {
      place.location = entry.value;
    } else if (entry.key == "offset") {
      REDLINE_ASSIGN(place.offset, parse_size(entry));
    } else if (entry.key == "length") {
      REDLINE_ASSIGN(place.length, parse_size(entry));
    }
  }
  return place;
}

class TensorReader {
 public:
  TensorReader(const TensorProto& proto, std::shared_ptr<const void> owner,
               OnnxExternalData& external)
      : proto_(proto), owner_(std::move(owner)), external_(external) {}

  Result<Tensor> read() {
    REDLINE_ASSIGN(dtype_, dtype_from_onnx(proto_.data_type));
    if (proto_.has_segment) return unsupported("it is stored in segments; expected it whole");
    if (proto_.dims.size() > static_cast<size_t>(kMaxRank)) {
      return unsupported("it has rank ", proto_.dims.size(), "; at most ", kMaxRank,
                         " is supported");
    }
    const auto count = checked_product(std::span<const int64_t>(proto_.dims));
    if (!count) return invalid_argument("its dims are negative or too large");
    count_ = *count;
    dims_ = Dims(proto_.dims);
    if (proto_.data_location == kTensorProto_DataLocation_EXTERNAL) return read_external();
    if (dtype_ == DType::kString) return read_strings();
    // Some writers set empty raw data beside the typed list.
    const bool raw = proto_.raw_data && (!proto_.raw_data->empty() || count_ == 0);
    return raw ? read_raw(*proto_.raw_data, owner_) : read_typed();
  }

 private:
  Result<Tensor> read_external() {
    if (dtype_ == DType::kString) return unsupported("strings cannot be external data");
    REDLINE_ASSIGN(const Place place, find_place(proto_));
    REDLINE_ASSIGN(auto file, external_.open(place.location));
    const uint64_t size = file->bytes().size();
    const auto needed = packed_bytes(dtype_, count_);
    const uint64_t length = place.length.value_or(needed.value_or(UINT64_MAX));
    if (place.offset > size || length > size - place.offset) {
      return invalid_argument("external data '", place.location, "' has ", size,
                              " bytes; expected ", length, " from offset ", place.offset);
    }
    const auto bytes = file->bytes().subspan(place.offset, length);
    return read_raw({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file);
  }

  Result<Tensor> read_raw(std::string_view raw, const std::shared_ptr<const void>& owner) {
    const auto expected = packed_bytes(dtype_, count_);
    if (!expected || raw.size() != *expected) {
      return invalid_argument("its data has ", raw.size(), " bytes; expected ",
                              expected ? std::to_string(*expected) : "more than there can be",
                              " for ", dims_.to_string(), " of ", dtype_name(dtype_));
    }
    const auto address = reinterpret_cast<uintptr_t>(raw.data());
    const bool direct = elements_per_byte(dtype_) == 1 && dtype_ != DType::kBool;
    if (direct && owner != nullptr && count_ > 0 && address % dtype_bytes(dtype_) == 0) {
      return Tensor::wrap(dtype_, dims_, raw.data(), owner);
    }
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype_, dims_));
    auto* out = tensor.mutable_data<uint8_t>();
    if (dtype_ == DType::kBool) {
      std::transform(raw.begin(), raw.end(), out, [](char byte) { return byte != 0; });
    } else if (direct) {
      if (!raw.empty()) std::memcpy(out, raw.data(), raw.size());
    } else {
      const auto per_byte = static_cast<size_t>(elements_per_byte(dtype_));
      for (size_t i = 0, left = static_cast<size_t>(count_); i < raw.size(); ++i) {
        const size_t part = std::min(left, per_byte);
        unpack_byte(dtype_, static_cast<uint8_t>(raw[i]), part, out + i * per_byte);
        left -= part;
      }
    }
    return tensor;
  }

  Result<Tensor> read_typed() {
    switch (dtype_) {
      case DType::kFloat32:
        return read_fixed(proto_.float_data, "float_data");
      case DType::kFloat64:
        return read_fixed(proto_.double_data, "double_data");
      case DType::kInt64:
        return read_varints<int64_t>(proto_.int64_data, "int64_data",
                                     [](uint64_t value, int64_t* out) {
                                       *out = static_cast<int64_t>(value);
                                       return true;
                                     });
      case DType::kUInt64:
        return read_varints<uint64_t>(proto_.uint64_data, "uint64_data",
                                      [](uint64_t value, uint64_t* out) {
                                        *out = value;
                                        return true;
                                      });
      case DType::kUInt32:
        return read_varints<uint32_t>(proto_.uint64_data, "uint64_data",
                                      [](uint64_t value, uint32_t* out) {
                                        *out = static_cast<uint32_t>(value);
                                        return value <= UINT32_MAX;
                                      });
      case DType::kInt32:
        return read_varints<int32_t>(proto_.int32_data, "int32_data",
                                     [](uint64_t value, int32_t* out) {
                                       *out = static_cast<int32_t>(value);
                                       return true;
                                     });
      case DType::kBool:
        return read_varints<uint8_t>(proto_.int32_data, "int32_data",
                                     [](uint64_t value, uint8_t* out) {
                                       *out = static_cast<int32_t>(value) != 0;
                                       return true;
                                     });
      default:
        break;
    }
    if (elements_per_byte(dtype_) > 1) return read_packed_varints();
    return dtype_bytes(dtype_) == 2 ? read_small<uint16_t>() : read_small<uint8_t>();
  }

  Status wrong_count(std::string_view field, uint64_t found) const {
    if (found == 0) return invalid_argument("it has no data; expected ", count_, " elements");
    return invalid_argument(field, " has ", found, " values; expected those of ", dims_.to_string(),
                            " ", dtype_name(dtype_));
  }

  Result<Tensor> read_fixed(const Runs& runs, std::string_view field) {
    const uint64_t size = total_size(runs);
    const uint64_t found = size / dtype_bytes(dtype_);
    if (found != static_cast<uint64_t>(count_) || size % dtype_bytes(dtype_) != 0) {
      return wrong_count(field, found);
    }
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype_, dims_));
    auto* out = tensor.mutable_data<char>();
    for (std::string_view run : runs) out = std::copy(run.begin(), run.end(), out);
    return tensor;
  }

  // `store` writes one element and says whether the value fits.
  template <class T>
  Result<Tensor> read_varints(const Runs& runs, std::string_view field,
                              bool (*store)(uint64_t, T*)) {
    const uint64_t found = count_values(runs);
    if (found != static_cast<uint64_t>(count_)) return wrong_count(field, found);
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype_, dims_));
    auto* out = tensor.mutable_data<T>();
    int64_t index = 0;
    for (std::string_view run : runs) {
      while (!run.empty()) {
        uint64_t value = 0;
        if (!take_varint(run, value)) return invalid_argument(field, " is cut off or damaged");
        if (!store(value, out + index)) {
          return invalid_argument(field, "[", index, "] is ", static_cast<int64_t>(value),
                                  "; expected a value of ", dtype_name(dtype_));
        }
        ++index;
      }
    }
    return tensor;
  }

  // Types of 8 and 16 bits, bit by bit in an int32. Writers differ in whether they extend the sign,
  // so both readings of the bits are taken.
  template <class T>
  Result<Tensor> read_small() {
    return read_varints<T>(proto_.int32_data, "int32_data", [](uint64_t value, T* out) {
      const auto number = static_cast<int32_t>(value);
      constexpr int32_t kEnd = 1 << (8 * sizeof(T));
      *out = static_cast<T>(number);
      return number >= -kEnd / 2 && number < kEnd;
    });
  }

  // Sub-byte types: each int32 holds one packed byte.
  Result<Tensor> read_packed_varints() {
    const uint64_t found = count_values(proto_.int32_data);
    if (found != packed_bytes(dtype_, count_)) return wrong_count("int32_data", found);
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype_, dims_));
    auto* out = tensor.mutable_data<uint8_t>();
    auto left = static_cast<size_t>(count_);
    for (std::string_view run : proto_.int32_data) {
      while (!run.empty()) {
        uint64_t value = 0;
        if (!take_varint(run, value)) return invalid_argument("int32_data is cut off or damaged");
        const auto number = static_cast<int32_t>(value);
        if (number < -128 || number > 255) {
          return invalid_argument("int32_data holds ", number, "; expected a packed byte of ",
                                  dtype_name(dtype_));
        }
        const size_t part = std::min(left, static_cast<size_t>(elements_per_byte(dtype_)));
        unpack_byte(dtype_, static_cast<uint8_t>(number), part, out);
        out += part;
        left -= part;
      }
    }
    return tensor;
  }

  Result<Tensor> read_strings() {
    const uint64_t found = proto_.string_data.size();
    if (found != static_cast<uint64_t>(count_)) return wrong_count("string_data", found);
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype_, dims_));
    std::copy(proto_.string_data.begin(), proto_.string_data.end(),
              tensor.mutable_data<std::string>());
    return tensor;
  }

  const TensorProto& proto_;
  std::shared_ptr<const void> owner_;
  OnnxExternalData& external_;
  DType dtype_ = DType::kFloat32;
  Dims dims_;
  int64_t count_ = 0;
};

std::string context_of(std::string_view what, std::string_view name) {
  return name.empty() ? str_cat("a ", what, " without a name") : str_cat(what, " '", name, "'");
}

// Position of element `i` of a sparse tensor in the dense one, whose dims were checked.
Result<int64_t> dense_position(const Tensor& indices, const Dims& dims, int64_t i) {
  const auto* const values = indices.data<int64_t>();
  if (indices.rank() == 1) {
    if (values[i] < 0 || values[i] >= dims.count()) {
      return invalid_argument("index ", values[i], " is outside ", dims.to_string());
    }
    return values[i];
  }
  int64_t position = 0;
  for (int axis = 0; axis < dims.rank(); ++axis) {
    const int64_t index = values[i * dims.rank() + axis];
    const int64_t dim = dims[static_cast<size_t>(axis)];
    if (index < 0 || index >= dim) {
      return invalid_argument("index ", index, " is outside axis ", axis, " of ", dims.to_string());
    }
    position = position * dim + index;
  }
  return position;
}

Result<Tensor> scatter(const Tensor& values, const Tensor& indices, const Dims& dims) {
  REDLINE_ASSIGN(Tensor dense, Tensor::create(values.dtype(), dims));
  const size_t size = dtype_bytes(values.dtype());
  for (int64_t i = 0; i < values.count(); ++i) {
    REDLINE_ASSIGN(const int64_t position, dense_position(indices, dims, i));
    if (values.dtype() == DType::kString) {
      dense.mutable_data<std::string>()[position] = values.data<std::string>()[i];
    } else {
      std::memcpy(dense.mutable_data<char>() + static_cast<size_t>(position) * size,
                  values.data<char>() + static_cast<size_t>(i) * size, size);
    }
  }
  return dense;
}

Result<Tensor> read_sparse(const SparseTensorProto& proto, const std::shared_ptr<const void>& owner,
                           OnnxExternalData& external, size_t max_bytes) {
  if (proto.values == nullptr || proto.indices == nullptr) {
    return invalid_argument("it lacks its ", proto.values == nullptr ? "values" : "indices");
  }
  REDLINE_ASSIGN(const Tensor values, read_onnx_tensor(*proto.values, owner, external));
  REDLINE_ASSIGN(const Tensor indices, read_onnx_tensor(*proto.indices, owner, external));
  const auto count = checked_product(std::span<const int64_t>(proto.dims));
  if (!count || proto.dims.size() > static_cast<size_t>(kMaxRank)) {
    return invalid_argument("its dims are negative, too large or too many");
  }
  const auto bytes = checked_mul(static_cast<size_t>(*count), dtype_bytes(values.dtype()));
  if (!bytes || *bytes > max_bytes) {
    return unsupported("it is over ", max_bytes, " bytes when made dense");
  }
  const Dims dims(proto.dims);
  const bool by_axis = indices.rank() == 2 && indices.dims()[0] == values.count() &&
                       indices.dims()[1] == dims.rank();
  const bool linear = indices.rank() == 1 && indices.dims()[0] == values.count();
  if (values.rank() != 1 || indices.dtype() != DType::kInt64 || !(by_axis || linear)) {
    return invalid_argument("its values are ", dtype_name(values.dtype()),
                            values.dims().to_string(), " and its indices ",
                            dtype_name(indices.dtype()), indices.dims().to_string(),
                            "; expected [n] and i64 [n] or [n, ", dims.rank(), "]");
  }
  return scatter(values, indices, dims);
}

}  // namespace

Result<DType> dtype_from_onnx(int32_t data_type) {
  for (const TypeRow& row : kTypes) {
    if (row.data_type == data_type) return row.dtype;
  }
  if (data_type == kTensorProto_DataType_UNDEFINED) {
    return invalid_argument("the element type is not stated");
  }
  for (const OnnxName& row : kTensorProto_DataType_values) {
    if (static_cast<int32_t>(row.number) == data_type) {
      return unsupported("the element type ", row.name, " has no counterpart here");
    }
  }
  return invalid_argument("the element type ", data_type, " is not in ONNX ", kOnnxVersion);
}

int32_t onnx_data_type(DType dtype) {
  const auto* const row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                       [&](const TypeRow& r) { return r.dtype == dtype; });
  return row->data_type;
}

Result<Tensor> read_onnx_tensor(const TensorProto& proto, std::shared_ptr<const void> owner,
                                OnnxExternalData& external) {
  try {
    auto tensor = TensorReader(proto, std::move(owner), external).read();
    if (!tensor.ok()) return tensor.status().with_context(context_of("tensor", proto.name));
    return tensor;
  } catch (const std::bad_alloc&) {
    return out_of_memory(context_of("tensor", proto.name), ": no memory for its elements");
  }
}

Result<Tensor> read_onnx_sparse_tensor(const SparseTensorProto& proto,
                                       const std::shared_ptr<const void>& owner,
                                       OnnxExternalData& external, size_t max_bytes) {
  const std::string_view name = proto.values == nullptr ? "" : proto.values->name;
  try {
    auto tensor = read_sparse(proto, owner, external, max_bytes);
    if (!tensor.ok()) return tensor.status().with_context(context_of("sparse tensor", name));
    return tensor;
  } catch (const std::bad_alloc&) {
    return out_of_memory(context_of("sparse tensor", name), ": no memory for its elements");
  }
}

}  // namespace redline
