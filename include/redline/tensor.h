// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "redline/dims.h"
#include "redline/dtype.h"
#include "redline/export.h"
#include "redline/status.h"

namespace redline {

// A dense row-major tensor in host memory that somebody else owns.
struct TensorView {
  DType dtype = DType::kFloat32;
  Dims dims;
  void* data = nullptr;

  int64_t count() const { return dims.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * dtype_bytes(dtype); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  template <class T>
  std::span<T> span() const {
    return {static_cast<T*>(data), static_cast<size_t>(count())};
  }
};

// A host tensor: a cheap handle onto shared storage. Copies share the elements; nobody writes to a
// tensor that may be shared, except the code that has just made it.
class REDLINE_API Tensor {
 public:
  Tensor() = default;
  // Zero-filled (empty strings for kString), 64-byte aligned. Fails on overflow or lack of memory.
  static Result<Tensor> create(DType dtype, const Dims& dims);
  // Points at `data` inside memory that `owner` keeps alive; not copied.
  static Tensor wrap(DType dtype, const Dims& dims, const void* data,
                     std::shared_ptr<const void> owner);
  // From values, for small tensors that our own code makes; T is the C++ type of the dtype.
  template <class T>
  static Tensor from(DType dtype, const Dims& dims, std::span<const T> values) {
    Tensor result = create(dtype, dims).value();
    std::copy(values.begin(), values.end(), result.mutable_data<T>());
    return result;
  }
  static Tensor from_int64(std::span<const int64_t> values);  // rank 1
  static Tensor scalar_int64(int64_t value);                  // rank 0
  static Tensor scalar_float(float value);                    // rank 0

  bool defined() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  int rank() const { return dims_.rank(); }
  int64_t count() const { return dims_.count(); }
  size_t bytes() const { return static_cast<size_t>(count()) * dtype_bytes(dtype_); }
  const void* raw() const { return data_; }
  void* mutable_raw() { return const_cast<void*>(data_); }
  template <class T>
  const T* data() const {
    return static_cast<const T*>(data_);
  }
  template <class T>
  T* mutable_data() {
    return static_cast<T*>(mutable_raw());
  }
  template <class T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<size_t>(count())};
  }
  TensorView view() const { return {dtype_, dims_, const_cast<void*>(data_)}; }
  // Same elements, other sizes; the counts must agree.
  Tensor reshaped(const Dims& dims) const;

 private:
  DType dtype_ = DType::kFloat32;
  Dims dims_;
  const void* data_ = nullptr;
  std::shared_ptr<const void> owner_;
};

// A dense row-major tensor in the memory of a GPU, at a multiple of its elements' size. `owner`, if
// any, keeps it alive.
struct DeviceTensor {
  DType dtype = DType::kFloat32;
  Dims dims;
  void* data = nullptr;
  std::shared_ptr<const void> owner;
};

// Bitwise equality of dtype, dims and elements.
REDLINE_API bool identical(const Tensor& a, const Tensor& b);

// What flows along an edge at run time: a tensor, a sequence, or an optional that may be empty.
struct HostValue {
  enum class Kind : uint8_t { kTensor, kSequence, kOptional };
  Kind kind = Kind::kTensor;
  Tensor tensor;                    // kTensor
  std::vector<HostValue> elements;  // kSequence: all; kOptional: none or one

  static HostValue of(Tensor tensor) { return {Kind::kTensor, std::move(tensor), {}}; }
  static HostValue sequence(std::vector<HostValue> elements) {
    return {Kind::kSequence, {}, std::move(elements)};
  }
  static HostValue optional(std::vector<HostValue> none_or_one) {
    return {Kind::kOptional, {}, std::move(none_or_one)};
  }
};

}  // namespace redline
