// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "core/tensor.h"
#include "core/type.h"
#include "device/compiler.h"
#include "device/module.h"
#include "ops/op.h"

namespace redline {

// A size that is not known when the question is asked; concrete whenever a kernel is prepared.
inline constexpr int64_t kDynamicDim = -1;

// One operand of a problem.
struct OperandDesc {
  bool present = true;
  DType dtype = DType::kFloat32;
  Dims dims;                         // kDynamicDim where a size may vary from run to run
  bool has_rank = true;              // false: even the rank may vary
  bool is_tensor = true;             // false: a sequence or an optional
  bool like_output = false;          // its sizes, known or not, are always the first output's
  const Tensor* constant = nullptr;  // its value, when it is a constant of the model
  const Tensor* packed = nullptr;    // u8[n] instead, when the step's tactic packed it

  bool is_static() const;
  bool is_constant() const { return constant != nullptr || packed != nullptr; }
};

// What a tactic is asked to do: an op with its attributes and operands.
struct Problem {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<OperandDesc> inputs;
  std::vector<OperandDesc> outputs;
  bool has_subgraphs = false;
  // GPU kernels index operands of more elements than this with 64 bits. Tests make it small.
  int64_t most_short_indices = int64_t{1} << 30;

  bool is(std::string_view name) const { return op->name == name; }
  // "conv(f32[1,3,224,224], const f32[64,3,7,7]) {strides=[2, 2]} -> f32[1,64,112,112]": the key of
  // the tuning database.
  std::string to_string() const;
};

// Notes which inputs and further outputs are like_output, of the operands' types, null where
// absent.
void note_like_output(Problem& problem, std::span<const Type* const> inputs,
                      std::span<const Type* const> outputs);

// A problem seen as a region: a fused region's own body, or the single op.
Body body_of(const Problem& problem);

// The memory a kernel works on. Absent operands have null data; on a GPU no others do, for copies
// of no bytes fault there too when their address is none.
struct KernelArgs {
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  void* workspace = nullptr;  // of workspace_bytes(), 64-byte aligned, contents undefined
  ThreadPool* pool = nullptr;
  const cuda::Stream* stream = nullptr;  // GPU kernels: where to queue; all addresses are the GPU's
  // Made 1 by a GPU kernel whose operands name what is not there: the host's memory, which kernels
  // can write to. May be null.
  uint32_t* refused = nullptr;
  // GPU kernels: of kept_bytes(), 256-byte aligned: zeros before the first run of a session's step,
  // then what the run before left.
  void* kept = nullptr;
};

// One step made ready for one set of sizes. Immutable and thread-safe: what changes during a run is
// in the arguments. `run` does not allocate, lock or format text unless it fails.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual size_t workspace_bytes() const { return 0; }
  // GPU kernels: what they leave for their next run, which begins when this one has ended.
  virtual size_t kept_bytes() const { return 0; }
  // Kernels of ops whose output sizes depend on values (kTraitDataDependent). They are prepared
  // with kDynamicDim for such sizes and run in two parts: find() queues what finds out how many
  // there are and leaves that as an i64 at the start of the workspace; the caller reads it, makes
  // outputs of these sizes and calls run() with them and the same workspace.
  virtual bool finds_sizes() const { return false; }
  virtual Status find(const KernelArgs&) const { return internal_error("no sizes to find"); }
  virtual std::vector<Dims> sizes(int64_t) const { return {}; }
  // Why it is far slower than it should be, in words ("oneDNN has only reference code for it");
  // empty when it is not. Said to the user, for a slow right answer must not pass unseen.
  virtual std::string slow_because() const { return {}; }
  virtual Status run(const KernelArgs& args) const = 0;
};

// The knobs of one way to run a tactic, as data: printed, stored in the engine and in the tuning
// database. Empty for tactics with a single way.
using Config = AttrMap;

// Constant operands in the form a tactic wants them, made once at build time.
struct PackedOperand {
  size_t input = 0;
  Tensor bytes;        // u8[n]
  std::string recipe;  // names the packing, so that a refit can repeat it
};

