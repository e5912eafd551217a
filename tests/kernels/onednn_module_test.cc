// SPDX-License-Identifier: Apache-2.0
// What must hold with or without libdnnl.
#include "kernels/cpu/onednn/onednn_module.h"

#include <gtest/gtest.h>

#include <fstream>

namespace redline::kernels::onednn {
namespace {

TEST(OnednnModule, absent_module_is_a_clear_error) {
  const auto api = load("/no/such/folder");
  ASSERT_FALSE(api.ok());
  EXPECT_EQ(api.status().code(), StatusCode::kNotFound);
  EXPECT_NE(api.status().message().find("/no/such/folder/libredline_onednn.so"),
            std::string_view::npos);
}

TEST(OnednnModule, a_file_that_is_no_library_is_refused) {
  const std::string folder = ::testing::TempDir();
  std::ofstream(folder + "/libredline_onednn.so") << "not an ELF file";
  const auto api = load(folder);
  ASSERT_FALSE(api.ok());
  EXPECT_NE(api.status().message().find("cannot load"), std::string_view::npos);
}

TEST(OnednnModule, codes_keep_their_text) {
  Error error = {"src has rank 3, expected 4"};
  const Status status = to_status(Code::kInvalidArgument, error);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "src has rank 3, expected 4");
  EXPECT_TRUE(to_status(Code::kOk, error).ok());
}

}  // namespace
}  // namespace redline::kernels::onednn
