// SPDX-License-Identifier: Apache-2.0
#include "onnx/model_proto.h"

#include <algorithm>
#include <array>
#include <bit>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "base/checked.h"
#include "onnx/onnx_fields_generated.h"
#include "onnx/wire_format.h"

namespace redline {
namespace {

constexpr int kMaxDepth = 100;
constexpr uint64_t kFreeBytes = uint64_t{64} << 20;
// Structs for each byte of input. Dense graphs of real exporters need up to 9; a hostile file of
// empty messages would take over 100.
constexpr uint64_t kTotalGrowth = 16;
constexpr uint64_t kSingleGrowth = 4;

// The members of TypeProto that are messages of their own; their fields land in the TypeProto.
struct TensorType {
  TypeProto& type;
};
struct ElementType {
  TypeProto& type;
};
struct MapType {
  TypeProto& type;
};
struct OpaqueType {
  TypeProto& type;
};

std::span<const OnnxName> names_of(const StringStringEntryProto&) {
  return kStringStringEntryProto_fields;
}
std::span<const OnnxName> names_of(const OperatorSetIdProto&) { return kOperatorSetIdProto_fields; }
std::span<const OnnxName> names_of(const TensorProto&) { return kTensorProto_fields; }
std::span<const OnnxName> names_of(const SparseTensorProto&) { return kSparseTensorProto_fields; }
std::span<const OnnxName> names_of(const DimensionProto&) {
  return kTensorShapeProto_Dimension_fields;
}
std::span<const OnnxName> names_of(const TensorShapeProto&) { return kTensorShapeProto_fields; }
std::span<const OnnxName> names_of(const TensorType&) { return kTypeProto_Tensor_fields; }
std::span<const OnnxName> names_of(const ElementType&) { return kTypeProto_Sequence_fields; }
std::span<const OnnxName> names_of(const MapType&) { return kTypeProto_Map_fields; }
std::span<const OnnxName> names_of(const OpaqueType&) { return kTypeProto_Opaque_fields; }
std::span<const OnnxName> names_of(const TypeProto&) { return kTypeProto_fields; }
std::span<const OnnxName> names_of(const ValueInfoProto&) { return kValueInfoProto_fields; }
std::span<const OnnxName> names_of(const AttributeProto&) { return kAttributeProto_fields; }
std::span<const OnnxName> names_of(const NodeProto&) { return kNodeProto_fields; }
std::span<const OnnxName> names_of(const GraphProto&) { return kGraphProto_fields; }
std::span<const OnnxName> names_of(const FunctionProto&) { return kFunctionProto_fields; }
std::span<const OnnxName> names_of(const ModelProto&) { return kModelProto_fields; }

// Numbers are shared by the two types whose messages one struct here reads.
static_assert(kTypeProto_Tensor_elem_type == kTypeProto_SparseTensor_elem_type &&
              kTypeProto_Tensor_shape == kTypeProto_SparseTensor_shape &&
              kTypeProto_Sequence_elem_type == kTypeProto_Optional_elem_type);

std::string name_in(std::span<const OnnxName> names, uint32_t number) {
  for (const OnnxName& row : names) {
    if (row.number == number) return std::string(row.name);
  }
  return str_cat("field ", number);
}

// Reads one message after the other into its struct. Functions return false once something is
// wrong; status() then says what and where.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view file) : file_(file) {}

  const Status& status() const { return status_; }

  template <class M>
  bool message(std::string_view bytes, M&& out) {
    if (depth_ == kMaxDepth) return fail(str_cat("messages nest deeper than ", kMaxDepth));
    Frame frame{.parent = frame_, .names = names_of(out)};
    frame_ = &frame;
    ++depth_;
    const bool done = count_fields(bytes, frame) && take_fields(bytes, frame, out);
    --depth_;
    frame_ = frame.parent;
    return done;
  }

 private:
  // Where the reader is, for messages; and how often each field of the message occurs, so that
  // lists get their size at once.
  struct Frame {
    Frame* parent = nullptr;
    std::span<const OnnxName> names;
    uint32_t number = 0;
    uint64_t index = 0;
    bool repeated = false;
    std::array<uint32_t, 32> counts{};
  };

