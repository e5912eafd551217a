// SPDX-License-Identifier: Apache-2.0
#include "emulator.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>

namespace redline::emulator {
namespace {

using namespace cuda;  // NOLINT: the types of the table

constexpr const char* kShim = R"(
#include <cmath>
#include <cstring>
#include <utility>
using namespace std;
#define __align__(n) alignas(n)
#define __global__ static
#define __device__
#define __launch_bounds__(...)
#define __restrict__
#define __shared__ static
struct EmulatedExtent { unsigned int x, y, z; };
static EmulatedExtent blockIdx, threadIdx, blockDim, gridDim;
static float bits_to_float(unsigned int b) { float v; memcpy(&v, &b, 4); return v; }
static unsigned int float_to_bits(float v) { unsigned int b; memcpy(&b, &v, 4); return b; }
static unsigned long long double_to_bits(double v) { unsigned long long b; memcpy(&b, &v, 8); return b; }
static double bits_to_double(unsigned long long b) { double v; memcpy(&v, &b, 8); return v; }
static float widen_f16(unsigned short h) { _Float16 v; memcpy(&v, &h, 2); return (float)v; }
static unsigned short narrow_f16(float f) { _Float16 v = (_Float16)f; unsigned short h; memcpy(&h, &v, 2); return h; }
static unsigned short narrow_f16(double f) { _Float16 v = (_Float16)f; unsigned short h; memcpy(&h, &v, 2); return h; }
#define atomicAdd(p, v) emulated_add(p, v)
template <class T> static T emulated_add(T* p, T v) { T old = *p; *p = old + v; return old; }
template <class... A, size_t... I>
static void emulated_call(void (*f)(A...), void** p, index_sequence<I...>) { f(*(A*)p[I]...); }
template <class... A>
static void emulated_grid(void (*f)(A...), void** p, EmulatedExtent grid, EmulatedExtent block) {
  gridDim = grid; blockDim = block;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
  for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
  for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
  for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
  for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
    emulated_call(f, p, index_sequence_for<A...>());
}
)";

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

std::string new_path() {
  static Folder folder;
  static std::mutex mutex;
  static int next = 0;
  std::lock_guard lock(mutex);
  return str_cat(folder.path, "/k", next++);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

using Launch = std::function<void()>;

struct FakeStream {
  bool capturing = false;
  std::vector<Launch> recorded;
};
struct FakeModule {
  void* library = nullptr;
};
struct FakeFunction {
  void (*run)(void**, const unsigned int*, const unsigned int*, int*) = nullptr;
};

struct Faults {
  std::mutex mutex;
  int calls = 0;
  int fail_at = 0;
};
Faults& faults() {
  static Faults state;
  return state;
}

bool fails() {
  Faults& state = faults();
  std::lock_guard lock(state.mutex);
  return ++state.calls == state.fail_at;
}

CuResult do_or_record(StreamHandle stream, Launch launch) {
  auto* fake = reinterpret_cast<FakeStream*>(stream);
  if (fake != nullptr && fake->capturing) {
    fake->recorded.push_back(std::move(launch));
  } else {
    launch();
  }
  return kSuccess;
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
    void* data = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (data == nullptr) return kErrorOutOfMemory;
    *ptr = reinterpret_cast<DevicePtr>(data);
    return kSuccess;
  };
  api.cuMemFree_v2 = [](DevicePtr ptr) {
    std::free(reinterpret_cast<void*>(ptr));
    return +kSuccess;
  };
  api.cuMemHostAlloc = [](void** ptr, size_t bytes, unsigned int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *ptr = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    return *ptr ? kSuccess : kErrorOutOfMemory;
  };
  api.cuMemFreeHost = [](void* ptr) { return std::free(ptr), +kSuccess; };
  api.cuMemcpyHtoDAsync_v2 = [](DevicePtr dst, const void* src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream, [=] { std::memcpy(reinterpret_cast<void*>(dst), src, bytes); });
  };
  api.cuMemcpyDtoHAsync_v2 = [](void* dst, DevicePtr src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream,
                        [=] { std::memcpy(dst, reinterpret_cast<const void*>(src), bytes); });
  };
  api.cuMemcpyDtoDAsync_v2 = [](DevicePtr dst, DevicePtr src, size_t bytes, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream, [=] {
      std::memmove(reinterpret_cast<void*>(dst), reinterpret_cast<const void*>(src), bytes);
    });
  };
  api.cuMemsetD8Async = [](DevicePtr dst, unsigned char value, size_t count, StreamHandle stream) {
    if (fails()) return +kErrorInvalidValue;
    return do_or_record(stream, [=] { std::memset(reinterpret_cast<void*>(dst), value, count); });
  };
  api.cuMemsetD32Async = [](DevicePtr dst, unsigned int value, size_t count, StreamHandle stream) {
    return do_or_record(stream, [=] {
      for (size_t i = 0; i < count; ++i) reinterpret_cast<unsigned int*>(dst)[i] = value;
    });
  };
  api.cuStreamCreateWithPriority = [](StreamHandle* stream, unsigned int, int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *stream = reinterpret_cast<StreamHandle>(new FakeStream);
    return kSuccess;
  };
  api.cuStreamDestroy_v2 = [](StreamHandle stream) {
    delete reinterpret_cast<FakeStream*>(stream);
    return +kSuccess;
  };
  api.cuStreamSynchronize = [](StreamHandle) { return fails() ? +kErrorLaunchFailed : +kSuccess; };
  api.cuStreamQuery = [](StreamHandle) { return +kSuccess; };
  api.cuStreamWaitEvent = [](StreamHandle, EventHandle, unsigned int) { return +kSuccess; };
  api.cuStreamBeginCapture_v2 = [](StreamHandle stream, CaptureMode) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    reinterpret_cast<FakeStream*>(stream)->capturing = true;
    return kSuccess;
  };
  api.cuStreamEndCapture = [](StreamHandle stream, GraphHandle* graph) -> CuResult {
    auto* fake = reinterpret_cast<FakeStream*>(stream);
    fake->capturing = false;
    std::vector<Launch> recorded = std::exchange(fake->recorded, {});
    if (fails()) return kErrorStreamCaptureInvalidated;
    *graph = reinterpret_cast<GraphHandle>(new std::vector<Launch>(std::move(recorded)));
    return kSuccess;
  };
  api.cuEventCreate = [](EventHandle* event, unsigned int) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *event = reinterpret_cast<EventHandle>(1);
    return kSuccess;
  };
  api.cuEventDestroy_v2 = [](EventHandle) { return +kSuccess; };
  api.cuEventRecord = [](EventHandle, StreamHandle) { return +kSuccess; };
  api.cuEventSynchronize = [](EventHandle) { return +kSuccess; };
  api.cuEventElapsedTime = [](float* ms, EventHandle, EventHandle) { return *ms = 1, +kSuccess; };
  api.cuModuleLoadData = [](ModuleHandle* module, const void* image) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    void* library = dlopen(static_cast<const char*>(image), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return kErrorInvalidImage;
    *module = reinterpret_cast<ModuleHandle>(new FakeModule{library});
    return kSuccess;
  };
  api.cuModuleUnload = [](ModuleHandle module) {
    auto* fake = reinterpret_cast<FakeModule*>(module);
    dlclose(fake->library);
    delete fake;
    return +kSuccess;
  };
  api.cuModuleGetFunction = [](FunctionHandle* function, ModuleHandle module,
                               const char* name) -> CuResult {
    if (fails()) return kErrorInvalidValue;
    void* found =
        dlsym(reinterpret_cast<FakeModule*>(module)->library, str_cat("emulated_", name).c_str());
    *function = reinterpret_cast<FunctionHandle>(found);
    return found ? kSuccess : kErrorInvalidValue;
  };
  api.cuFuncGetAttribute = [](int* value, FunctionAttribute, FunctionHandle) {
    return *value = 0, +kSuccess;
  };
  api.cuFuncSetAttribute = [](FunctionHandle, FunctionAttribute, int) { return +kSuccess; };
  api.cuOccupancyMaxActiveBlocksPerMultiprocessor = [](int* blocks, FunctionHandle, int, size_t) {
    return *blocks = 1, +kSuccess;
  };
  api.cuLaunchKernelEx = [](const LaunchConfig* config, FunctionHandle function, void** parameters,
                            void**) -> CuResult {
    if (fails()) return kErrorLaunchFailed;
    using Run = void (*)(void**, const unsigned int*, const unsigned int*, void***);
    auto run = reinterpret_cast<Run>(function);
    // A graph keeps the parameters' values, so they are copied when the launch is recorded.
    void** copy = nullptr;
    run(parameters, nullptr, nullptr, &copy);
    std::shared_ptr<void*> owned(copy, [](void** p) { std::free(p); });
    std::vector<unsigned int> grid = {config->grid_x, config->grid_y, config->grid_z};
    std::vector<unsigned int> block = {config->block_x, config->block_y, config->block_z};
    return do_or_record(config->stream,
                        [=] { run(owned.get(), grid.data(), block.data(), nullptr); });
  };
  api.cuGraphInstantiateWithFlags = [](GraphExecHandle* exec, GraphHandle graph,
                                       unsigned long long) -> CuResult {
    if (fails()) return kErrorOutOfMemory;
    *exec = reinterpret_cast<GraphExecHandle>(
        new std::vector<Launch>(*reinterpret_cast<std::vector<Launch>*>(graph)));
    return kSuccess;
  };
  api.cuGraphGetNodes = [](GraphHandle graph, GraphNodeHandle*, size_t* count) {
    *count = reinterpret_cast<std::vector<Launch>*>(graph)->size();
    return +kSuccess;
  };
  api.cuGraphLaunch = [](GraphExecHandle exec, StreamHandle) -> CuResult {
    if (fails()) return kErrorLaunchFailed;
    for (const Launch& launch : *reinterpret_cast<std::vector<Launch>*>(exec)) launch();
    return kSuccess;
  };
  api.cuGraphUpload = [](GraphExecHandle, StreamHandle) { return +kSuccess; };
  api.cuGraphExecDestroy = [](GraphExecHandle exec) {
    delete reinterpret_cast<std::vector<Launch>*>(exec);
    return +kSuccess;
  };
  api.cuGraphDestroy = [](GraphHandle graph) {
    delete reinterpret_cast<std::vector<Launch>*>(graph);
    return +kSuccess;
  };
  return api;
}

