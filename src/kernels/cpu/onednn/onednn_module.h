// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/status.h"
#include "kernels/cpu/onednn/onednn_api.h"

namespace redline::kernels::onednn {

// Loads libredline_onednn.so and returns its table, which lives until the process ends.
// `directory` is where to look; empty means beside the binary that contains this function, then
// in ../lib next to it. Errors: not_found (no module: the message says where it was looked for and
// how to get it), incompatible (its api_version is another). Thread-safe; a second call with the
// same directory returns the same table.
Result<const Api*> load(const std::string& directory = {});

// The Status of a call into the table.
Status to_status(Code code, const Error& error);

}  // namespace redline::kernels::onednn
