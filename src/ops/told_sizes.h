// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ops/op.h"

namespace redline {

// Fails where an op's rule, asked for operands that are all there, left sizes open that the op's
// reference counts on: an operand that holds sizes is of the wrong kind.
Status check_told(const OpDef& op, std::span<const InferInput> inputs,
                  std::span<const Type> outputs);

}  // namespace redline
