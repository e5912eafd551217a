// SPDX-License-Identifier: Apache-2.0
// An NVRTC 1.0 that makes empty kernels. The one that FAKE_NVRTC_FAILS names does not compile.
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr const char* kLog = "ptxas info : Used 10 registers\n";

struct Program {
  std::string file;  // entry.cu
};

}  // namespace

EXPORTED int nvrtcVersion(int* major, int* minor) {
  *major = 1;
  *minor = 0;
  return 0;
}
EXPORTED const char* nvrtcGetErrorString(int) { return "fake error"; }
EXPORTED int nvrtcCreateProgram(Program** program, const char*, const char* file, int,
                                const char* const*, const char* const*) {
  *program = new Program{file};
  return 0;
}
EXPORTED int nvrtcDestroyProgram(Program** program) {
  delete *program;
  return 0;
}
EXPORTED int nvrtcCompileProgram(Program* program, int, const char* const*) {
  const char* fails = std::getenv("FAKE_NVRTC_FAILS");
  return fails != nullptr && program->file == std::string(fails) + ".cu" ? 6 : 0;
}
EXPORTED int nvrtcGetCUBINSize(Program*, size_t* bytes) {
  *bytes = 1;
  return 0;
}
EXPORTED int nvrtcGetCUBIN(Program*, char* cubin) {
  *cubin = 0;
  return 0;
}
EXPORTED int nvrtcGetProgramLogSize(Program*, size_t* bytes) {
  *bytes = std::strlen(kLog) + 1;
  return 0;
}
EXPORTED int nvrtcGetProgramLog(Program*, char* log) {
  std::strcpy(log, kLog);
  return 0;
}
