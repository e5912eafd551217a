// SPDX-License-Identifier: Apache-2.0
#include "slow_producer.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "kernels/cuda/sources.h"

namespace redline {
namespace {

constexpr size_t kAlignment = 256;  // at least one such piece lies behind each operand
constexpr unsigned char kPoison = 0xff;
constexpr unsigned int kBlocks = 32;  // few, so that the next kernel finds room beside them
constexpr unsigned int kThreads = 128;

// What the comparisons find, a word each.
constexpr const char* kFaults[] = {"other bits",
                                   "the producer had not ended when the next but one had waited",
                                   "something was written after the next kernel had waited"};
constexpr size_t kNumFaults = std::size(kFaults);

// Behind arch/pdl.cuh.
constexpr char kText[] = R"(
typedef unsigned long long u64;
extern "C" __global__ void produce(uint4* inputs, const uint4* source, u64 input_words,
                                   uint4* results, u64 result_words) {
  release_next();
#ifndef REDLINE_EMULATED
  u64 start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  do {
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  } while (now - start < 100000);
#endif
  u64 first = blockIdx.x * blockDim.x + threadIdx.x;
  u64 step = gridDim.x * blockDim.x;
  for (u64 i = first; i < input_words; i += step) inputs[i] = source[i];
  uint4 poison;
  poison.x = poison.y = poison.z = poison.w = 0xffffffffu;
  for (u64 i = first; i < result_words; i += step) results[i] = poison;
}

// Compares, and poisons what it has compared.
__device__ inline void take(uint4* got, const uint4* want, u64 words, unsigned int* different) {
  uint4 poison;
  poison.x = poison.y = poison.z = poison.w = 0xffffffffu;
  u64 step = gridDim.x * blockDim.x;
  for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
    uint4 a = got[i];
    uint4 b = want[i];
    if (a.x != b.x || a.y != b.y || a.z != b.z || a.w != b.w) *different = 1;
    got[i] = poison;
  }
}

extern "C" __global__ void compare(uint4* inputs, const uint4* source, u64 input_words,
                                   uint4* results, const uint4* want, u64 words,
                                   unsigned int* faults) {
  wait_for_former();
  release_next();
  take(results, want, words, faults);
  take(inputs, source, input_words, faults + 1);
}

// That all is still as the comparison left it.
extern "C" __global__ void look_again(const uint4* inputs, u64 input_words, const uint4* results,
                                      u64 words, unsigned int* faults) {
  wait_for_former();
  release_next();
  u64 first = blockIdx.x * blockDim.x + threadIdx.x;
  u64 step = gridDim.x * blockDim.x;
  for (u64 i = first; i < input_words + words; i += step) {
    uint4 a = i < input_words ? inputs[i] : results[i - input_words];
    if ((a.x & a.y & a.z & a.w) != 0xffffffffu) faults[2] = 1;
  }
}

extern "C" __global__ void reads_early(const unsigned int* input, unsigned int* output) {
  unsigned int early = *(const volatile unsigned int*)(input + threadIdx.x);
  wait_for_former();
  release_next();
  output[threadIdx.x] = early;
}
extern "C" __global__ void writes_early(const unsigned int* input, unsigned int* output) {
  output[threadIdx.x] = input[threadIdx.x];
  wait_for_former();
  release_next();
}
extern "C" __global__ void never_waits(const unsigned int* input, unsigned int* output) {
  output[threadIdx.x] = input[threadIdx.x];
}
extern "C" __global__ void waits(const unsigned int* input, unsigned int* output) {
  wait_for_former();
  release_next();
  output[threadIdx.x] = input[threadIdx.x];
}
)";

size_t padded(size_t bytes) { return (bytes / kAlignment + 2) * kAlignment; }

Status launch(const cuda::Stream& stream, const cuda::Function& function, bool programmatic,
              std::initializer_list<void*> parameters, std::string_view name) {
  cuda::LaunchShape shape;
  shape.grid.x = kBlocks;
  shape.block.x = kThreads;
  shape.programmatic = programmatic && stream.context()->info().has_programmatic_launch();
  return cuda::launch(stream, function, shape, {parameters.begin(), parameters.size()}, name);
}