  bool fail(std::string_view problem) {
    std::vector<const Frame*> frames;
    for (const Frame* frame = frame_; frame != nullptr; frame = frame->parent) {
      if (frame->number != 0) frames.push_back(frame);
    }
    std::string path;
    for (auto it = frames.rbegin(); it != frames.rend(); ++it) {
      if (!path.empty()) path += '.';
      path += name_in((*it)->names, (*it)->number);
      if ((*it)->repeated) path += str_cat("[", (*it)->index, "]");
    }
    status_ = invalid_argument("byte ", position_ - file_.data(), path.empty() ? "" : ", in ", path,
                               ": ", problem);
    return false;
  }

  bool fail_type() { return fail("the value is of another wire type than the schema says"); }

  // Counts memory that is about to be taken for structs and lists.
  bool charge(uint64_t count, uint64_t bytes_each) {
    const auto bytes = checked_mul(count, bytes_each);
    const uint64_t single = kFreeBytes + kSingleGrowth * file_.size();
    const uint64_t total = kFreeBytes + kTotalGrowth * file_.size();
    if (!bytes || *bytes > single || *bytes > total - charged_) {
      return fail(str_cat("too many values for a file of ", file_.size(), " bytes"));
    }
    charged_ += *bytes;
    return true;
  }

  bool count_fields(std::string_view bytes, Frame& frame) {
    WireField field;
    while (!bytes.empty()) {
      position_ = bytes.data();
      if (const char* problem = take_field(bytes, field)) return fail(problem);
      if (field.number < frame.counts.size()) ++frame.counts[field.number];
    }
    return true;
  }

  template <class M>
  bool take_fields(std::string_view bytes, Frame& frame, M& out) {
    WireField field;
    while (!bytes.empty()) {
      position_ = bytes.data();
      (void)take_field(bytes, field);
      frame.number = field.number;
      frame.repeated = false;
      if (!take(field, out)) return false;
    }
    return true;
  }

  // Makes room for all occurrences of the field at the first of them.
  template <class T>
  bool reserve(const WireField& field, std::vector<T>& list) {
    if (list.size() < list.capacity()) return true;
    const uint64_t size = list.size() + uint64_t{frame_->counts[field.number]};
    if (!charge(size, sizeof(T))) return false;
    list.reserve(size);
    return true;
  }

  template <class T>
  bool take_scalar(const WireField& field, T& out) {
    if constexpr (std::is_same_v<T, std::string_view>) {
      if (field.type != WireType::kBytes) return fail_type();
      out = field.content;
    } else if constexpr (std::is_same_v<T, float>) {
      if (field.type != WireType::kFixed32) return fail_type();
      out = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    } else {
      if (field.type != WireType::kVarint) return fail_type();
      out = static_cast<T>(field.value);
    }
    return true;
  }

  bool read(const WireField& field, std::string_view& out) { return take_scalar(field, out); }
  bool read(const WireField& field, int64_t& out) { return take_scalar(field, out); }
  bool read(const WireField& field, int32_t& out) { return take_scalar(field, out); }

  template <class T>
  bool read(const WireField& field, std::optional<T>& out) {
    return take_scalar(field, out.emplace());
  }

  bool read(const WireField& field, std::optional<TensorShapeProto>& out) {
    if (field.type != WireType::kBytes) return fail_type();
    if (!out) out.emplace();
    return message(field.content, *out);
  }

  // A message that occurs twice is merged, as protobuf does: lists grow, the last scalar wins.
  template <class M>
  bool read(const WireField& field, std::unique_ptr<M>& out) {
    if (field.type != WireType::kBytes) return fail_type();
    if (out == nullptr) {
      if (!charge(1, sizeof(M))) return false;
      out = std::make_unique<M>();
    }
    return message(field.content, *out);
  }

  template <class M>
  bool read(const WireField& field, std::vector<M>& out) {
    if (field.type != WireType::kBytes) return fail_type();
    frame_as_list(out.size());
    return reserve(field, out) && message(field.content, out.emplace_back());
  }

  bool read(const WireField& field, std::vector<std::string_view>& out) {
    frame_as_list(out.size());
    return reserve(field, out) && take_scalar(field, out.emplace_back());
  }

