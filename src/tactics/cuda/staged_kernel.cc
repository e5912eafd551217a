// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/staged_kernel.h"

#include "kernels/cuda/sources.h"
#include "tactics/cuda/element.h"

namespace redline {
namespace {

constexpr size_t kMaxNumbers = 32;
constexpr int64_t kRadixTile = 4096;  // as sort/radix.cuh has it

}  // namespace

Status staged_supports(const Problem& problem) {
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present) continue;
      if (!operand.is_tensor || !operand.has_rank) {
        return unsupported("takes tensors of known rank");
      }
      if (operand.dtype == DType::kString) return unsupported("takes no strings");
    }
  }
  return {};
}

cuda::KernelSource staged_source(const Problem& problem, const StagedText& staged,
                                 const StagedFrame& frame, const cuda::DeviceInfo& device) {
  std::string text;
  for (const char* file : {"types.cuh", "math.cuh", "index.cuh", "arch/pdl.cuh", "block.cuh"}) {
    text += kernels::cuda::source(file);
  }
  for (const char* file : frame.files) text += kernels::cuda::source(file);
  std::string parameters;
  std::string named;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const OperandDesc& input = problem.inputs[i];
    std::string_view type = input.present ? storage_type(input.dtype) : "void";
    parameters += str_cat(pointer_to(input, type), "in", i, ", ");
  }
  for (size_t i = 0; i < problem.outputs.size(); ++i) {
    std::string_view type = storage_type(problem.outputs[i].dtype);
    parameters += str_cat("void* __restrict__ out_raw", i, ", ");
    named += str_cat("  ", type, "* const out", i, " = (", type, "*)out_raw", i, ";\n");
  }
  parameters += "char* workspace";
  for (size_t i = 0; i < frame.numbers; ++i) parameters += str_cat(", const i64 n", i);
  parameters += ", u32* refused";
  text +=
      // Left alone, ptxas spills to fit more blocks.
      str_cat(frame.functions, "extern \"C\" __global__ void __launch_bounds__(",
              StagedKernel::kThreads, ", 2) ", staged.entry, "(", parameters,
              ") {\n  wait_for_former();\n  release_next();\n", named, frame.prelude,
              staged.statements, "}\n");
  return {staged.entry, std::move(text), device.arch(), {}};
}

std::vector<cuda::KernelSource> staged_sources(const Problem& problem,
                                               const std::vector<StagedText>& texts,
                                               const StagedFrame& frame,
                                               const cuda::DeviceInfo& device) {
  std::vector<cuda::KernelSource> sources;
  for (const StagedText& text : texts) {
    sources.push_back(staged_source(problem, text, frame, device));
  }
  return sources;
}

Status StagedKernel::add(std::vector<Step>& steps, const PrepareArgs& args, size_t module,
                         const std::string& entry, Step step) {
  if (module >= args.modules.size()) return incompatible("a step without its kernels");
  if (step.blocks > INT32_MAX) return unsupported("more than ", INT32_MAX, " blocks of a kernel");
  REDLINE_ASSIGN(step.function,
                 cuda::Function::create(args.modules[module], entry, step.shared_bytes));
  step.programmatic = args.context->info().has_programmatic_launch();
  steps.push_back(std::move(step));
  return {};
}

Status StagedKernel::add_find(const PrepareArgs& args, size_t module, const std::string& entry,
                              int64_t blocks, std::vector<int64_t> numbers) {
  return add(find_, args, module, entry, {.blocks = blocks, .numbers = std::move(numbers)});
}

Status StagedKernel::add_run(const PrepareArgs& args, size_t module, const std::string& entry,
                             int64_t blocks, int output, std::vector<int64_t> numbers,
                             int shared_bytes) {
  return add(run_, args, module, entry,
             {.blocks = blocks,
              .output = output,
              .numbers = std::move(numbers),
              .shared_bytes = shared_bytes});
}

