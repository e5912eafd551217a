// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "build/choose_tactics.h"

namespace redline {

// How often the whole runs in one timing; fails where it cannot be timed.
Result<int> timing_repeats(Chain& chain, std::span<const int> variants);
// The least of a few times; the first above `most` ends it, us.
Result<double> least_time(Chain& chain, std::span<const int> variants, int repeats,
                          double most = std::numeric_limits<double>::infinity());

// Which of several ways is best among the kernels around it, where alone they are about as fast:
// what one leaves in the L2, when it lets the next begin, and how it fills the GPU count only in
// the whole, which runs only when the plan is complete. So there are two halves. Steps with the
// same problem are decided together. One thread.
class ChainChoice {
 public:
  // What `choose_tactics` left open, in the order of the plan's steps. The rest must outlive it.
  ChainChoice(std::vector<OpenChoice> open, DeviceTuner& gpu, const TacticRegistry& tactics,
              const BuildOptions& options);

  // Takes what an earlier build found for the same steps, or else makes the alternatives variants
  // of their steps.
  Status begin(Plan& plan);
  // Times the whole with each, keeps the best and drops the variants. A plan that cannot be run on
  // random inputs keeps its own ways.
  Status end(Plan& plan, ChainReport& report);

 private:
  // Where the choices and ways that are left were in the beginning, which is how notes name them.
  struct Places {
    size_t choice;
    std::vector<int> ways;
    std::string problem;  // as records of the tuning database name it
  };

  Status take_known(Plan& plan, const std::string& note);
  // The step of a choice as another way does it; none when that cannot pack.
  Result<std::optional<PlanStep>> make(Plan& plan, const OpenChoice& choice, const Tuner::Way& way);
  // The database is to know that its way was better in the whole.
  void note_best(const Places& place, const Tuner::Way& way);
  void search(Chain& chain, const std::vector<size_t>& steps, size_t all, ChainReport& report);

  std::vector<OpenChoice> open_;
  DeviceTuner& gpu_;
  const TacticRegistry& tactics_;
  const BuildOptions& options_;
  std::vector<std::string> problems_;  // of what was open first
  std::string key_;
  bool searching_ = false;
  std::map<std::string, std::vector<size_t>> groups_;  // of those that are open, by their problems
  std::vector<int> best_;  // of each that was open: the index of its alternative, -1 for its own
  std::vector<Places> places_;
  std::vector<int> noted_;
};

}  // namespace redline