  bool read(const WireField& field, std::vector<int64_t>& out) {
    if (field.type != WireType::kBytes) {
      return reserve(field, out) && take_scalar(field, out.emplace_back());
    }
    const uint64_t count = count_varints(field.content);
    if (!grow(out, count)) return false;
    std::string_view rest = field.content;
    while (!rest.empty()) {
      uint64_t value = 0;
      if (!take_varint(rest, value)) return fail("broken varint in a packed list");
      out.push_back(static_cast<int64_t>(value));
    }
    return true;
  }

  bool read(const WireField& field, std::vector<float>& out) {
    if (field.type != WireType::kBytes) {
      return reserve(field, out) && take_scalar(field, out.emplace_back());
    }
    if (field.content.size() % sizeof(float) != 0)
      return fail("a packed list of floats is cut off");
    const size_t count = field.content.size() / sizeof(float);
    if (!grow(out, count)) return false;
    for (size_t i = 0; i < count; ++i) {
      std::array<char, sizeof(float)> value;
      std::copy_n(field.content.data() + i * sizeof(float), sizeof(float), value.data());
      out.push_back(std::bit_cast<float>(value));
    }
    return true;
  }

  // Tensor data, packed or one by one, stays in wire form.
  bool read_run(const WireField& field, WireType element, std::vector<std::string_view>& out) {
    if (field.type != WireType::kBytes && field.type != element) return fail_type();
    const size_t bytes = element == WireType::kFixed32 ? 4 : element == WireType::kFixed64 ? 8 : 1;
    if (field.content.size() % bytes != 0) return fail("packed tensor data is cut off");
    if (!reserve(field, out)) return false;
    out.push_back(field.content);
    return true;
  }

  void frame_as_list(size_t index) {
    frame_->repeated = true;
    frame_->index = index;
  }

  template <class T>
  bool grow(std::vector<T>& out, uint64_t count) {
    if (count <= out.capacity() - out.size()) return true;
    const uint64_t size = std::max<uint64_t>(out.size() + count, 2 * uint64_t{out.capacity()});
    if (!charge(size, sizeof(T))) return false;
    out.reserve(size);
    return true;
  }

  bool take(const WireField& f, StringStringEntryProto& out) {
    switch (f.number) {
      case kStringStringEntryProto_key:
        return read(f, out.key);
      case kStringStringEntryProto_value:
        return read(f, out.value);
      default:
        return true;
    }
  }

  bool take(const WireField& f, OperatorSetIdProto& out) {
    switch (f.number) {
      case kOperatorSetIdProto_domain:
        return read(f, out.domain);
      case kOperatorSetIdProto_version:
        return read(f, out.version);
      default:
        return true;
    }
  }

  bool take(const WireField& f, TensorProto& out) {
    switch (f.number) {
      case kTensorProto_dims:
        return read(f, out.dims);
      case kTensorProto_data_type:
        return read(f, out.data_type);
      case kTensorProto_segment:
        out.has_segment = true;
        return true;
      case kTensorProto_float_data:
        return read_run(f, WireType::kFixed32, out.float_data);
      case kTensorProto_int32_data:
        return read_run(f, WireType::kVarint, out.int32_data);
      case kTensorProto_string_data:
        return read(f, out.string_data);
      case kTensorProto_int64_data:
        return read_run(f, WireType::kVarint, out.int64_data);
      case kTensorProto_name:
        return read(f, out.name);
      case kTensorProto_doc_string:
        return read(f, out.doc_string);
      case kTensorProto_raw_data:
        return read(f, out.raw_data);
      case kTensorProto_external_data:
        return read(f, out.external_data);
      case kTensorProto_data_location:
        return read(f, out.data_location);
      case kTensorProto_double_data:
        return read_run(f, WireType::kFixed64, out.double_data);
      case kTensorProto_uint64_data:
        return read_run(f, WireType::kVarint, out.uint64_data);
      default:
        return true;
    }
  }

  bool take(const WireField& f, SparseTensorProto& out) {
    switch (f.number) {
      case kSparseTensorProto_values:
        return read(f, out.values);
      case kSparseTensorProto_indices:
        return read(f, out.indices);
      case kSparseTensorProto_dims:
        return read(f, out.dims);
      default:
        return true;
    }
  }

