// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/status.h"
#include "core/tensor.h"
#include "core/type.h"

namespace redline {

struct Body;

// One attribute in its generic form, between the typed struct of an op and everything that prints,
// parses, compares, hashes or stores it.
using AttrValue =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                 std::vector<std::string>, SymDims, DType, Tensor, std::shared_ptr<const Body>>;
struct NamedAttr {
  std::string name;
  AttrValue value;
};
using AttrMap = std::vector<NamedAttr>;

bool attr_equal(const AttrValue& a, const AttrValue& b);
uint64_t attr_hash(const AttrValue& value);
// Text form: 1, 1.5, "text", [1, 2], [1.0], ["a"], <batch, 3>, f32, tensor f32[2] hex"..", {body}.
std::string attr_to_string(const AttrValue& value);

// The type-erased face of one attribute struct. Made only by attrs_type<A>().
struct AttrsType {
  AttrMap (*save)(const void* attrs, bool with_defaults);
  Result<std::shared_ptr<const void>> (*load)(const AttrMap& map);
};

// The attributes of a node: an immutable value of the op's own struct. Such a struct is plain data
// with
//   template <class V> void fields(V& v) { v("strides", strides); v("group", group); }
// which names each member once; a default-constructed struct holds the defaults. Members may be
// int64_t, bool, float, double, std::string, DType, an enum with `enum_names(E)`, Tensor, SymDims,
// std::vector of int64_t, float, std::string, std::optional of any of these, or
// std::shared_ptr<const Body>.
class Attrs {
 public:
  Attrs();  // of NoAttrs
  template <class A>
  static Attrs of(A attrs);
  static Result<Attrs> load(const AttrsType* type, const AttrMap& map);

  template <class A>
  const A& as() const;
  const AttrsType* type() const { return type_; }
  // Name and value of each member that differs from its default (or of all).
  AttrMap map(bool with_defaults = false) const { return type_->save(data_.get(), with_defaults); }
  std::string to_string() const;  // "{group=2, strides=[1, 1]}", "" when all are defaults
  uint64_t hash() const;
  friend bool operator==(const Attrs& a, const Attrs& b);

