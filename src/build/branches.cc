// SPDX-License-Identifier: Apache-2.0
#include "build/branches.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <sstream>

#include "base/hash.h"
#include "build/chain.h"
#include "build/insert_copies.h"
#include "build/predicted_chain.h"
#include "plan/step_order.h"
#include "tactics/chip_rates.h"

namespace redline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kStreams = 4;
constexpr double kMostSeconds = 2;
// Of the whole that branches must gain: several times what timings of it differ by; more where
// nothing was timed.
constexpr double kGain = 0.005;
constexpr double kPredictedGain = 0.02;

bool is_kernel(const PlanStep& step, const TacticRegistry& tactics) {
  const Tactic* tactic = tactics.find(step.tactic);
  return tactic != nullptr && tactic->device == "cuda";
}

// A view goes with what it shows.
bool is_with_maker(const PlanStep& step, const std::vector<size_t>& makers) {
  return step.tactic == kViewTactic && !makers.empty();
}

// Which steps are kernels that streams can have.
std::vector<bool> steps_in_row(const Plan& plan, const TacticRegistry& tactics) {
  std::vector<bool> sized = sized_values(plan);
  auto is_sized = [&](int v) { return v < 0 || sized[static_cast<size_t>(v)]; };
  std::vector<bool> in_row;
  for (const PlanStep& step : plan.steps) {
    in_row.push_back(is_kernel(step, tactics) && !step.op->has(kTraitDataDependent) &&
                     std::all_of(step.inputs.begin(), step.inputs.end(), is_sized) &&
                     std::all_of(step.outputs.begin(), step.outputs.end(), is_sized));
  }
  return in_row;
}

// Takes the steps in order and begins each as soon as it can.
class Schedule {
 public:
  Schedule(const Plan& plan, const TacticRegistry& tactics)
      : plan_(plan), in_row_(steps_in_row(plan, tactics)) {}

  std::vector<Branch> run() {
    std::vector<std::vector<size_t>> makers = makers_of_steps(plan_);
    for (size_t s = 0; s < makers.size(); ++s) {
      const PlanStep& step = plan_.steps[s];
      if (in_row_[s]) {
        place(s, makers[s], step.us > 0 ? step.us : kUntimedUs);
      } else {
        bool splits = !step.is_copy() && step.tactic != kViewTactic;
        if (splits) std::fill(free_.begin(), free_.end(), latest());
        bool with = is_with_maker(step, makers[s]);
        add(s, makers[s], with ? order_.stream(makers[s][0]) : 0, 0);
      }
    }
    return std::move(branches_);
  }

 private:
  double latest() const { return *std::max_element(free_.begin(), free_.end()); }

  double start(const std::vector<size_t>& makers, int stream) const {
    double us = free_[static_cast<size_t>(stream)];
    for (size_t maker : makers) {
      us = std::max(us, end_[maker] + (order_.stream(maker) == stream ? 0 : kStreamWaitUs));
    }
    return us;
  }

  bool come_after(const std::vector<size_t>& makers, int step) const {
    auto other = static_cast<size_t>(step);
    return std::any_of(makers.begin(), makers.end(), [&](size_t maker) {
      return maker == other || order_.before(maker, order_.stream(other)) > order_.place(other);
    });
  }

  void place(size_t s, const std::vector<size_t>& makers, double us) {
    int stream = 0;
    // Where all branches meet, the first stream goes on.
    bool meet = std::all_of(last_.begin(), last_.end(),
                            [&](int last) { return last < 0 || come_after(makers, last); });
    for (int k = 1; !meet && k < order_.streams(); ++k) {
      if (start(makers, k) < start(makers, stream)) stream = k;
    }
    int& last = last_[static_cast<size_t>(stream)];
    if (stream > 0) {
      bool goes_on = last >= 0 && come_after(makers, last);
      size_t& branch = branch_of_[stream];
      if (!goes_on) {
        branch = branches_.size();
        branches_.push_back({{}, stream});
      }
      branches_[branch].steps.push_back(s);
    }
    add(s, makers, stream, us);
    free_[static_cast<size_t>(stream)] = end_[s];
    last = static_cast<int>(s);
  }

  void add(size_t s, const std::vector<size_t>& makers, int stream, double us) {
    double begin = us > 0 ? start(makers, stream) : 0;
    for (size_t maker : makers) begin = std::max(begin, end_[maker]);
    end_.resize(s + 1, begin + us);
    order_.add(makers, stream);
  }

  const Plan& plan_;
  std::vector<bool> in_row_;
  StepOrder order_{kStreams};
  std::vector<double> free_ = std::vector<double>(kStreams);  // when each stream's last step ends
  std::vector<int> last_ = std::vector<int>(kStreams, -1);    // and that step
  std::vector<double> end_;                                   // of each step
  std::map<int, size_t> branch_of_;
  std::vector<Branch> branches_;
};

