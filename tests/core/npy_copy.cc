// SPDX-License-Identifier: Apache-2.0
// npy_copy IN OUT [DTYPE]: reads one .npy file and writes it again.
#include <cstdio>

#include "core/npy.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const auto expected = argc > 3 ? redline::parse_dtype(argv[3]) : std::nullopt;
  const auto tensor = redline::read_npy_file(argv[1], expected);
  const redline::Status status =
      tensor.ok() ? redline::write_npy_file(argv[2], *tensor) : tensor.status();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
