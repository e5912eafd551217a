// SPDX-License-Identifier: Apache-2.0
#include "onnx/model_proto.h"

#include <gtest/gtest.h>

#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "onnx/onnx_fields_generated.h"
#include "onnx/wire_format.h"

namespace redline {
namespace {

using protozero::pbf_writer;
using Views = std::vector<std::string_view>;

// Writes one message: message([](pbf_writer& w) { w.add_string(1, "x"); }).
template <class Fill>
std::string message(Fill fill) {
  std::string out;
  pbf_writer writer(out);
  fill(writer);
  return out;
}

// The model points into `bytes`.
Result<ModelProto> read(const std::string& bytes) {
  return read_model_proto(std::as_bytes(std::span(bytes)));
}

// The model whose graph has these bytes.
std::string with_graph(const std::string& graph) {
  return message([&](pbf_writer& w) { w.add_message(kModelProto_graph, graph); });
}

std::string with_attribute(const std::string& attribute) {
  const auto node = message([&](pbf_writer& w) { w.add_message(kNodeProto_attribute, attribute); });
  return with_graph(message([&](pbf_writer& w) { w.add_message(kGraphProto_node, node); }));
}

std::string with_initializer(const std::string& tensor) {
  return with_graph(
      message([&](pbf_writer& w) { w.add_message(kGraphProto_initializer, tensor); }));
}

TEST(OnnxFields, SchemaIsTheWheels) {
  EXPECT_EQ(kModelProto_graph, 7u);
  EXPECT_EQ(kTensorProto_DataType_BFLOAT16, 16);
  EXPECT_EQ(kAttributeProto_AttributeType_GRAPHS, 10);
  EXPECT_GE(kOnnxNewestIrVersion, 14);
  EXPECT_GE(kOnnxNewestOpset, 28);
}

TEST(ModelProto, ReadsEachLevel) {
  const auto attribute = message([](pbf_writer& w) {
    w.add_string(kAttributeProto_name, "alpha");
    w.add_int32(kAttributeProto_type, kAttributeProto_AttributeType_FLOAT);
    w.add_float(kAttributeProto_f, 0.25F);
  });
  const auto node = message([&](pbf_writer& w) {
    w.add_string(kNodeProto_input, "x");
    w.add_string(kNodeProto_input, "");
    w.add_string(kNodeProto_output, "y");
    w.add_string(kNodeProto_op_type, "LeakyRelu");
    w.add_message(kNodeProto_attribute, attribute);
  });
  const auto graph = message([&](pbf_writer& w) {
    w.add_string(kGraphProto_name, "g");
    w.add_message(kGraphProto_node, node);
  });
  const auto bytes = message([&](pbf_writer& w) {
    w.add_int64(kModelProto_ir_version, 9);
    w.add_message(kModelProto_opset_import, message([](pbf_writer& o) {
                    o.add_string(kOperatorSetIdProto_domain, "com.example");
                    o.add_int64(kOperatorSetIdProto_version, 21);
                  }));
    w.add_message(kModelProto_graph, graph);
  });

  auto model = read(bytes);

  ASSERT_TRUE(model.ok()) << model.status().to_string();
  EXPECT_EQ(model->ir_version, 9);
  ASSERT_EQ(model->opset_import.size(), 1u);
  EXPECT_EQ(model->opset_import[0].domain, "com.example");
  EXPECT_EQ(model->opset_import[0].version, 21);
  ASSERT_EQ(model->graph->node.size(), 1u);
  const NodeProto& read_node = model->graph->node[0];
  EXPECT_EQ(read_node.input, (Views{"x", ""}));
  EXPECT_EQ(read_node.output, (Views{"y"}));
  EXPECT_EQ(read_node.op_type, "LeakyRelu");
  ASSERT_EQ(read_node.attribute.size(), 1u);
  EXPECT_EQ(read_node.attribute[0].name, "alpha");
  EXPECT_EQ(read_node.attribute[0].f, 0.25F);
  EXPECT_EQ(read_node.attribute[0].i, std::nullopt);
  // Not a copy.
  EXPECT_TRUE(read_node.op_type.data() > bytes.data() &&
              read_node.op_type.data() < bytes.data() + bytes.size());
}

TEST(ModelProto, PackedUnpackedAndMixedLists) {
  const auto attribute = message([](pbf_writer& w) {
    const std::vector<int64_t> ints{1, -1, INT64_MIN};
    w.add_packed_int64(kAttributeProto_ints, ints.begin(), ints.end());
    w.add_int64(kAttributeProto_ints, 300);
    const std::vector<float> floats{1.5F, -2.0F};
    w.add_float(kAttributeProto_floats, 0.5F);
    w.add_packed_float(kAttributeProto_floats, floats.begin(), floats.end());
    w.add_bytes(kAttributeProto_strings, "a");
    w.add_bytes(kAttributeProto_strings, "");
  });
  const auto bytes = with_attribute(attribute);
  auto model = read(bytes);
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  const AttributeProto& read_attribute = model->graph->node[0].attribute[0];
  EXPECT_EQ(read_attribute.ints, (std::vector<int64_t>{1, -1, INT64_MIN, 300}));
  EXPECT_EQ(read_attribute.floats, (std::vector<float>{0.5F, 1.5F, -2.0F}));
  EXPECT_EQ(read_attribute.strings, (Views{"a", ""}));
}

TEST(ModelProto, LastScalarWinsAndMessagesMerge) {
  const auto first = message([](pbf_writer& w) {
    w.add_string(kGraphProto_name, "first");
    w.add_message(kGraphProto_node, std::string());
  });
  const auto second = message([](pbf_writer& w) {
    w.add_message(kGraphProto_node, std::string());
    w.add_string(kGraphProto_doc_string, "doc");
  });
  const auto bytes = message([&](pbf_writer& w) {
    w.add_int64(kModelProto_ir_version, 3);
    w.add_message(kModelProto_graph, first);
    w.add_message(kModelProto_graph, second);
    w.add_int64(kModelProto_ir_version, 4);
  });
  auto model = read(bytes);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->ir_version, 4);
  EXPECT_EQ(model->graph->name, "first");
  EXPECT_EQ(model->graph->doc_string, "doc");
  EXPECT_EQ(model->graph->node.size(), 2u);
}

TEST(ModelProto, LastMemberOfATypeWins) {
  const auto sequence = message([](pbf_writer& w) { w.add_message(1, std::string()); });
  const auto shape = message([](pbf_writer& w) {
    w.add_message(1, message([](pbf_writer& d) { d.add_int64(1, 3); }));
    w.add_message(1, message([](pbf_writer& d) { d.add_string(2, "batch"); }));
    w.add_message(1, std::string());
  });
  const auto tensor = message([&](pbf_writer& w) {
    w.add_int32(kTypeProto_Tensor_elem_type, kTensorProto_DataType_FLOAT);
    w.add_message(kTypeProto_Tensor_shape, shape);
  });
  const auto info = message([&](pbf_writer& w) {
    w.add_message(kValueInfoProto_type, message([&](pbf_writer& t) {
                    t.add_message(kTypeProto_sequence_type, sequence);
                    t.add_message(kTypeProto_tensor_type, tensor);
                  }));
  });
  const auto bytes =
      with_graph(message([&](pbf_writer& w) { w.add_message(kGraphProto_input, info); }));
  auto model = read(bytes);
  ASSERT_TRUE(model.ok());
  const TypeProto& type = *model->graph->input[0].type;
  EXPECT_EQ(type.kind, TypeProto::Kind::kTensor);
  EXPECT_EQ(type.element, nullptr);
  EXPECT_EQ(type.elem_type, kTensorProto_DataType_FLOAT);
  ASSERT_EQ(type.shape->dim.size(), 3u);
  EXPECT_EQ(type.shape->dim[0].dim_value, 3);
  EXPECT_EQ(type.shape->dim[1].dim_param, "batch");
  EXPECT_EQ(type.shape->dim[2].kind, DimensionProto::Kind::kUnknown);
}

TEST(ModelProto, TensorDataStaysInPlace) {
  const auto tensor = message([](pbf_writer& w) {
    const std::vector<int64_t> dims{2, 3};
    w.add_packed_int64(kTensorProto_dims, dims.begin(), dims.end());
    w.add_int32(kTensorProto_data_type, kTensorProto_DataType_INT64);
    w.add_packed_int64(kTensorProto_int64_data, dims.begin(), dims.end());
    w.add_int64(kTensorProto_int64_data, 300);
  });
  const auto bytes = with_initializer(tensor);
  auto model = read(bytes);
  ASSERT_TRUE(model.ok()) << model.status().to_string();
  const TensorProto& read_tensor = model->graph->initializer[0];
  EXPECT_EQ(read_tensor.dims, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(read_tensor.int64_data, (Views{"\x02\x03", "\xAC\x02"}));
  EXPECT_FALSE(read_tensor.raw_data.has_value());
}

TEST(ModelProto, EmptyInputAndUnknownFields) {
  auto empty = read("");
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->graph, nullptr);
  const auto unknown = message([](pbf_writer& w) {
    w.add_string(1000, "later");
    w.add_fixed64(999, 1);
    w.add_int64(kModelProto_ir_version, 5);
  });
  auto model = read(unknown);
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->ir_version, 5);
}

