// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/checked.h"
#include "tactics/cuda/rnn_plan.h"

namespace redline {
namespace {

constexpr size_t kMostInputs = 8;
constexpr size_t kMostOutputs = 3;

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

Status supports(const Problem& problem) { return recurrent_spec(problem).status(); }

std::vector<Config> configs(const Problem& problem) {
  Result<RecurrentSpec> spec = recurrent_spec(problem);
  if (!spec.ok()) return {};
  return recurrent_configs(*spec);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(RecurrentSpec spec, recurrent_spec(problem));
  REDLINE_ASSIGN(RecurrentKnobs knobs, recurrent_knobs(config, spec));
  REDLINE_ASSIGN(ProductKnobs product, product_knobs(config, spec.dtype));
  return recurrent_kernels(problem, spec, knobs, product, device);
}

class RecurrentLaunch final : public Kernel {
 public:
  size_t workspace_bytes() const override { return gates_bytes + exchange_bytes; }
  Status run(const KernelArgs& args) const override {
    const void* in[kMostInputs] = {};
    void* out[kMostOutputs] = {};
    for (size_t i = 0; i < args.inputs.size() && i < kMostInputs; ++i) in[i] = args.inputs[i].data;
    for (size_t i = 0; i < args.outputs.size() && i < kMostOutputs; ++i) {
      out[i] = args.outputs[i].data;
    }
    void* gate_values = args.workspace;
    void* exchange = static_cast<char*>(args.workspace) + gates_bytes;
    auto exchanged = static_cast<int64_t>(exchange_bytes / sizeof(uint64_t));
    if (gates_shape.grid.x > 0) {
      void* parameters[] = {
          &in[0], &in[1], &in[3], &gate_values, &exchange, &exchanged, const_cast<int*>(&rows)};
      REDLINE_TRY(cuda::launch(*args.stream, gates, gates_shape, parameters, "a recurrent op"));
    }
    if (steps_shape.grid.y == 0) return {};
    void* parameters[] = {&gate_values,
                          &in[2],
                          &in[3],
                          &in[4],
                          &in[5],
                          &in[6],
                          &in[7],
                          &out[0],
                          &out[1],
                          &out[2],
                          &exchange,
                          const_cast<int*>(&sequence),
                          const_cast<int*>(&batch)};
    return cuda::launch(*args.stream, steps, steps_shape, parameters, "a recurrent op");
  }

