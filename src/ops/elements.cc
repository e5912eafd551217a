// SPDX-License-Identifier: Apache-2.0
#include "ops/elements.h"

#include "core/float_types.h"

namespace redline {
namespace {

template <class T, class W>
void widen(const TensorView& view, std::vector<W>& out) {
  const T* in = view.as<const T>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<W>(in[i]);
}

template <class T, class W>
void narrow(std::span<const W> in, const TensorView& view) {
  T* out = view.as<T>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = static_cast<T>(in[i]);
}

// Integers of fewer than 8 bits keep their low bits, sign-extended where signed.
template <class W>
void narrow_bits(std::span<const W> in, const TensorView& view) {
  int shift = 8 - dtype_bits(view.dtype);
  for (size_t i = 0; i < in.size(); ++i) {
    auto low = static_cast<uint8_t>(static_cast<uint8_t>(in[i]) << shift);
    view.as<uint8_t>()[i] = is_signed_int(view.dtype)
                                ? static_cast<uint8_t>(static_cast<int8_t>(low) >> shift)
                                : static_cast<uint8_t>(low >> shift);
  }
}

template <class T, class W, class Decode>
void decode_all(const TensorView& view, std::vector<W>& out, Decode decode) {
  const T* in = view.as<const T>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<W>(decode(in[i]));
}

template <class T, class W, class Encode>
void encode_all(std::span<const W> in, const TensorView& view, Encode encode) {
  T* out = view.as<T>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = encode(static_cast<double>(in[i]));
}

}  // namespace

template <class W>
std::vector<W> read_elements(const TensorView& view) {
  std::vector<W> out(static_cast<size_t>(view.count()));
  switch (view.dtype) {
    case DType::kFloat64:
      widen<double>(view, out);
      break;
    case DType::kFloat32:
      widen<float>(view, out);
      break;
    case DType::kFloat16:
      decode_all<uint16_t>(view, out, f16_to_f64);
      break;
    case DType::kBFloat16:
      decode_all<uint16_t>(view, out, bf16_to_f64);
      break;
    case DType::kFloat8E4M3FN:
      decode_all<uint8_t>(view, out, f8e4m3fn_to_f64);
      break;
    case DType::kFloat8E4M3FNUZ:
      decode_all<uint8_t>(view, out, f8e4m3fnuz_to_f64);
      break;
    case DType::kFloat8E5M2:
      decode_all<uint8_t>(view, out, f8e5m2_to_f64);
      break;
    case DType::kFloat8E5M2FNUZ:
      decode_all<uint8_t>(view, out, f8e5m2fnuz_to_f64);
      break;
    case DType::kFloat8E8M0:
      decode_all<uint8_t>(view, out, f8e8m0_to_f64);
      break;
    case DType::kFloat4E2M1:
      decode_all<uint8_t>(view, out, f4e2m1_to_f64);
      break;
    case DType::kInt64:
      widen<int64_t>(view, out);
      break;
    case DType::kInt32:
      widen<int32_t>(view, out);
      break;
    case DType::kInt16:
      widen<int16_t>(view, out);
      break;
    case DType::kInt8:
      widen<int8_t>(view, out);
      break;
    // The high bits of narrow elements may be anything.
    case DType::kInt4:
      decode_all<uint8_t>(view, out, [](uint8_t b) { return static_cast<int8_t>(b << 4) >> 4; });
      break;
    case DType::kInt2:
      decode_all<uint8_t>(view, out, [](uint8_t b) { return static_cast<int8_t>(b << 6) >> 6; });
      break;
    case DType::kUInt64:
      widen<uint64_t>(view, out);
      break;
    case DType::kUInt32:
      widen<uint32_t>(view, out);
      break;
    case DType::kUInt16:
      widen<uint16_t>(view, out);
      break;
    case DType::kUInt8:
      widen<uint8_t>(view, out);
      break;
    case DType::kUInt4:
      decode_all<uint8_t>(view, out, [](uint8_t b) { return b & 15; });
      break;
    case DType::kUInt2:
      decode_all<uint8_t>(view, out, [](uint8_t b) { return b & 3; });
      break;
    case DType::kBool:
      decode_all<uint8_t>(view, out, [](uint8_t b) { return b != 0; });
      break;
    case DType::kString:
      REDLINE_ASSERT(false);
      break;
  }
  return out;
}

template <class W>
void write_elements(std::span<const W> in, const TensorView& view) {
  REDLINE_ASSERT(static_cast<int64_t>(in.size()) == view.count());
  switch (view.dtype) {
    case DType::kFloat64:
      narrow<double>(in, view);
      break;
    case DType::kFloat32:
      narrow<float>(in, view);
      break;
    case DType::kFloat16:
      encode_all<uint16_t>(in, view, f64_to_f16);
      break;
    case DType::kBFloat16:
      encode_all<uint16_t>(in, view, f64_to_bf16);
      break;
    case DType::kFloat8E4M3FN:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f8e4m3fn(v, true); });
      break;
    case DType::kFloat8E4M3FNUZ:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f8e4m3fnuz(v, true); });
      break;
    case DType::kFloat8E5M2:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f8e5m2(v, true); });
      break;
    case DType::kFloat8E5M2FNUZ:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f8e5m2fnuz(v, true); });
      break;
    case DType::kFloat8E8M0:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f8e8m0(v); });
      break;
    case DType::kFloat4E2M1:
      encode_all<uint8_t>(in, view, [](double v) { return f64_to_f4e2m1(v); });
      break;
    case DType::kInt64:
      narrow<int64_t>(in, view);
      break;
    case DType::kInt32:
      narrow<int32_t>(in, view);
      break;
    case DType::kInt16:
      narrow<int16_t>(in, view);
      break;
    case DType::kInt8:
      narrow<int8_t>(in, view);
      break;
    case DType::kUInt64:
      narrow<uint64_t>(in, view);
      break;
    case DType::kUInt32:
      narrow<uint32_t>(in, view);
      break;
    case DType::kUInt16:
      narrow<uint16_t>(in, view);
      break;
    case DType::kUInt8:
      narrow<uint8_t>(in, view);
      break;
    case DType::kInt4:
    case DType::kInt2:
    case DType::kUInt4:
    case DType::kUInt2:
      narrow_bits(in, view);
      break;
    case DType::kBool:
      for (size_t i = 0; i < in.size(); ++i) view.as<uint8_t>()[i] = in[i] != W(0);
      break;
    case DType::kString:
      REDLINE_ASSERT(false);
      break;
  }
}

