// SPDX-License-Identifier: Apache-2.0
#include "onnx/tensor_reader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/file_io.h"
#include "onnx/onnx_fields_generated.h"

namespace redline {
namespace {

namespace fs = std::filesystem;

// A tensor named "t"; `fill` sets its data.
template <class Fill>
TensorProto make(int32_t data_type, std::vector<int64_t> dims, Fill fill) {
  TensorProto proto;
  proto.name = "t";
  proto.data_type = data_type;
  proto.dims = std::move(dims);
  fill(proto);
  return proto;
}

TensorProto make_raw(int32_t data_type, std::vector<int64_t> dims, std::string_view raw) {
  return make(data_type, std::move(dims), [&](TensorProto& p) { p.raw_data = raw; });
}

Result<Tensor> read(const TensorProto& proto) {
  OnnxExternalData none;
  return read_onnx_tensor(proto, nullptr, none);
}

template <class T>
std::vector<T> values(const Result<Tensor>& tensor) {
  EXPECT_TRUE(tensor.ok()) << tensor.status().to_string();
  if (!tensor.ok()) return {};
  EXPECT_EQ(sizeof(T), dtype_bytes(tensor->dtype()));
  return {tensor->data<T>(), tensor->data<T>() + tensor->count()};
}

std::string error(const TensorProto& proto) { return std::string(read(proto).status().message()); }

TEST(OnnxTypes, MapBothWays) {
  for (int i = 0; i < kNumDTypes; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_onnx(onnx_data_type(dtype)).value(), dtype);
  }
  EXPECT_EQ(dtype_from_onnx(kTensorProto_DataType_COMPLEX64).status().message(),
            "the element type COMPLEX64 has no counterpart here");
  EXPECT_EQ(dtype_from_onnx(12345).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(dtype_from_onnx(0).status().message(), "the element type is not stated");
}

TEST(TensorReader, RawData) {
  const auto tensor =
      read(make_raw(kTensorProto_DataType_INT16, {2, 1}, std::string_view("\x01\x00\xff\x7f", 4)));
  EXPECT_EQ(values<int16_t>(tensor), (std::vector<int16_t>{1, 32767}));
  EXPECT_EQ(tensor->dims(), (Dims{2, 1}));
}

TEST(TensorReader, RankZeroAndNoElements) {
  const auto scalar =
      read(make_raw(kTensorProto_DataType_FLOAT, {}, std::string_view("\x00\x00\x80\x3f", 4)));
  EXPECT_EQ(values<float>(scalar), (std::vector<float>{1.0F}));
  EXPECT_EQ(scalar->rank(), 0);
  const auto empty = read(make_raw(kTensorProto_DataType_FLOAT, {3, 0}, ""));
  EXPECT_TRUE(values<float>(empty).empty());
  EXPECT_TRUE(empty->defined());
  const auto unset = read(make(kTensorProto_DataType_INT64, {0}, [](TensorProto&) {}));
  EXPECT_TRUE(values<int64_t>(unset).empty());
}

TEST(TensorReader, AlignedBytesAreSharedAndOthersCopied) {
  const auto bytes = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3});
  const auto* const begin = reinterpret_cast<const char*>(bytes->data());
  OnnxExternalData none;
  const auto shared =
      read_onnx_tensor(make_raw(kTensorProto_DataType_FLOAT, {2}, {begin + 4, 8}), bytes, none);
  EXPECT_EQ(shared->raw(), begin + 4);
  EXPECT_EQ(bytes.use_count(), 2);
  const auto odd =
      read_onnx_tensor(make_raw(kTensorProto_DataType_FLOAT, {2}, {begin + 1, 8}), bytes, none);
  EXPECT_NE(odd->raw(), begin + 1);
  EXPECT_EQ(bytes.use_count(), 2);
  const auto unowned = read(make_raw(kTensorProto_DataType_FLOAT, {2}, {begin + 4, 8}));
  EXPECT_EQ(values<float>(unowned), (std::vector<float>{2, 3}));
  EXPECT_NE(unowned->raw(), begin + 4);
}

