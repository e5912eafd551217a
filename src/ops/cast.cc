// SPDX-License-Identifier: Apache-2.0
#include "ops/cast.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <string>

#include "core/float_types.h"
#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

// Elements of shape arithmetic stay known through integer types; those of bool only when they are
// surely zero or surely not.
std::optional<SymDims> cast_contents(const InferContext& c, DType to) {
  std::optional<SymDims> contents = c.contents(0);
  if (!contents) return std::nullopt;
  if (to == DType::kInt64 || to == DType::kInt32) return contents;
  for (Dim& dim : *contents) {
    if (to == DType::kBool && dim.lower_bound() > 0) dim = Dim(1);
    if (!dim.is_const()) return std::nullopt;
    if (to == DType::kBool) {
      dim = Dim(dim.value() != 0 ? 1 : 0);
    } else if (dim.value() < int_min(to) || dim.value() > int_max(to)) {
      return std::nullopt;
    }
  }
  return contents;
}

Status infer_cast(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  DType to = c.attrs<CastAttrs>().to;
  if (is_int(to) || to == DType::kBool) {
    if (std::optional<SymDims> contents = cast_contents(c, to)) c.set_contents(0, *contents);
  }
  c.set_output(0, to, c.shape(0));
  return {};
}

FloatCast float_cast(const CastAttrs& attrs) {
  return {attrs.saturate, attrs.round_mode == ScaleRound::kUp     ? E8M0Round::kUp
                          : attrs.round_mode == ScaleRound::kDown ? E8M0Round::kDown
                                                                  : E8M0Round::kNearest};
}

void store_floats(const std::vector<double>& values, const TensorView& out,
                  const CastAttrs& attrs) {
  if (is_float(out.dtype)) {
    encode_floats(out.dtype, values.data(), out.data, values.size(), float_cast(attrs));
  } else if (out.dtype == DType::kUInt64) {
    for (size_t i = 0; i < values.size(); ++i) {
      out.as<uint64_t>()[i] = saturating_uint64(values[i]);
    }
  } else if (out.dtype == DType::kBool) {
    for (size_t i = 0; i < values.size(); ++i) out.as<uint8_t>()[i] = values[i] != 0;
  } else {
    DType range = dtype_bits(out.dtype) < 8 ? DType::kInt64 : out.dtype;
    std::vector<int64_t> whole(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      whole[i] = saturating_int64(values[i], int_min(range), int_max(range));
    }
    write_elements(whole, out);
  }
}

template <class I>
void store_integers(const std::vector<I>& values, const TensorView& out, const CastAttrs& attrs) {
  if (!is_float(out.dtype)) return write_elements(values, out);
  // Float32 rounds once from the integer; smaller types hold too few bits to tell.
  if (out.dtype == DType::kFloat32) {
    for (size_t i = 0; i < values.size(); ++i) out.as<float>()[i] = static_cast<float>(values[i]);
  } else {
    store_floats(std::vector<double>(values.begin(), values.end()), out, attrs);
  }
}

std::string_view trimmed(std::string_view text) {
  size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Status not_a_number(const std::string& text, DType to) {
  return invalid_argument("cannot read '", text.substr(0, 40), "' as ", dtype_name(to));
}

template <class T>
Result<T> parse_number(const std::string& text, DType to) {
  std::string_view digits = trimmed(text);
  // from_chars takes no leading plus.
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  T value{};
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() || end == digits.data()) return not_a_number(text, to);
  if (error == std::errc()) return value;
  if constexpr (std::is_floating_point_v<T>) {
    // Beyond the range: strtod tells overflow (infinity) from underflow (zero or subnormal).
    if (error == std::errc::result_out_of_range) {
      return static_cast<T>(std::strtod(std::string(digits).c_str(), nullptr));
    }
  }
  return not_a_number(text, to);
}

