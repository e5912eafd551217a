// SPDX-License-Identifier: Apache-2.0
#include "device/driver.h"

#include <dlfcn.h>

#include "device/error.h"

namespace redline::cuda {
namespace {

Result<const DriverApi*> open_driver() {
  // Never closed: the driver has threads of its own.
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return not_found(
        "no NVIDIA driver here (libcuda.so.1 cannot be loaded); install one, or use device cpu");
  }
  static DriverApi api;
  REDLINE_ASSIGN(api, find_driver_functions(library));
  CuResult result = api.cuInit(0);
  if (result == kErrorNoDevice) {
    return not_found(
        "the NVIDIA driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or "
        "use device cpu");
  }
  REDLINE_TRY(to_status(api, result, "cuInit"));
  int version = 0;
  REDLINE_TRY(to_status(api, api.cuDriverGetVersion(&version), "cuDriverGetVersion"));
  if (version < kMinimumDriver) {
    return incompatible("the NVIDIA driver supports CUDA ", driver_version_text(version),
                        "; Redline needs a driver for CUDA ", driver_version_text(kMinimumDriver),
                        " or newer (550 and up)");
  }
  return &api;
}

}  // namespace

std::string driver_version_text(int version) {
  return str_cat(version / 1000, ".", version % 1000 / 10);
}

Result<DriverApi> find_driver_functions(void* library) {
  DriverApi api;
#define REDLINE_CUDA_FIND(name, parameters)                                                       \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name));                         \
  if (api.name == nullptr) {                                                                      \
    return incompatible("the NVIDIA driver has no ", #name, "; Redline needs a driver for CUDA ", \
                        driver_version_text(kMinimumDriver), " or newer (550 and up)");           \
  }
  REDLINE_CUDA_DRIVER_FUNCTIONS(REDLINE_CUDA_FIND)
#undef REDLINE_CUDA_FIND
  return api;
}

Result<const DriverApi*> load_driver() {
  static const Result<const DriverApi*> driver = open_driver();
  return driver;
}

std::string DeviceInfo::arch() const {
  // The arch-specific features of Hopper and Blackwell data-centre chips exist under the suffix
  // only.
  bool specific = compute_major == 9 || compute_major == 10;
  return str_cat("sm_", compute_major, compute_minor, specific ? "a" : "");
}

Result<DeviceInfo> DeviceInfo::of_arch(const std::string& arch) {
  // Sources: CUDA C++ Programming Guide 13.0, table of compute capabilities, and the chips' data
  // sheets.
  static const DeviceInfo kChips[] = {{.name = "A100",
                                       .compute_major = 8,
                                       .compute_minor = 0,
                                       .multiprocessors = 108,
                                       .clock_khz = 1410000,
                                       .memory_clock_khz = 1215000,
                                       .memory_bus_bits = 5120,
                                       .l2_bytes = 40 << 20,
                                       .shared_bytes_per_block = 163 << 10,
                                       .shared_bytes_per_multiprocessor = 164 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 2048,
                                       .blocks_per_multiprocessor = 32,
                                       .memory_bytes = 40ull << 30},
                                      {.name = "A10",
                                       .compute_major = 8,
                                       .compute_minor = 6,
                                       .multiprocessors = 72,
                                       .clock_khz = 1695000,
                                       .memory_clock_khz = 6251000,
                                       .memory_bus_bits = 384,
                                       .l2_bytes = 6 << 20,
                                       .shared_bytes_per_block = 99 << 10,
                                       .shared_bytes_per_multiprocessor = 100 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 1536,
                                       .blocks_per_multiprocessor = 16,
                                       .memory_bytes = 24ull << 30},
                                      {.name = "L40",
                                       .compute_major = 8,
                                       .compute_minor = 9,
                                       .multiprocessors = 142,
                                       .clock_khz = 2490000,
                                       .memory_clock_khz = 9001000,
                                       .memory_bus_bits = 384,
                                       .l2_bytes = 96 << 20,
                                       .shared_bytes_per_block = 99 << 10,
                                       .shared_bytes_per_multiprocessor = 100 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 1536,
                                       .blocks_per_multiprocessor = 24,
                                       .memory_bytes = 48ull << 30},
                                      {.name = "H100",
                                       .compute_major = 9,
                                       .compute_minor = 0,
                                       .multiprocessors = 132,
                                       .clock_khz = 1980000,
                                       .memory_clock_khz = 2619000,
                                       .memory_bus_bits = 5120,
                                       .l2_bytes = 50 << 20,
                                       .shared_bytes_per_block = 227 << 10,
                                       .shared_bytes_per_multiprocessor = 228 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 2048,
                                       .blocks_per_multiprocessor = 32,
                                       .memory_bytes = 80ull << 30},
                                      {.name = "B200",
                                       .compute_major = 10,
                                       .compute_minor = 0,
                                       .multiprocessors = 148,
                                       .clock_khz = 1965000,
                                       .memory_clock_khz = 3996000,
                                       .memory_bus_bits = 8192,
                                       .l2_bytes = 126 << 20,
                                       .shared_bytes_per_block = 227 << 10,
                                       .shared_bytes_per_multiprocessor = 228 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 2048,
                                       .blocks_per_multiprocessor = 32,
                                       .memory_bytes = 180ull << 30},
                                      {.name = "RTX 5090",
                                       .compute_major = 12,
                                       .compute_minor = 0,
                                       .multiprocessors = 170,
                                       .clock_khz = 2407000,
                                       .memory_clock_khz = 14001000,
                                       .memory_bus_bits = 512,
                                       .l2_bytes = 96 << 20,
                                       .shared_bytes_per_block = 99 << 10,
                                       .shared_bytes_per_multiprocessor = 100 << 10,
                                       .registers_per_multiprocessor = 65536,
                                       .threads_per_multiprocessor = 1536,
                                       .blocks_per_multiprocessor = 24,
                                       .memory_bytes = 32ull << 30}};
  std::string known;
  for (const DeviceInfo& chip : kChips) {
    std::string name = chip.arch();
    // sm_90 and sm_90a are the same chip.
    if (name == arch || (name.back() == 'a' && name.substr(0, name.size() - 1) == arch))
      return chip;
    known += (known.empty() ? "" : ", ") + name;
  }
  return unsupported("no GPU architecture '", arch, "'; there are: ", known);
}

