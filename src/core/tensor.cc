// SPDX-License-Identifier: Apache-2.0
#include "core/tensor.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace redline {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// AddressSanitizer sees what is beside an allocation, but not beside a mapping.
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kMapped = SIZE_MAX;
#else
constexpr size_t kMapped = kHugePage;
#endif

// Zeros, aligned to 64 bytes or more; null when there is no memory. Large ones come from the
// system, which has set them to zero: who fills them takes the faults, and may do so on all cores.
std::shared_ptr<const void> allocate_zeros(size_t bytes) {
  if (bytes < kMapped) {
    void* data = std::aligned_alloc(64, bytes);
    if (data == nullptr) return nullptr;
    std::memset(data, 0, bytes);
    return {data, [](const void* p) { std::free(const_cast<void*>(p)); }};
  }
  size_t mapped = bytes + kHugePage;
  void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  // A fault for each small page takes longer than filling it. Refused: it is as it would be.
  auto address = reinterpret_cast<uintptr_t>(data);
  auto* aligned = static_cast<char*>(data) + (kHugePage - address % kHugePage) % kHugePage;
  (void)madvise(aligned, bytes, MADV_HUGEPAGE);
  return {aligned, [data, mapped](const void*) { munmap(data, mapped); }};
}

}  // namespace

std::string Dims::to_string() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dims_[i]);
  }
  return text + "]";
}

std::optional<int64_t> checked_count(std::span<const int64_t> dims) {
  int64_t count = 1;
  bool zero = false;
  for (int64_t dim : dims) {
    if (dim < 0) return std::nullopt;
    if (dim == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(count, dim, &count)) {
      return std::nullopt;  // also beside a zero: products of some of the sizes are taken
    }
  }
  return zero ? 0 : count;
}

Result<Tensor> Tensor::create(DType dtype, const Dims& dims) {
  std::optional<int64_t> count = checked_count({dims.begin(), dims.size()});
  size_t bytes = 0;
  if (!count || __builtin_mul_overflow(static_cast<size_t>(*count), dtype_bytes(dtype), &bytes) ||
      bytes > (size_t{1} << 46)) {
    return invalid_argument("tensor size ", dims.to_string(), " of ", dtype_name(dtype),
                            " is negative or too large");
  }
  Tensor result;
  result.dtype_ = dtype;
  result.dims_ = dims;
  if (dtype == DType::kString) {
    auto strings = std::make_shared<std::vector<std::string>>(static_cast<size_t>(*count) + 1);
    result.data_ = strings->data();
    result.owner_ = std::move(strings);
    return result;
  }
  size_t rounded = (bytes + 127) / 64 * 64;  // at least 64 bytes, so that data() is never null
  result.owner_ = allocate_zeros(rounded);
  result.data_ = result.owner_.get();
  if (result.data_ == nullptr) {
    return out_of_memory("no memory for a tensor of ", bytes, " bytes");
  }
  return result;
}

Tensor Tensor::wrap(DType dtype, const Dims& dims, const void* data,
                    std::shared_ptr<const void> owner) {
  Tensor result;
  result.dtype_ = dtype;
  result.dims_ = dims;
  result.data_ = data;
  result.owner_ = std::move(owner);
  return result;
}

Tensor Tensor::from_int64(std::span<const int64_t> values) {
  return from<int64_t>(DType::kInt64, {static_cast<int64_t>(values.size())}, values);
}

Tensor Tensor::scalar_int64(int64_t value) {
  return from<int64_t>(DType::kInt64, {}, std::span<const int64_t>(&value, 1));
}

Tensor Tensor::scalar_float(float value) {
  return from<float>(DType::kFloat32, {}, std::span<const float>(&value, 1));
}

Tensor Tensor::reshaped(const Dims& dims) const {
  REDLINE_ASSERT(dims.count() == count());
  Tensor result = *this;
  result.dims_ = dims;
  return result;
}

bool identical(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.dims() == b.dims())) return false;
  if (a.dtype() == DType::kString) {
    return std::equal(a.data<std::string>(), a.data<std::string>() + a.count(),
                      b.data<std::string>());
  }
  return a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace redline
