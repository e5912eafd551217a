// SPDX-License-Identifier: Apache-2.0
#include "tune/tuner.h"

#include <algorithm>

#include "tune/check_inputs.h"
#include "tune/timing.h"

namespace redline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSeed = 20;

// Times closer than this are the same, and the preferred tactic stays. On a CPU the least of
// several runs repeats to some 3 % where it is quiet, and a clock's read costs some 50 ns. A GPU
// times several launches at once, of all ways in turn: three of about 100 us were 0.6 and 1.9 %
// slower than the best of them in one process, 0.5 and 2.1 % in another.
struct Likeness {
  double faster, gain_us;
};
Likeness likeness_of(const std::string& device) {
  return device == "cuda" ? Likeness{0.995, 0.05} : Likeness{0.95, 0.5};
}

// What another way must gain where an engine has one already: weights packed anew for it may double
// the engine.
constexpr double kWorthAnother = 0.96;

// Kernels that are so close to each other alone that their order among others is open. Long ones
// are not: what comes before and after them is little.
constexpr double kClose = 1.15;
constexpr double kCloseUs = 0.3;
constexpr double kLongUs = 50;
constexpr size_t kAlternatives = 2;

// Below this, what a GPU needs is mostly waiting, which is told worst without trying.
constexpr double kSmallBytes = 16 << 20;
// Kernels whose compiling fits well into the time that a build may take; and of such as have much
// to move, which take longer to run and to check.
constexpr size_t kKernelsTried = 200;
constexpr size_t kLargeTried = 60;

// `affordable`: of each problem.
size_t candidates_timed(int level, size_t affordable) {
  if (level >= 5) return SIZE_MAX;
  size_t most = std::clamp<size_t>(affordable, 3, 6);
  return level == 4 ? 2 * most : most;
}

TimingEffort effort_of(int level) {
  if (level >= 5) return {10, 100, 150000};
  if (level == 4) return {5, 60, 30000};
  return {3, 30, 5000};
}

bool is_sized(const Problem& problem) {
  auto all_static = [](const std::vector<OperandDesc>& operands) {
    return std::all_of(operands.begin(), operands.end(),
                       [](const OperandDesc& operand) { return operand.is_static(); });
  };
  return all_static(problem.inputs) && all_static(problem.outputs);
}

// Sizes to optimise for that nobody named may multiply to more than a machine has.
constexpr double kMaxTrialBytes = 1 << 30;

// What the operands take that a trial has to make.
double trial_bytes(const Problem& problem) {
  double bytes = 0;
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present || operand.constant != nullptr) continue;
      double count = static_cast<double>(dtype_bytes(operand.dtype));
      for (int64_t dim : operand.dims) count *= static_cast<double>(dim);
      bytes += count;
    }
  }
  return bytes;
}

// Whether the next build would see the same: memory that is full now, or a driver that fails, says
// nothing about the kernel.
bool is_lasting(const Status& status) {
  return status.code() != StatusCode::kOutOfMemory && status.code() != StatusCode::kDeviceError;
}

// Whole numbers may be indices, of which not all are in range.
bool takes_any_values(const Problem& problem) {
  return std::all_of(problem.inputs.begin(), problem.inputs.end(), [](const OperandDesc& operand) {
    return !operand.present || operand.constant != nullptr || is_float(operand.dtype);
  });
}

std::string key_of(const Problem& asked, const Problem& sized, std::span<const Tuner::Way> ways) {
  std::string key = asked.to_string() + "\n" + sized.to_string();
  for (const Tuner::Way& way : ways) {
    key += str_cat("\n", way.tactic, " ", config_to_string(way.config));
  }
  return key;
}

std::string name_of(const Tactic& tactic, const std::string& config) {
  return str_cat("tactic ", tactic.name, config.empty() ? "" : " {" + config + "}");
}