  bool take(const WireField& f, DimensionProto& out) {
    switch (f.number) {
      case kTensorShapeProto_Dimension_dim_value:
        out.kind = DimensionProto::Kind::kValue;
        return read(f, out.dim_value);
      case kTensorShapeProto_Dimension_dim_param:
        out.kind = DimensionProto::Kind::kParam;
        return read(f, out.dim_param);
      case kTensorShapeProto_Dimension_denotation:
        return read(f, out.denotation);
      default:
        return true;
    }
  }

  bool take(const WireField& f, TensorShapeProto& out) {
    return f.number == kTensorShapeProto_dim ? read(f, out.dim) : true;
  }

  bool take(const WireField& f, TensorType& out) {
    switch (f.number) {
      case kTypeProto_Tensor_elem_type:
        return read(f, out.type.elem_type);
      case kTypeProto_Tensor_shape:
        return read(f, out.type.shape);
      default:
        return true;
    }
  }

  bool take(const WireField& f, ElementType& out) {
    return f.number == kTypeProto_Sequence_elem_type ? read(f, out.type.element) : true;
  }

  bool take(const WireField& f, MapType& out) {
    switch (f.number) {
      case kTypeProto_Map_key_type:
        return read(f, out.type.elem_type);
      case kTypeProto_Map_value_type:
        return read(f, out.type.element);
      default:
        return true;
    }
  }

  bool take(const WireField& f, OpaqueType& out) {
    switch (f.number) {
      case kTypeProto_Opaque_domain:
        return read(f, out.type.domain);
      case kTypeProto_Opaque_name:
        return read(f, out.type.name);
      default:
        return true;
    }
  }

  // A member of the oneof replaces another member; the same one is merged.
  template <class M>
  bool read_member(const WireField& f, TypeProto::Kind kind, TypeProto& out) {
    if (f.type != WireType::kBytes) return fail_type();
    if (out.kind != kind) {
      TypeProto fresh;
      fresh.kind = kind;
      fresh.denotation = out.denotation;
      out = std::move(fresh);
    }
    return message(f.content, M{out});
  }

  bool take(const WireField& f, TypeProto& out) {
    using enum TypeProto::Kind;
    switch (f.number) {
      case kTypeProto_tensor_type:
        return read_member<TensorType>(f, kTensor, out);
      case kTypeProto_sparse_tensor_type:
        return read_member<TensorType>(f, kSparseTensor, out);
      case kTypeProto_sequence_type:
        return read_member<ElementType>(f, kSequence, out);
      case kTypeProto_optional_type:
        return read_member<ElementType>(f, kOptional, out);
      case kTypeProto_map_type:
        return read_member<MapType>(f, kMap, out);
      case kTypeProto_opaque_type:
        return read_member<OpaqueType>(f, kOpaque, out);
      case kTypeProto_denotation:
        return read(f, out.denotation);
      default:
        return true;
    }
  }

  bool take(const WireField& f, ValueInfoProto& out) {
    switch (f.number) {
      case kValueInfoProto_name:
        return read(f, out.name);
      case kValueInfoProto_type:
        return read(f, out.type);
      case kValueInfoProto_doc_string:
        return read(f, out.doc_string);
      case kValueInfoProto_metadata_props:
        return read(f, out.metadata_props);
      default:
        return true;
    }
  }

  bool take(const WireField& f, AttributeProto& out) {
    switch (f.number) {
      case kAttributeProto_name:
        return read(f, out.name);
      case kAttributeProto_ref_attr_name:
        return read(f, out.ref_attr_name);
      case kAttributeProto_doc_string:
        return read(f, out.doc_string);
      case kAttributeProto_type:
        return read(f, out.type);
      case kAttributeProto_f:
        return read(f, out.f);
      case kAttributeProto_i:
        return read(f, out.i);
      case kAttributeProto_s:
        return read(f, out.s);
      case kAttributeProto_t:
        return read(f, out.t);
      case kAttributeProto_g:
        return read(f, out.g);
      case kAttributeProto_sparse_tensor:
        return read(f, out.sparse_tensor);
      case kAttributeProto_tp:
        return read(f, out.tp);
      case kAttributeProto_floats:
        return read(f, out.floats);
      case kAttributeProto_ints:
        return read(f, out.ints);
      case kAttributeProto_strings:
        return read(f, out.strings);
      case kAttributeProto_tensors:
        return read(f, out.tensors);
      case kAttributeProto_graphs:
        return read(f, out.graphs);
      case kAttributeProto_sparse_tensors:
        return read(f, out.sparse_tensors);
      case kAttributeProto_type_protos:
        return read(f, out.type_protos);
      default:
        return true;
    }
  }

