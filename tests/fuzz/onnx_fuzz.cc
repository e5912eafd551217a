// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as an ONNX file: its structure, then each of its tensors.

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocation_bound.h"
#include "onnx/model_proto.h"
#include "onnx/tensor_reader.h"

namespace {

using namespace redline;

template <class T>
void check(const Result<T>& result) {
  if (!result.ok() && result.status().message().empty()) __builtin_trap();
}

// Touches every byte, so that a sanitizer sees a tensor that is longer than its memory.
void read_tensor(const TensorProto& proto) {
  OnnxExternalData none;
  const auto tensor = read_onnx_tensor(proto, nullptr, none);
  check(tensor);
  if (!tensor.ok()) return;
  uint8_t sum = 0;
  if (tensor->dtype() == DType::kString) {
    for (const auto& text : tensor->span<std::string>()) {
      for (char c : text) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(c));
    }
  } else {
    for (size_t i = 0; i < tensor->bytes(); ++i)
      sum = static_cast<uint8_t>(sum + tensor->data<uint8_t>()[i]);
  }
  volatile uint8_t sink = sum;
  (void)sink;
}

void read_sparse(const SparseTensorProto& proto) {
  OnnxExternalData none;
  check(read_onnx_sparse_tensor(proto, nullptr, none, size_t{1} << 20));
}

void read_graph(const GraphProto& graph);

void read_nodes(const std::vector<NodeProto>& nodes) {
  for (const NodeProto& node : nodes) {
    for (const AttributeProto& attribute : node.attribute) {
      if (attribute.t) read_tensor(*attribute.t);
      if (attribute.g) read_graph(*attribute.g);
      if (attribute.sparse_tensor) read_sparse(*attribute.sparse_tensor);
      for (const TensorProto& tensor : attribute.tensors) read_tensor(tensor);
      for (const GraphProto& graph : attribute.graphs) read_graph(graph);
    }
  }
}

void read_graph(const GraphProto& graph) {
  for (const TensorProto& tensor : graph.initializer) read_tensor(tensor);
  for (const SparseTensorProto& tensor : graph.sparse_initializer) read_sparse(tensor);
  read_nodes(graph.node);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  const AllocationBound bound(bytes);
  const auto model = read_model_proto(std::as_bytes(std::span(data, bytes)));
  check(model);
  if (!model.ok()) return 0;
  if (model->graph) read_graph(*model->graph);
  for (const FunctionProto& function : model->functions) read_nodes(function.node);
  return 0;
}
