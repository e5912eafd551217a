// SPDX-License-Identifier: Apache-2.0
#include "tune/timing.h"

#include <algorithm>

namespace redline {
namespace {

// Behind the best by this factor, a candidate is not run again. Single runs are disturbed by cold
// caches, fresh pages and other programs, so they only rule out what is far behind.
constexpr double kFarBehind = 20;
constexpr double kBehind = 1.5;
constexpr int kTrustedRounds = 3;

struct Racer {
  Trial* trial = nullptr;
  double first_us = 0;
  double spent_us = 0;
  bool running = true;
  Timing timing;
};

double best_of(const std::vector<Racer>& racers, double Racer::*time) {
  double best = 0;
  for (const Racer& racer : racers) {
    double us = racer.*time;
    if (us > 0 && (best == 0 || us < best)) best = us;
  }
  return best;
}

void run_once(Racer& racer, bool first) {
  Result<double> us = racer.trial->run();
  if (!us.ok()) {
    racer.running = false;
    racer.timing = {0, us.status()};
    return;
  }
  racer.spent_us += *us * racer.trial->runs();
  if (first) {
    racer.first_us = *us;
  } else {
    racer.timing.us = racer.timing.us == 0 ? *us : std::min(racer.timing.us, *us);
  }
}

}  // namespace

std::vector<Timing> time_in_turn(std::span<Trial* const> trials, const TimingEffort& effort,
                                 const std::function<bool()>& time_is_up) {
  std::vector<Racer> racers(trials.size());
  for (size_t i = 0; i < trials.size(); ++i) racers[i].trial = trials[i];
  bool stopped = false;
  for (int round = 0; round <= effort.max_rounds && !stopped; ++round) {
    bool any = false;
    for (Racer& racer : racers) {
      bool enough = round > effort.min_rounds && racer.spent_us > effort.enough_us;
      if (!racer.running || enough) continue;
      if (time_is_up()) {
        stopped = true;
        break;
      }
      run_once(racer, round == 0);
      any = true;
    }
    if (!any) break;
    double best_first = best_of(racers, &Racer::first_us);
    double best = 0;
    for (const Racer& racer : racers) {
      if (racer.timing.us > 0 && (best == 0 || racer.timing.us < best)) best = racer.timing.us;
    }
    for (Racer& racer : racers) {
      if (!racer.running) continue;
      double factor = round < kTrustedRounds ? kFarBehind : kBehind;
      bool behind =
          round == 0 ? racer.first_us > factor * best_first : racer.timing.us > factor * best;
      if (!behind) continue;
      racer.running = false;
      if (racer.timing.us == 0) racer.timing.us = racer.first_us;
    }
  }
  std::vector<Timing> timings;
  for (Racer& racer : racers) {
    // Half a race tells nothing.
    if (stopped) racer.timing.us = 0;
    timings.push_back(std::move(racer.timing));
  }
  return timings;
}

}  // namespace redline