std::string text_of(const Plan& plan, size_t s) {
  const PlanStep& step = plan.steps[s];
  std::string text = str_cat(step.op->name, " ", step.attrs.to_string(), " ", step.tactic, " {",
                             config_to_string(step.config), "}");
  for (int v : step.outputs) {
    text += str_cat(" ", plan.values[static_cast<size_t>(v)].type.to_string());
  }
  return text + "\n";
}

// What a plan is to be fast for: sizes of its inputs. None where symbols do not tell them.
using AllSizes = std::vector<std::vector<Dims>>;

AllSizes sizes_of(const Plan& plan, const BuildOptions& options) {
  AllSizes all;
  auto add = [&](const BuildOptions::SymbolValues& values) {
    std::optional<std::vector<Dims>> sizes = input_sizes(plan, values);
    bool known = sizes.has_value();
    if (known && std::find(all.begin(), all.end(), *sizes) == all.end()) {
      all.push_back(*std::move(sizes));
    }
    return known;
  };
  bool known = add(options.symbol_values);
  for (const auto& values : options.further_values) known = known && add(values);
  return known ? all : AllSizes();
}

std::string key_of(const Plan& plan, const BuildOptions& options, const std::string& machine) {
  std::string text = machine + "\n";
  for (const std::vector<Dims>& inputs : sizes_of(plan, options)) {
    for (const Dims& dims : inputs) text += dims.to_string() + " ";
    text += "\n";
  }
  std::vector<std::vector<size_t>> makers = makers_of_steps(plan);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    text += text_of(plan, s);
    for (size_t maker : makers[s]) text += str_cat(maker, " ");
    if (options.further_values.empty()) continue;  // variants are ways that are tried
    for (const PlanVariant& variant : plan.steps[s].variants) {
      text += str_cat(variant.elements, " ", variant.tactic, " ", config_to_string(variant.config));
    }
  }
  return "streams " + hash128(std::as_bytes(std::span(text))).to_hex();
}

void give(Plan& plan, const std::vector<int>& streams) {
  for (size_t s = 0; s < streams.size(); ++s) plan.steps[s].stream = streams[s];
}

std::vector<int> streams_with(const Plan& plan, const std::vector<Branch>& branches) {
  std::vector<int> streams(plan.steps.size());
  for (const Branch& branch : branches) {
    for (size_t s : branch.steps) streams[s] = branch.stream;
  }
  std::vector<std::vector<size_t>> makers = makers_of_steps(plan);
  for (size_t s = 0; s < streams.size(); ++s) {
    if (is_with_maker(plan.steps[s], makers[s])) streams[s] = streams[makers[s][0]];
  }
  return streams;
}

// False for a text that is not of this plan.
bool take_known(Plan& plan, const std::string& note) {
  std::istringstream words(note);
  std::vector<int> known;
  for (int stream = 0; words >> stream;) known.push_back(stream);
  bool fits = known.size() == plan.steps.size() &&
              std::all_of(known.begin(), known.end(),
                          [](int stream) { return stream >= 0 && stream < kStreams; });
  if (fits) give(plan, known);
  return fits;
}

// Branches that do the same are decided together.
class Search {
 public:
  Search(const Plan& plan, const std::vector<Branch>& branches, Chain& chain, double gain,
         const AllSizes& sizes)
      : plan_(plan), chain_(chain), gain_(gain), sizes_(sizes) {
    std::map<std::string, std::vector<Branch>> groups;
    for (const Branch& branch : branches) {
      std::string key;
      for (size_t s : branch.steps) key += text_of(plan, s);
      groups[key].push_back(branch);
    }
    for (auto& [key, members] : groups) groups_.push_back({std::move(members), false});
    std::stable_sort(groups_.begin(), groups_.end(),
                     [&](const Group& a, const Group& b) { return us_of(a) > us_of(b); });
  }

  Status run(double seconds, StreamsReport& report) {
    auto begin = Clock::now();
    streams_.assign(plan_.steps.size(), 0);
    REDLINE_TRY(chain_.use_streams(streams_));
    if (sizes_.size() <= 1) ways_.assign(plan_.steps.size(), -1);
    REDLINE_ASSIGN(report.us_one, time());
    report.us = report.us_one;
    for (Group& group : groups_) group.apart = true;
    if (!better(report)) {
      for (Group& group : groups_) group.apart = false;
    }
    for (size_t i = 0; i < groups_.size() && groups_.size() > 1; ++i) {
      std::chrono::duration<double> spent = Clock::now() - begin;
      if (spent.count() > seconds) break;
      groups_[i].apart = !groups_[i].apart;
      if (!better(report)) groups_[i].apart = !groups_[i].apart;
    }
    return {};
  }

  const std::vector<int>& chosen() const { return streams_; }

 private:
  struct Group {
    std::vector<Branch> members;
    bool apart;
  };

  double us_of(const Group& group) const {
    double us = 0;
    for (const Branch& branch : group.members) {
      for (size_t s : branch.steps) us += plan_.steps[s].us;
    }
    return us;
  }

  std::vector<int> streams() const {
    std::vector<Branch> apart;
    for (const Group& group : groups_) {
      if (group.apart) apart.insert(apart.end(), group.members.begin(), group.members.end());
    }
    return streams_with(plan_, apart);
  }

