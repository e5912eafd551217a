// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "base/nvtx_api.h"

namespace redline {

// A profiler that wants to know what the host does and when (Nsight Systems and others), attached
// through NVTX. Thread-safe.
class Nvtx {
 public:
  // Of a range; lives as long as the text that it was made of.
  struct Name {
    nvtx::StringHandle handle = nullptr;
    const char* text = nullptr;  // null: no range
  };

  // The tool whose library NVTX_INJECTION64_PATH named when this was called first, for ever; null
  // where there is none.
  static const Nvtx* attached();

  // Once for each name and session: tools keep it.
  Name name(const std::string& text) const;
  void push(const Name& name) const;
  void pop() const;

 private:
  static const Nvtx* attach();
  nvtx::DomainHandle domain_ = nullptr;
  nvtx::RangePush push_ = nullptr;
  nvtx::RangePop pop_ = nullptr;
  nvtx::RegisterString register_ = nullptr;
};

// A named stretch of this thread's time, from here to the end of the scope. Without a tool, or a
// name, it is nothing.
class NvtxRange {
 public:
  NvtxRange(const Nvtx* tool, const Nvtx::Name& name)
      : tool_(tool != nullptr && name.text != nullptr ? tool : nullptr) {
    if (tool_ != nullptr) tool_->push(name);
  }
  ~NvtxRange() {
    if (tool_ != nullptr) tool_->pop();
  }
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;

 private:
  const Nvtx* tool_;
};

}  // namespace redline
