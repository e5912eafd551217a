// SPDX-License-Identifier: Apache-2.0
#include "emulator.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "shim.h"

namespace redline::emulator {
namespace {

using namespace cuda;  // NOLINT: the types of the table

struct Folder {
  Folder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "redline-emulator-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  std::string path;
};

// What the source of a kernel says of its launches, which must be so.
struct LaunchLimits {
  int threads = 0;  // 0: not said
  int dynamic_shared_bytes = 0;

  bool allow(const LaunchConfig& launch) const {
    unsigned int asked = launch.block_x * launch.block_y * launch.block_z;
    return (threads == 0 || asked == static_cast<unsigned int>(threads)) &&
           launch.shared_bytes == static_cast<unsigned int>(dynamic_shared_bytes);
  }
};

struct Library {
  std::string text, options;
  LaunchLimits limits;
  bool built = false;
};

// The libraries of this process, by the path that stands for each; made when first wanted, for most
// kernels of a step are never run.
struct Libraries {
  Folder folder;
  std::mutex mutex;
  std::map<std::string, Library> by_path;
  std::map<std::string, std::string> path_of_text;
};
Libraries& libraries() {
  static Libraries all;
  return all;
}

std::string library_of(const std::string& text, const std::string& options,
                       const LaunchLimits& limits) {
  Libraries& all = libraries();
  std::lock_guard lock(all.mutex);
  std::string key =
      str_cat(options, "\n", limits.threads, " ", limits.dynamic_shared_bytes, "\n", text);
  std::string& path = all.path_of_text[key];
  if (path.empty()) {
    path = str_cat(all.folder.path, "/k", all.by_path.size(), ".so");
    all.by_path[path] = {text, options, limits};
  }
  return path;
}

bool build(const std::string& path) {
  Libraries& all = libraries();
  std::lock_guard lock(all.mutex);
  auto found = all.by_path.find(path);
  if (found == all.by_path.end()) return false;
  Library& library = found->second;
  if (library.built) return true;
  std::ofstream(path + ".cc") << library.text;
  std::string command = str_cat(
      "g++ -x c++ -std=c++17 -O1 -fwrapv -w -msse4.1 -shared -fPIC -DREDLINE_EMULATED",
      library.options, " ", path, ".cc -o ", path, " 2>&1 | head -c 4000 1>&2; test -f ", path);
  library.built = std::system(command.c_str()) == 0;
  return library.built;
}

LaunchLimits limits_of(const std::string& path) {
  Libraries& all = libraries();
  std::lock_guard lock(all.mutex);
  return all.by_path.at(path).limits;
}

struct FakeFunction {
  KernelTable table;
  std::string name;
  LaunchLimits limits;
};
struct FakeModule {
  std::string path;
  void* library = nullptr;
  std::map<std::string, std::unique_ptr<FakeFunction>> kernels;
};
struct Settings {
  std::mutex mutex;
  int calls = 0;
  int fail_at = 0;
  bool for_good = false;
  float span_us = 1000;
  ThreadOrder order = ThreadOrder::kForward;
  GraphEvents events;
  GraphOrder graph_order = GraphOrder::kFirstFirst;
};
Settings& settings() {
  static Settings state;
  return state;
}

// What is allocated, by where it begins.
struct Memory {
  struct Block {
    size_t bytes;
    MemoryType type;
  };
  std::mutex mutex;
  std::map<DevicePtr, Block> blocks;