Status StagedKernel::launch(const std::vector<Step>& steps, const KernelArgs& args) const {
  if (args.inputs.size() + args.outputs.size() + 2 + kMaxNumbers > kMaxParameters) {
    return unsupported("more than ", kMaxParameters, " operands");
  }
  const void* pointers[kMaxParameters];
  void* parameters[kMaxParameters];
  uint32_t* refused = args.refused;
  size_t operands = 0;
  for (const TensorView& input : args.inputs) pointers[operands++] = input.data;
  for (const TensorView& output : args.outputs) pointers[operands++] = output.data;
  pointers[operands++] = args.workspace;
  for (size_t i = 0; i < operands; ++i) parameters[i] = &pointers[i];
  for (const Step& step : steps) {
    cuda::LaunchShape shape;
    int64_t blocks = step.blocks;
    if (step.output >= 0) {
      blocks = blocks_of(args.outputs[static_cast<size_t>(step.output)].count());
      if (blocks > INT32_MAX) return unsupported("more than ", INT32_MAX, " blocks of a kernel");
    }
    if (blocks == 0) continue;
    shape.grid.x = static_cast<unsigned int>(blocks);
    shape.block.x = kThreads;
    shape.shared_bytes = static_cast<unsigned int>(step.shared_bytes);
    shape.programmatic = step.programmatic;
    size_t count = operands;
    for (const int64_t& number : step.numbers) {
      if (count + 1 == kMaxParameters) return internal_error("too many numbers");
      parameters[count++] = const_cast<int64_t*>(&number);
    }
    parameters[count++] = &refused;
    REDLINE_TRY(cuda::launch(*args.stream, step.function, shape, {parameters, count}, name_));
  }
  return {};
}

int64_t WorkspaceLayout::add(int64_t bytes) {
  int64_t at = end_;
  end_ += (bytes + 255) / 256 * 256;
  return at;
}

std::string radix_tables(const RadixNumbers& at) {
  return str_cat("  u32* counts = (u32*)(workspace + ", n(at.counts),
                 ");\n  u32* totals = (u32*)(workspace + ", n(at.totals),
                 ");\n  const int tiles = (int)", n(at.tiles), ", shift = (int)", n(at.shift),
                 ";\n");
}

Result<size_t> StagedBuilder::module_of(std::string_view entry) const {
  for (size_t i = 0; i < texts_.size(); ++i) {
    if (texts_[i].entry == entry) return i;
  }
  return internal_error("there is no text of kernel ", entry);
}

Status StagedBuilder::find(std::string_view entry, int64_t blocks) {
  REDLINE_ASSIGN(size_t module, module_of(entry));
  return kernel_->add_find(args_, module, texts_[module].entry, blocks, numbers_);
}

Status StagedBuilder::run(std::string_view entry, int64_t blocks, int output) {
  REDLINE_ASSIGN(size_t module, module_of(entry));
  return kernel_->add_run(args_, module, texts_[module].entry, blocks, output, numbers_);
}

void StagedBuilder::add_radix(const RadixNumbers& at, int64_t rows, int64_t size,
                              int64_t item_bytes) {
  int64_t tiles = divide_up(size, kRadixTile);
  for (int64_t& side : radix_sides_) side = add_space(rows * size * item_bytes);
  numbers_[at.tiles] = tiles;
  numbers_[at.counts] = add_space(rows * 256 * tiles * 4);
  numbers_[at.totals] = add_space(rows * 256 * 4);
}

Status StagedBuilder::run_radix(const RadixNumbers& at, const std::string& name, int64_t rows,
                                std::span<const int64_t> shifts) {
  int64_t tiles = numbers_[at.tiles];
  numbers_[at.from] = -1;
  for (size_t i = 0; i < shifts.size(); ++i) {
    numbers_[at.shift] = shifts[i];
    numbers_[at.to] = radix_sides_[i % 2];
    REDLINE_TRY(run(name + "_count", rows * tiles));
    REDLINE_TRY(run(name + "_sum", rows * 256));
    REDLINE_TRY(run(name + "_move", rows * tiles));
    numbers_[at.from] = numbers_[at.to];
  }
  return {};
}

std::unique_ptr<Kernel> StagedBuilder::build() {
  kernel_->set_workspace_bytes(static_cast<size_t>(layout_.bytes()));
  return std::move(kernel_);
}

}  // namespace redline