struct PrepareArgs {
  ThreadPool* pool = nullptr;
  // GPU tactics: where, and what became of the texts of `kernels`, in their order.
  cuda::ContextPtr context;
  std::span<const std::shared_ptr<const cuda::Module>> modules;
  // The problem that those were written for, whose unknown sizes are kDynamicDim.
  const Problem* written = nullptr;
  // While an engine is built for a GPU: for which, and what makes its kernels. Without a context
  // nothing can be run.
  const cuda::DeviceInfo* gpu = nullptr;
  cuda::KernelCompiler* compiler = nullptr;
  // For the tuner: a config that does not suit the sizes is refused. Otherwise such a step runs in
  // the tactic's usual way.
  bool strict = false;
  int num_threads() const { return pool->num_threads(); }
};

// One way to run an op (or a fused region). A new tactic is one file that fills one of these.
struct Tactic {
  std::string name;              // "cpu.conv.onednn"
  std::string device;            // "cpu"
  std::vector<std::string> ops;  // the ops it may take
  // OK, or the reason why not, in words. Asked with kDynamicDim where sizes vary: a yes must hold
  // for every size. Asked again before prepare(), with packed operands in place of constant ones.
  Status (*supports)(const Problem& problem) = nullptr;
  // `supports`, and whether it rounds where the problem says tf32, which no kernel for the CPU
  // does.
  Status takes(const Problem& problem) const;
  // The ways worth trying for the problem (concrete sizes), best guess first; null: one, empty.
  std::vector<Config> (*configs)(const Problem& problem) = nullptr;
  // GPU tactics: whether a config is for a GPU, having what it needs; absent: for all.
  bool (*fits)(const Config& config, const cuda::DeviceInfo& device) = nullptr;
  // GPU tactics: configs that differ from one in how its kernels overlap those around them, which
  // shows only among others. Absent: there are none.
  std::vector<Config> (*overlaps)(const Config& config) = nullptr;
  // Optional: rewrites constant operands. May add to `config` what prepare() needs to read them.
  // Asked with the sizes to optimise for; those that are unknown even so are kDynamicDim.
  Result<std::vector<PackedOperand>> (*pack)(const Problem& problem, Config& config,
                                             const PrepareArgs& args) = nullptr;
  // GPU tactics: the kernels to compile when an engine is built, for a problem whose unknown sizes
  // are kDynamicDim, and for the architecture and limits of `device`.
  Result<std::vector<cuda::KernelSource>> (*kernels)(const Problem& problem, const Config& config,
                                                     const cuda::DeviceInfo& device) = nullptr;
  // For concrete sizes. Operands that were packed have their packed bytes in KernelArgs, while the
  // problem describes what they were.
  Result<std::unique_ptr<Kernel>> (*prepare)(const Problem& problem, const Config& config,
                                             const PrepareArgs& args) = nullptr;
  int preference = 0;  // ties and unmeasured choices: higher first
  int version = 1;     // raised when its results or times change: what was measured before is void
  // Name and version of the library behind it; null: our own code.
  std::string (*library)() = nullptr;

  // "cpu.onednn.conv@1 onednn 2.6.3 avx512_core": what measurements are kept under.
  std::string versioned_name() const;
};

class TacticRegistry {
 public:
  void add(Tactic tactic);
  const Tactic* find(std::string_view name) const;
  // Those of a device that may take the op, preferred first.
  std::vector<const Tactic*> candidates(std::string_view device, std::string_view op) const;
  std::vector<const Tactic*> all() const;

 private:
  std::vector<std::unique_ptr<Tactic>> tactics_;
};

// The library, version and instruction set that packed constants are read with here:
// "onednn 2.6.3 avx512_core". Empty without such a library.
std::string packing_library();

// Every tactic of the CPU folder.
void register_tactic_all(TacticRegistry& registry);
std::unique_ptr<TacticRegistry> make_tactic_registry();

}  // namespace redline