// Adds the seconds of a scope to a total, without those in which it waited for kernels to be
// compiled.
class Stopwatch {
 public:
  Stopwatch(double& total, const PrepareArgs& args) : total_(total), compiler_(args.compiler) {}
  ~Stopwatch() { total_ += seconds(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  double seconds() const {
    return std::chrono::duration<double>(Clock::now() - start_).count() - (waited() - waited_);
  }

 private:
  double waited() const { return compiler_ == nullptr ? 0 : compiler_->seconds_waited(); }

  double& total_;
  const cuda::KernelCompiler* compiler_;
  double waited_ = waited();
  Clock::time_point start_ = Clock::now();
};

}  // namespace

// One problem on its way to a decision. Candidates have the order of their reports.
class Tuner::Decision {
 public:
  Decision(Tuner& tuner, const Problem& asked, const Problem& sized, std::span<const Way> ways,
           std::map<std::string, std::string> unusable, ProblemReport& report)
      : tuner_(tuner),
        asked_(asked),
        sized_(sized),
        ways_(ways),
        unusable_(std::move(unusable)),
        report_(report) {}

  std::vector<cuda::KernelSource> kernels_to_try() {
    collect();
    look_up();
    std::vector<Candidate*> wanted;
    if (has_no_device() || !is_sized(sized_) || asked_.op->has(kTraitDataDependent)) {
      bring_fastest_forward();
      if (!candidates_.empty()) wanted.push_back(&candidates_[0]);
    } else if (tuner_.options_.level >= 3 && !is_known()) {
      wanted = best_few();
    } else if (Candidate* c = pick()) {
      wanted.push_back(c);
    }
    std::vector<cuda::KernelSource> sources;
    for (Candidate* c : wanted) {
      // A refusal is for `choose` to see.
      Config config = c->config;
      Result<PackedProblem> packed = pack_for(*c->tactic, config, sized_, tuner_.args_);
      if (!packed.ok()) continue;
      auto kernels =
          c->tactic->kernels(with_packed(asked_, packed->operands), config, *tuner_.args_.gpu);
      if (kernels.ok()) sources.insert(sources.end(), kernels->begin(), kernels->end());
    }
    return sources;
  }

  Choice run() {
    collect();
    if (has_no_device()) {
      look_up();
      return choose_untried("there is no such GPU here to try it on");
    }
    if (!is_sized(sized_) || asked_.op->has(kTraitDataDependent)) {
      return choose_untried("its sizes are known only when it runs");
    }
    double bytes = trial_bytes(sized_);
    if (bytes > kMaxTrialBytes) {
      return choose_untried(str_cat("a trial would take ", static_cast<int64_t>(bytes / (1 << 20)),
                                    " MB; name smaller sizes to optimise for"));
    }
    look_up();
    if (wants_timing()) time();
    Choice choice = choose_right();
    if (tuner_.options_.device == "cuda") add_alternatives(choice);
    keep();
    return choice;
  }

 private:
  struct Candidate {
    const Tactic* tactic = nullptr;
    Config config;
    size_t report = 0;
    std::unique_ptr<Trial> trial;
    const TuningRecord* record = nullptr;  // until something is added to the database
    bool learnt = false;                   // something the database does not have
    bool is_way = false;                   // that the engine has anyway
  };

  CandidateReport& report_of(const Candidate& c) { return report_.candidates[c.report]; }

  // Built for a GPU that is elsewhere.
  bool has_no_device() const {
    return tuner_.options_.device == "cuda" && tuner_.args_.context == nullptr;
  }

  bool is_usable(const Candidate& c) {
    Verdict verdict = report_of(c).verdict;
    return verdict != Verdict::kWrong && verdict != Verdict::kRefused;
  }

  void collect() {
    std::string_view op = asked_.op->name;
    for (const Tactic* tactic : tuner_.tactics_.candidates(tuner_.options_.device, op)) {
      Status supports = tactic->takes(asked_);
      if (!supports.ok()) {
        CandidateReport refused;
        refused.tactic = tactic->name;
        refused.verdict = Verdict::kRefused;
        refused.reason = supports.message();
        report_.candidates.push_back(std::move(refused));
        continue;
      }
      std::vector<Config> configs;
      if (tactic->configs != nullptr) configs = tactic->configs(sized_);
      if (configs.empty()) configs.emplace_back();
      for (Config& config : configs) {
        const cuda::DeviceInfo* gpu = tuner_.args_.gpu;
        if (tactic->fits != nullptr && gpu != nullptr && !tactic->fits(config, *gpu)) continue;
        add_candidate(*tactic, std::move(config));
      }
    }
  }

