// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as the plan of an engine file. Header and checksums are made to fit, since
// mutated ones would end every run at the first comparison; that those catch damage is what plan
// tests are for.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/hash.h"
#include "plan/engine_file.h"
#include "plan/plan_generated.h"

namespace {

constexpr size_t kPlanOffset = 256;
constexpr size_t kMaxWeights = 1 << 16;
// Where the fields of the header are.
constexpr size_t kFileBytes = 48, kPlanSection = 56, kWeightsSection = 88, kHeaderHash = 120;
constexpr size_t kHeaderBytes = 136;

size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

struct Section {
  uint64_t offset, bytes;
  redline::Hash128 hash;
};

template <class T>
void put(std::vector<std::byte>& file, size_t offset, const T& value) {
  std::memcpy(file.data() + offset, &value, sizeof value);
}

// Gives each constant the hash of the zeros it will find, and returns the weights section.
Section seal_weights(std::span<std::byte> plan, std::vector<std::byte>& file) {
  Section section{file.size(), 0, {}};
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(plan.data()), plan.size(), 256);
  std::vector<redline::Hash128> hashes;
  if (redline::fbs::VerifyEngineBuffer(verifier)) {
    static const std::vector<std::byte> zeros(kMaxWeights);
    const auto* constants = redline::fbs::GetEngine(plan.data())->constants();
    std::map<uint64_t, uint64_t> blobs;
    if (constants != nullptr) {
      for (const auto* c : *constants) {
        if (c->bytes() > kMaxWeights || c->hash() == nullptr) continue;
        redline::Hash128 hash = redline::hash128(std::span(zeros).first(c->bytes()));
        *const_cast<redline::fbs::Hash*>(c->hash()) = redline::fbs::Hash(hash.low, hash.high);
        if (static_cast<redline::DType>(c->dtype()) != redline::DType::kString) {
          blobs.emplace(c->offset(), c->bytes());
        }
      }
    }
    for (auto [offset, bytes] : blobs) {
      if (offset > kMaxWeights) continue;
      section.bytes = std::max<uint64_t>(section.bytes, round_up(offset + bytes));
      hashes.push_back(redline::hash128(std::span(zeros).first(bytes)));
    }
  }
  section.hash = redline::hash128(std::as_bytes(std::span(hashes)));
  return section;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  static const auto ops = redline::make_op_registry();
  static const auto empty = redline::serialize_engine({}, {});
  if (!empty.ok()) __builtin_trap();

  auto file = std::make_shared<std::vector<std::byte>>(*empty);
  file->resize(kPlanOffset);
  auto input = std::as_bytes(std::span(data, bytes));
  file->insert(file->end(), input.begin(), input.end());
  file->resize(round_up(file->size()));

  Section weights = seal_weights(std::span(*file).subspan(kPlanOffset, bytes), *file);
  file->resize(weights.offset + weights.bytes);
  Section plan{kPlanOffset, bytes, redline::hash128(std::span(*file).subspan(kPlanOffset, bytes))};
  put(*file, kFileBytes, static_cast<uint64_t>(file->size()));
  put(*file, kPlanSection, plan);
  put(*file, kWeightsSection, weights);
  put(*file, kHeaderHash, redline::Hash128{});
  put(*file, kHeaderHash, redline::hash128(std::span(*file).first(kHeaderBytes)));

  auto engine = redline::parse_engine(std::span<const std::byte>(*file), file, *ops);
  if (!engine.ok() && engine.status().message().empty()) __builtin_trap();
  return 0;
}