template <class W>
std::vector<W> read_elements_at(const TensorView& view, std::span<const int64_t> indices) {
  std::vector<uint64_t> stored((indices.size() * dtype_bytes(view.dtype) + 7) / 8);
  TensorView found{view.dtype, Dims{static_cast<int64_t>(indices.size())}, stored.data()};
  with_storage_type(view.dtype, [&](auto storage) {
    using T = decltype(storage);
    if constexpr (!std::is_same_v<T, std::string>) {
      for (size_t i = 0; i < indices.size(); ++i) found.as<T>()[i] = view.as<T>()[indices[i]];
    }
  });
  return read_elements<W>(found);
}

template std::vector<double> read_elements<double>(const TensorView&);
template std::vector<int64_t> read_elements<int64_t>(const TensorView&);
template std::vector<uint64_t> read_elements<uint64_t>(const TensorView&);
template std::vector<double> read_elements_at<double>(const TensorView&, std::span<const int64_t>);
template std::vector<int64_t> read_elements_at<int64_t>(const TensorView&,
                                                        std::span<const int64_t>);
template std::vector<uint64_t> read_elements_at<uint64_t>(const TensorView&,
                                                          std::span<const int64_t>);
template void write_elements<double>(std::span<const double>, const TensorView&);
template void write_elements<int64_t>(std::span<const int64_t>, const TensorView&);
template void write_elements<uint64_t>(std::span<const uint64_t>, const TensorView&);

Dims broadcast_strides(const Dims& from, const Dims& to) {
  Dims own = from.strides();
  Dims result;
  result.resize(to.rank());
  int offset = to.rank() - from.rank();
  for (int i = 0; i < from.rank(); ++i) {
    auto axis = static_cast<size_t>(i);
    result[static_cast<size_t>(offset + i)] = from[axis] == 1 ? 0 : own[axis];
  }
  return result;
}

}  // namespace redline