// Operands one behind the other, and poison between them.
class Packing {
 public:
  size_t add(const TensorView& view) {
    size_t at = host_.size();
    host_.resize(at + padded(view.bytes()), kPoison);
    if (view.bytes() > 0) std::memcpy(host_.data() + at, view.data, view.bytes());
    return at;
  }
  size_t bytes() const { return host_.size(); }
  Result<cuda::DeviceBuffer> on_gpu(const cuda::ContextPtr& context, const cuda::Stream& stream,
                                    size_t more = 0) {
    host_.resize(host_.size() + padded(more), kPoison);
    REDLINE_ASSIGN(auto buffer, cuda::DeviceBuffer::create(context, host_.size()));
    REDLINE_TRY(stream.copy_to_device(buffer.ptr(), host_.data(), host_.size()));
    REDLINE_TRY(stream.synchronize());
    return buffer;
  }

 private:
  std::vector<unsigned char> host_;
};

// With both its parts where it finds its sizes, which are known here.
Status queue_kernel(const Kernel& kernel, const KernelArgs& args) {
  if (kernel.finds_sizes()) {
    REDLINE_TRY(kernel.find(args));
    bool empty = std::all_of(args.outputs.begin(), args.outputs.end(),
                             [](const TensorView& output) { return output.count() == 0; });
    if (empty) return {};
  }
  return kernel.run(args);
}

// Copies a block of words.
class CopyKernel final : public Kernel {
 public:
  explicit CopyKernel(const cuda::Function& function) : function_(function) {}
  Status run(const KernelArgs& args) const override {
    cuda::LaunchShape shape;
    shape.block.x = kThreads;
    shape.programmatic = true;
    void* pointers[] = {args.inputs[0].data, args.outputs[0].data};
    void* parameters[] = {&pointers[0], &pointers[1]};
    return cuda::launch(*args.stream, function_, shape, parameters, "a copy");
  }

 private:
  const cuda::Function& function_;
};

}  // namespace

Result<SlowProducer> SlowProducer::create(cuda::ContextPtr context, const Compile& compile) {
  SlowProducer made;
  made.context_ = std::move(context);
  REDLINE_ASSIGN(made.stream_, cuda::Stream::create(made.context_));
  REDLINE_ASSIGN(made.faults_, cuda::DeviceBuffer::create(made.context_, kAlignment));
  const std::string text = str_cat(kernels::cuda::source("arch/pdl.cuh"), kText);
  auto load = [&](const char* name, cuda::Function& function) -> Status {
    REDLINE_ASSIGN(cuda::CompiledKernel kernel,
                   compile({name, text, made.context_->info().arch(), {}}));
    REDLINE_ASSIGN(auto module, cuda::Module::create(made.context_, kernel.cubin));
    REDLINE_ASSIGN(function, cuda::Function::create(module, name));
    return {};
  };
  REDLINE_TRY(load("produce", made.produce_));
  REDLINE_TRY(load("compare", made.compare_));
  REDLINE_TRY(load("look_again", made.look_again_));
  REDLINE_TRY(load("waits", made.waits_));
  for (const char* name : {"reads_early", "writes_early", "never_waits"}) {
    REDLINE_TRY(load(name, made.wrong_[name]));
  }
  return made;
}

Status SlowProducer::queue_producer(const Buffers& buffers) const {
  cuda::DevicePtr pointers[] = {buffers.inputs.ptr(), buffers.source.ptr(), buffers.results.ptr()};
  unsigned long long words[] = {buffers.inputs.bytes() / 16, buffers.results.bytes() / 16};
  return launch(stream_, produce_, false,
                {&pointers[0], &pointers[1], &words[0], &pointers[2], &words[1]}, "produce");
}

Status SlowProducer::queue_comparisons(const Buffers& buffers) const {
  cuda::DevicePtr pointers[] = {buffers.inputs.ptr(), buffers.source.ptr(), buffers.results.ptr(),
                                buffers.want.ptr(), faults_.ptr()};
  unsigned long long words[] = {buffers.inputs.bytes() / 16, buffers.output_bytes / 16};
  REDLINE_TRY(launch(
      stream_, compare_, true,
      {&pointers[0], &pointers[1], &words[0], &pointers[2], &pointers[3], &words[1], &pointers[4]},
      "compare"));
  return launch(stream_, look_again_, true,
                {&pointers[0], &words[0], &pointers[2], &words[1], &pointers[4]}, "look_again");
}