  void add(const void* data, size_t bytes, MemoryType type) {
    std::lock_guard lock(mutex);
    blocks[reinterpret_cast<DevicePtr>(data)] = {bytes, type};
  }
  void remove(const void* data) {
    std::lock_guard lock(mutex);
    blocks.erase(reinterpret_cast<DevicePtr>(data));
  }
  std::optional<MemoryType> type_at(DevicePtr at) {
    std::lock_guard lock(mutex);
    auto next = blocks.upper_bound(at);
    if (next == blocks.begin()) return std::nullopt;
    const auto& [begin, block] = *std::prev(next);
    return at - begin < block.bytes ? std::optional(block.type) : std::nullopt;
  }
};
// For ever: buffers may be freed at exit.
Memory& memory() {
  static auto* const all = new Memory;
  return *all;
}

// The GPU's memory, which the host cannot touch but while the GPU works: as with a real one, who
// takes its address for one of the host ends. A buffer ends, but for the 16 bytes of an access,
// where nobody may read or write.
class GuardedMemory {
 public:
  void* allocate(size_t bytes) {
    size_t size = (bytes + kPage - 1) / kPage * kPage;
    void* pages = mmap(nullptr, size + kGap, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return nullptr;
    mprotect(pages, size, PROT_READ | PROT_WRITE);
    void* data = static_cast<char*>(pages) + size - (bytes + kAccess - 1) / kAccess * kAccess;
    // NaN in every type of floats, so that what nobody wrote shows.
    std::memset(data, 0xff, bytes);
    std::lock_guard lock(mutex_);
    blocks_[data] = {pages, size};
    if (workers_ == 0) protect(PROT_NONE);
    return data;
  }
  void free(void* data) {
    std::lock_guard lock(mutex_);
    auto it = blocks_.find(data);
    if (it == blocks_.end()) return;
    munmap(it->second.pages, it->second.bytes + kGap);
    blocks_.erase(it);
  }
  void begin_work() {
    std::lock_guard lock(mutex_);
    if (workers_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void end_work() {
    std::lock_guard lock(mutex_);
    if (--workers_ == 0) protect(PROT_NONE);
  }

 private:
  static constexpr size_t kPage = 4096, kAccess = 16;
  static constexpr size_t kGap = 1 << 20;  // behind each, which nobody can touch
  struct Block {
    void* pages;
    size_t bytes;
  };
  void protect(int how) {
    for (const auto& [data, block] : blocks_) mprotect(block.pages, block.bytes, how);
  }
  std::mutex mutex_;
  std::map<void*, Block> blocks_;
  int workers_ = 0;
};
// For ever: buffers may be freed at exit.
GuardedMemory& guarded() {
  static auto* const all = new GuardedMemory;
  return *all;
}

bool fails() {
  Settings& state = settings();
  std::lock_guard lock(state.mutex);
  int call = ++state.calls;
  return call == state.fail_at || (state.for_good && state.fail_at > 0 && call > state.fail_at);
}

FakeStream* fake(StreamHandle stream) { return reinterpret_cast<FakeStream*>(stream); }
FakeEvent& fake(EventHandle event) { return *reinterpret_cast<FakeEvent*>(event); }
FakeGraph& fake(GraphHandle graph) { return *reinterpret_cast<FakeGraph*>(graph); }

CuResult do_or_record(StreamHandle stream, GraphWork work, Launch launch) {
  FakeNode node;
  node.work = std::move(work);
  node.launch = std::move(launch);
  HostAccess working;
  return do_or_record(fake(stream), std::move(node));
}

// Modules of one text have variables of their own: the loader gives a file but once, so each has a
// copy.
bool open(FakeModule& module) {
  if (module.library != nullptr) return true;
  if (!build(module.path)) return false;
  static std::atomic<int> number = 0;
  std::string copy = str_cat(module.path, ".", number++);
  std::error_code error;
  std::filesystem::copy_file(module.path, copy, error);
  if (error) return false;
  module.library = dlopen(copy.c_str(), RTLD_NOW | RTLD_LOCAL);
  std::filesystem::remove(copy, error);
  return module.library != nullptr;
}

ThreadOrder thread_order() {
  std::lock_guard lock(settings().mutex);
  return settings().order;
}

GraphOrder graph_order() {
  std::lock_guard lock(settings().mutex);
  return settings().graph_order;
}

CuResult result_of(const std::string& wrong) {
  if (wrong.empty()) return kSuccess;
  std::fprintf(stderr, "emulated kernel: %s\n", wrong.c_str());
  return kErrorLaunchFailed;
}

Launch begin(const GridLaunch& launch) {
  auto grid = std::make_shared<RunningGrid>(launch, thread_order());
  CuResult begun = result_of(grid->begin());
  return [grid, begun] { return begun == kSuccess ? result_of(grid->finish()) : begun; };
}

CuResult copy_memory(StreamHandle stream, void* dst, const void* src, size_t bytes) {
  return do_or_record(stream, {"", true}, [=] { return std::memmove(dst, src, bytes), +kSuccess; });
}

DriverApi make_driver() {
  DriverApi api;
  api.cuInit = [](unsigned int) { return +kSuccess; };
  api.cuDriverGetVersion = [](int* version) { return *version = 13000, +kSuccess; };
  api.cuGetErrorName = [](CuResult, const char** text) { return *text = "EMULATED", +kSuccess; };
  api.cuGetErrorString = [](CuResult code, const char** text) {
    *text = code == kErrorOutOfMemory ? "out of memory" : "an injected failure";
    return +kSuccess;
  };
  api.cuDeviceGetCount = [](int* count) { return *count = 1, +kSuccess; };
  api.cuDeviceGet = [](DeviceId* device, int ordinal) { return *device = ordinal, +kSuccess; };
  api.cuDeviceGetName = [](char* name, int length, DeviceId) {
    std::strncpy(name, "emulated GPU", static_cast<size_t>(length));
    return +kSuccess;
  };
  api.cuDeviceGetAttribute = [](int* value, DeviceAttribute attribute, DeviceId) {
    switch (attribute) {
      case kAttributeComputeMajor:
        *value = 9;
        break;
      case kAttributeComputeMinor:
        *value = 0;
        break;
      case kAttributeMultiprocessors:
        *value = 132;
        break;
      case kAttributeSharedBytesPerBlockOptin:
        *value = 227 * 1024;
        break;
      case kAttributeSharedBytesPerMultiprocessor:
        *value = 228 * 1024;
        break;
      default:
        *value = 65536;
    }
    return +kSuccess;
  };
  api.cuDeviceTotalMem_v2 = [](size_t* bytes, DeviceId) { return *bytes = 8ull << 30, +kSuccess; };
  api.cuDevicePrimaryCtxRetain = [](ContextHandle* context, DeviceId) {
    *context = reinterpret_cast<ContextHandle>(1);
    return +kSuccess;
  };
  api.cuDevicePrimaryCtxRelease_v2 = [](DeviceId) { return +kSuccess; };
  api.cuCtxSetCurrent = [](ContextHandle) { return +kSuccess; };
  api.cuCtxGetCurrent = [](ContextHandle* context) { return *context = nullptr, +kSuccess; };
  api.cuCtxSynchronize = [] { return +kSuccess; };
  api.cuMemGetInfo_v2 = [](size_t* free_bytes, size_t* total) {
    *free_bytes = *total = 8ull << 30;
    return +kSuccess;
  };
  api.cuMemAlloc_v2 = [](DevicePtr* ptr, size_t bytes) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    void* data = guarded().allocate(bytes);
    if (data == nullptr) return kErrorOutOfMemory;
    *ptr = reinterpret_cast<DevicePtr>(data);
    memory().add(data, bytes, kMemoryDevice);
    return kSuccess;
  };
  api.cuMemFree_v2 = [](DevicePtr ptr) {
    memory().remove(reinterpret_cast<void*>(ptr));
    guarded().free(reinterpret_cast<void*>(ptr));
    return +kSuccess;
  };
  api.cuMemHostAlloc = [](void** ptr, size_t bytes, unsigned int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *ptr = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (*ptr != nullptr) memory().add(*ptr, bytes, kMemoryHost);
    return *ptr ? kSuccess : kErrorOutOfMemory;
  };
  api.cuMemFreeHost = [](void* ptr) {
    memory().remove(ptr);
    return std::free(ptr), +kSuccess;
  };
  api.cuPointerGetAttribute = [](void* value, PointerAttribute attribute,
                                 DevicePtr at) -> CuResult {
    std::optional<MemoryType> type = memory().type_at(at);
    if (!type) return kErrorInvalidValue;
    if (attribute == kPointerMemoryType) *static_cast<unsigned int*>(value) = *type;
    if (attribute == kPointerDeviceOrdinal) *static_cast<int*>(value) = 0;
    return kSuccess;
  };
  api.cuMemcpyHtoDAsync_v2 = [](DevicePtr dst, const void* src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return copy_memory(stream, reinterpret_cast<void*>(dst), src, bytes);
  };
  api.cuMemcpyDtoHAsync_v2 = [](void* dst, DevicePtr src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return copy_memory(stream, dst, reinterpret_cast<const void*>(src), bytes);
  };
  api.cuMemcpyDtoDAsync_v2 = [](DevicePtr dst, DevicePtr src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return copy_memory(stream, reinterpret_cast<void*>(dst), reinterpret_cast<const void*>(src),
                       bytes);
  };
  api.cuMemsetD8Async = [](DevicePtr dst, unsigned char value, size_t count, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream, {}, [=] {
      return std::memset(reinterpret_cast<void*>(dst), value, count), +kSuccess;
    });
  };
  api.cuMemsetD32Async = [](DevicePtr dst, unsigned int value, size_t count, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream, {}, [=] {
      for (size_t i = 0; i < count; ++i) reinterpret_cast<unsigned int*>(dst)[i] = value;
      return +kSuccess;
    });
  };
  api.cuStreamCreateWithPriority = [](StreamHandle* stream, unsigned int, int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *stream = reinterpret_cast<StreamHandle>(new FakeStream);
    return kSuccess;
  };
  api.cuStreamDestroy_v2 = [](StreamHandle stream) {
    delete fake(stream);
    return +kSuccess;
  };
  api.cuStreamSynchronize = [](StreamHandle) { return fails() ? +kErrorLaunchFailed : +kSuccess; };
  api.cuStreamQuery = [](StreamHandle) { return +kSuccess; };
  api.cuStreamWaitEvent = [](StreamHandle stream, EventHandle event, unsigned int) {
    return fails() ? +kErrorInvalidValue : wait(fake(stream), fake(event));
  };
  api.cuStreamBeginCapture_v2 = [](StreamHandle stream, CaptureMode) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    begin_capture(*fake(stream));
    return kSuccess;
  };
  api.cuStreamEndCapture = [](StreamHandle stream, GraphHandle* graph) -> CuResult {
    std::unique_ptr<FakeGraph> recorded = end_capture(*fake(stream));
    if (fails() || recorded == nullptr) return kErrorStreamCaptureInvalidated;
    *graph = reinterpret_cast<GraphHandle>(recorded.release());
    return kSuccess;
  };
  api.cuStreamGetCaptureInfo_v3 = [](StreamHandle stream, int* status, uint64_t* id,
                                     GraphHandle* graph, const GraphNodeHandle** last,
                                     const void** edges, size_t* num_last) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    FakeStream& captured = *fake(stream);
    FakeGraph* recorded = captured.capture == nullptr ? nullptr : &captured.capture->graph;
    captured.last_nodes.clear();
    for (size_t n : captured.last) captured.last_nodes.push_back(handle_of(recorded->nodes[n]));
    *status = recorded != nullptr ? 1 : 0;
    *id = 1;
    *graph = reinterpret_cast<GraphHandle>(recorded);
    *last = captured.last_nodes.data();
    *num_last = captured.last_nodes.size();
    *edges = nullptr;
    return kSuccess;
  };
  api.cuEventCreate = [](EventHandle* event, unsigned int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *event = reinterpret_cast<EventHandle>(new FakeEvent);
    return kSuccess;
  };
  api.cuEventDestroy_v2 = [](EventHandle event) {
    delete &fake(event);
    return +kSuccess;
  };
  api.cuEventRecord = [](EventHandle event, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    record(fake(event), fake(stream));
    return +kSuccess;
  };
  api.cuEventRecordWithFlags = [](EventHandle, StreamHandle, unsigned int) {
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuEventSynchronize = [](EventHandle) { return fails() ? +kErrorLaunchFailed : +kSuccess; };
  api.cuEventElapsedTime = [](float* ms, EventHandle, EventHandle) {
    *ms = settings().span_us / 1000;
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuModuleLoadData = [](ModuleHandle* module, const void* image) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *module = reinterpret_cast<ModuleHandle>(
        new FakeModule{static_cast<const char*>(image), nullptr, {}});
    return kSuccess;
  };
  api.cuModuleUnload = [](ModuleHandle module) {
    auto* fake = reinterpret_cast<FakeModule*>(module);
    if (fake->library != nullptr) dlclose(fake->library);
    delete fake;
    return +kSuccess;
  };
  api.cuModuleGetFunction = [](FunctionHandle* function, ModuleHandle module,
                               const char* name) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    auto* fake = reinterpret_cast<FakeModule*>(module);
    if (!open(*fake)) return kErrorInvalidImage;
    void* found = dlsym(fake->library, str_cat("emulated_", name).c_str());
    if (found == nullptr) return kErrorInvalidValue;
    std::unique_ptr<FakeFunction>& kernel = fake->kernels[name];
    if (kernel == nullptr) {
      kernel = std::make_unique<FakeFunction>();
      kernel->name = name;
      kernel->limits = limits_of(fake->path);
      reinterpret_cast<void (*)(KernelTable*)>(found)(&kernel->table);
    }
    *function = reinterpret_cast<FunctionHandle>(kernel.get());
    return kSuccess;
  };
  api.cuModuleGetGlobal_v2 = [](DevicePtr* ptr, size_t* bytes, ModuleHandle module,
                                const char* name) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    auto* fake = reinterpret_cast<FakeModule*>(module);
    if (!open(*fake)) return kErrorInvalidImage;
    void* found = dlsym(fake->library, str_cat("emulated_variable_", name).c_str());
    if (found == nullptr) return kErrorNotFound;
    *ptr = reinterpret_cast<DevicePtr>(reinterpret_cast<void* (*)(size_t*)>(found)(bytes));
    return kSuccess;
  };
  api.cuFuncGetAttribute = [](int* value, FunctionAttribute, FunctionHandle) {
    return *value = 0, +kSuccess;
  };
  api.cuFuncGetName = [](const char** name, FunctionHandle function) {
    *name = reinterpret_cast<const FakeFunction*>(function)->name.c_str();
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuFuncSetAttribute = [](FunctionHandle, FunctionAttribute, int) {
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuOccupancyMaxActiveBlocksPerMultiprocessor = [](int* blocks, FunctionHandle, int, size_t) {
    return *blocks = 1, +kSuccess;
  };
  // The emulated TensorMap of kernels/cuda/arch/copy_box.cuh.
  api.cuTensorMapEncodeTiled = [](void* map, int, unsigned int rank, void* address,
                                  const uint64_t* sizes, const uint64_t* strides,
                                  const unsigned int* box, const unsigned int*, int, int, int,
                                  int) -> CuResult {
    bool deep = rank == 3;
    if (fails() || (!deep && rank != 2) || strides[0] % 16 != 0 || box[1] > 256 ||
        (deep && (box[0] > 256 || box[0] % 8 != 0 || box[2] != 1)) ||
        reinterpret_cast<uintptr_t>(address) % 16 != 0) {
      return kErrorInvalidValue;
    }
    const uint64_t words[] = {reinterpret_cast<uintptr_t>(address),
                              sizes[0],
                              sizes[1],
                              strides[0],
                              box[1],
                              box[0],
                              deep ? sizes[2] : 1,
                              deep ? strides[1] : 0};
    std::memcpy(map, words, sizeof(words));
    return kSuccess;
  };
  api.cuLaunchKernelEx = [](const LaunchConfig* config, FunctionHandle function, void** parameters,
                            void**) -> CuResult {
    if (fails()) return kErrorLaunchFailed;
    const auto& named = *reinterpret_cast<const FakeFunction*>(function);
    if (!named.limits.allow(*config)) {
      std::fprintf(stderr, "emulated kernel: %s is launched otherwise than its source says\n",
                   named.name.c_str());
      return kErrorInvalidValue;
    }
    // A graph keeps the parameters' values, so they are copied when the launch is recorded.
    std::shared_ptr<void*> owned(named.table.copy(parameters), [](void** p) { std::free(p); });
    GridLaunch launch;
    launch.kernel = &named.table;
    launch.parameters = owned.get();
    launch.grid = {config->grid_x, config->grid_y, config->grid_z};
    launch.block = {config->block_x, config->block_y, config->block_z};
    launch.cluster = {1, 1, 1};
    launch.shared_bytes = config->shared_bytes;
    for (unsigned int i = 0; i < config->num_attributes; ++i) {
      const LaunchAttribute& attribute = config->attributes[i];
      if (attribute.id == kLaunchProgrammaticSerialization) launch.early = true;
      if (attribute.id == kLaunchCooperative) launch.together = attribute.value.cooperative != 0;
      if (attribute.id != kLaunchClusterDimension) continue;
      const auto& dim = attribute.value.cluster_dim;
      launch.cluster = {dim.x, dim.y, dim.z};
    }
    if (launch.early && !may_start_early(fake(config->stream))) return kErrorInvalidValue;
    FakeNode node;
    node.work = {named.name, false, launch.early};
    node.launch = [launch, owned] {
      return result_of(RunningGrid(launch, thread_order()).finish());
    };
    node.begin = [launch, owned] { return begin(launch); };
    node.function = function;
    HostAccess working;
    return do_or_record(fake(config->stream), std::move(node));
  };
  api.cuGraphInstantiateWithFlags = [](GraphExecHandle* exec, GraphHandle graph,
                                       unsigned long long) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    auto* copy = new FakeGraph(fake(graph));
    for (size_t n = 0; n < copy->nodes.size(); ++n) {
      if (const auto& cloned = settings().events.cloned) {
        cloned(handle_of(copy->nodes[n]), handle_of(fake(graph).nodes[n]));
      }
    }
    *exec = reinterpret_cast<GraphExecHandle>(copy);
    return kSuccess;
  };
  // Not in the order in which they were made: nobody promises that.
  api.cuGraphGetNodes = [](GraphHandle graph, GraphNodeHandle* nodes, size_t* count) {
    const auto& all = fake(graph).nodes;
    size_t room = std::exchange(*count, all.size());
    for (size_t i = 0; nodes != nullptr && i < std::min(room, all.size()); ++i) {
      nodes[i] = handle_of(all[all.size() - 1 - i]);
    }
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuGraphNodeGetType = [](GraphNodeHandle node, GraphNodeType* type) {
    const GraphWork& work = reinterpret_cast<const FakeNode*>(node)->work;
    *type = !work.kernel.empty() ? kKernelNode : work.copy ? kMemcpyNode : kMemsetNode;
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuGraphKernelNodeGetParams_v2 = [](GraphNodeHandle node, KernelNodeParams* parameters) {
    parameters->function = reinterpret_cast<const FakeNode*>(node)->function;
    return fails() ? +kErrorInvalidValue : +kSuccess;
  };
  api.cuGraphLaunch = [](GraphExecHandle exec, StreamHandle) -> CuResult {
    if (fails()) return kErrorLaunchFailed;
    HostAccess working;
    return reinterpret_cast<FakeGraph*>(exec)->run(graph_order(), settings().events.ran);
  };
  api.cuGraphUpload = [](GraphExecHandle, StreamHandle) { return +kSuccess; };
  api.cuGraphExecDestroy = [](GraphExecHandle exec) {
    delete reinterpret_cast<FakeGraph*>(exec);
    return +kSuccess;
  };
  api.cuGraphDestroy = [](GraphHandle graph) {
    delete reinterpret_cast<FakeGraph*>(graph);
    return +kSuccess;
  };
  return api;
}

}  // namespace

const DriverApi& driver() {
  static const DriverApi api = make_driver();
  return api;
}

Result<CompiledKernel> compile(const KernelSource& source) {
  std::string text = host_text(source.text, source.entry);
  std::string options;
  for (const std::string& option : source.options) options += " '" + option + "'";
  std::string library = library_of(text, options, {source.threads(), source.dynamic_shared_bytes});
  CompiledKernel kernel;
  kernel.cubin.resize(library.size() + 1);
  std::memcpy(kernel.cubin.data(), library.c_str(), library.size() + 1);
  return kernel;
}

void set_thread_order(ThreadOrder order) {
  std::lock_guard lock(settings().mutex);
  settings().order = order;
}

void watch_graphs(GraphEvents events) { settings().events = std::move(events); }

void set_graph_order(GraphOrder order) {
  std::lock_guard lock(settings().mutex);
  settings().graph_order = order;
}

void set_span(float us) { settings().span_us = us; }

int fail_call(int n, bool for_good) {
  Settings& state = settings();
  std::lock_guard lock(state.mutex);
  int calls = std::exchange(state.calls, 0);
  state.fail_at = n;
  state.for_good = for_good;
  return calls;
}

HostAccess::HostAccess() { guarded().begin_work(); }
HostAccess::~HostAccess() { guarded().end_work(); }

}  // namespace redline::emulator
