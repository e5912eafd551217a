// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/context.h"
#include "device/nvrtc.h"

// A GPU for tests on machines without one: the driver's functions over host memory, and kernels
// compiled by the host's compiler and run one thread after another. It finds wrong indices, wrong
// values and writes out of bounds in kernels whose threads do not talk to each other; it says
// nothing of speed, and it runs neither barriers nor PTX.
namespace redline::emulator {

// One GPU of this architecture. The table lives for ever.
const cuda::DriverApi& driver();

// What NVRTC would do. The "cubin" names a shared library in a folder that is removed at exit.
Result<cuda::CompiledKernel> compile(const cuda::KernelSource& source);

// Fails the n-th driver call from now on that could fail, once; 0: none. Returns how many such
// calls there were since the last call of this function.
int fail_call(int n);

}  // namespace redline::emulator
