// SPDX-License-Identifier: Apache-2.0
#include "core/npy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file_io.h"

namespace redline {
namespace {

// A version 1 file with this header text and these elements.
std::string npy(std::string_view header, std::string_view elements) {
  std::string out("\x93NUMPY\x01\x00", 8);
  out += static_cast<char>(header.size() & 255);
  out += static_cast<char>(header.size() >> 8);
  return out.append(header).append(elements);
}

std::string npy_of(std::string_view descr, std::string_view shape, std::string_view elements,
                   std::string_view fortran = "False") {
  return npy(
      str_cat("{'descr': '", descr, "', 'fortran_order': ", fortran, ", 'shape': ", shape, ", }\n"),
      elements);
}

Result<Tensor> read(const std::string& file, std::optional<DType> expected = std::nullopt) {
  return read_npy(std::as_bytes(std::span(file)), nullptr, expected);
}

std::string error(const std::string& file) { return std::string(read(file).status().message()); }

template <class T>
std::vector<T> values(const Result<Tensor>& tensor) {
  EXPECT_TRUE(tensor.ok()) << tensor.status().to_string();
  if (!tensor.ok()) return {};
  return {tensor->data<T>(), tensor->data<T>() + tensor->count()};
}

template <class T>
std::string bytes_of(std::vector<T> elements) {
  return {reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T)};
}

class NpyFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "redline-npy-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string path() const { return folder_ + "/x.npy"; }

  std::string folder_;
};

TEST_F(NpyFile, EveryTypeAndShapeComesBack) {
  for (const Dims& dims :
       {Dims{}, Dims{0}, Dims{1}, Dims{3}, Dims{2, 3}, Dims{2, 0, 4}, Dims{1, 2, 3, 4}}) {
    for (int i = 0; i < kNumDTypes; ++i) {
      const auto dtype = static_cast<DType>(i);
      Tensor tensor = Tensor::create(dtype, dims).value();
      for (int64_t k = 0; k < dims.count(); ++k) {
        if (dtype == DType::kString) {
          tensor.mutable_data<std::string>()[k] =
              std::string(static_cast<size_t>(k), 'x') + "\u00fc";
        } else {
          tensor.mutable_data<char>()[static_cast<size_t>(k) * dtype_bytes(dtype)] = 1;
        }
      }
      ASSERT_TRUE(write_npy_file(path(), tensor).ok());
      const auto back = read_npy_file(path(), dtype);
      ASSERT_TRUE(back.ok()) << back.status().to_string();
      EXPECT_TRUE(identical(*back, tensor)) << dtype_name(dtype) << dims.to_string();
    }
  }
}

TEST_F(NpyFile, IsMappedNotCopied) {
  ASSERT_TRUE(write_npy_file(path(), Tensor::scalar_float(2)).ok());
  const auto tensor = read_npy_file(path());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->raw()) % 4096, 128u);
  std::filesystem::remove(path());
  EXPECT_EQ(tensor->data<float>()[0], 2.0F);
}

TEST_F(NpyFile, ErrorsNameTheFile) {
  ASSERT_TRUE(write_file(path(), "nonsense").ok());
  EXPECT_EQ(read_npy_file(path()).status().message(),
            "'" + path() + "': not an .npy file: its first bytes differ");
  Tensor text = Tensor::create(DType::kString, {1}).value();
  text.mutable_data<std::string>()[0] = "\xff";
  EXPECT_EQ(write_npy_file(path(), text).message(),
            "'" + path() + "': a string that is not UTF-8, in .npy");
  text.mutable_data<std::string>()[0] = std::string("a\0", 2);
  EXPECT_FALSE(write_npy_file(path(), text).ok());
  EXPECT_EQ(read_text_file(path()).value(), "nonsense");
}

