// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

enum class Verdict : uint8_t { kUnchecked, kRight, kWrong, kRefused, kNotCheckable };
std::string_view verdict_name(Verdict verdict);
std::optional<Verdict> parse_verdict(std::string_view name);

// What a kernel must make of a problem: inputs, and the values that the op's reference gives for
// them at all or a sample of the elements. The same for every candidate.
struct Expectation {
  struct Output {
    DType dtype = DType::kFloat32;
    Dims dims;
    std::vector<int64_t> elements;  // flat indices
    Tensor values;                  // one each
    std::vector<double> limits;     // how far each may be missed; infinite: not compared
  };
  std::vector<Tensor> inputs;  // undefined: absent
  std::vector<Output> outputs;
};

// Whether nothing but the time that its reference would take keeps a problem from being checked.
bool takes_too_long(const Problem& problem);
// Fails as unsupported, with the reason, when no sensible inputs can be made, sizes are not known,
// or the reference would take too long. The tolerance is that of ops/compare.h for the element
// type and the number of terms that the anchor sums. Behind an anchor, and for each op of a
// pointwise region, it is carried through the rest of the region by running that on values moved
// by it: an output may be missed by as much as such moves change it.
Result<Expectation> make_expectation(const Problem& problem, uint64_t seed);

struct CheckResult {
  Verdict verdict = Verdict::kUnchecked;
  std::string reason;  // why wrong, or not checkable
  double error = 0;    // largest miss / largest expected value, over the outputs
};
CheckResult compare_to(const Expectation& expected, std::span<const TensorView> outputs);

}  // namespace redline
