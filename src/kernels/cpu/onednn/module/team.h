// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace redline::kernels::onednn {

// libdnnl's parallel regions, run on threads of ours instead of libgomp's. Theirs spin for
// milliseconds when a region ends, which takes the cores from whatever else could run there. Ours
// spin for some 100 us, then sleep. A thread that calls libdnnl has threads of its own; when it
// ends the next such thread gets them.

// Once, before the first primitive is made: what libdnnl imports from libgomp leads here from now
// on, for calls made below a TeamSize; all others still reach libgomp. Without it (another platform
// or run time) everything runs on libgomp.
void use_own_teams();

// Runs body(context, i, n) for i in [0, n) at once, n <= threads, on the same threads as libdnnl's
// regions.
void run_team(int32_t threads, void (*body)(void* context, int32_t i, int32_t n), void* context);

// Whether the calling thread runs a region on a team of ours.
bool in_team_region();

// Sets the team size of the calling thread for its lifetime: oneDNN plans for this many threads and
// runs on them.
class TeamSize {
 public:
  explicit TeamSize(int threads);
  ~TeamSize();
  TeamSize(const TeamSize&) = delete;
  TeamSize& operator=(const TeamSize&) = delete;

 private:
  int before_;
};

}  // namespace redline::kernels::onednn
