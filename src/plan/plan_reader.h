// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "plan/engine_file.h"

namespace redline {
namespace fbs {
struct Engine;
}

Status damaged(std::string_view what);

// The engine that a verified plan section describes; its constants point into `weights`, which
// `owner` keeps alive. At most `budget` bytes of text and numbers are copied out of the section: a
// file may name one string many times, which would make a small file fill the memory.
Result<LoadedEngine> read_stored_engine(const fbs::Engine& engine, const OpRegistry& ops,
                                        std::span<const std::byte> weights,
                                        std::shared_ptr<const void> owner, uint64_t budget);

}  // namespace redline
