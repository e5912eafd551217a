// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "plan/plan.h"

namespace redline {

// An engine file: a fixed header (magic, format and library version, section table, checksum), the
// plan as FlatBuffers, and the weights, each constant at a multiple of 256 bytes, equal ones stored
// once. All integers little-endian. Every byte is covered by a checksum.
struct LoadedEngine {
  EngineInfo info;
  Plan plan;  // its constants point into the mapped file
};

// Writes it whole or not at all.
Status save_engine(const std::string& path, const EngineInfo& info, const Plan& plan);
Result<std::vector<std::byte>> serialize_engine(const EngineInfo& info, const Plan& plan);
// Calls write(bytes) for the parts of the file in order, header first.
Status write_engine(const EngineInfo& info, const Plan& plan,
                    FunctionRef<Status(std::span<const std::byte>)> write);

// Maps the file. Refuses, with the reason and what to do, a file that is not an engine, is
// truncated, damaged, of another format version, or names ops that this build lacks. `owner` keeps
// `bytes` alive.
Result<LoadedEngine> load_engine(const std::string& path, const OpRegistry& ops);
Result<LoadedEngine> parse_engine(std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> owner, const OpRegistry& ops);

// True when the bytes begin like an engine file.
bool looks_like_engine(std::span<const std::byte> bytes);

}  // namespace redline