  bool take(const WireField& f, NodeProto& out) {
    switch (f.number) {
      case kNodeProto_input:
        return read(f, out.input);
      case kNodeProto_output:
        return read(f, out.output);
      case kNodeProto_name:
        return read(f, out.name);
      case kNodeProto_op_type:
        return read(f, out.op_type);
      case kNodeProto_domain:
        return read(f, out.domain);
      case kNodeProto_overload:
        return read(f, out.overload);
      case kNodeProto_attribute:
        return read(f, out.attribute);
      case kNodeProto_doc_string:
        return read(f, out.doc_string);
      case kNodeProto_metadata_props:
        return read(f, out.metadata_props);
      default:
        return true;
    }
  }

  bool take(const WireField& f, GraphProto& out) {
    switch (f.number) {
      case kGraphProto_node:
        return read(f, out.node);
      case kGraphProto_name:
        return read(f, out.name);
      case kGraphProto_initializer:
        return read(f, out.initializer);
      case kGraphProto_sparse_initializer:
        return read(f, out.sparse_initializer);
      case kGraphProto_doc_string:
        return read(f, out.doc_string);
      case kGraphProto_input:
        return read(f, out.input);
      case kGraphProto_output:
        return read(f, out.output);
      case kGraphProto_value_info:
        return read(f, out.value_info);
      case kGraphProto_metadata_props:
        return read(f, out.metadata_props);
      default:
        return true;
    }
  }

  bool take(const WireField& f, FunctionProto& out) {
    switch (f.number) {
      case kFunctionProto_name:
        return read(f, out.name);
      case kFunctionProto_domain:
        return read(f, out.domain);
      case kFunctionProto_overload:
        return read(f, out.overload);
      case kFunctionProto_input:
        return read(f, out.input);
      case kFunctionProto_output:
        return read(f, out.output);
      case kFunctionProto_attribute:
        return read(f, out.attribute);
      case kFunctionProto_attribute_proto:
        return read(f, out.attribute_proto);
      case kFunctionProto_node:
        return read(f, out.node);
      case kFunctionProto_doc_string:
        return read(f, out.doc_string);
      case kFunctionProto_opset_import:
        return read(f, out.opset_import);
      case kFunctionProto_value_info:
        return read(f, out.value_info);
      case kFunctionProto_metadata_props:
        return read(f, out.metadata_props);
      default:
        return true;
    }
  }

  bool take(const WireField& f, ModelProto& out) {
    switch (f.number) {
      case kModelProto_ir_version:
        return read(f, out.ir_version);
      case kModelProto_opset_import:
        return read(f, out.opset_import);
      case kModelProto_producer_name:
        return read(f, out.producer_name);
      case kModelProto_producer_version:
        return read(f, out.producer_version);
      case kModelProto_domain:
        return read(f, out.domain);
      case kModelProto_model_version:
        return read(f, out.model_version);
      case kModelProto_doc_string:
        return read(f, out.doc_string);
      case kModelProto_graph:
        return read(f, out.graph);
      case kModelProto_metadata_props:
        return read(f, out.metadata_props);
      case kModelProto_functions:
        return read(f, out.functions);
      default:
        return true;
    }
  }

  std::string_view file_;
  const char* position_ = file_.data();
  Frame* frame_ = nullptr;
  int depth_ = 0;
  uint64_t charged_ = 0;
  Status status_;
};

template <class M>
Result<M> read_message(std::span<const std::byte> bytes, std::string_view what) {
  const std::string_view file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ProtoReader reader(file);
  M out;
  try {
    if (!reader.message(file, out)) return reader.status().with_context(what);
  } catch (const std::bad_alloc&) {
    return out_of_memory(what, ": no memory for its structure");
  }
  return out;
}

}  // namespace

Result<ModelProto> read_model_proto(std::span<const std::byte> bytes) {
  return read_message<ModelProto>(bytes, "not a valid ONNX model");
}

Result<TensorProto> read_tensor_proto(std::span<const std::byte> bytes) {
  return read_message<TensorProto>(bytes, "not a valid ONNX tensor");
}

}  // namespace redline
