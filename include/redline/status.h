// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "redline/export.h"

namespace redline {

enum class StatusCode : uint8_t {
  kOk,
  kInvalidArgument,
  kUnsupported,
  kNotFound,
  kIncompatible,
  kOutOfMemory,
  kDeviceError,
  kIoError,
  kCancelled,
  kInternal,
};

REDLINE_API std::string_view status_code_name(StatusCode code);

// The outcome of a fallible function. OK costs one null pointer; an error owns its record: code,
// message and, where they are known, the node and the place in a file. Values are immutable and may
// be passed between threads.
//
//   if (!status.ok()) mark_in_editor(status.position(), status.node(), status.message());
class [[nodiscard]] REDLINE_API Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message)
      : rep_(std::make_shared<const Rep>(Rep{code, std::move(message), {}, {}})) {}

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return rep_ ? rep_->code : StatusCode::kOk; }
  std::string_view message() const { return rep_ ? std::string_view(rep_->message) : ""; }
  // The node or step that failed, by its name in the model; empty where the error is about no one
  // node. Of several that cannot be imported it is the first: redline::check lists them all.
  std::string_view node() const { return rep_ ? std::string_view(rep_->node) : ""; }
  // The file, with the line or the byte where that is known: "net.txt:12", "model.onnx".
  std::string_view position() const { return rep_ ? std::string_view(rep_->position) : ""; }
  // "unsupported: node 'x': ..." for people; "ok" when there is no error.
  std::string to_string() const;
  // The same error with `where: ` put before its message. OK stays OK.
  Status with_context(std::string_view where) const;
  // The same error with its node, or its position, unless it has one. The message stays.
  Status at_node(std::string_view node) const;
  Status at_position(std::string_view position) const;

 private:
  struct Rep {
    StatusCode code;
    std::string message, node, position;
  };
  explicit Status(Rep rep) : rep_(std::make_shared<const Rep>(std::move(rep))) {}
  std::shared_ptr<const Rep> rep_;
};

// Message arguments are concatenated; numbers and strings are accepted.
namespace internal {
inline void append_piece(std::string& out, std::string_view piece) { out += piece; }
inline void append_piece(std::string& out, const std::string& piece) { out += piece; }
inline void append_piece(std::string& out, const char* piece) { out += piece; }
inline void append_piece(std::string& out, char piece) { out += piece; }
inline void append_piece(std::string& out, bool piece) { out += piece ? "true" : "false"; }
template <class T>
requires requires(T v) { std::to_string(v); }
void append_piece(std::string& out, T piece) { out += std::to_string(piece); }
}  // namespace internal

template <class... Pieces>
std::string str_cat(const Pieces&... pieces) {
  std::string out;
  (internal::append_piece(out, pieces), ...);
  return out;
}

template <class... P>
Status invalid_argument(const P&... pieces) {
  return {StatusCode::kInvalidArgument, str_cat(pieces...)};
}
template <class... P>
Status unsupported(const P&... pieces) {
  return {StatusCode::kUnsupported, str_cat(pieces...)};
}
template <class... P>
Status not_found(const P&... pieces) {
  return {StatusCode::kNotFound, str_cat(pieces...)};
}
template <class... P>
Status incompatible(const P&... pieces) {
  return {StatusCode::kIncompatible, str_cat(pieces...)};
}
template <class... P>
Status out_of_memory(const P&... pieces) {
  return {StatusCode::kOutOfMemory, str_cat(pieces...)};
}
template <class... P>
Status io_error(const P&... pieces) {
  return {StatusCode::kIoError, str_cat(pieces...)};
}
template <class... P>
Status cancelled(const P&... pieces) {
  return {StatusCode::kCancelled, str_cat(pieces...)};
}
template <class... P>
Status internal_error(const P&... pieces) {
  return {StatusCode::kInternal, str_cat(pieces...)};
}

// A value or the error that kept it from being made. Reading value() of an error is a bug of ours.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}  // NOLINT: implicit, so that `return value;` reads
  Result(Status status) : status_(std::move(status)) {}  // NOLINT: likewise for `return error;`

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace redline

#define REDLINE_CONCAT_INNER(a, b) a##b
#define REDLINE_CONCAT(a, b) REDLINE_CONCAT_INNER(a, b)

// Returns from the enclosing function when `expr`, a Status, is an error.
#define REDLINE_TRY(expr)                                                                       \
  do {                                                                                          \
    if (::redline::Status redline_status = (expr); !redline_status.ok()) return redline_status; \
  } while (false)

// `REDLINE_ASSIGN(auto x, f());` declares x from a Result or returns its error.
#define REDLINE_ASSIGN(var, ...) \
  REDLINE_ASSIGN_IMPL(var, REDLINE_CONCAT(redline_result_, __LINE__), __VA_ARGS__)
#define REDLINE_ASSIGN_IMPL(var, result, ...) \
  auto result = (__VA_ARGS__);                \
  if (!result.ok()) return result.status();   \
  var = *std::move(result)

// For our own bugs only, never for a user's input.
#define REDLINE_ASSERT(cond)                               \
  do {                                                     \
    if (!(cond)) [[unlikely]]                              \
      ::redline::assert_failed(#cond, __FILE__, __LINE__); \
  } while (false)

namespace redline {
[[noreturn]] REDLINE_API void assert_failed(const char* cond, const char* file, int line);
}
