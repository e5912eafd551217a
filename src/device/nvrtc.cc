// SPDX-License-Identifier: Apache-2.0
#include "device/nvrtc.h"

#include <dlfcn.h>

#include <charconv>
#include <memory>
#include <string_view>

namespace redline::cuda {
namespace {

using Program = struct NvrtcProgram*;

// The number in front of `what`, in "ptxas info : Used 10 registers, 1024 bytes smem".
int number_before(std::string_view log, std::string_view what) {
  size_t at = log.find(what);
  if (at == std::string_view::npos) return 0;
  size_t end = at;
  while (end > 0 && log[end - 1] == ' ') --end;
  size_t begin = end;
  while (begin > 0 && log[begin - 1] >= '0' && log[begin - 1] <= '9') --begin;
  int value = 0;
  std::from_chars(log.data() + begin, log.data() + end, value);
  return value;
}

// The compiler's messages without ptxas's statistics.
std::string messages(std::string_view log) {
  std::string text;
  while (!log.empty()) {
    size_t end = std::min(log.find('\n'), log.size() - 1);
    std::string_view line = log.substr(0, end + 1);
    log.remove_prefix(end + 1);
    if (line.starts_with("ptxas info") || line.starts_with("ptxas         .")) continue;
    text += line;
  }
  return text;
}

}  // namespace

int KernelSource::threads() const {
  constexpr std::string_view kBounds = "__launch_bounds__(";
  size_t at = text.find(kBounds);
  if (at == std::string::npos) return 0;
  int threads = 0;
  std::from_chars(text.data() + at + kBounds.size(), text.data() + text.size(), threads);
  return threads;
}

struct Nvrtc::Functions {
  int (*nvrtcVersion)(int* major, int* minor) = nullptr;
  const char* (*nvrtcGetErrorString)(int) = nullptr;
  int (*nvrtcCreateProgram)(Program*, const char* text, const char* name, int num_headers,
                            const char* const* headers, const char* const* names) = nullptr;
  int (*nvrtcDestroyProgram)(Program*) = nullptr;
  int (*nvrtcCompileProgram)(Program, int num_options, const char* const* options) = nullptr;
  int (*nvrtcGetCUBINSize)(Program, size_t*) = nullptr;
  int (*nvrtcGetCUBIN)(Program, char*) = nullptr;
  int (*nvrtcGetProgramLogSize)(Program, size_t*) = nullptr;
  int (*nvrtcGetProgramLog)(Program, char*) = nullptr;
};

const ToolkitLibrary& nvrtc_library() {
  static const ToolkitLibrary library = {"REDLINE_NVRTC",
                                         {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"},
                                         {"lib64"},
                                         {"nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"}};
  return library;
}

Result<const Nvrtc*> Nvrtc::open() {
  REDLINE_ASSIGN(
      void* library,
      open_library(nvrtc_library(),
                   "cannot load NVRTC, which builds GPU kernels; pip install nvidia-cuda-nvrtc, "
                   "install a CUDA toolkit, or name the file in REDLINE_NVRTC"));
  static Functions functions;
#define REDLINE_NVRTC_FIND(name)                                                                   \
  functions.name = reinterpret_cast<decltype(functions.name)>(dlsym(library, #name));              \
  if (functions.name == nullptr) {                                                                 \
    return incompatible(file_of(library), " is no NVRTC that Redline can use: it has no ", #name); \
  }
  REDLINE_NVRTC_FIND(nvrtcVersion);
  REDLINE_NVRTC_FIND(nvrtcGetErrorString);
  REDLINE_NVRTC_FIND(nvrtcCreateProgram);
  REDLINE_NVRTC_FIND(nvrtcDestroyProgram);
  REDLINE_NVRTC_FIND(nvrtcCompileProgram);
  REDLINE_NVRTC_FIND(nvrtcGetCUBINSize);
  REDLINE_NVRTC_FIND(nvrtcGetCUBIN);
  REDLINE_NVRTC_FIND(nvrtcGetProgramLogSize);
  REDLINE_NVRTC_FIND(nvrtcGetProgramLog);
#undef REDLINE_NVRTC_FIND
  static Nvrtc nvrtc;
  nvrtc.functions_ = &functions;
  int major = 0;
  int minor = 0;
  functions.nvrtcVersion(&major, &minor);
  nvrtc.version_ = str_cat(major, ".", minor);
  nvrtc.has_cache_ = std::pair(major, minor) >= std::pair(12, 9);
  return &nvrtc;
}

Result<const Nvrtc*> Nvrtc::load() {
  static const Result<const Nvrtc*> nvrtc = open();
  return nvrtc;
}

Result<CompiledKernel> Nvrtc::compile(const KernelSource& source) const {
  const Functions& api = *functions_;
  auto check = [&](int result, const char* call) {
    return result == 0
               ? Status()
               : internal_error(call, " for ", source.entry, ": ", api.nvrtcGetErrorString(result));
  };
  Program program = nullptr;
  std::string file = source.entry + ".cu";
  REDLINE_TRY(check(
      api.nvrtcCreateProgram(&program, source.text.c_str(), file.c_str(), 0, nullptr, nullptr),
      "nvrtcCreateProgram"));
  auto destroy = [&](Program* p) { api.nvrtcDestroyProgram(p); };
  std::unique_ptr<Program, decltype(destroy)> guard(&program, destroy);

  std::vector<std::string> options = {"-arch=" + source.arch, "-std=c++17", "--ptxas-options=-v",
                                      "--device-as-default-execution-space"};
  // What NVRTC takes from the driver's cache has no statistics.
  if (has_cache_) options.emplace_back("--no-cache");
  options.insert(options.end(), source.options.begin(), source.options.end());
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  int result = api.nvrtcCompileProgram(program, static_cast<int>(pointers.size()), pointers.data());
  size_t log_bytes = 0;
  REDLINE_TRY(check(api.nvrtcGetProgramLogSize(program, &log_bytes), "nvrtcGetProgramLogSize"));
  std::string log(log_bytes, '\0');
  REDLINE_TRY(check(api.nvrtcGetProgramLog(program, log.data()), "nvrtcGetProgramLog"));
  log.resize(log.find('\0') == std::string::npos ? log.size() : log.find('\0'));
  if (result != 0) {
    return internal_error("kernel ", source.entry, " does not compile for ", source.arch, ": ",
                          messages(log));
  }
  if (log.find("(C75") != std::string::npos) {
    return internal_error("kernel ", source.entry, " for ", source.arch,
                          ": ptxas serialised its matrix instructions: ", log);
  }
  CompiledKernel kernel;
  size_t bytes = 0;
  REDLINE_TRY(check(api.nvrtcGetCUBINSize(program, &bytes), "nvrtcGetCUBINSize"));
  kernel.cubin.resize(bytes);
  REDLINE_TRY(check(api.nvrtcGetCUBIN(program, reinterpret_cast<char*>(kernel.cubin.data())),
                    "nvrtcGetCUBIN"));
  kernel.registers = number_before(log, "registers");
  kernel.static_shared_bytes = number_before(log, "bytes smem");
  kernel.stack_bytes = number_before(log, "bytes stack frame");
  kernel.spill_bytes =
      number_before(log, "bytes spill stores") + number_before(log, "bytes spill loads");
  return kernel;
}

}  // namespace redline::cuda
