// SPDX-License-Identifier: Apache-2.0
// Prints what load_driver() says of the libcuda.so.1 that the loader finds.
#include <cstdio>

#include "device/driver.h"

int main() {
  auto driver = redline::cuda::load_driver();
  std::printf("%s\n", driver.ok() ? "a good driver" : driver.status().to_string().c_str());
}
