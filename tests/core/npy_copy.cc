// SPDX-License-Identifier: Apache-2.0
// npy_copy IN OUT [DTYPE]: reads one .npy file, or the last array of an .npz, and writes it again.
#include <cstdio>
#include <string>

#include "core/npy.h"
#include "core/npz.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const auto expected = argc > 3 ? redline::parse_dtype(argv[3]) : std::nullopt;
  const std::string source = argv[1];
  auto tensor = redline::Result<redline::Tensor>(redline::Tensor());
  if (source.ends_with(".npz")) {
    auto tensors = redline::read_npz_file(source);
    tensor = tensors.ok() ? redline::Result(tensors->back().second) : tensors.status();
  } else {
    tensor = redline::read_npy_file(source, expected);
  }
  const redline::Status status =
      tensor.ok() ? redline::write_npy_file(argv[2], *tensor) : tensor.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
