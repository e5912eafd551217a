// SPDX-License-Identifier: Apache-2.0
#include "ops/work.h"

#include <algorithm>

#include "ops/fused.h"

namespace redline {
namespace {

void add_flops(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
               std::span<const Type> outputs, Work& work) {
  if (op.cost == nullptr) return;
  double flops = op.cost(inputs, outputs, attrs).flops;
  if (op.has(kTraitPointwise) || op.has(kTraitReduction)) {
    work.other_flops += flops;
    return;
  }
  work.matrix_flops += flops;
  work.matrix_dtype = inputs[0].dtype;
}

// False: it has no known size.
bool add_bytes(const Type& type, double& bytes) {
  std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
  if (!dims) return false;
  bytes += static_cast<double>(dims->count()) * static_cast<double>(dtype_bytes(type.dtype));
  return true;
}

}  // namespace

Work work_of(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
             std::span<const Type> outputs, std::span<const Tensor* const> constants) {
  Work work;
  bool known = true;
  for (const Type& type : outputs) known = add_bytes(type, work.bytes) && known;
  double results = work.bytes;
  for (const Type& type : inputs) {
    if (type == Type()) continue;  // absent
    double bytes = 0;
    known = add_bytes(type, bytes) && known;
    if (op.has(kTraitReadsSizes)) continue;
    work.bytes += op.has(kTraitMovement) ? std::min(bytes, results) : bytes;
  }
  if (!known || op.num_subgraphs > 0) return work;
  if (op.name != "fused") {
    add_flops(op, attrs, inputs, outputs, work);
    return work;
  }
  // Without types nothing is said.
  static_cast<void>(visit_body(*attrs.as<FusedAttrs>().body, inputs, constants,
                               [&](const BodyNode& node, auto own, auto made) {
                                 add_flops(*node.op, node.attrs, own, made, work);
                               }));
  return work;
}

Rates::Floor Rates::floor_of(const Work& work) const {
  double memory = bytes_per_us > 0 ? work.bytes / bytes_per_us : 0;
  double arithmetic = other_flops_per_us > 0 ? work.other_flops / other_flops_per_us : 0;
  auto rate = matrix_flops_per_us.find(work.matrix_dtype);
  if (rate != matrix_flops_per_us.end() && rate->second > 0) {
    arithmetic += work.matrix_flops / rate->second;
  }
  return {std::max(memory, arithmetic), memory >= arithmetic};
}

}  // namespace redline
