// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "tactics/tactic.h"
#include "tune/check.h"
#include "tune/database.h"
#include "tune/trial.h"

namespace redline {

struct TuneOptions {
  std::string device = "cpu";
  // 1: the preferred tactic; 2: what the database says, else the preferred one; 3: time the best
  // few; 4, 5: more of them, more often. The choice is checked at every level.
  int level = 3;
  // After these since `begin` nothing is timed: what is open takes its preferred tactic, checked.
  double seconds = std::numeric_limits<double>::infinity();
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  Logger logger;
};

// What became of one way to carry out a problem.
struct CandidateReport {
  std::string tactic;
  std::string config;
  double us = 0;  // the least of its runs; 0: not timed
  Verdict verdict = Verdict::kUnchecked;
  std::string reason;  // of a refusal, a wrong result, or a check that cannot be made
  double error = 0;    // see CheckResult
  bool from_database = false;
};

// How one problem was decided, for all steps that have it.
struct ProblemReport {
  std::string problem;
  int steps = 0;
  int chosen = -1;     // index of the candidate; -1: the reference
  std::string reason;  // in words
  std::vector<CandidateReport> candidates;
};

struct TuneReport {
  std::string machine;
  std::vector<ProblemReport> problems;
  double timing_seconds = 0;  // preparing candidates and running them
  double check_seconds = 0;   // references and comparisons
};

// Chooses tactics: ranks what supports a problem, times the best few in turn, and takes the fastest
// that agrees with the op's reference. A tactic that does not is dropped with a warning. The
// preferred one stays unless another is clearly faster; the reference is last. One thread.
class Tuner {
 public:
  Tuner(const TacticRegistry& tactics, const PrepareArgs& args, TuningDatabase& database,
        TuneOptions options);

  struct Way {
    std::string tactic;
    Config config;  // before packing
    double us = 0;  // as those of a choice
    double error = -1;
  };
  struct Choice {
    const Tactic* tactic = nullptr;  // null: the reference
    Config config;                   // before packing
    double us = 0;                   // 0: not timed
    double error = -1;               // negative: not checked
    std::string reason;              // in words
    // On a GPU: others that are about as fast alone, right as far as the choice is, best first.
    // Among other kernels they may be faster.
    std::vector<Way> alternatives;
  };
  // `asked` has kDynamicDim where sizes vary, and what takes it must take every size; `sized` has
  // the sizes to optimise for. Equal problems are decided once. `ways`, which the engine has
  // anyway, are tried too, and the best of them stays unless another is worth its place in the
  // engine.
  Choice choose(const Problem& asked, const Problem& sized, std::span<const Way> ways = {});
  // How many problems there will be: the fewer, the more ways of each are worth their time.
  void expect_problems(size_t count) { expected_ = std::max(expected_, count); }
  // The texts of the kernels that `choose` will want to have compiled for these, as far as that can
  // be told; for compiling them all at once.
  std::vector<cuda::KernelSource> kernels_to_try(const Problem& asked, const Problem& sized);

  const TuneReport& report() const { return report_; }
  TuningDatabase& database() { return database_; }
  // Of those for looking for something faster.
  double seconds_left() const;

 private:
  class Decision;

  const TacticRegistry& tactics_;
  PrepareArgs args_;
  TuningDatabase& database_;
  TuneOptions options_;
  TuneReport report_;
  size_t expected_ = 1;
  struct Decided {
    size_t report;
    Choice choice;
  };
  std::map<std::string, Decided> decided_;
};

}  // namespace redline