  // The geometric mean, where there are several sizes.
  Result<double> time() {
    if (sizes_.size() <= 1) return time_at(0);
    double sum = 0;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      REDLINE_TRY(chain_.use_sizes(sizes_[i]));
      REDLINE_ASSIGN(double us, time_at(i));
      sum += std::log(us);
    }
    return std::exp(sum / static_cast<double>(sizes_.size()));
  }

  Result<double> time_at(size_t size) {
    if (size == repeats_.size()) {
      REDLINE_ASSIGN(int repeats, timing_repeats(chain_, ways_));
      repeats_.push_back(repeats);
    }
    return least_time(chain_, ways_, repeats_[size]);
  }

  // Whether the groups as they are now beat the best so far, which is timed once more in turn: the
  // clock may have changed in between. What cannot be captured is not better.
  bool better(StreamsReport& report) {
    ++report.tried;
    std::vector<int> now = streams();
    if (!chain_.use_streams(now).ok()) return false;
    Result<double> us = time();
    if (!us.ok() || *us >= report.us * (1 - gain_) || !chain_.use_streams(streams_).ok()) {
      return false;
    }
    Result<double> again = time();
    if (!again.ok() || *us >= *again * (1 - gain_)) return false;
    report.us = *us;
    streams_ = std::move(now);
    return true;
  }

  const Plan& plan_;
  Chain& chain_;
  const double gain_;
  const AllSizes& sizes_;
  std::vector<int> repeats_;  // of one timing, for each of the sizes
  std::vector<int> ways_;     // of steps, where there is one size
  std::vector<Group> groups_;
  std::vector<int> streams_;  // the best so far
};

Status give_best(Plan& plan, const std::vector<Branch>& branches, Chain& chain, double gain,
                 const AllSizes& sizes, double seconds, StreamsReport& report) {
  Search search(plan, branches, chain, gain, sizes);
  REDLINE_TRY(search.run(seconds, report));
  give(plan, search.chosen());
  return {};
}

// Says why the streams are as they are.
std::string choose(Plan& plan, DeviceTuner& gpu, const TacticRegistry& tactics,
                   const BuildOptions& options, StreamsReport& report) {
  if (options.side_streams == false) return "not asked for";
  std::vector<Branch> branches = find_branches(plan, tactics);
  if (branches.empty()) return "no step would begin sooner beside others";
  if (options.side_streams == true) {
    give(plan, streams_with(plan, branches));
    return "as asked for, not measured";
  }
  std::string key = key_of(plan, options, gpu.tuner.report().machine);
  const std::string* note = gpu.tuner.database().find_note(key);
  if (note != nullptr && take_known(plan, *note)) return "as an earlier build measured";
  if (gpu.args.context == nullptr && !options.further_values.empty()) {
    return "not predicted for a range of sizes, there is no GPU";
  }
  if (gpu.args.context == nullptr && options.opt_level >= 3) {
    PredictedChain chain(plan, types_in_sizes(plan, options.symbol_values),
                         chip_rates(*options.gpu), steps_in_row(plan, tactics));
    Status given = give_best(plan, branches, chain, kPredictedGain, {}, kMostSeconds, report);
    return given.ok() ? "predicted, there is no GPU" : str_cat("not predicted, ", given.message());
  }
  if (gpu.args.context == nullptr || !options.make_chain) return "not measured, there is no GPU";
  AllSizes sizes = sizes_of(plan, options);
  double seconds = std::min(kMostSeconds, gpu.tuner.seconds_left());
  if (options.opt_level < 3 || seconds <= 0) return "not measured, no time is spent on that";
  if (sizes.empty()) return "not measured, sizes are not known";
  Stages::Span stage(options.stages, "streams");
  Result<std::unique_ptr<Chain>> chain = options.make_chain(plan, sizes[0]);
  if (!chain.ok()) return str_cat("not measured, ", chain.status().message());
  Status given = give_best(plan, branches, **chain, kGain, sizes, seconds, report);
  if (!given.ok()) return str_cat("not measured, ", given.message());
  report.measured = true;
  return "measured";
}

}  // namespace

std::vector<Branch> find_branches(const Plan& plan, const TacticRegistry& tactics) {
  if (plan.steps.size() > StepOrder::kMostSteps) return {};
  return Schedule(plan, tactics).run();
}

void choose_streams(Plan& plan, DeviceTuner& gpu, const TacticRegistry& tactics,
                    const BuildOptions& options, StreamsReport& report) {
  report.why = choose(plan, gpu, tactics, options, report);
  report.count = StepOrder::of(plan).streams();
}

void note_streams(const Plan& plan, DeviceTuner& gpu, const BuildOptions& options,
                  const StreamsReport& report) {
  if (!report.measured) return;
  std::string streams;
  for (const PlanStep& step : plan.steps) {
    streams += str_cat(streams.empty() ? "" : " ", step.stream);
  }
  gpu.tuner.database().add_note(key_of(plan, options, gpu.tuner.report().machine), streams);
}

}  // namespace redline
