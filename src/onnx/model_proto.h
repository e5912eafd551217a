// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace redline {

// The messages of onnx.proto as plain structs, with its names. Strings and tensor data are views
// into the bytes that were read and live as long as those. Absent means what protobuf means: an
// empty string, zero, an empty list; optional and unique_ptr where presence matters. Names and
// texts are bytes; UTF-8 is not checked. Training info, device configurations and quantisation
// annotations are skipped, like every field that the schema does not name.

struct GraphProto;

struct StringStringEntryProto {
  std::string_view key;
  std::string_view value;
};

struct OperatorSetIdProto {
  std::string_view domain;
  int64_t version = 0;
};

// `data_type` is a TensorProto.DataType number (kTensorProto_DataType_FLOAT in the generated
// header).
struct TensorProto {
  std::vector<int64_t> dims;
  int32_t data_type = 0;
  int32_t data_location = 0;
  std::string_view name;
  std::string_view doc_string;
  std::optional<std::string_view> raw_data;
  // Elements still in wire form, one run after the other: varints for the integers, little-endian
  // values for the others. tensor_reader.h decodes them.
  std::vector<std::string_view> float_data;
  std::vector<std::string_view> int32_data;
  std::vector<std::string_view> int64_data;
  std::vector<std::string_view> double_data;
  std::vector<std::string_view> uint64_data;
  std::vector<std::string_view> string_data;  // one element each
  std::vector<StringStringEntryProto> external_data;
  bool has_segment = false;
};

struct SparseTensorProto {
  std::unique_ptr<TensorProto> values;
  std::unique_ptr<TensorProto> indices;
  std::vector<int64_t> dims;
};

struct DimensionProto {
  enum class Kind : uint8_t { kUnknown, kValue, kParam };
  Kind kind = Kind::kUnknown;
  int64_t dim_value = 0;
  std::string_view dim_param;
  std::string_view denotation;
};

struct TensorShapeProto {
  std::vector<DimensionProto> dim;
};

struct TypeProto {
  enum class Kind : uint8_t { kNone, kTensor, kSparseTensor, kSequence, kOptional, kMap, kOpaque };
  Kind kind = Kind::kNone;
  int32_t elem_type = 0;                  // kTensor, kSparseTensor; the key's type of a kMap
  std::optional<TensorShapeProto> shape;  // kTensor, kSparseTensor; none: rank unknown
  std::unique_ptr<TypeProto> element;     // kSequence, kOptional, kMap (its values); may be null
  std::string_view domain;                // kOpaque
  std::string_view name;                  // kOpaque
  std::string_view denotation;
};

struct ValueInfoProto {
  std::string_view name;
  std::unique_ptr<TypeProto> type;  // null: not stated
  std::string_view doc_string;
  std::vector<StringStringEntryProto> metadata_props;
};

// `type` is an AttributeProto.AttributeType number, 0 where the (old) writer left it out.
struct AttributeProto {
  std::string_view name;
  std::string_view ref_attr_name;
  std::string_view doc_string;
  int32_t type = 0;
  std::optional<float> f;
  std::optional<int64_t> i;
  std::optional<std::string_view> s;
  std::unique_ptr<TensorProto> t;
  std::unique_ptr<GraphProto> g;
  std::unique_ptr<SparseTensorProto> sparse_tensor;
  std::unique_ptr<TypeProto> tp;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string_view> strings;
  std::vector<TensorProto> tensors;
  std::vector<GraphProto> graphs;
  std::vector<SparseTensorProto> sparse_tensors;
  std::vector<TypeProto> type_protos;
};

struct NodeProto {
  std::vector<std::string_view> input;
  std::vector<std::string_view> output;
  std::string_view name;
  std::string_view op_type;
  std::string_view domain;
  std::string_view overload;
  std::vector<AttributeProto> attribute;
  std::string_view doc_string;
  std::vector<StringStringEntryProto> metadata_props;
};

struct GraphProto {
  std::vector<NodeProto> node;
  std::string_view name;
  std::vector<TensorProto> initializer;
  std::vector<SparseTensorProto> sparse_initializer;
  std::string_view doc_string;
  std::vector<ValueInfoProto> input;
  std::vector<ValueInfoProto> output;
  std::vector<ValueInfoProto> value_info;
  std::vector<StringStringEntryProto> metadata_props;
};

struct FunctionProto {
  std::string_view name;
  std::string_view domain;
  std::string_view overload;
  std::vector<std::string_view> input;
  std::vector<std::string_view> output;
  std::vector<std::string_view> attribute;
  std::vector<AttributeProto> attribute_proto;
  std::vector<NodeProto> node;
  std::string_view doc_string;
  std::vector<OperatorSetIdProto> opset_import;
  std::vector<ValueInfoProto> value_info;
  std::vector<StringStringEntryProto> metadata_props;
};

struct ModelProto {
  int64_t ir_version = 0;
  std::vector<OperatorSetIdProto> opset_import;
  std::string_view producer_name;
  std::string_view producer_version;
  std::string_view domain;
  int64_t model_version = 0;
  std::string_view doc_string;
  std::unique_ptr<GraphProto> graph;  // null: the file has none
  std::vector<StringStringEntryProto> metadata_props;
  std::vector<FunctionProto> functions;
};

// Reads the wire form without trusting it: at most 100 messages deep (protobuf's own limit), and
// memory in proportion to the input. An error is invalid_argument with the byte offset and the path
// of the message ("graph.node[3].attribute[0].t"). Files over 4 GB are read like any other.
Result<ModelProto> read_model_proto(std::span<const std::byte> bytes);
// A tensor alone in a file (the .pb files of ONNX's test data).
Result<TensorProto> read_tensor_proto(std::span<const std::byte> bytes);

}  // namespace redline
