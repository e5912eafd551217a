// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace redline::kernels::onednn {

// From now on the memory that libdnnl takes while a primitive executes (nodes of its table of
// arguments, packing buffers of its older products) comes from what the same thread gave back in an
// execution before, so that executing again allocates nothing. Every block is one of the program's
// own malloc, so it may be freed by anyone, and any may be freed here. A thread keeps a bounded
// amount, until it ends.
//
// False where that could not be kept: when the program has an operator new of its own, or a malloc
// that does not tell sizes (sanitizers too), or when libdnnl's imports cannot be redirected.
bool recycle_allocations();

// Marks that the calling thread executes a primitive. Threads of its team do so by that.
class ExecutionScope {
 public:
  ExecutionScope();
  ~ExecutionScope();
  ExecutionScope(const ExecutionScope&) = delete;
  ExecutionScope& operator=(const ExecutionScope&) = delete;
};

}  // namespace redline::kernels::onednn