  cuda::Function gates, steps;
  cuda::LaunchShape gates_shape, steps_shape;
  size_t gates_bytes = 0, exchange_bytes = 0;
  int rows = 0, sequence = 0, batch = 0;
};

Status place_gates(RecurrentLaunch& launch, const RecurrentSpec& spec, const ProductKnobs& knobs,
                   const PrepareArgs& args) {
  auto shared = static_cast<int>(knobs.shared_bytes(spec.dtype));
  REDLINE_ASSIGN(launch.gates,
                 cuda::Function::create(args.modules[0], std::string(kGatesEntry), shared));
  int64_t columns = spec.gates * spec.hidden;
  int64_t tiles = divide_up(spec.rows(), knobs.tile_rows) * divide_up(columns, knobs.tile_columns);
  if (tiles > INT32_MAX) return unsupported("a product of ", spec.rows(), " rows");
  launch.gates_shape.grid = {static_cast<unsigned int>(tiles), 1,
                             static_cast<unsigned int>(spec.directions)};
  launch.gates_shape.block.x = static_cast<unsigned int>(knobs.threads());
  launch.gates_shape.shared_bytes = static_cast<unsigned int>(shared);
  launch.gates_bytes =
      aligned(static_cast<size_t>(spec.directions * spec.rows() * columns) * sizeof(float));
  return {};
}

// The kernel of the steps, and with how many units it was written.
Result<cuda::Function> find_steps(const RecurrentSpec& spec, RecurrentKnobs& knobs,
                                  RecurrentLayout& layout, const PrepareArgs& args) {
  const cuda::DeviceInfo& device = args.context->info();
  Status missing = incompatible("a recurrent op without its kernels");
  int64_t least = knobs.units;
  for (int64_t units : recurrent_units(spec)) {
    if (units < least) continue;
    knobs.units = units;
    REDLINE_ASSIGN(layout, recurrent_layout(spec, knobs, device.shared_bytes_per_block));
    Result<cuda::Function> found = cuda::Function::create(
        args.modules[1], recurrent_steps_entry(knobs), static_cast<int>(layout.shared_bytes));
    if (found.ok()) return found;
    missing = found.status();
  }
  return missing;
}

// All blocks of the steps must run at once.
Status place_steps(RecurrentLaunch& launch, const RecurrentSpec& spec, RecurrentKnobs knobs,
                   const PrepareArgs& args) {
  const cuda::DeviceInfo& device = args.context->info();
  RecurrentLayout layout;
  REDLINE_ASSIGN(launch.steps, find_steps(spec, knobs, layout, args));
  constexpr int kThreads = 32 * kRecurrentWarps;
  REDLINE_ASSIGN(int resident,
                 launch.steps.occupancy(kThreads, static_cast<size_t>(layout.shared_bytes)));
  int64_t blocks = divide_up(spec.hidden, knobs.units);
  int64_t most = device.multiprocessors * std::min(resident, 1);
  if (recurrent_blocks(spec, knobs) > most) {
    return incompatible("a recurrent step of ", recurrent_blocks(spec, knobs),
                        " blocks that must run at once, of which the GPU has room for ", most);
  }
  int64_t slices = divide_up(spec.batch, knobs.batch);
  int64_t groups = std::min(slices, most / (blocks * spec.directions));
  launch.steps_shape.grid = {static_cast<unsigned int>(blocks),
                             static_cast<unsigned int>(groups * spec.directions), 1};
  launch.steps_shape.block.x = kThreads;
  launch.steps_shape.shared_bytes = static_cast<unsigned int>(layout.shared_bytes);
  int64_t span = divide_up(spec.hidden, 2) * 2;
  launch.exchange_bytes =
      static_cast<size_t>(groups * spec.directions * 2 * knobs.batch * span) * sizeof(uint64_t);
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(RecurrentSpec spec, recurrent_spec(problem));
  REDLINE_ASSIGN(RecurrentKnobs knobs, recurrent_knobs(config, spec));
  REDLINE_ASSIGN(ProductKnobs product, product_knobs(config, spec.dtype));
  if (args.modules.size() != 2) return incompatible("a recurrent op without its kernels");
  constexpr int64_t kMostSteps = INT32_MAX / 4;  // numbers of what is handed on are 32 bits
  if (spec.sequence > kMostSteps || spec.batch > kMostSteps || spec.rows() > kMostSteps) {
    return unsupported("a sequence of ", spec.sequence, " steps of ", spec.batch);
  }
  auto launch = std::make_unique<RecurrentLaunch>();
  launch->rows = static_cast<int>(spec.rows());
  launch->sequence = static_cast<int>(spec.sequence);
  launch->batch = static_cast<int>(spec.batch);
  REDLINE_TRY(place_gates(*launch, spec, product, args));
  REDLINE_TRY(place_steps(*launch, spec, knobs, args));
  launch->gates_shape.programmatic = args.context->info().has_programmatic_launch();
  launch->steps_shape.programmatic = launch->gates_shape.programmatic;
  launch->steps_shape.together = true;
  return std::unique_ptr<Kernel>(std::move(launch));
}

}  // namespace

void register_tactic_rnn(TacticRegistry& registry) {
  registry.add({.name = "cuda.rnn",
                .device = "cuda",
                .ops = {"rnn", "gru", "lstm"},
                .supports = supports,
                .configs = configs,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
