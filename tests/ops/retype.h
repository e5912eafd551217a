// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/type.h"
#include "ops/attrs.h"
#include "ops/op.h"

namespace redline {

// Puts a 16-bit float in the place of f32: values are rounded to `half`, and of type `kept` then,
// which is `half` or, for what the same values make in f32, f32.
struct Retype {
  DType half;
  DType kept;
};

// Fails where a value is too large for the type.
Result<HostValue> retyped(const HostValue& value, const Retype& retype);
// Tensors and types in them, bodies included; numbers have no type.
Result<Attrs> retyped(const Attrs& attrs, const Retype& retype);

// A value of f32, or a sequence of such, in the float type that `type` has.
Result<HostValue> in_type(const HostValue& value, const Type& type);

}  // namespace redline
