// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <map>

#include "base/hash.h"
#include "base/mmap_file.h"
#include "plan/engine_file.h"
#include "plan/engine_format.h"
#include "plan/plan_generated.h"
#include "plan/plan_reader.h"

namespace redline {
namespace {

// What a table takes at least in an honest file: an offset to it, and its start.
constexpr size_t kTableBytes = 8;
constexpr size_t kMaxPlanBytes = FLATBUFFERS_MAX_BUFFER_SIZE - 1;

}  // namespace

bool looks_like_engine(std::span<const std::byte> bytes) {
  size_t known = std::min(bytes.size(), sizeof kEngineMagic);
  return known > 0 && std::memcmp(bytes.data(), kEngineMagic, known) == 0;
}

Result<LoadedEngine> load_engine(const std::string& path, const OpRegistry& ops) {
  REDLINE_ASSIGN(std::shared_ptr<const MmapFile> file, MmapFile::open(path));
  std::span<const std::byte> bytes = file->bytes();
  Result<LoadedEngine> engine = parse_engine(bytes, std::move(file), ops);
  if (!engine.ok()) return engine.status().with_context(path);
  return engine;
}

Result<LoadedEngine> parse_engine(std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> owner, const OpRegistry& ops) {
  if (!looks_like_engine(bytes)) return invalid_argument("not a Redline engine");
  if (bytes.size() < sizeof(EngineHeader)) return damaged("it ends inside its header");
  EngineHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.library[sizeof header.library - 1] = '\0';
  if (header.format != kEngineFormat) {
    return incompatible("engine has format ", header.format, " (written by Redline ",
                        header.library, "), this is Redline " REDLINE_VERSION " with format ",
                        kEngineFormat, "; build the engine again");
  }
  EngineHeader stored;
  std::memcpy(&stored, bytes.data(), sizeof stored);
  if (header.header_bytes != sizeof(EngineHeader) || header_hash(stored) != header.hash) {
    return damaged("its header's checksum differs");
  }
  if (header.file_bytes != bytes.size()) {
    return damaged(str_cat("it has ", bytes.size(), " bytes, expected ", header.file_bytes));
  }
  auto inside = [&](const EngineSection& s) {
    return s.offset <= bytes.size() && s.bytes <= bytes.size() - s.offset;
  };
  if (!inside(header.plan) || !inside(header.weights) ||
      header.weights.offset % kWeightAlignment != 0) {
    return damaged("its section table");
  }
  auto plan_bytes = bytes.subspan(header.plan.offset, header.plan.bytes);
  if (hash128(plan_bytes) != header.plan.hash) return damaged("the plan's checksum differs");
  auto zero = [&](uint64_t from, uint64_t to) {
    return std::all_of(bytes.begin() + static_cast<ptrdiff_t>(from),
                       bytes.begin() + static_cast<ptrdiff_t>(to),
                       [](std::byte b) { return b == std::byte{0}; });
  };
  if (header.plan.offset < sizeof(EngineHeader) || header.plan.offset % sizeof(uint64_t) != 0 ||
      header.weights.offset < header.plan.offset + header.plan.bytes ||
      !zero(sizeof(EngineHeader), header.plan.offset) ||
      !zero(header.plan.offset + header.plan.bytes, header.weights.offset)) {
    return damaged("bytes between its sections");
  }
  if (plan_bytes.size() > kMaxPlanBytes) return damaged("its plan");
  // A table that is named twice is read twice: a file may not have more than fit into it.
  flatbuffers::Verifier verifier(
      reinterpret_cast<const uint8_t*>(plan_bytes.data()), plan_bytes.size(), /*max_depth=*/256,
      static_cast<flatbuffers::uoffset_t>(plan_bytes.size() / kTableBytes + 1));
  if (!fbs::VerifyEngineBuffer(verifier)) return damaged("its plan");
  const fbs::Engine& engine = *fbs::GetEngine(plan_bytes.data());

  auto weights = bytes.subspan(header.weights.offset, header.weights.bytes);
  // Each distinct constant and cubin once, in the order of the file.
  struct Blob {
    uint64_t bytes;
    const fbs::Hash* hash;
    const flatbuffers::String* name;
  };
  std::map<uint64_t, Blob> blobs;
  if (engine.constants() != nullptr) {
    for (const fbs::Constant* c : *engine.constants()) {
      if (static_cast<DType>(c->dtype()) == DType::kString) continue;
      blobs.emplace(c->offset(), Blob{c->bytes(), c->hash(), c->name()});
    }
  }
  if (engine.kernels() != nullptr) {
    for (const fbs::Kernel* k : *engine.kernels()) {
      blobs.emplace(k->offset(), Blob{k->bytes(), k->hash(), k->entry()});
    }
  }
  std::vector<Hash128> hashes;
  uint64_t end = 0;
  for (const auto& [offset, blob] : blobs) {
    if (offset != end || blob.bytes > weights.size() - offset || blob.hash == nullptr)
      return damaged("its weights");
    Hash128 hash = hash128(weights.subspan(offset, blob.bytes));
    if (hash != Hash128{blob.hash->low(), blob.hash->high()}) {
      return damaged(str_cat("the checksum of weight '", blob.name ? blob.name->string_view() : "",
                             "' differs"));
    }
    hashes.push_back(hash);
    end = align_weight(offset + blob.bytes);
    if (end > weights.size() ||
        !zero(header.weights.offset + offset + blob.bytes, header.weights.offset + end)) {
      return damaged("its weights");
    }
  }
  if (end != weights.size() || hash128(std::as_bytes(std::span(hashes))) != header.weights.hash) {
    return damaged("its weights");
  }

  return read_stored_engine(engine, ops, weights, std::move(owner), plan_bytes.size());
}

}  // namespace redline
