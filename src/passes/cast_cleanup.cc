// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/cast.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Bits of a whole number that the type holds exactly, its sign left out.
int exact_bits(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return 53;
    case DType::kFloat32:
      return 24;
    case DType::kFloat16:
      return 11;
    case DType::kBFloat16:
      return 8;
    case DType::kBool:
      return 1;
    default:
      return is_signed_int(dtype)     ? dtype_bits(dtype) - 1
             : is_unsigned_int(dtype) ? dtype_bits(dtype)
                                      : 0;
  }
}

// Every value of `from` is a value of `to`.
bool is_lossless(DType from, DType to) {
  if (from == to) return true;
  if (from == DType::kString || to == DType::kString || to == DType::kBool) return false;
  if (is_float(from)) {
    if (to == DType::kFloat64) return true;
    return to == DType::kFloat32 && from != DType::kFloat64;
  }
  bool whole_fits = exact_bits(from) <= exact_bits(to);
  if (is_signed_int(from)) return whole_fits && (is_signed_int(to) || is_float(to));
  return whole_fits;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_nodes(graph, [](Node* node) -> Result<bool> {
    if (!node->is("cast") || node->output()->uses.empty()) return false;
    Value* x = node->input(0);
    if (x->dtype() == node->output()->dtype()) {
      if (!same_type(x, node->output())) return false;
      replace(node, x);
      return true;
    }
    // cast(cast(x)) reads x where the type between them loses nothing.
    Node* inner = producer(x, "cast");
    if (inner == nullptr) return false;
    Value* source = inner->input(0);
    if (!is_lossless(source->dtype(), x->dtype())) return false;
    if (source->dtype() == node->output()->dtype()) {
      replace(node, source);
    } else {
      node->set_input(0, source);
    }
    return true;
  });
}

}  // namespace

void register_pass_cast_cleanup(PassRegistry& registry) {
  registry.add({"cast_cleanup", "drops casts to the same type and casts there and back", run});
}

}  // namespace redline