TEST(ModelProto, ErrorsSayWhere) {
  const auto node = message([](pbf_writer& w) { w.add_string(kNodeProto_op_type, "Relu"); });
  const auto bytes = with_graph(message([&](pbf_writer& w) {
    w.add_message(kGraphProto_node, node);
    w.add_message(kGraphProto_node, std::string("\x22\x70short"));  // op_type of 112 bytes
  }));
  const Status status = read(bytes).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "not a valid ONNX model: byte 12, in graph.node[1]: value longer than what is left of "
            "its message");
}

TEST(ModelProto, WrongWireTypeIsNamed) {
  const auto bytes = with_graph(message([&](pbf_writer& w) { w.add_int64(kGraphProto_node, 1); }));
  EXPECT_EQ(read(bytes).status().message(),
            "not a valid ONNX model: byte 2, in graph.node: the value is of another wire type than "
            "the schema says");
}

TEST(ModelProto, BrokenWire) {
  EXPECT_FALSE(read("\x0b").ok());                                              // a group
  EXPECT_FALSE(read(std::string(1, '\0')).ok());                                // field 0
  EXPECT_FALSE(read("\x08").ok());                                              // no value
  EXPECT_FALSE(read("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").ok());  // 11 bytes
  EXPECT_FALSE(read("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").ok());      // 2^64-1 bytes
  EXPECT_FALSE(read(with_attribute("\x3a\x03"
                                   "abc"))
                   .ok());                                      // floats of 3 bytes
  EXPECT_FALSE(read(with_attribute("\x42\x02\x01\xff")).ok());  // last packed int cut off
  EXPECT_FALSE(read(with_initializer("\x52\x04"
                                     "abcd"))
                   .ok());  // double_data of 4 bytes
}