// Copies the parameters' values behind their addresses, or runs the grid on them.
std::string entry_point(const std::string& name) {
  return str_cat(R"(
template <class... A>
static void** emulated_copy(void (*)(A...), void** p) {
  constexpr size_t n = sizeof...(A);
  char* block = (char*)malloc(n * 8 + (0 + ... + (sizeof(A) + 31)));
  void** copy = (void**)block;
  char* at = block + n * 8;
  size_t i = 0;
  ((copy[i] = at, memcpy(at, p[i], sizeof(A)), at += (sizeof(A) + 15) / 16 * 16, ++i), ...);
  return copy;
}
extern "C" void emulated_)",
                 name,
                 R"((void** p, const unsigned int* grid, const unsigned int* block, void*** copy) {
  if (copy) { *copy = emulated_copy()",
                 name, R"(, p); return; }
  emulated_grid()",
                 name, R"(, p, {grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]});
}
)");
}

}  // namespace

const DriverApi& driver() {
  static const DriverApi api = make_driver();
  return api;
}

Result<CompiledKernel> compile(const KernelSource& source) {
  std::string base = new_path();
  std::string text = replaced(source.text, "extern \"C\" __global__", "__global__");
  std::ofstream(base + ".cc") << kShim << "#include <cstdlib>\n"
                              << text << entry_point(source.entry);
  std::string command =
      str_cat("g++ -x c++ -std=c++17 -O1 -fwrapv -w -msse4.1 -shared -fPIC -DREDLINE_EMULATED");
  for (const std::string& option : source.options) command += " '" + option + "'";
  command += str_cat(" ", base, ".cc -o ", base, ".so 2>", base, ".log");
  if (std::system(command.c_str()) != 0) {
    std::ifstream log(base + ".log");
    std::string said((std::istreambuf_iterator<char>(log)), {});
    return internal_error("kernel ", source.entry, " does not compile here: ", said);
  }
  CompiledKernel kernel;
  std::string path = base + ".so";
  kernel.cubin.resize(path.size() + 1);
  std::memcpy(kernel.cubin.data(), path.c_str(), path.size() + 1);
  return kernel;
}

int fail_call(int n) {
  Faults& state = faults();
  std::lock_guard lock(state.mutex);
  int calls = std::exchange(state.calls, 0);
  state.fail_at = n;
  return calls;
}

}  // namespace redline::emulator
