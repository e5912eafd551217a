// SPDX-License-Identifier: Apache-2.0
#include "ops/attrs.h"

#include <charconv>
#include <cmath>
#include <cstring>

#include "ops/body.h"

namespace redline {
namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdull;
}

uint64_t hash_bytes(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

bool same_double(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Shortest text that reads back as the same number, always with a mark of a float.
std::string double_to_string(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  char buffer[64];
  // Attributes come from float32 fields: the shortest float text that is exact wins.
  auto narrow = static_cast<float>(v);
  auto end = same_double(narrow, v) ? std::to_chars(buffer, buffer + sizeof buffer, narrow).ptr
                                    : std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  std::string text(buffer, end);
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string quote(std::string_view s) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (static_cast<uint8_t>(c) < 0x20 || static_cast<uint8_t>(c) >= 0x7f) {
      text += "\\x";
      text += kHex[static_cast<uint8_t>(c) >> 4];
      text += kHex[c & 15];
    } else {
      text += c;
    }
  }
  return text + "\"";
}

template <class T, class Fn>
std::string join(const std::vector<T>& list, Fn&& fn) {
  std::string text;
  for (const T& item : list) {
    if (!text.empty()) text += ", ";
    text += fn(item);
  }
  return text;
}

template <class... Fn>
struct Overloaded : Fn... {
  using Fn::operator()...;
};
template <class... Fn>
Overloaded(Fn...) -> Overloaded<Fn...>;

}  // namespace

std::string tensor_to_string(const Tensor& tensor) {
  std::string text = str_cat(dtype_name(tensor.dtype()), "[");
  for (int i = 0; i < tensor.rank(); ++i) {
    text += str_cat(i > 0 ? "," : "", tensor.dims()[static_cast<size_t>(i)]);
  }
  text += "] ";
  if (tensor.dtype() == DType::kString) {
    std::vector<std::string> items(tensor.data<std::string>(),
                                   tensor.data<std::string>() + tensor.count());
    return text + "strings(" + join(items, quote) + ")";
  }
  static constexpr char kHex[] = "0123456789abcdef";
  text += "hex\"";
  auto* bytes = tensor.data<uint8_t>();
  for (size_t i = 0; i < tensor.bytes(); ++i) {
    text += kHex[bytes[i] >> 4];
    text += kHex[bytes[i] & 15];
  }
  return text + "\"";
}

bool attr_equal(const AttrValue& a, const AttrValue& b) {
  if (a.index() != b.index()) return false;
  if (auto* x = std::get_if<double>(&a)) return same_double(*x, std::get<double>(b));
  if (auto* x = std::get_if<std::vector<double>>(&a)) {
    auto& y = std::get<std::vector<double>>(b);
    return x->size() == y.size() && std::equal(x->begin(), x->end(), y.begin(), same_double);
  }
  if (auto* x = std::get_if<Tensor>(&a)) {
    const Tensor& y = std::get<Tensor>(b);
    if (!x->defined() || !y.defined()) return x->defined() == y.defined();
    return identical(*x, y);
  }
  if (auto* x = std::get_if<std::shared_ptr<const Body>>(&a)) {
    auto& y = std::get<std::shared_ptr<const Body>>(b);
    return *x == y || (*x && y && **x == *y);
  }
  if (auto* x = std::get_if<int64_t>(&a)) return *x == std::get<int64_t>(b);
  if (auto* x = std::get_if<std::string>(&a)) return *x == std::get<std::string>(b);
  if (auto* x = std::get_if<std::vector<int64_t>>(&a))
    return *x == std::get<std::vector<int64_t>>(b);
  if (auto* x = std::get_if<std::vector<std::string>>(&a)) {
    return *x == std::get<std::vector<std::string>>(b);
  }
  if (auto* x = std::get_if<SymDims>(&a)) return *x == std::get<SymDims>(b);
  return std::get<DType>(a) == std::get<DType>(b);
}

std::string attr_to_string(const AttrValue& value) {
  return std::visit(
      Overloaded{
          [](int64_t v) { return std::to_string(v); },
          [](double v) { return double_to_string(v); },
          [](const std::string& v) { return quote(v); },
          [](const std::vector<int64_t>& v) {
            return "[" + join(v, [](int64_t x) { return std::to_string(x); }) + "]";
          },
          [](const std::vector<double>& v) { return "[" + join(v, double_to_string) + "]"; },
          [](const std::vector<std::string>& v) { return "[" + join(v, quote) + "]"; },
          [](const SymDims& v) {
            return "<" + join(v, [](const Dim& d) { return d.to_string(); }) + ">";
          },
          [](DType v) { return std::string(dtype_name(v)); },
          [](const Tensor& v) { return v.defined() ? "tensor " + tensor_to_string(v) : "none"; },
          [](const std::shared_ptr<const Body>& v) { return v ? body_to_string(*v) : "none"; },
      },
      value);
}

uint64_t attr_hash(const AttrValue& value) {
  return mix(value.index(), hash_bytes(attr_to_string(value)));
}

Attrs::Attrs() : type_(attrs_type<NoAttrs>()) {
  static const std::shared_ptr<const void> kNone = std::make_shared<const NoAttrs>();
  data_ = kNone;
}

Result<Attrs> Attrs::load(const AttrsType* type, const AttrMap& map) {
  Attrs result;
  result.type_ = type;
  REDLINE_ASSIGN(result.data_, type->load(map));
  return result;
}

std::string Attrs::to_string() const {
  std::string text;
  for (const NamedAttr& attr : map()) {
    text += str_cat(text.empty() ? "{" : ", ", attr.name, "=", attr_to_string(attr.value));
  }
  return text.empty() ? text : text + "}";
}

uint64_t Attrs::hash() const {
  uint64_t hash = 0;
  for (const NamedAttr& attr : map())
    hash = mix(mix(hash, hash_bytes(attr.name)), attr_hash(attr.value));
  return hash;
}

bool operator==(const Attrs& a, const Attrs& b) {
  if (a.type_ != b.type_) return false;
  if (a.data_ == b.data_) return true;
  AttrMap x = a.map(true);
  AttrMap y = b.map(true);
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i].name != y[i].name || !attr_equal(x[i].value, y[i].value)) return false;
  }
  return true;
}

Status internal::unknown_attribute(const AttrMap& map, const AttrMap& known) {
  for (const NamedAttr& attr : map) {
    bool found = false;
    std::string names;
    for (const NamedAttr& other : known) {
      found |= other.name == attr.name;
      names += (names.empty() ? "" : ", ") + other.name;
    }
    if (!found) {
      return invalid_argument("unknown attribute '", attr.name,
                              "'; this op has: ", names.empty() ? "none" : names);
    }
  }
  return invalid_argument("an attribute is given twice");
}

}  // namespace redline
