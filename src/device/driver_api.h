// SPDX-License-Identifier: Apache-2.0
#pragma once

// The part of the CUDA driver's C interface that we call, declared by us so that a build needs no
// toolkit and nothing links to libcuda. tests/device checks it against cuda.h where that is there.
// Source: CUDA Driver API reference 13.0; the functions below are in every driver from 12.3 on.

#include <cstddef>
#include <cstdint>

namespace redline::cuda {

using CuResult = int;  // CUresult; 0 is success
using DeviceId = int;
using DevicePtr = uint64_t;

using ContextHandle = struct CUctx_st*;
using ModuleHandle = struct CUmod_st*;
using FunctionHandle = struct CUfunc_st*;
using StreamHandle = struct CUstream_st*;
using EventHandle = struct CUevent_st*;
using GraphHandle = struct CUgraph_st*;
using GraphNodeHandle = struct CUgraphNode_st*;
using GraphExecHandle = struct CUgraphExec_st*;

enum ResultCode : int {
  kSuccess = 0,
  kErrorInvalidValue = 1,
  kErrorOutOfMemory = 2,
  kErrorNotInitialized = 3,
  kErrorDeinitialized = 4,
  kErrorNoDevice = 100,
  kErrorInvalidDevice = 101,
  kErrorInvalidImage = 200,
  kErrorEccUncorrectable = 214,
  kErrorInvalidPtx = 218,
  kErrorNoBinaryForGpu = 209,
  kErrorContained = 226,
  kErrorNotFound = 500,
  kErrorNotReady = 600,
  kErrorIllegalAddress = 700,
  kErrorLaunchOutOfResources = 701,
  kErrorLaunchTimeout = 702,
  kErrorAssert = 710,
  kErrorHardwareStackError = 714,
  kErrorIllegalInstruction = 715,
  kErrorMisalignedAddress = 716,
  kErrorInvalidAddressSpace = 717,
  kErrorInvalidPc = 718,
  kErrorLaunchFailed = 719,
  kErrorTensorMemoryLeak = 721,
  kErrorStreamCaptureInvalidated = 901,
  kErrorSystemNotReady = 802,
  kErrorSystemDriverMismatch = 803,
  kErrorMpsClientTerminated = 810,
  kErrorExternalDevice = 911,
};

enum DeviceAttribute : int {
  kAttributeClockRateKhz = 13,
  kAttributeMultiprocessors = 16,
  kAttributeMemoryClockKhz = 36,
  kAttributeMemoryBusBits = 37,
  kAttributeL2Bytes = 38,
  kAttributeThreadsPerMultiprocessor = 39,
  kAttributeComputeMajor = 75,
  kAttributeComputeMinor = 76,
  kAttributeSharedBytesPerMultiprocessor = 81,
  kAttributeRegistersPerMultiprocessor = 82,
  kAttributeSharedBytesPerBlockOptin = 97,
  kAttributeBlocksPerMultiprocessor = 106,
};

enum FunctionAttribute : int {
  kFunctionMaxThreads = 0,
  kFunctionSharedBytes = 1,
  kFunctionLocalBytes = 3,
  kFunctionRegisters = 4,
  kFunctionMaxDynamicShared = 8,
  kFunctionSharedCarveout = 9,
  kFunctionNonPortableCluster = 14,
};

enum PointerAttribute : int {
  kPointerMemoryType = 2,
  kPointerDeviceOrdinal = 9,
};
enum MemoryType : unsigned int { kMemoryHost = 1, kMemoryDevice = 2 };

enum LaunchAttributeId : int {
  kLaunchCooperative = 2,
  kLaunchClusterDimension = 4,
  kLaunchProgrammaticSerialization = 6,
  kLaunchPriority = 8,
  kLaunchSharedCarveout = 14,
};

union LaunchAttributeValue {
  char pad[64];
  struct {
    unsigned int x, y, z;
  } cluster_dim;
  int cooperative;
  int programmatic_serialization_allowed;
  int priority;
  unsigned int shared_carveout;
};

struct LaunchAttribute {
  LaunchAttributeId id;
  char pad[8 - sizeof(LaunchAttributeId)];
  LaunchAttributeValue value;
};

struct LaunchConfig {
  unsigned int grid_x, grid_y, grid_z;
  unsigned int block_x, block_y, block_z;
  unsigned int shared_bytes;
  StreamHandle stream;
  LaunchAttribute* attributes;
  unsigned int num_attributes;
};

enum GraphNodeType : int { kKernelNode = 0, kMemcpyNode = 1, kMemsetNode = 2 };

struct KernelNodeParams {
  FunctionHandle function;
  unsigned int grid_x, grid_y, grid_z;
  unsigned int block_x, block_y, block_z;
  unsigned int shared_bytes;
  void** parameters;
  void** extra;
  void* kernel;
  ContextHandle context;
};

enum TensorMapSetting : int {
  kTensorUint16 = 1,
  kTensorNoInterleave = 0,
  kTensorNoSwizzle = 0,
  kTensorSwizzle128 = 3,
  kTensorPromote128 = 2,
  kTensorPromote256 = 3,
  kTensorFillZeros = 0,
};

enum CaptureMode : int { kCaptureGlobal = 0, kCaptureThreadLocal = 1, kCaptureRelaxed = 2 };
enum : unsigned int {
  kStreamNonBlocking = 1,
  kEventDefault = 0,
  kEventDisableTiming = 2,
  kEventRecordExternal = 1,
  kHostAllocPortable = 1,
};

// Name, then parameters. Each is looked up in libcuda under its own name.
#define REDLINE_CUDA_DRIVER_FUNCTIONS(X)                                                          \
  X(cuInit, (unsigned int flags))                                                                 \
  X(cuDriverGetVersion, (int* version))                                                           \
  X(cuGetErrorName, (CuResult error, const char** text))                                          \
  X(cuGetErrorString, (CuResult error, const char** text))                                        \
  X(cuDeviceGetCount, (int* count))                                                               \
  X(cuDeviceGet, (DeviceId * device, int ordinal))                                                \
  X(cuDeviceGetName, (char* name, int length, DeviceId device))                                   \
  X(cuDeviceGetAttribute, (int* value, DeviceAttribute attribute, DeviceId device))               \
  X(cuDeviceTotalMem_v2, (size_t * bytes, DeviceId device))                                       \
  X(cuDevicePrimaryCtxRetain, (ContextHandle * context, DeviceId device))                         \
  X(cuDevicePrimaryCtxRelease_v2, (DeviceId device))                                              \
  X(cuCtxSetCurrent, (ContextHandle context))                                                     \
  X(cuCtxGetCurrent, (ContextHandle * context))                                                   \
  X(cuCtxSynchronize, ())                                                                         \
  X(cuMemGetInfo_v2, (size_t * free_bytes, size_t * total_bytes))                                 \
  X(cuMemAlloc_v2, (DevicePtr * ptr, size_t bytes))                                               \
  X(cuMemFree_v2, (DevicePtr ptr))                                                                \
  X(cuMemHostAlloc, (void** ptr, size_t bytes, unsigned int flags))                               \
  X(cuMemFreeHost, (void* ptr))                                                                   \
  X(cuPointerGetAttribute, (void* value, PointerAttribute attribute, DevicePtr ptr))              \
  X(cuMemcpyHtoDAsync_v2, (DevicePtr dst, const void* src, size_t bytes, StreamHandle stream))    \
  X(cuMemcpyDtoHAsync_v2, (void* dst, DevicePtr src, size_t bytes, StreamHandle stream))          \
  X(cuMemcpyDtoDAsync_v2, (DevicePtr dst, DevicePtr src, size_t bytes, StreamHandle stream))      \
  X(cuMemsetD8Async, (DevicePtr dst, unsigned char value, size_t count, StreamHandle stream))     \
  X(cuMemsetD32Async, (DevicePtr dst, unsigned int value, size_t count, StreamHandle stream))     \
  X(cuStreamCreateWithPriority, (StreamHandle * stream, unsigned int flags, int priority))        \
  X(cuStreamDestroy_v2, (StreamHandle stream))                                                    \
  X(cuStreamSynchronize, (StreamHandle stream))                                                   \
  X(cuStreamQuery, (StreamHandle stream))                                                         \
  X(cuStreamWaitEvent, (StreamHandle stream, EventHandle event, unsigned int flags))              \
  X(cuStreamBeginCapture_v2, (StreamHandle stream, CaptureMode mode))                             \
  X(cuStreamEndCapture, (StreamHandle stream, GraphHandle * graph))                               \
  X(cuStreamGetCaptureInfo_v3,                                                                    \
    (StreamHandle stream, int* status, uint64_t* id, GraphHandle* graph,                          \
     const GraphNodeHandle** last, const void** edges, size_t* num_last))                         \
  X(cuEventCreate, (EventHandle * event, unsigned int flags))                                     \
  X(cuEventDestroy_v2, (EventHandle event))                                                       \
  X(cuEventRecord, (EventHandle event, StreamHandle stream))                                      \
  X(cuEventRecordWithFlags, (EventHandle event, StreamHandle stream, unsigned int flags))         \
  X(cuEventSynchronize, (EventHandle event))                                                      \
  X(cuEventElapsedTime, (float* milliseconds, EventHandle start, EventHandle end))                \
  X(cuModuleLoadData, (ModuleHandle * module, const void* image))                                 \
  X(cuModuleUnload, (ModuleHandle module))                                                        \
  X(cuModuleGetFunction, (FunctionHandle * function, ModuleHandle module, const char* name))      \
  X(cuModuleGetGlobal_v2,                                                                         \
    (DevicePtr * ptr, size_t * bytes, ModuleHandle module, const char* name))                     \
  X(cuFuncGetAttribute, (int* value, FunctionAttribute attribute, FunctionHandle function))       \
  X(cuFuncGetName, (const char** name, FunctionHandle function))                                  \
  X(cuFuncSetAttribute, (FunctionHandle function, FunctionAttribute attribute, int value))        \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor,                                                  \
    (int* blocks, FunctionHandle function, int block_threads, size_t dynamic_shared_bytes))       \
  X(cuTensorMapEncodeTiled,                                                                       \
    (void* map, int type, unsigned int rank, void* address, const uint64_t* sizes,                \
     const uint64_t* strides, const unsigned int* box, const unsigned int* steps, int interleave, \
     int swizzle, int promotion, int fill))                                                       \
  X(cuLaunchKernelEx,                                                                             \
    (const LaunchConfig* config, FunctionHandle function, void** parameters, void** extra))       \
  X(cuGraphInstantiateWithFlags,                                                                  \
    (GraphExecHandle * exec, GraphHandle graph, unsigned long long flags))                        \
  X(cuGraphGetNodes, (GraphHandle graph, GraphNodeHandle * nodes, size_t * count))                \
  X(cuGraphNodeGetType, (GraphNodeHandle node, GraphNodeType * type))                             \
  X(cuGraphKernelNodeGetParams_v2, (GraphNodeHandle node, KernelNodeParams * parameters))         \
  X(cuGraphLaunch, (GraphExecHandle exec, StreamHandle stream))                                   \
  X(cuGraphUpload, (GraphExecHandle exec, StreamHandle stream))                                   \
  X(cuGraphExecDestroy, (GraphExecHandle exec))                                                   \
  X(cuGraphDestroy, (GraphHandle graph))

// Pointers into libcuda. A plain table, so that a test can put its own functions in.
struct DriverApi {
#define REDLINE_CUDA_DECLARE(name, parameters) CuResult(*name) parameters = nullptr;
  REDLINE_CUDA_DRIVER_FUNCTIONS(REDLINE_CUDA_DECLARE)
#undef REDLINE_CUDA_DECLARE
};

}  // namespace redline::cuda