TEST(Npy, HeaderIsNumPys) {
  const std::string header = npy_header(DType::kFloat32, {2, 3});
  EXPECT_EQ(header.size(), 128u);
  EXPECT_EQ(header.substr(10, 59), "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
  EXPECT_EQ(header.back(), '\n');
  EXPECT_NE(npy_header(DType::kBool, {}).find("'|b1'"), std::string::npos);
  EXPECT_NE(npy_header(DType::kBool, {}).find("'shape': (), }"), std::string::npos);
  EXPECT_NE(npy_header(DType::kBool, {7}).find("'shape': (7,), }"), std::string::npos);
}

TEST(Npy, FortranOrder) {
  const auto file = npy_of("<i2", "(2, 3)", bytes_of<int16_t>({1, 4, 2, 5, 3, 6}), "True");
  EXPECT_EQ(values<int16_t>(read(file)), (std::vector<int16_t>{1, 2, 3, 4, 5, 6}));
  const auto cube = npy_of("|u1", "(2, 1, 3)", std::string("\1\4\2\5\3\6"), "True");
  EXPECT_EQ(values<uint8_t>(read(cube)), (std::vector<uint8_t>{1, 2, 3, 4, 5, 6}));
  const auto none = npy_of("|u1", "(0, 3)", "", "True");
  EXPECT_EQ(read(none)->dims(), (Dims{0, 3}));
}

TEST(Npy, BigEndian) {
  EXPECT_EQ(values<int32_t>(read(npy_of(">i4", "(1,)", std::string("\0\0\1\2", 4)))),
            (std::vector<int32_t>{258}));
  EXPECT_EQ(values<std::string>(read(npy_of(">U1", "(1,)", std::string("\0\0\0a", 4)))),
            (std::vector<std::string>{"a"}));
}

TEST(Npy, BoolsBecomeZeroOrOne) {
  EXPECT_EQ(values<uint8_t>(read(npy_of("|b1", "(3,)", std::string("\0\1\5", 3)))),
            (std::vector<uint8_t>{0, 1, 1}));
}

TEST(Npy, Strings) {
  const auto wide = bytes_of<char32_t>({U'a', 0, U'\u00e9', U'\u20ac', U'\U0001F600', 0});
  EXPECT_EQ(values<std::string>(read(npy_of("<U2", "(3,)", wide))),
            (std::vector<std::string>{"a", "\u00e9\u20ac", "\U0001F600"}));
  EXPECT_EQ(values<std::string>(read(npy_of("|S2", "(2,)",
                                            std::string("a\0\xff"
                                                        "b",
                                                        4)))),
            (std::vector<std::string>{"a",
                                      "\xff"
                                      "b"}));
  EXPECT_EQ(error(npy_of("<U1", "(1,)", bytes_of<uint32_t>({0xD800}))),
            "a string holds 55296, which is no Unicode character");
  EXPECT_EQ(values<std::string>(read(npy_of("<U0", "(2,)", ""))),
            (std::vector<std::string>{"", ""}));
  EXPECT_FALSE(read(npy_of("<U0", "(1000000000000,)", "")).ok());
}

TEST(Npy, OpaqueTypes) {
  const auto v2 = npy_of("<V2", "(1,)", std::string("\x80\x3f"));
  EXPECT_EQ(read(v2)->dtype(), DType::kBFloat16);
  EXPECT_EQ(read(v2, DType::kFloat16)->dtype(), DType::kFloat16);
  EXPECT_EQ(read(v2, DType::kFloat32)->dtype(), DType::kBFloat16);
  const auto v1 = npy_of("|V1", "(1,)", "\x38");
  EXPECT_EQ(read(v1, DType::kFloat8E4M3FN)->dtype(), DType::kFloat8E4M3FN);
  EXPECT_EQ(read(v1).status().code(), StatusCode::kUnsupported);
  EXPECT_EQ(read(npy_of("<f1", "(1,)", "\x38"))->dtype(), DType::kFloat8E5M2);
}

TEST_F(NpyFile, SubByteTypesLieAsMlDtypesKeepsThem) {
  // ml_dtypes keeps -8 as 0x08 and ignores the high bits when it reads.
  const auto tensor = read(npy_of("|V1", "(4,)", std::string("\x08\x0f\x17\xf8")), DType::kInt4);
  EXPECT_EQ(values<int8_t>(tensor), (std::vector<int8_t>{-8, -1, 7, -8}));
  ASSERT_TRUE(write_npy_file(path(), *tensor).ok());
  EXPECT_EQ(read_text_file(path())->substr(128), "\x08\x0f\x07\x08");
  const auto crumbs = read(npy_of("|V1", "(2,)", std::string("\x03\x05")), DType::kUInt2);
  EXPECT_EQ(values<uint8_t>(crumbs), (std::vector<uint8_t>{3, 1}));
}

TEST(Npy, OtherVersionsAndSpellings) {
  std::string v2 = npy_of("<i4", "(1,)", bytes_of<int32_t>({7}));
  v2[6] = 2;
  v2.insert(10, 2, '\0');
  EXPECT_EQ(values<int32_t>(read(v2)), (std::vector<int32_t>{7}));
  v2[6] = 3;
  EXPECT_TRUE(read(v2).ok());
  v2[6] = 4;
  EXPECT_EQ(error(v2), ".npy version 4; expected 1, 2 or 3");
  const auto odd =
      npy("{\"shape\":(1L,),'fortran_order':False,'descr':\"<i4\"}", bytes_of<int32_t>({7}));
  EXPECT_EQ(values<int32_t>(read(odd)), (std::vector<int32_t>{7}));
}

TEST(Npy, RefusedTypesSayWhy) {
  EXPECT_EQ(error(npy_of("|O", "(1,)", "x")),
            "object arrays hold Python pickles ('|O'); expected bool, integers, float16/32/64 or "
            "strings");
  EXPECT_NE(error(npy_of("<c8", "()", "12345678")).find("complex"), std::string::npos);
  EXPECT_NE(error(npy_of("<f16", "()", "x")).find("floating-point"), std::string::npos);
  EXPECT_NE(error(npy_of("<M8[s]", "()", "x")).find("dates"), std::string::npos);
  EXPECT_NE(error(npy_of("<U99999999999999999999", "()", "x")).find("unknown"), std::string::npos);
  EXPECT_NE(error(npy_of("<U4611686018427387904", "()", "x")).find("unknown"), std::string::npos);
  EXPECT_NE(error(npy_of("", "()", "x")).find("without a name"), std::string::npos);
  EXPECT_NE(error(npy("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': ()}", ""))
                .find("structured"),
            std::string::npos);
}

TEST(Npy, HostileHeaders) {
  EXPECT_EQ(error(npy_of("<f4", "(2,)", "1234567")),
            "cut off: 7 bytes of elements; expected 8 for [2] of '<f4'");
  EXPECT_EQ(error(npy_of("<f4", "(2,)", "123456789")),
            "1 bytes after the elements; expected one array of 8 bytes");
  EXPECT_FALSE(read(npy_of("<f4", "(4611686018427387904, 2)", "")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(9223372036854775807,)", "")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(0, 4611686018427387904, 4)", "")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(-1,)", "")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(99999999999999999999,)", "")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", "1234")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(1", "1234")).ok());
  EXPECT_FALSE(read(npy_of("<f4", "(1 1)", "1234")).ok());
  EXPECT_FALSE(read(npy("{'descr': '<f4", "1234")).ok());
  EXPECT_FALSE(read(npy("{'descr': '<f4', 'fortran_order': False}", "1234")).ok());
  EXPECT_FALSE(read(npy("", "")).ok());
  EXPECT_EQ(error(npy("{'pickle': 1}", "")), "damaged header: unknown key 'pickle'");
  const std::string whole = npy_of("<f4", "(1,)", "1234");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(read(whole.substr(0, size)).ok()) << size;
  }
}

}  // namespace
}  // namespace redline
