// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "ops/op.h"

namespace redline {

// Where a value lives during a run.
enum class Storage : uint8_t {
  kInput,     // the caller's memory
  kConstant,  // the engine's weights
  kArena,     // at a planned offset, when its sizes can be computed before the run
  kAlias,     // the same elements as `alias_of`, other sizes
};

// Whose memory it is.
enum class Space : uint8_t { kHost, kDevice };

struct PlanValue {
  std::string name;
  Type type;
  Storage storage = Storage::kArena;
  int constant = -1;  // kConstant: index into Plan::constants
  int alias_of = -1;  // kAlias: an earlier value of the same space
  Space space = Space::kHost;
};

// A constant of the model, or one that a tactic packed for itself.
struct PlanConstant {
  Tensor data;         // as stored: packed bytes are u8[n]
  Type type;           // what it was before packing
  std::string recipe;  // empty: stored as it is
  std::string name;
};

// A kernel of a GPU tactic, compiled for the engine's device_arch.
struct PlanKernel {
  std::string entry;
  Tensor cubin;          // u8[n]
  int registers = 0;     // of a thread
  int shared_bytes = 0;  // of a block: static, and what its launches add
  int dynamic_shared_bytes = 0;
  int spill_bytes = 0;
  int threads = 0;  // of a block; 0: of an engine that does not say
};

// Another way to run a step, on the same device, that suits other sizes better. Its operands are
// the step's, but constants may be packed otherwise.
struct PlanVariant {
  std::string tactic;
  AttrMap config;
  std::vector<std::shared_ptr<const PlanKernel>> kernels;
  std::vector<int> inputs;
  int64_t elements = 0;  // that the step's first output has in those sizes
};

struct Plan;

// Tactics that the runtime carries out itself: the same elements with other sizes, and copies of a
// value between the host's memory and the GPU's (identity ops).
inline constexpr std::string_view kViewTactic = "view";
inline constexpr std::string_view kUploadTactic = "upload";
inline constexpr std::string_view kDownloadTactic = "download";

// One op to run. Operands are indices of values; -1 is an absent one.
struct PlanStep {
  static constexpr int kMostStreams = 8;
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<int> inputs;
  std::vector<int> outputs;
  std::string name;    // the nodes of the model that it came from
  std::string tactic;  // empty: the reference
  bool is_copy() const { return tactic == kUploadTactic || tactic == kDownloadTactic; }
  AttrMap config;
  std::vector<std::shared_ptr<const PlanKernel>> kernels;  // as Tactic::kernels lists them
  int64_t elements = 0;  // as above, in the sizes that config and kernels were chosen for
  std::vector<PlanVariant> variants;
  // Of steps on the GPU in a row: those on different streams may run side by side, see StepOrder.
  int stream = 0;
  double us = 0;      // measured when the engine was built or by a record; 0: not timed
  double error = -1;  // against the reference, over its largest value; negative: not checked
  // Subgraphs, each with the values it reads from outside, which follow its own inputs.
  std::vector<std::unique_ptr<Plan>> subplans;
  std::vector<std::vector<int>> captures;
};

struct NamedValue {
  std::string name;
  int value = -1;
};

// A straight list of steps over numbered values: what an engine file holds and a session runs.
struct Plan {
  std::vector<PlanValue> values;
  std::vector<PlanStep> steps;
  std::vector<NamedValue> inputs;
  std::vector<NamedValue> outputs;
  std::vector<std::shared_ptr<const PlanConstant>> constants;
};

// The constant that a value is; null for other values, and for -1.
inline const PlanConstant* constant_of(const Plan& plan, int value) {
  if (value < 0) return nullptr;
  const PlanValue& v = plan.values[static_cast<size_t>(value)];
  if (v.storage != Storage::kConstant || v.constant < 0) return nullptr;
  return plan.constants[static_cast<size_t>(v.constant)].get();
}
inline bool is_packed(const Plan& plan, int value) {
  const PlanConstant* constant = constant_of(plan, value);
  return constant != nullptr && !constant->recipe.empty();
}

// Facts about a whole engine that its file's header repeats.
struct EngineInfo {
  std::string model;  // file name or producer, for people
  std::string device = "cpu";
  std::string device_arch;  // CPU instruction set, or GPU architecture
  std::string libraries;    // versions that packed constants depend on ("onednn 2.6.3"), or empty
  std::vector<std::pair<std::string, std::string>> metadata;  // the model's own
};

}  // namespace redline
