// SPDX-License-Identifier: Apache-2.0
// Arbitrary bytes as the plan of an engine file, which is run when it is accepted and small. Header
// and checksums are made to fit, since mutated ones would end every run at the first comparison;
// that those catch damage is what plan tests are for.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "allocation_bound.h"
#include "plan/engine_file.h"
#include "run_small_plan.h"
#include "seal_engine.h"

namespace {

void check(const redline::Status& status) {
  if (!status.ok() && status.message().empty()) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  using namespace redline;
  static const auto ops = make_op_registry();
  static const auto tactics = make_tactic_registry();
  static const auto pool = ThreadPool::create(1);
  if (!pool.ok()) __builtin_trap();
  const AllocationBound bound(bytes);
  auto file = std::make_shared<std::vector<std::byte>>(
      engine_around(std::as_bytes(std::span(data, bytes))));
  auto engine = parse_engine(std::span<const std::byte>(*file), file, *ops);
  check(engine.status());
  if (engine.ok()) check(run_small_plan(engine->plan, *tactics, **pool));
  return 0;
}