// The graph, and what its replays find.
Status SlowProducer::replay(const Kernel& kernel, const KernelArgs& args, const Buffers& buffers,
                            int replays) const {
  REDLINE_ASSIGN(cuda::Graph graph, cuda::Graph::capture(stream_, [&]() -> Status {
                   REDLINE_TRY(queue_producer(buffers));
                   REDLINE_TRY(queue_kernel(kernel, args));
                   return queue_comparisons(buffers);
                 }));
  REDLINE_TRY(stream_.fill(faults_.ptr(), 0, faults_.bytes()));
  // What a kernel that is too early reads; each replay ends with the same.
  REDLINE_TRY(stream_.fill(buffers.inputs.ptr(), kPoison, buffers.inputs.bytes()));
  for (int i = 0; i < replays; ++i) REDLINE_TRY(graph.launch(stream_));
  unsigned int faults[kNumFaults] = {};
  REDLINE_TRY(stream_.copy_to_host(faults, faults_.ptr(), sizeof faults));
  REDLINE_TRY(stream_.synchronize());
  std::string found;
  for (size_t i = 0; i < kNumFaults; ++i) {
    if (faults[i] != 0) found += str_cat(found.empty() ? "" : "; ", kFaults[i]);
  }
  if (found.empty()) return {};
  return internal_error("behind a producer that lets it start early, in ", replays,
                        " replays: ", found);
}

Status SlowProducer::check(const Kernel& kernel, std::span<const TensorView> inputs,
                           const std::vector<bool>& constant, std::span<const TensorView> outputs,
                           int replays) {
  Packing made;
  Packing fixed;
  Packing expected;
  std::vector<TensorView> device_inputs(inputs.begin(), inputs.end());
  std::vector<TensorView> device_outputs(outputs.begin(), outputs.end());
  std::vector<size_t> offsets;
  // Where all operands are constant, this still tells whether the producer has ended.
  unsigned int mark[4] = {1, 2, 3, 4};
  made.add({DType::kUInt32, Dims{4}, mark});
  auto absent = [](const TensorView& view) { return view.data == nullptr && view.count() > 0; };
  for (size_t i = 0; i < inputs.size(); ++i) {
    offsets.push_back(absent(inputs[i]) ? 0 : (constant[i] ? fixed : made).add(inputs[i]));
  }
  std::vector<size_t> output_offsets;
  for (const TensorView& output : outputs) output_offsets.push_back(expected.add(output));
  Buffers buffers;
  REDLINE_ASSIGN(buffers.source, made.on_gpu(context_, stream_));
  REDLINE_ASSIGN(buffers.inputs, cuda::DeviceBuffer::create(context_, buffers.source.bytes()));
  REDLINE_ASSIGN(auto weights, fixed.on_gpu(context_, stream_));
  buffers.output_bytes = expected.bytes();
  REDLINE_ASSIGN(buffers.want, expected.on_gpu(context_, stream_));
  REDLINE_ASSIGN(buffers.results,
                 cuda::DeviceBuffer::create(
                     context_, buffers.output_bytes + padded(kernel.workspace_bytes())));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (absent(inputs[i])) continue;
    device_inputs[i].data =
        static_cast<char*>((constant[i] ? weights : buffers.inputs).data()) + offsets[i];
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    device_outputs[i].data = static_cast<char*>(buffers.results.data()) + output_offsets[i];
  }
  KernelArgs args;
  args.inputs = device_inputs;
  args.outputs = device_outputs;
  args.workspace = static_cast<char*>(buffers.results.data()) + buffers.output_bytes;
  args.stream = &stream_;
  REDLINE_ASSIGN(cuda::DeviceBuffer kept, stream_.zeros(kernel.kept_bytes()));
  args.kept = kept.data();
  return replay(kernel, args, buffers, replays);
}

Status SlowProducer::check_itself(bool beside) {
  std::vector<unsigned int> values(kThreads);
  for (unsigned int i = 0; i < kThreads; ++i) values[i] = i;
  std::vector<unsigned int> others = values;
  others.back() ^= 1u << 31;
  TensorView view{DType::kUInt32, Dims{kThreads}, values.data()};
  TensorView other{DType::kUInt32, Dims{kThreads}, others.data()};
  auto run = [&](const cuda::Function& function, TensorView& want, bool in_place) {
    return check(CopyKernel(function), std::span(&view, 1), {in_place}, std::span(&want, 1), 10);
  };
  for (bool in_place : {false, true}) REDLINE_TRY(run(waits_, view, in_place));
  if (run(waits_, other, true).ok()) return internal_error("one other bit is not found out");
  for (const auto& [name, function] : wrong_) {
    // A constant may be read early.
    if (beside && run(function, view, name != "reads_early").ok()) {
      return internal_error("a kernel that ", name, " is not found out");
    }
  }
  return {};
}

}  // namespace redline