  Candidate& add_candidate(const Tactic& tactic, Config config) {
    CandidateReport report;
    report.tactic = tactic.name;
    report.config = config_to_string(config);
    if (auto it = unusable_.find(name_of(tactic, report.config)); it != unusable_.end()) {
      report.verdict = Verdict::kRefused;
      report.reason = it->second;
    }
    bool way = std::any_of(ways_.begin(), ways_.end(), [&](const Way& known) {
      return known.tactic == tactic.name && config_to_string(known.config) == report.config;
    });
    candidates_.push_back(
        {&tactic, std::move(config), report_.candidates.size(), nullptr, nullptr, false, way});
    report_.candidates.push_back(std::move(report));
    return candidates_.back();
  }

  // What was measured elsewhere comes before what is preferred.
  void bring_fastest_forward() {
    auto is_timed = [&](const Candidate& c) {
      return is_usable(c) && c.record != nullptr && c.record->us > 0;
    };
    auto is_better = [&](const Candidate& a, const Candidate& b) {
      return is_timed(a) && (!is_timed(b) || a.record->is_better_than(*b.record));
    };
    std::stable_sort(candidates_.begin(), candidates_.end(), is_better);
  }

  // Nothing is run, so the first that packs is taken.
  Choice choose_untried(const std::string& why) {
    bring_fastest_forward();
    for (Candidate& c : candidates_) {
      CandidateReport& report = report_of(c);
      if (!is_usable(c)) continue;
      Config config = c.config;
      if (c.tactic->pack != nullptr) {
        Status packed = c.tactic->pack(sized_, config, tuner_.args_).status();
        if (!packed.ok()) {
          report.verdict = Verdict::kRefused;
          report.reason = packed.message();
          continue;
        }
      }
      report.verdict = Verdict::kNotCheckable;
      report.reason = why;
      report_.chosen = static_cast<int>(c.report);
      report_.reason = (report.us > 0 ? "from the database; " : "preferred; ") + why;
      Choice choice = {c.tactic, c.config};
      choice.us = report.us;
      return choice;
    }
    report_.reason = why_none();
    return {};
  }

  // What became of those that took it says more than why others did not.
  std::string why_none() {
    std::string why = candidates_.empty() ? "no tactic takes it" : "every tactic was dropped";
    auto because = [&](const CandidateReport& c) {
      return str_cat(why, " (", c.tactic, ": ", c.reason, ")");
    };
    for (const Candidate& c : candidates_) {
      if (!report_of(c).reason.empty()) return because(report_of(c));
    }
    for (const CandidateReport& c : report_.candidates) {
      if (!c.reason.empty()) return because(c);
    }
    return why;
  }

  void look_up() {
    if (tuner_.options_.level < 2) return;
    for (Candidate& c : candidates_) look_up(c);
    // What was found among other kernels is no first guess, but where it is known it counts.
    for (size_t i = 0, count = candidates_.size(); i < count; ++i) {
      const Tactic& tactic = *candidates_[i].tactic;
      if (tactic.overlaps == nullptr) continue;
      for (Config& config : tactic.overlaps(candidates_[i].config)) {
        if (find_record(tactic, config_to_string(config)) == nullptr) continue;
        look_up(add_candidate(tactic, std::move(config)));
      }
    }
  }

  const TuningRecord* find_record(const Tactic& tactic, const std::string& config) {
    return tuner_.database_.find(report_.problem, tuner_.report_.machine, tactic.versioned_name(),
                                 config);
  }

  void look_up(Candidate& c) {
    CandidateReport& report = report_of(c);
    if (!is_usable(c)) return;
    const TuningRecord* record = find_record(*c.tactic, report.config);
    if (record == nullptr) return;
    c.record = record;
    report.us = record->us;
    report.verdict = record->verdict;
    report.reason = record->reason;
    report.error = record->error;
    report.from_database = true;
  }