TEST(ModelProto, EveryTruncationIsRefusedOrReadsLess) {
  const auto node = message([](pbf_writer& w) { w.add_string(kNodeProto_op_type, "Relu"); });
  const auto bytes =
      with_graph(message([&](pbf_writer& w) { w.add_message(kGraphProto_node, node); }));
  for (size_t size = 1; size < bytes.size(); ++size) {
    EXPECT_FALSE(read(bytes.substr(0, size)).ok()) << size;
  }
}

TEST(ModelProto, NestingIsLimited) {
  const auto nest = [](int levels) {
    std::string graph;
    for (int level = 0; level < levels; ++level) {
      const auto attribute =
          message([&](pbf_writer& w) { w.add_message(kAttributeProto_g, graph); });
      const auto node =
          message([&](pbf_writer& w) { w.add_message(kNodeProto_attribute, attribute); });
      graph = message([&](pbf_writer& w) { w.add_message(kGraphProto_node, node); });
    }
    return read(with_graph(graph));
  };
  EXPECT_TRUE(nest(32).ok());
  const Status status = nest(40).status();
  EXPECT_NE(status.message().find("messages nest deeper than 100"), std::string_view::npos);
}

TEST(ModelProto, MemoryStaysInProportion) {
  // Two bytes for each empty node, which takes a struct of over 150.
  std::string graph;
  for (int i = 0; i < 1000000; ++i) graph += std::string("\x0a\x00", 2);
  const Status status = read(with_graph(graph)).status();
  EXPECT_NE(status.message().find("too many values for a file of"), std::string_view::npos)
      << status.to_string();
}

TEST(WireFormat, LengthsBeyond32Bits) {
  // 2^32 + 1 must not be read as 1.
  std::string_view bytes("\x3a\x81\x80\x80\x80\x10zz", 8);
  WireField field;
  EXPECT_STREQ(take_field(bytes, field), "value longer than what is left of its message");
}

TEST(TensorProto, AloneInAFile) {
  const auto bytes = message([](pbf_writer& w) {
    w.add_string(kTensorProto_name, "t");
    w.add_bytes(kTensorProto_raw_data, std::string("\x00\x01", 2));
  });
  auto tensor = read_tensor_proto(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->name, "t");
  EXPECT_EQ(tensor->raw_data, std::string_view("\x00\x01", 2));
}

}  // namespace
}  // namespace redline
