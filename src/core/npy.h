// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "core/dtype.h"
#include "core/tensor.h"

namespace redline {

// NumPy's .npy files, versions 1 to 3. Bools, integers, f16/f32/f64 of either byte order in C or
// Fortran order (reordered), `<U` as UTF-8 strings, `|S` as strings of bytes. Refused with the
// reason: object, complex, long double, structured, date and time arrays, and damaged or oversized
// headers.
//
// Types that NumPy lacks are written by ml_dtypes as opaque bytes, which do not say their type:
// `<V2` is read as bf16, `<V1` only where the caller knows the type, and `<f1` as f8e5m2. We write
// `<V2` and `<V1` (one element a byte), which numpy.load(...).view(ml_dtypes.…) takes back.

// `expected` is the type that opaque bytes of its size stand for. Elements that lie aligned in
// memory that `owner` keeps alive are not copied (null: always copied).
Result<Tensor> read_npy(std::span<const std::byte> bytes,
                        std::shared_ptr<const void> owner = nullptr,
                        std::optional<DType> expected = std::nullopt);
// Maps the file. Errors name it.
Result<Tensor> read_npy_file(const std::string& path, std::optional<DType> expected = std::nullopt);

// The header (with magic and padding) of a tensor's .npy file; `width` is the `<U` width of
// strings.
std::string npy_header(DType dtype, const Dims& dims, size_t width = 1);
// Writes the file whole or not at all. Strings must be UTF-8 and not end in a zero byte, which
// `<U` cannot hold.
Status write_npy_file(const std::string& path, const Tensor& tensor);

}  // namespace redline