  // The first few that are not known to be useless.
  std::vector<Candidate*> best_few() {
    std::vector<Candidate*> few;
    size_t tried = trial_bytes(sized_) <= kSmallBytes ? kKernelsTried : kLargeTried;
    size_t affordable = tuner_.options_.device == "cuda" ? tried / tuner_.expected_ : 0;
    size_t most = candidates_timed(tuner_.options_.level, affordable);
    for (Candidate& c : candidates_) {
      if (is_usable(c) && (few.size() < most || c.is_way)) few.push_back(&c);
    }
    return few;
  }

  bool is_known() {
    std::vector<Candidate*> few = best_few();
    return std::all_of(few.begin(), few.end(), [&](Candidate* c) {
      return report_of(*c).us > 0 || report_of(*c).verdict == Verdict::kNotCheckable;
    });
  }

  bool wants_timing() {
    if (tuner_.options_.level < 3) return false;
    return best_few().size() > 1 && !is_known() && tuner_.seconds_left() > 0 && inputs().ok();
  }

  const Result<Expectation>& expectation() {
    if (!expectation_) {
      Stopwatch watch(tuner_.report_.check_seconds, tuner_.args_);
      expectation_.emplace(make_expectation(sized_, kSeed));
    }
    return *expectation_;
  }

  // What candidates run on: also where only the reference would take too long they are timed.
  const Result<std::vector<Tensor>>& inputs() {
    if (inputs_) return *inputs_;
    if (expectation().ok()) {
      inputs_.emplace(expectation()->inputs);
    } else if (takes_any_values(sized_) && takes_too_long(sized_)) {
      Stopwatch watch(tuner_.report_.check_seconds, tuner_.args_);
      inputs_.emplace(make_check_inputs(sized_, kSeed, false));
    } else {
      inputs_.emplace(expectation().status());
    }
    return *inputs_;
  }

  // A tactic may support a problem and refuse the sizes.
  Status make_trial(Candidate& c) {
    if (c.trial != nullptr) return {};
    Result<std::unique_ptr<Trial>> trial =
        Trial::create(*c.tactic, c.config, asked_, sized_, *inputs(), tuner_.args_);
    if (trial.ok()) {
      c.trial = *std::move(trial);
      return {};
    }
    refuse(c, trial.status());
    return trial.status();
  }

  void refuse(Candidate& c, const Status& status) {
    CandidateReport& report = report_of(c);
    report.us = 0;
    report.verdict = Verdict::kRefused;
    report.reason = status.message();
    report.from_database = false;
    c.learnt = is_lasting(status);
  }

  void time() {
    Stopwatch watch(tuner_.report_.timing_seconds, tuner_.args_);
    auto time_is_up = [&] { return tuner_.seconds_left() <= 0; };
    std::vector<Candidate*> racers;
    std::vector<Trial*> trials;
    // The next takes the place of one that refuses: else a later build would find it untimed.
    bool refused = true;
    while (refused) {
      refused = false;
      for (Candidate* c : best_few()) {
        if (time_is_up() || std::find(racers.begin(), racers.end(), c) != racers.end()) continue;
        if (!make_trial(*c).ok()) {
          refused = true;
          continue;
        }
        racers.push_back(c);
        trials.push_back(c->trial.get());
      }
    }
    std::vector<Timing> timings =
        time_in_turn(trials, effort_of(tuner_.options_.level), time_is_up);
    for (size_t i = 0; i < racers.size(); ++i) {
      CandidateReport& report = report_of(*racers[i]);
      if (!timings[i].status.ok()) {
        refuse(*racers[i], timings[i].status);
        continue;
      }
      report.us = timings[i].us;
      report.from_database = false;
      racers[i]->learnt = report.us > 0;
    }
    stopped_ = time_is_up();
  }

