// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <cstdio>
#include <cstdlib>

namespace redline {

std::string_view status_code_name(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kInvalidArgument:
      return "invalid argument";
    case StatusCode::kUnsupported:
      return "unsupported";
    case StatusCode::kNotFound:
      return "not found";
    case StatusCode::kIncompatible:
      return "incompatible";
    case StatusCode::kOutOfMemory:
      return "out of memory";
    case StatusCode::kDeviceError:
      return "device error";
    case StatusCode::kIoError:
      return "I/O error";
    case StatusCode::kCancelled:
      return "cancelled";
    case StatusCode::kInternal:
      return "internal error";
  }
  return "unknown";
}

std::string Status::to_string() const {
  if (ok()) return "ok";
  return str_cat(status_code_name(code()), ": ", message());
}

Status Status::with_context(std::string_view where) const {
  if (ok()) return *this;
  Rep rep = *rep_;
  rep.message = str_cat(where, ": ", rep.message);
  return Status(std::move(rep));
}

Status Status::at_node(std::string_view node) const {
  if (ok() || !rep_->node.empty()) return *this;
  Rep rep = *rep_;
  rep.node = node;
  return Status(std::move(rep));
}

Status Status::at_position(std::string_view position) const {
  if (ok() || !rep_->position.empty()) return *this;
  Rep rep = *rep_;
  rep.position = position;
  return Status(std::move(rep));
}

void assert_failed(const char* cond, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: redline bug: expected %s\n", file, line, cond);
  std::abort();
}

}  // namespace redline