// "12" is read exactly, "12.7" by way of a float.
Status parse_all(const TensorView& in, const TensorView& out, const CastAttrs& attrs) {
  const auto* texts = in.as<std::string>();
  auto count = static_cast<size_t>(in.count());
  if (is_signed_int(out.dtype) || out.dtype == DType::kUInt64) {
    bool is_signed = is_signed_int(out.dtype);
    for (size_t i = 0; i < count; ++i) {
      TensorView one{out.dtype, {}, out.as<char>() + i * dtype_bytes(out.dtype)};
      if (Result<int64_t> v = parse_number<int64_t>(texts[i], out.dtype); is_signed && v.ok()) {
        store_integers(std::vector<int64_t>{*v}, one, attrs);
      } else if (Result<uint64_t> u = parse_number<uint64_t>(texts[i], out.dtype);
                 !is_signed && u.ok()) {
        store_integers(std::vector<uint64_t>{*u}, one, attrs);
      } else {
        REDLINE_ASSIGN(double f, parse_number<double>(texts[i], out.dtype));
        store_floats({f}, one, attrs);
      }
    }
    return {};
  }
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) {
    if (out.dtype == DType::kFloat32) {
      REDLINE_ASSIGN(values[i], parse_number<float>(texts[i], out.dtype));
    } else {
      REDLINE_ASSIGN(values[i], parse_number<double>(texts[i], out.dtype));
    }
  }
  store_floats(values, out, attrs);
  return {};
}

// Shortest text that reads back as the same T: plain where the exponent is in [-4, 16), else
// scientific; whole numbers end in ".0".
template <class T>
std::string float_text(T value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "INF" : "-INF";
  char buffer[64];
  double magnitude = std::fabs(static_cast<double>(value));
  bool plain = magnitude == 0 || (magnitude >= 1e-4 && magnitude < 1e16);
  auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  char* end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  std::string text(buffer, end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

void print_all(const TensorView& in, const TensorView& out) {
  auto* texts = out.as<std::string>();
  auto count = static_cast<size_t>(in.count());
  if (in.dtype == DType::kFloat64) {
    for (size_t i = 0; i < count; ++i) texts[i] = float_text(in.as<double>()[i]);
  } else if (is_float(in.dtype)) {
    std::vector<double> values = read_elements<double>(in);
    for (size_t i = 0; i < count; ++i) texts[i] = float_text(static_cast<float>(values[i]));
  } else if (in.dtype == DType::kBool) {
    for (size_t i = 0; i < count; ++i) texts[i] = in.as<uint8_t>()[i] != 0 ? "True" : "False";
  } else {
    with_wide_type(in.dtype, [&](auto wide) {
      if constexpr (!std::is_floating_point_v<decltype(wide)>) {
        auto values = read_elements<decltype(wide)>(in);
        for (size_t i = 0; i < count; ++i) texts[i] = std::to_string(values[i]);
      }
    });
  }
}

Status reference_cast(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  const auto& attrs = c.attrs<CastAttrs>();
  if (in.dtype == DType::kString && out.dtype == DType::kString) {
    std::copy_n(in.as<std::string>(), in.count(), out.as<std::string>());
    return {};
  }
  if (in.dtype == DType::kString) return parse_all(in, out, attrs);
  if (out.dtype == DType::kString) {
    print_all(in, out);
    return {};
  }
  with_wide_type(in.dtype, [&](auto wide) {
    using W = decltype(wide);
    if constexpr (std::is_same_v<W, double>) {
      store_floats(read_elements<W>(in), out, attrs);
    } else {
      store_integers(read_elements<W>(in), out, attrs);
    }
  });
  return {};
}

Status infer_bit_cast(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  DType to = c.attrs<BitCastAttrs>().to;
  if (c.dtype(0) == DType::kString || dtype_bits(to) != dtype_bits(c.dtype(0))) {
    return c.input_error(0, str_cat("does not have elements as wide as ", dtype_name(to)));
  }
  c.set_output(0, to, c.shape(0));
  return {};
}

Status reference_bit_cast(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  int bits = dtype_bits(out.dtype);
  if (bits >= 8) {
    if (in.bytes() > 0) std::memcpy(out.data, in.data, in.bytes());
    return {};
  }
  // Narrow elements lie in a byte each, sign-extended where signed.
  std::vector<uint64_t> values(static_cast<size_t>(in.count()));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = in.as<uint8_t>()[i] & ((1u << bits) - 1);
    if (is_float(out.dtype)) out.as<uint8_t>()[i] = static_cast<uint8_t>(values[i]);
  }
  if (!is_float(out.dtype)) write_elements(values, out);
  return {};
}

}  // namespace

void register_op_cast(OpRegistry& registry) {
  registry.add({.name = "cast",
                .inputs = {{"input"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<CastAttrs>(),
                .traits = kTraitPointwise,
                .infer = infer_cast,
                .reference = reference_cast});
  registry.add({.name = "bit_cast",
                .inputs = {{"input"}},
                .outputs = {{"output"}},
                .attrs = attrs_type<BitCastAttrs>(),
                .traits = kTraitPointwise,
                .infer = infer_bit_cast,
                .reference = reference_bit_cast});
}

}  // namespace redline