  // The preferred candidate, or one that is clearly faster.
  Candidate* pick() {
    Candidate* preferred = nullptr;
    Candidate* fastest = nullptr;
    Candidate* way = nullptr;
    auto is_better = [&](const Candidate& c, const Candidate* best) {
      double us = report_of(c).us;
      return us > 0 && (best == nullptr || us < report_of(*best).us);
    };
    for (Candidate& c : candidates_) {
      if (!is_usable(c)) continue;
      if (preferred == nullptr) preferred = &c;
      if (is_better(c, fastest)) fastest = &c;
      if (c.is_way && is_better(c, way)) way = &c;
    }
    if (way != nullptr) preferred = way;
    if (preferred == nullptr || fastest == nullptr) return preferred;
    double have = report_of(*preferred).us;
    double gain = have - report_of(*fastest).us;
    Likeness like = likeness_of(tuner_.options_.device);
    if (way != nullptr) like.faster = std::min(like.faster, kWorthAnother);
    bool clear = have > 0 && gain >= like.gain_us && gain >= (1 - like.faster) * have;
    return tuner_.options_.level >= 2 && clear ? fastest : preferred;
  }

  Choice choose_right() {
    while (Candidate* c = pick()) {
      CandidateReport& report = report_of(*c);
      bool timed = report.us > 0;
      if (report.verdict != Verdict::kRight && report.verdict != Verdict::kNotCheckable) {
        check(*c);
      }
      if (!is_usable(*c)) continue;
      report_.chosen = static_cast<int>(c->report);
      report_.reason = describe(*c, timed);
      double error = report.verdict == Verdict::kRight ? report.error : -1;
      return {c->tactic, c->config, report.us, error};
    }
    report_.reason = why_none();
    return {};
  }

  void add_alternatives(Choice& choice) {
    if (tuner_.options_.level < 3 || choice.us == 0 || choice.us > kLongUs) return;
    add_close(choice);
    if (tuner_.options_.level >= 4) add_overlaps(choice);
  }

  // Only the whole tells them apart.
  void add_overlaps(Choice& choice) {
    if (choice.tactic->overlaps == nullptr) return;
    for (Config& config : choice.tactic->overlaps(choice.config)) {
      std::string text = config_to_string(config);
      bool known =
          std::any_of(candidates_.begin(), candidates_.end(), [&](const Candidate& candidate) {
            return candidate.tactic == choice.tactic && report_of(candidate).config == text;
          });
      if (known) continue;
      Candidate& c = add_candidate(*choice.tactic, std::move(config));
      look_up(c);
      if (report_of(c).verdict != Verdict::kRight) check(c);
      if (is_usable(c)) choice.alternatives.push_back(way_of(c));
    }
  }

  Way way_of(const Candidate& c) {
    const CandidateReport& report = report_of(c);
    double error = report.verdict == Verdict::kRight ? report.error : -1;
    return {c.tactic->name, c.config, report.us, error};
  }

  void add_close(Choice& choice) {
    std::vector<Candidate*> close;
    for (Candidate& c : candidates_) {
      double us = report_of(c).us;
      bool chosen = static_cast<int>(c.report) == report_.chosen;
      if (chosen || !is_usable(c) || us == 0 || us > kClose * choice.us + kCloseUs) continue;
      close.push_back(&c);
    }
    std::stable_sort(close.begin(), close.end(), [&](const Candidate* a, const Candidate* b) {
      return report_of(*a).us < report_of(*b).us;
    });
    for (Candidate* c : close) {
      if (choice.alternatives.size() == kAlternatives) return;
      Verdict verdict = report_of(*c).verdict;
      if (verdict != Verdict::kRight && verdict != Verdict::kNotCheckable) check(*c);
      if (is_usable(*c)) choice.alternatives.push_back(way_of(*c));
    }
  }

  std::string describe(const Candidate& chosen, bool timed) {
    std::string text = timed ? "measured" : "preferred";
    if (report_of(chosen).from_database) text = "from the database";
    if (stopped_) text += "; the time for timing was over";
    return text;
  }