 private:
  const AttrsType* type_;
  std::shared_ptr<const void> data_;
};

struct NoAttrs {
  template <class V>
  void fields(V&) {}
};

namespace internal {

template <class T>
concept NamedEnum = std::is_enum_v<T> && requires(T v) {
  enum_names(v);
};

template <class T>
AttrValue to_attr(const T& v) {
  if constexpr (std::is_same_v<T, bool>) {
    return static_cast<int64_t>(v);
  } else if constexpr (std::is_same_v<T, float>) {
    return static_cast<double>(v);
  } else if constexpr (std::is_same_v<T, std::vector<float>>) {
    return std::vector<double>(v.begin(), v.end());
  } else if constexpr (NamedEnum<T>) {
    return std::string(enum_names(v)[static_cast<size_t>(v)]);
  } else {
    return v;
  }
}

template <class T>
bool from_attr(const AttrValue& value, T& v) {
  if constexpr (std::is_same_v<T, bool>) {
    auto* number = std::get_if<int64_t>(&value);
    if (number == nullptr || (*number != 0 && *number != 1)) return false;
    v = *number != 0;
  } else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    if (auto* number = std::get_if<double>(&value)) {
      v = static_cast<T>(*number);
    } else if (auto* whole = std::get_if<int64_t>(&value)) {
      v = static_cast<T>(*whole);
    } else {
      return false;
    }
  } else if constexpr (std::is_same_v<T, std::vector<float>>) {
    if (auto* numbers = std::get_if<std::vector<double>>(&value)) {
      v.assign(numbers->begin(), numbers->end());
    } else if (auto* whole = std::get_if<std::vector<int64_t>>(&value)) {
      v.assign(whole->begin(), whole->end());
    } else {
      return false;
    }
  } else if constexpr (std::is_same_v<T, SymDims>) {
    if (auto* whole = std::get_if<std::vector<int64_t>>(&value)) {
      v.assign(whole->begin(), whole->end());
      return true;
    }
    auto* dims = std::get_if<SymDims>(&value);
    if (dims == nullptr) return false;
    v = *dims;
  } else if constexpr (NamedEnum<T>) {
    auto* name = std::get_if<std::string>(&value);
    if (name == nullptr) return false;
    size_t i = 0;
    for (std::string_view candidate : enum_names(v)) {
      if (candidate == *name) {
        v = static_cast<T>(i);
        return true;
      }
      ++i;
    }
    return false;
  } else {
    auto* typed = std::get_if<T>(&value);
    // An empty list has no element type of its own: "[]" parses as integers.
    if constexpr (requires { v.clear(); } && !std::is_same_v<T, std::string>) {
      auto* whole = std::get_if<std::vector<int64_t>>(&value);
      if (typed == nullptr && whole != nullptr && whole->empty()) {
        v.clear();
        return true;
      }
    }
    if (typed == nullptr) return false;
    v = *typed;
  }
  return true;
}

struct AttrSaver {
  AttrMap map;
  template <class T>
  void operator()(std::string_view name, const T& v) {
    map.push_back({std::string(name), to_attr(v)});
  }
  template <class T>
  void operator()(std::string_view name, const std::optional<T>& v) {
    if (v) map.push_back({std::string(name), to_attr(*v)});
  }
};

struct AttrLoader {
  const AttrMap& map;
  size_t used = 0;
  Status status;
  template <class T>
  void operator()(std::string_view name, T& v) {
    for (const NamedAttr& attr : map) {
      if (attr.name != name) continue;
      ++used;
      if (!from_attr(attr.value, v) && status.ok()) {
        status = invalid_argument("attribute '", name, "' has a value of the wrong type or range: ",
                                  attr_to_string(attr.value));
      }
    }
  }
  template <class T>
  void operator()(std::string_view name, std::optional<T>& v) {
    for (const NamedAttr& attr : map) {
      if (attr.name == name) {
        T inner{};
        (*this)(name, inner);
        v = std::move(inner);
        return;
      }
    }
  }
};

Status unknown_attribute(const AttrMap& map, const AttrMap& known);

template <class A>
AttrMap save_attrs(const void* data, bool with_defaults) {
  A attrs = *static_cast<const A*>(data);
  AttrSaver saver;
  attrs.fields(saver);
  if (with_defaults) return std::move(saver.map);
  A defaults{};
  AttrSaver default_saver;
  defaults.fields(default_saver);
  AttrMap result;
  for (NamedAttr& attr : saver.map) {
    bool same = false;
    for (const NamedAttr& other : default_saver.map) {
      same |= other.name == attr.name && attr_equal(other.value, attr.value);
    }
    if (!same) result.push_back(std::move(attr));
  }
  return result;
}

template <class A>
Result<std::shared_ptr<const void>> load_attrs(const AttrMap& map) {
  auto attrs = std::make_shared<A>();
  AttrLoader loader{map, 0, {}};
  attrs->fields(loader);
  REDLINE_TRY(loader.status);
  if (loader.used != map.size()) return unknown_attribute(map, save_attrs<A>(attrs.get(), true));
  return std::shared_ptr<const void>(std::move(attrs));
}

template <class A>
inline constexpr AttrsType kAttrsType{&save_attrs<A>, &load_attrs<A>};

}  // namespace internal

template <class A>
const AttrsType* attrs_type() {
  return &internal::kAttrsType<A>;
}

template <class A>
Attrs Attrs::of(A attrs) {
  Attrs result;
  result.type_ = attrs_type<A>();
  result.data_ = std::make_shared<const A>(std::move(attrs));
  return result;
}

template <class A>
const A& Attrs::as() const {
  REDLINE_ASSERT(type_ == attrs_type<A>());
  return *static_cast<const A*>(data_.get());
}

}  // namespace redline
