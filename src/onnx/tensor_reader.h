// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/mmap_file.h"
#include "base/status.h"
#include "core/dtype.h"
#include "core/tensor.h"
#include "onnx/model_proto.h"

namespace redline {

// The element type of a TensorProto.DataType number, or unsupported naming it.
Result<DType> dtype_from_onnx(int32_t data_type);
int32_t onnx_data_type(DType dtype);

// The external data files of one model. Each is mapped once and shared by its tensors. Only files
// inside the model's folder are opened: not by an absolute path, not through "..", not through a
// symbolic link that leaves it. One thread.
class OnnxExternalData {
 public:
  // For a model without a folder (from memory): every external tensor is refused.
  OnnxExternalData() = default;
  // For the model at this path.
  static Result<OnnxExternalData> beside(const std::string& model_path);

  Result<std::shared_ptr<const MmapFile>> open(std::string_view location);

 private:
  std::string folder_;  // resolved; empty: none
  std::map<std::string, std::shared_ptr<const MmapFile>, std::less<>> files_;
};

// Makes a host tensor of a TensorProto. Data that lies aligned in a file is not copied: `owner`
// keeps the bytes that `proto` points into alive (null: always copy), mapped external files look
// after themselves. Sub-byte types become one byte an element, integers sign-extended. Errors name
// the tensor. No memory is taken before the data was seen to be as long as the dims say.
Result<Tensor> read_onnx_tensor(const TensorProto& proto, std::shared_ptr<const void> owner,
                                OnnxExternalData& external);

// Makes the dense tensor of a SparseTensorProto; over `max_bytes` it is refused, as its size is
// not bound by the file's.
Result<Tensor> read_onnx_sparse_tensor(const SparseTensorProto& proto,
                                       const std::shared_ptr<const void>& owner,
                                       OnnxExternalData& external,
                                       size_t max_bytes = size_t{2} << 30);

}  // namespace redline