  void check(Candidate& c) {
    CandidateReport& report = report_of(c);
    c.learnt = true;
    if (!expectation().ok()) {
      report.verdict = Verdict::kNotCheckable;
      report.reason = expectation().status().message();
      return;
    }
    Stopwatch watch(tuner_.report_.check_seconds, tuner_.args_);
    if (!make_trial(c).ok()) return;
    Status ran = c.trial->run_poisoned();
    CheckResult result = ran.ok() ? compare_to(*expectation(), c.trial->outputs())
                                  : CheckResult{Verdict::kWrong, std::string(ran.message()), 0};
    c.learnt = is_lasting(ran);
    report.verdict = result.verdict;
    report.reason = result.reason;
    report.error = result.error;
    if (result.verdict == Verdict::kWrong) {
      tuner_.options_.logger.warning(name_of(*c.tactic, report.config),
                                     " is wrong and not used for ", report_.problem, ": ",
                                     result.reason);
      return;
    }
    // Alone it was not timed; the check has warmed it up.
    bool alone = report.us == 0 && tuner_.options_.level >= 3 && tuner_.seconds_left() > 0;
    if (!alone) return;
    Result<double> us = c.trial->run();
    if (us.ok()) report.us = *us;
  }

  void keep() {
    if (tuner_.options_.level < 2) return;
    for (const Candidate& c : candidates_) {
      const CandidateReport& report = report_of(c);
      if (!c.learnt) continue;
      tuner_.database_.add({report_.problem, tuner_.report_.machine, c.tactic->versioned_name(),
                            report.config, report.us, report.error, report.verdict, report.reason});
    }
  }

  Tuner& tuner_;
  const Problem& asked_;
  const Problem& sized_;
  std::span<const Way> ways_;
  std::map<std::string, std::string> unusable_;
  ProblemReport& report_;
  std::vector<Candidate> candidates_;
  std::optional<Result<Expectation>> expectation_;
  std::optional<Result<std::vector<Tensor>>> inputs_;
  bool stopped_ = false;
};

Tuner::Tuner(const TacticRegistry& tactics, const PrepareArgs& args, TuningDatabase& database,
             TuneOptions options)
    : tactics_(tactics), args_(args), database_(database), options_(std::move(options)) {
  report_.machine = machine_name(args);
}

double Tuner::seconds_left() const {
  return options_.seconds - std::chrono::duration<double>(Clock::now() - options_.begin).count();
}

std::vector<cuda::KernelSource> Tuner::kernels_to_try(const Problem& asked, const Problem& sized) {
  ProblemReport report;
  report.problem = sized.to_string();
  return Decision(*this, asked, sized, {}, {}, report).kernels_to_try();
}

Tuner::Choice Tuner::choose(const Problem& asked, const Problem& sized, std::span<const Way> ways) {
  std::string key = key_of(asked, sized, ways);
  if (auto it = decided_.find(key); it != decided_.end()) {
    // Constants that the printed problem does not show may decide whether a tactic takes it.
    const Choice& choice = it->second.choice;
    if (choice.tactic == nullptr || choice.tactic->takes(asked).ok()) {
      ++report_.problems[it->second.report].steps;
      return choice;
    }
  }
  report_.problems.emplace_back().steps = 1;
  return decide(asked, sized, ways, key, report_.problems.size() - 1);
}

Tuner::Choice Tuner::choose_again(const Problem& asked, const Problem& sized,
                                  std::span<const Way> ways, const Choice& bad, const Status& why) {
  std::string key = key_of(asked, sized, ways);
  std::string candidate = name_of(*bad.tactic, config_to_string(bad.config));
  options_.logger.warning(candidate, " cannot be made and is not used for ", sized.to_string(),
                          ": ", why.message());
  unusable_[key][candidate] = why.message();
  return decide(asked, sized, ways, key, decided_.at(key).report);
}

Tuner::Choice Tuner::decide(const Problem& asked, const Problem& sized, std::span<const Way> ways,
                            const std::string& key, size_t place) {
  ProblemReport report;
  report.problem = sized.to_string();
  report.steps = report_.problems[place].steps;
  Choice choice = Decision(*this, asked, sized, ways, unusable_[key], report).run();
  choice.reason = report.reason;
  options_.logger.verbose(report.problem, ": ",
                          choice.tactic ? choice.tactic->name : "the reference", ", ",
                          report.reason);
  decided_[key] = {place, choice};
  report_.problems[place] = std::move(report);
  return choice;
}

}  // namespace redline
