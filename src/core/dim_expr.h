// SPDX-License-Identifier: Apache-2.0
// The inside of Dim, for the dim*.cc files only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/dim.h"

namespace redline::internal {

// The order of the enumerators is the order in which atoms sort and print.
enum class DimOp : uint8_t { kSymbol, kFloorDiv, kMod, kMin, kMax, kBroadcast };

struct DimAtom {
  DimOp op;
  std::string name;       // of a symbol
  std::vector<Dim> args;  // two, or for min, max and broadcast two or more, sorted
  uint64_t hash = 0;
  int weight = 1;  // nodes of the expression seen as a tree
  int depth = 1;   // nesting of atoms
};
using DimAtomPtr = std::shared_ptr<const DimAtom>;

// coef * product of factors; factors are sorted and repeat for powers.
struct DimTerm {
  int64_t coef;
  std::vector<DimAtomPtr> factors;
};

// A sum of terms of distinct factors, highest degree first, the constant last; none means invalid.
struct DimExpr {
  std::vector<DimTerm> terms;
  uint64_t hash = 0;
  int weight = 0;
  int depth = 0;
};

// Limits that keep every walk over an expression short, whatever a hostile model asks for.
inline constexpr int kMaxDimWeight = 2048;
inline constexpr int kMaxDimDepth = 60;
inline constexpr size_t kMaxDimArgs = 24;  // of one min, max or bcast; they are compared pairwise
// Each nesting level holds a sum, a product and a first argument on the stack.
inline constexpr int kDimStackSize = 4 * (kMaxDimDepth + 2);

struct DimAccess {
  static const DimExpr* expr(const Dim& dim) { return dim.expr_.get(); }
  static Dim make(std::shared_ptr<const DimExpr> expr) {
    Dim dim;
    dim.expr_ = std::move(expr);
    return dim;
  }
};

// a op b in int64; false when it overflows or divides by zero. Not for kSymbol.
bool apply_dim_op(DimOp op, int64_t a, int64_t b, int64_t& out);

// Value-wise a op b through the simplifier. Not for kSymbol.
Dim combine_dims(DimOp op, const Dim& a, const Dim& b);

}  // namespace redline::internal