TEST(TensorReader, RawBoolBecomesZeroOrOne) {
  const auto tensor =
      read(make_raw(kTensorProto_DataType_BOOL, {3}, std::string_view("\x00\x02\xff", 3)));
  EXPECT_EQ(values<uint8_t>(tensor), (std::vector<uint8_t>{0, 1, 1}));
}

TEST(TensorReader, NibblesLowFirst) {
  const std::string_view raw("\x8f\x01", 2);
  EXPECT_EQ(values<int8_t>(read(make_raw(kTensorProto_DataType_INT4, {3}, raw))),
            (std::vector<int8_t>{-1, -8, 1}));
  EXPECT_EQ(values<uint8_t>(read(make_raw(kTensorProto_DataType_UINT4, {3}, raw))),
            (std::vector<uint8_t>{15, 8, 1}));
  EXPECT_EQ(values<uint8_t>(read(make_raw(kTensorProto_DataType_FLOAT4E2M1, {3}, raw))),
            (std::vector<uint8_t>{15, 8, 1}));
}

TEST(TensorReader, CrumbsLowFirst) {
  const std::string_view raw("\xe4\x02", 2);  // 0 1 2 3, 2
  EXPECT_EQ(values<uint8_t>(read(make_raw(kTensorProto_DataType_UINT2, {5}, raw))),
            (std::vector<uint8_t>{0, 1, 2, 3, 2}));
  EXPECT_EQ(values<int8_t>(read(make_raw(kTensorProto_DataType_INT2, {5}, raw))),
            (std::vector<int8_t>{0, 1, -2, -1, -2}));
}

