// SPDX-License-Identifier: Apache-2.0
// Engine files whose checksums are right, whatever is in their plans.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <vector>

#include "base/hash.h"
#include "core/dtype.h"
#include "plan/engine_format.h"
#include "plan/plan_generated.h"

namespace redline {

inline constexpr size_t kSealedPlanOffset = 256;
inline constexpr size_t kMaxSealedWeights = 1 << 16;

// Gives each constant the hash of the zeros it will find, where the plan can be read at all.
inline EngineSection seal_weights(std::span<std::byte> plan) {
  EngineSection section;
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(plan.data()), plan.size(), 256);
  std::vector<Hash128> hashes;
  if (fbs::VerifyEngineBuffer(verifier) && fbs::GetEngine(plan.data())->constants() != nullptr) {
    static const std::vector<std::byte> zeros(kMaxSealedWeights);
    std::map<uint64_t, uint64_t> blobs;
    for (const auto* c : *fbs::GetEngine(plan.data())->constants()) {
      // Tables may overlap: what is read after the write may be the hash.
      const uint64_t bytes = c->bytes();
      const uint64_t offset = c->offset();
      if (bytes > kMaxSealedWeights || c->hash() == nullptr) continue;
      Hash128 hash = hash128(std::span(zeros).first(bytes));
      *const_cast<fbs::Hash*>(c->hash()) = fbs::Hash(hash.low, hash.high);
      if (static_cast<DType>(c->dtype()) != DType::kString) blobs.emplace(offset, bytes);
    }
    for (auto [offset, bytes] : blobs) {
      if (offset > kMaxSealedWeights) continue;
      section.bytes = std::max(section.bytes, align_weight(offset + bytes));
      hashes.push_back(hash128(std::span(zeros).first(bytes)));
    }
  }
  section.hash = hash128(std::as_bytes(std::span(hashes)));
  return section;
}

// The engine with that plan and with weights of zeros.
inline std::vector<std::byte> engine_around(std::span<const std::byte> bytes) {
  std::vector<std::byte> plan(bytes.begin(), bytes.end());
  EngineHeader header;
  std::memcpy(header.magic, kEngineMagic, sizeof header.magic);
  header.weights = seal_weights(plan);
  header.plan = {kSealedPlanOffset, plan.size(), hash128(plan)};
  header.weights.offset = align_weight(kSealedPlanOffset + plan.size());
  header.file_bytes = header.weights.offset + header.weights.bytes;
  header.hash = header_hash(header);
  std::vector<std::byte> file(header.file_bytes);
  std::memcpy(file.data(), &header, sizeof header);
  if (!plan.empty()) std::memcpy(file.data() + kSealedPlanOffset, plan.data(), plan.size());
  return file;
}

}  // namespace redline
