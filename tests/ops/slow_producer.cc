// SPDX-License-Identifier: Apache-2.0
#include "slow_producer.h"

#include <algorithm>
#include <cstring>

namespace redline {
namespace {

constexpr size_t kAlignment = 256;  // at least one such piece lies behind each operand
constexpr unsigned char kPoison = 0xff;
constexpr unsigned int kBlocks = 32;  // few, so that the next kernel finds room beside them
constexpr unsigned int kThreads = 128;

constexpr char kText[] = R"(
typedef unsigned long long u64;
extern "C" __global__ void produce(uint4* inputs, const uint4* source, u64 input_words,
                                   uint4* results, u64 result_words) {
#ifndef REDLINE_EMULATED
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
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

extern "C" __global__ void compare(const uint4* results, const uint4* want, u64 words,
                                   unsigned int* different) {
  u64 step = gridDim.x * blockDim.x;
  for (u64 i = blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
    uint4 a = results[i];
    uint4 b = want[i];
    if (a.x != b.x || a.y != b.y || a.z != b.z || a.w != b.w) *different = 1;
  }
}

// Does not wait for what it reads.
extern "C" __global__ void hasty(const unsigned int* input, unsigned int* output) {
  output[threadIdx.x] = input[threadIdx.x];
}
)";

size_t padded(size_t bytes) { return (bytes / kAlignment + 2) * kAlignment; }

Status launch(const cuda::Stream& stream, const cuda::Function& function,
              std::initializer_list<void*> parameters, std::string_view name) {
  cuda::LaunchShape shape;
  shape.grid.x = kBlocks;
  shape.block.x = kThreads;
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

class Hasty final : public Kernel {
 public:
  explicit Hasty(const cuda::Function& function) : function_(function) {}
  Status run(const KernelArgs& args) const override {
    cuda::LaunchShape shape;
    shape.block.x = kThreads;
    shape.programmatic = true;
    void* pointers[] = {args.inputs[0].data, args.outputs[0].data};
    void* parameters[] = {&pointers[0], &pointers[1]};
    return cuda::launch(*args.stream, function_, shape, parameters, "hasty");
  }

 private:
  const cuda::Function& function_;
};

}  // namespace

Result<SlowProducer> SlowProducer::create(cuda::ContextPtr context, const Compile& compile) {
  SlowProducer made;
  made.context_ = std::move(context);
  REDLINE_ASSIGN(made.stream_, cuda::Stream::create(made.context_));
  REDLINE_ASSIGN(made.different_, cuda::DeviceBuffer::create(made.context_, kAlignment));
  for (auto [name, function] : {std::pair("produce", &made.produce_),
                                {"compare", &made.compare_},
                                {"hasty", &made.hasty_}}) {
    REDLINE_ASSIGN(cuda::CompiledKernel kernel,
                   compile({name, kText, made.context_->info().arch(), {}}));
    REDLINE_ASSIGN(auto module, cuda::Module::create(made.context_, kernel.cubin));
    REDLINE_ASSIGN(*function, cuda::Function::create(module, name));
  }
  return made;
}

Status SlowProducer::queue_producer(const cuda::DeviceBuffer& inputs,
                                    const cuda::DeviceBuffer& source,
                                    const cuda::DeviceBuffer& results) const {
  // What a kernel that is too early reads.
  REDLINE_TRY(stream_.fill(inputs.ptr(), kPoison, inputs.bytes()));
  cuda::DevicePtr pointers[] = {inputs.ptr(), source.ptr(), results.ptr()};
  unsigned long long words[] = {inputs.bytes() / 16, results.bytes() / 16};
  return launch(stream_, produce_, {&pointers[0], &pointers[1], &words[0], &pointers[2], &words[1]},
                "produce");
}

Status SlowProducer::queue_comparison(const cuda::DeviceBuffer& results,
                                      const cuda::DeviceBuffer& want, size_t bytes) const {
  cuda::DevicePtr pointers[] = {results.ptr(), want.ptr(), different_.ptr()};
  unsigned long long words = bytes / 16;
  return launch(stream_, compare_, {&pointers[0], &pointers[1], &words, &pointers[2]}, "compare");
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
  auto absent = [](const TensorView& view) { return view.data == nullptr && view.count() > 0; };
  for (size_t i = 0; i < inputs.size(); ++i) {
    offsets.push_back(absent(inputs[i]) ? 0 : (constant[i] ? fixed : made).add(inputs[i]));
  }
  std::vector<size_t> output_offsets;
  for (const TensorView& output : outputs) output_offsets.push_back(expected.add(output));
  REDLINE_ASSIGN(auto source, made.on_gpu(context_, stream_));
  REDLINE_ASSIGN(auto in, cuda::DeviceBuffer::create(context_, source.bytes()));
  REDLINE_ASSIGN(auto weights, fixed.on_gpu(context_, stream_));
  size_t output_bytes = expected.bytes();
  REDLINE_ASSIGN(auto want, expected.on_gpu(context_, stream_));
  REDLINE_ASSIGN(auto results, cuda::DeviceBuffer::create(
                                   context_, output_bytes + padded(kernel.workspace_bytes())));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (absent(inputs[i])) continue;
    device_inputs[i].data = static_cast<char*>((constant[i] ? weights : in).data()) + offsets[i];
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    device_outputs[i].data = static_cast<char*>(results.data()) + output_offsets[i];
  }
  KernelArgs args;
  args.inputs = device_inputs;
  args.outputs = device_outputs;
  args.workspace = static_cast<char*>(results.data()) + output_bytes;
  args.stream = &stream_;
  REDLINE_ASSIGN(cuda::DeviceBuffer kept, stream_.zeros(kernel.kept_bytes()));
  args.kept = kept.data();
  REDLINE_ASSIGN(cuda::Graph graph, cuda::Graph::capture(stream_, [&]() -> Status {
                   REDLINE_TRY(queue_producer(in, source, results));
                   REDLINE_TRY(queue_kernel(kernel, args));
                   return queue_comparison(results, want, output_bytes);
                 }));
  REDLINE_TRY(stream_.fill(different_.ptr(), 0, different_.bytes()));
  for (int i = 0; i < replays; ++i) REDLINE_TRY(graph.launch(stream_));
  unsigned int different = 0;
  REDLINE_TRY(stream_.copy_to_host(&different, different_.ptr(), sizeof different));
  REDLINE_TRY(stream_.synchronize());
  if (different == 0) return {};
  return internal_error("other bits behind a producer that lets it start early, in ", replays,
                        " replays");
}

Status SlowProducer::check_itself(bool beside) {
  std::vector<unsigned int> values(kThreads);
  for (unsigned int i = 0; i < kThreads; ++i) values[i] = i;
  std::vector<unsigned int> others = values;
  others.back() ^= 1u << 31;
  TensorView view{DType::kUInt32, Dims{kThreads}, values.data()};
  TensorView other{DType::kUInt32, Dims{kThreads}, others.data()};
  auto finds_out = [&](TensorView& want, bool in_place) {
    Status found = check(Hasty(hasty_), std::span(&view, 1), {in_place}, std::span(&want, 1), 10);
    return !found.ok();
  };
  if (!finds_out(other, true)) return internal_error("one other bit is not found out");
  if (!beside || finds_out(view, false)) return {};
  return internal_error("a kernel that does not wait for the producer is not found out");
}

}  // namespace redline
