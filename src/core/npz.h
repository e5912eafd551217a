// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "core/tensor.h"

namespace redline {

// The arrays of an .npz file as numpy.savez writes it, in its order, by their names without ".npy".
// Compressed archives (numpy.savez_compressed) are refused with the reason: this reader has no
// inflate. Checksums are verified. Elements are shared with `owner` as in read_npy.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
Result<NamedTensors> read_npz(std::span<const std::byte> bytes,
                              const std::shared_ptr<const void>& owner = nullptr);
// Maps the file. Errors name it.
Result<NamedTensors> read_npz_file(const std::string& path);

}  // namespace redline