Result<std::vector<DeviceInfo>> list_devices(const DriverApi& api) {
  int count = 0;
  REDLINE_TRY(to_status(api, api.cuDeviceGetCount(&count), "cuDeviceGetCount"));
  int version = 0;
  REDLINE_TRY(to_status(api, api.cuDriverGetVersion(&version), "cuDriverGetVersion"));
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    DeviceInfo info;
    info.ordinal = i;
    info.driver_version = version;
    DeviceId device = 0;
    REDLINE_TRY(to_status(api, api.cuDeviceGet(&device, i), str_cat("cuDeviceGet(", i, ")")));
    char name[256] = {};
    REDLINE_TRY(
        to_status(api, api.cuDeviceGetName(name, sizeof name - 1, device), "cuDeviceGetName"));
    info.name = name;
    const std::pair<DeviceAttribute, int*> attributes[] = {
        {kAttributeComputeMajor, &info.compute_major},
        {kAttributeComputeMinor, &info.compute_minor},
        {kAttributeMultiprocessors, &info.multiprocessors},
        {kAttributeClockRateKhz, &info.clock_khz},
        {kAttributeMemoryClockKhz, &info.memory_clock_khz},
        {kAttributeMemoryBusBits, &info.memory_bus_bits},
        {kAttributeL2Bytes, &info.l2_bytes},
        {kAttributeSharedBytesPerBlockOptin, &info.shared_bytes_per_block},
        {kAttributeSharedBytesPerMultiprocessor, &info.shared_bytes_per_multiprocessor},
        {kAttributeRegistersPerMultiprocessor, &info.registers_per_multiprocessor},
        {kAttributeThreadsPerMultiprocessor, &info.threads_per_multiprocessor},
        {kAttributeBlocksPerMultiprocessor, &info.blocks_per_multiprocessor}};
    for (auto [attribute, value] : attributes) {
      REDLINE_TRY(to_status(api, api.cuDeviceGetAttribute(value, attribute, device),
                            str_cat("cuDeviceGetAttribute(", static_cast<int>(attribute), ")")));
    }
    REDLINE_TRY(
        to_status(api, api.cuDeviceTotalMem_v2(&info.memory_bytes, device), "cuDeviceTotalMem"));
    devices.push_back(std::move(info));
  }
  return devices;
}

}  // namespace redline::cuda