TEST(TensorReader, TypedLists) {
  const auto floats = make(kTensorProto_DataType_FLOAT, {2}, [](TensorProto& p) {
    p.float_data = {{"\x00\x00\x80\x3f", 4}, {"\x00\x00\xc0\x7f", 4}};  // two runs
  });
  const auto read_floats = values<float>(read(floats));
  EXPECT_EQ(read_floats[0], 1.0F);
  EXPECT_TRUE(std::isnan(read_floats[1]));
  const auto doubles = make(kTensorProto_DataType_DOUBLE, {1}, [](TensorProto& p) {
    p.double_data = {{"\x00\x00\x00\x00\x00\x00\xf0\xbf", 8}};
  });
  EXPECT_EQ(values<double>(read(doubles)), (std::vector<double>{-1.0}));
  const auto int64s = make(kTensorProto_DataType_INT64, {3}, [](TensorProto& p) {
    p.int64_data = {{"\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, {"\xac\x02", 2}};
  });
  EXPECT_EQ(values<int64_t>(read(int64s)), (std::vector<int64_t>{5, -1, 300}));
  const auto uint64s = make(kTensorProto_DataType_UINT64, {1}, [](TensorProto& p) {
    p.uint64_data = {{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10}};
  });
  EXPECT_EQ(values<uint64_t>(read(uint64s)), (std::vector<uint64_t>{UINT64_MAX}));
  const auto strings = make(kTensorProto_DataType_STRING, {2}, [](TensorProto& p) {
    p.string_data = {"a", {"\0b", 2}};
  });
  EXPECT_EQ(values<std::string>(read(strings)),
            (std::vector<std::string>{"a", std::string("\0b", 2)}));
}

TensorProto make_int32s(int32_t data_type, std::vector<int64_t> dims, std::string_view varints) {
  return make(data_type, std::move(dims), [&](TensorProto& p) { p.int32_data = {varints}; });
}

TEST(TensorReader, SmallTypesInInt32Data) {
  constexpr std::string_view kMinusOne("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
  EXPECT_EQ(values<int8_t>(read(make_int32s(kTensorProto_DataType_INT8, {1}, kMinusOne))),
            (std::vector<int8_t>{-1}));
  EXPECT_EQ(values<int32_t>(read(make_int32s(kTensorProto_DataType_INT32, {1}, kMinusOne))),
            (std::vector<int32_t>{-1}));
  // 1.0 as float16: 0x3c00.
  EXPECT_EQ(values<uint16_t>(read(make_int32s(kTensorProto_DataType_FLOAT16, {1}, "\x80\x78"))),
            (std::vector<uint16_t>{0x3c00}));
  EXPECT_EQ(values<uint8_t>(read(make_int32s(kTensorProto_DataType_BOOL, {2}, "\x01\x07"))),
            (std::vector<uint8_t>{1, 1}));
  // One packed byte in each int32: 0xf8, then 0x01.
  EXPECT_EQ(values<int8_t>(read(make_int32s(kTensorProto_DataType_INT4, {3}, "\xf8\x01\x01"))),
            (std::vector<int8_t>{-8, -1, 1}));
}

TEST(TensorReader, ValuesThatDoNotFitAreNamed) {
  EXPECT_EQ(error(make_int32s(kTensorProto_DataType_UINT8, {2}, "\x01\x80\x02")),
            "tensor 't': int32_data[1] is 256; expected a value of u8");
  EXPECT_EQ(error(make(kTensorProto_DataType_UINT32, {1},
                       [](TensorProto& p) { p.uint64_data = {"\x80\x80\x80\x80\x10"}; })),
            "tensor 't': uint64_data[0] is 4294967296; expected a value of u32");
}

TEST(TensorReader, SizesMustAgreeWithTheDims) {
  EXPECT_EQ(error(make_raw(kTensorProto_DataType_FLOAT, {2}, "1234567")),
            "tensor 't': its data has 7 bytes; expected 8 for [2] of f32");
  EXPECT_EQ(error(make_raw(kTensorProto_DataType_INT4, {3}, "1")),
            "tensor 't': its data has 1 bytes; expected 2 for [3] of i4");
  EXPECT_EQ(error(make_int32s(kTensorProto_DataType_INT32, {3}, "\x01\x02")),
            "tensor 't': int32_data has 2 values; expected those of [3] i32");
  EXPECT_EQ(error(make(kTensorProto_DataType_FLOAT, {}, [](TensorProto&) {})),
            "tensor 't': it has no data; expected 1 elements");
  EXPECT_EQ(error(make_int32s(kTensorProto_DataType_INT32, {2}, "\x01\x02\x80")),
            "tensor 't': int32_data is cut off or damaged");
}

TEST(TensorReader, HostileDims) {
  const int64_t big = int64_t{1} << 40;
  EXPECT_EQ(error(make_raw(kTensorProto_DataType_FLOAT, {big, big}, "")),
            "tensor 't': its dims are negative or too large");
  EXPECT_EQ(error(make_raw(kTensorProto_DataType_FLOAT, {-1}, "")),
            "tensor 't': its dims are negative or too large");
  // No memory may be taken for it.
  EXPECT_FALSE(read(make_raw(kTensorProto_DataType_FLOAT, {big}, "1234")).ok());
  EXPECT_FALSE(read(make_raw(kTensorProto_DataType_INT64, {INT64_MAX}, "1234")).ok());
  EXPECT_FALSE(read(make(kTensorProto_DataType_STRING, {big}, [](TensorProto&) {})).ok());
  EXPECT_EQ(error(make_raw(kTensorProto_DataType_FLOAT, std::vector<int64_t>(17, 1), "1234")),
            "tensor 't': it has rank 17; at most 16 is supported");
}

class ExternalTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "redline-external-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name);
    fs::create_directories(root_ / "model" / "inner");
    const std::vector<float> floats{1, 2, 3, 4};
    const auto bytes = std::as_bytes(std::span(floats));
    ASSERT_TRUE(write_file((root_ / "model" / "w.bin").string(), bytes).ok());
    ASSERT_TRUE(write_file((root_ / "model" / "inner" / "w.bin").string(), bytes).ok());
    ASSERT_TRUE(write_file((root_ / "secret.bin").string(), bytes).ok());
    auto external = OnnxExternalData::beside((root_ / "model" / "m.onnx").string());
    ASSERT_TRUE(external.ok());
    external_ = *std::move(external);
  }
  void TearDown() override { fs::remove_all(root_); }

  static TensorProto at(std::string_view location, std::string_view offset = "",
                        std::string_view length = "", int64_t count = 2) {
    return make(kTensorProto_DataType_FLOAT, {count}, [&](TensorProto& p) {
      p.data_location = kTensorProto_DataLocation_EXTERNAL;
      p.external_data = {{"location", location}};
      if (!offset.empty()) p.external_data.push_back({"offset", offset});
      if (!length.empty()) p.external_data.push_back({"length", length});
    });
  }
  std::string error_of(const TensorProto& proto) {
    const auto tensor = read_onnx_tensor(proto, nullptr, external_);
    EXPECT_FALSE(tensor.ok());
    return std::string(tensor.status().message());
  }

  fs::path root_;
  OnnxExternalData external_;
};

TEST_F(ExternalTest, MapsEachFileOnce) {
  const auto a = read_onnx_tensor(at("w.bin"), nullptr, external_);
  const auto b = read_onnx_tensor(at("w.bin", "8", "8"), nullptr, external_);
  EXPECT_EQ(values<float>(a), (std::vector<float>{1, 2}));
  EXPECT_EQ(values<float>(b), (std::vector<float>{3, 4}));
  EXPECT_EQ(b->data<char>() - a->data<char>(), 8);
  EXPECT_EQ(values<float>(read_onnx_tensor(at("./inner/w.bin", "4"), nullptr, external_)),
            (std::vector<float>{2, 3}));
}

TEST_F(ExternalTest, TensorOutlivesTheReader) {
  const auto tensor = read_onnx_tensor(at("w.bin"), nullptr, external_);
  external_ = OnnxExternalData();
  EXPECT_EQ(values<float>(tensor), (std::vector<float>{1, 2}));
}

TEST_F(ExternalTest, PathsOutOfTheFolderAreRefused) {
  EXPECT_EQ(
      error_of(at("../secret.bin")),
      "tensor 't': external data '../secret.bin' has '..' in its path; expected a path inside "
      "the model's folder");
  EXPECT_NE(error_of(at("inner/../w.bin")).find("has '..'"), std::string::npos);
  EXPECT_NE(error_of(at("inner/..")).find("has '..'"), std::string::npos);
  EXPECT_NE(error_of(at((root_ / "secret.bin").string())).find("is an absolute path"),
            std::string::npos);
  EXPECT_NE(error_of(at("/etc/passwd")).find("is an absolute path"), std::string::npos);
  EXPECT_NE(error_of(at(std::string_view("w.bin\0x", 7))).find("zero byte"), std::string::npos);
  EXPECT_EQ(error_of(at("")), "tensor 't': external data without a location");
}

TEST_F(ExternalTest, LinksOutOfTheFolderAreRefused) {
  fs::create_symlink(root_ / "secret.bin", root_ / "model" / "absolute");
  fs::create_symlink("../secret.bin", root_ / "model" / "relative");
  fs::create_directory_symlink("..", root_ / "model" / "up");
  fs::create_symlink("inner/w.bin", root_ / "model" / "fine");
  fs::create_directory(root_ / "model-2");
  fs::create_directory_symlink("../model-2", root_ / "model" / "sibling");
  fs::copy(root_ / "secret.bin", root_ / "model-2" / "w.bin");
  EXPECT_NE(error_of(at("absolute")).find("leads out of the model's folder"), std::string::npos);
  EXPECT_NE(error_of(at("relative")).find("leads out of the model's folder"), std::string::npos);
  EXPECT_NE(error_of(at("up/secret.bin")).find("leads out of"), std::string::npos);
  EXPECT_NE(error_of(at("sibling/w.bin")).find("leads out of"), std::string::npos);
  EXPECT_TRUE(read_onnx_tensor(at("fine"), nullptr, external_).ok());
}

TEST_F(ExternalTest, RangesAreChecked) {
  EXPECT_EQ(error_of(at("w.bin", "12")),
            "tensor 't': external data 'w.bin' has 16 bytes; expected 8 from offset 12");
  EXPECT_NE(error_of(at("w.bin", "17", "0", 0)).find("from offset 17"), std::string::npos);
  EXPECT_NE(error_of(at("w.bin", "18446744073709551615", "8")).find("has 16 bytes"),
            std::string::npos);
  EXPECT_NE(error_of(at("w.bin", "0", "18446744073709551615")).find("has 16 bytes"),
            std::string::npos);
  EXPECT_EQ(error_of(at("w.bin", "-1")),
            "tensor 't': external data has offset '-1'; expected a number of bytes");
  EXPECT_NE(error_of(at("w.bin", "0", "99999999999999999999")).find("expected a number"),
            std::string::npos);
  EXPECT_EQ(error_of(at("w.bin", "0", "12")),
            "tensor 't': its data has 12 bytes; expected 8 for [2] of f32");
}

TEST_F(ExternalTest, MissingFileAndFolder) {
  EXPECT_NE(error_of(at("none.bin")).find("No such file"), std::string::npos);
  EXPECT_NE(error_of(at("inner")).find("it is a directory"), std::string::npos);
  EXPECT_EQ(
      error(at("w.bin")),
      "tensor 't': external data 'w.bin', but the model was not read from a file in a folder");
}

SparseTensorProto make_sparse(std::vector<int64_t> dims, std::vector<int64_t> index_dims,
                              std::string_view varints) {
  SparseTensorProto sparse;
  sparse.dims = std::move(dims);
  sparse.values = std::make_unique<TensorProto>(
      make_raw(kTensorProto_DataType_UINT8, {2}, std::string_view("\x07\x09")));
  sparse.values->name = "s";
  sparse.indices =
      std::make_unique<TensorProto>(make(kTensorProto_DataType_INT64, std::move(index_dims),
                                         [&](TensorProto& p) { p.int64_data = {varints}; }));
  return sparse;
}

TEST(SparseTensorReader, LinearAndByAxis) {
  OnnxExternalData none;
  const auto linear = read_onnx_sparse_tensor(
      make_sparse({2, 3}, {2}, std::string_view("\x01\x05")), nullptr, none);
  EXPECT_EQ(values<uint8_t>(linear), (std::vector<uint8_t>{0, 7, 0, 0, 0, 9}));
  const auto by_axis = read_onnx_sparse_tensor(
      make_sparse({2, 3}, {2, 2}, std::string_view("\x00\x02\x01\x00", 4)), nullptr, none);
  EXPECT_EQ(values<uint8_t>(by_axis), (std::vector<uint8_t>{0, 0, 7, 9, 0, 0}));
}

TEST(SparseTensorReader, BadIndicesAndSizes) {
  OnnxExternalData none;
  const auto error_of = [&](const SparseTensorProto& sparse, size_t max_bytes = 1000) {
    return std::string(
        read_onnx_sparse_tensor(sparse, nullptr, none, max_bytes).status().message());
  };
  EXPECT_EQ(error_of(make_sparse({2, 3}, {2}, "\x01\x06")),
            "sparse tensor 's': index 6 is outside [2, 3]");
  EXPECT_EQ(error_of(make_sparse({2, 3}, {2, 2}, std::string_view("\x00\x03\x01\x00", 4))),
            "sparse tensor 's': index 3 is outside axis 1 of [2, 3]");
  EXPECT_EQ(error_of(make_sparse({1001}, {2}, "\x01\x02")),
            "sparse tensor 's': it is over 1000 bytes when made dense");
  EXPECT_NE(error_of(make_sparse({3}, {1}, "\x01")).find("its values are u8[2]"),
            std::string::npos);
  EXPECT_NE(error_of(make_sparse({0}, {2}, "\x01\x02")).find("is outside [0]"), std::string::npos);
  SparseTensorProto empty;
  EXPECT_EQ(error_of(empty), "a sparse tensor without a name: it lacks its values");
}

}  // namespace
}  // namespace redline
