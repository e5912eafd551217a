// SPDX-License-Identifier: Apache-2.0
#include "build/chain.h"

#include <algorithm>
#include <sstream>

#include "base/hash.h"

namespace redline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kMostSeconds = 4;
constexpr double kSpanUs = 4000;  // of one timing
constexpr int kTimings = 3;       // the least of which counts
// What a way must gain to be kept: timings of the whole repeat to a thousandth.
constexpr double kGain = 0.0015;
// What a way that is at most as fast alone may gain in the whole.
constexpr double kMostGain = 0.15;
constexpr double kMostGainUs = 0.5;

std::string text_of(const Tuner::Way& way) {
  return str_cat(way.tactic, " {", config_to_string(way.config), "}");
}

std::vector<std::string> problems_of(const std::vector<OpenChoice>& open) {
  std::vector<std::string> problems;
  for (const OpenChoice& choice : open) {
    problems.push_back(str_cat(choice.asked.to_string(), "\n", choice.sized.to_string()));
  }
  return problems;
}

std::string key_of(const std::vector<OpenChoice>& open, const std::vector<std::string>& problems,
                   const std::string& machine, std::optional<bool> side_streams) {
  std::string text = machine;
  if (side_streams) text += *side_streams ? ", side streams" : ", one stream";
  for (size_t c = 0; c < open.size(); ++c) {
    text += str_cat("\n", problems[c], "\n", text_of(open[c].chosen));
    for (const Tuner::Way& way : open[c].alternatives) text += "\n" + text_of(way);
  }
  Hash128 hash = hash128(std::as_bytes(std::span(text)));
  return "chain " + hash.to_hex();
}

// The step is carried out in another way from now on.
template <class Made>
void become(PlanStep& step, Made made, const Tuner::Way& way) {
  step.tactic = std::move(made.tactic);
  step.config = std::move(made.config);
  step.kernels = std::move(made.kernels);
  step.inputs = std::move(made.inputs);
  step.us = way.us;
  step.error = way.error;
}

}  // namespace

Result<int> timing_repeats(Chain& chain, std::span<const int> variants) {
  REDLINE_ASSIGN(double once, chain.time(variants, 1));
  if (once <= 0) return unsupported("it takes no time");
  return std::clamp(static_cast<int>(kSpanUs / once), 1, 50);
}

Result<double> least_time(Chain& chain, std::span<const int> variants, int repeats, double most) {
  double least = 0;
  for (int i = 0; i < kTimings; ++i) {
    REDLINE_ASSIGN(double us, chain.time(variants, repeats));
    least = i == 0 ? us : std::min(least, us);
    if (us > most) break;
  }
  return least;
}

ChainChoice::ChainChoice(std::vector<OpenChoice> open, DeviceTuner& gpu,
                         const TacticRegistry& tactics, const BuildOptions& options)
    : open_(std::move(open)),
      gpu_(gpu),
      tactics_(tactics),
      options_(options),
      problems_(problems_of(open_)),
      key_(key_of(open_, problems_, gpu.tuner.report().machine, options.side_streams)),
      best_(open_.size(), -1) {}

Result<std::optional<PlanStep>> ChainChoice::make(Plan& plan, const OpenChoice& choice,
                                                  const Tuner::Way& way) {
  PlanStep made;
  made.inputs = choice.unpacked;
  Status taken = take_way(gpu_, plan, made, choice.asked, choice.sized, *tactics_.find(way.tactic),
                          way.config, options_);
  if (taken.code() == StatusCode::kUnsupported) return std::optional<PlanStep>();
  REDLINE_TRY(taken);
  return std::optional(std::move(made));
}

Status ChainChoice::begin(Plan& plan) {
  if (open_.empty()) return {};
  if (const std::string* note = gpu_.tuner.database().find_note(key_)) {
    return take_known(plan, *note);
  }
  if (!options_.make_chain || gpu_.args.context == nullptr) return {};
  noted_.assign(open_.size(), -1);
  std::vector<OpenChoice> open;
  for (size_t c = 0; c < open_.size(); ++c) {
    OpenChoice& choice = open_[c];
    PlanStep& step = plan.steps[choice.step];
    std::vector<Tuner::Way> kept;
    std::vector<int> places;
    for (size_t w = 0; w < choice.alternatives.size(); ++w) {
      Tuner::Way& way = choice.alternatives[w];
      REDLINE_ASSIGN(std::optional<PlanStep> made, make(plan, choice, way));
      if (!made) continue;
      step.variants.push_back({std::move(made->tactic), std::move(made->config),
                               std::move(made->kernels), std::move(made->inputs), step.elements});
      kept.push_back(std::move(way));
      places.push_back(static_cast<int>(w));
    }
    if (kept.empty()) continue;
    choice.alternatives = std::move(kept);
    groups_[problems_[c]].push_back(open.size());
    std::string problem = choice.sized.to_string();
    // They name constants, which from now on the plan has only if steps read them.
    choice.asked = choice.sized = {};
    open.push_back(std::move(choice));
    places_.push_back({c, std::move(places), std::move(problem)});
  }
  open_ = std::move(open);
  best_.assign(open_.size(), -1);
  searching_ = true;
  return {};
}

Status ChainChoice::take_known(Plan& plan, const std::string& note) {
  std::istringstream words(note);
  for (const OpenChoice& choice : open_) {
    int which = -1;
    if (!(words >> which) || which < 0) continue;
    auto index = static_cast<size_t>(which);
    if (index >= choice.alternatives.size()) continue;
    const Tuner::Way& way = choice.alternatives[index];
    REDLINE_ASSIGN(std::optional<PlanStep> made, make(plan, choice, way));
    if (made) become(plan.steps[choice.step], *std::move(made), way);
  }
  return {};
}

void ChainChoice::note_best(const Places& place, const Tuner::Way& way) {
  TuningDatabase& database = gpu_.tuner.database();
  const TuningRecord* found =
      database.find(place.problem, gpu_.tuner.report().machine,
                    tactics_.find(way.tactic)->versioned_name(), config_to_string(way.config));
  if (found == nullptr || found->best_in_whole) return;
  TuningRecord record = *found;
  record.best_in_whole = true;
  database.add(record);
}

void ChainChoice::search(Chain& chain, const std::vector<size_t>& steps, size_t all,
                         ChainReport& report) {
  std::vector<int> variants(all, -1);
  auto set = [&](const std::vector<size_t>& members, int way) {
    for (size_t i : members) variants[steps[i]] = best_[i] = way;
  };
  Result<int> often = timing_repeats(chain, variants);
  int repeats = often.ok() ? *often : 1;
  Result<double> own = often.ok() ? least_time(chain, variants, repeats) : often.status();
  if (!own.ok() || *own == 0) {
    options_.logger.verbose("the whole cannot be timed: ", own.status().message());
    return;
  }
  report.us_before = report.us = *own;
  auto start = Clock::now();
  double most = std::min(kMostSeconds, gpu_.tuner.seconds_left());
  auto time_is_up = [&] {
    return std::chrono::duration<double>(Clock::now() - start).count() > most;
  };
  for (const auto& [problem, members] : groups_) {
    // What cannot gain enough, however much better the other ways are, is not worth timing.
    double most_gain = static_cast<double>(members.size()) *
                       (open_[members[0]].chosen.us * kMostGain + kMostGainUs);
    if (most_gain < kGain * report.us) continue;
    for (size_t w = 0; w < open_[members[0]].alternatives.size() && !time_is_up(); ++w) {
      int before = best_[members[0]];
      set(members, static_cast<int>(w));
      // One timing is above the least by less than what a way must gain.
      Result<double> us = least_time(chain, variants, repeats, report.us);
      ++report.tried;
      bool better = us.ok() && *us < report.us * (1 - kGain);
      if (better) {
        // Once more in turn: the clock may have changed in between.
        set(members, before);
        Result<double> again = least_time(chain, variants, repeats);
        better = again.ok() && *us < *again * (1 - kGain);
      }
      set(members, better ? static_cast<int>(w) : before);
      if (!better) continue;
      report.us = *us;
    }
  }
}

Status ChainChoice::end(Plan& plan, ChainReport& report) {
  if (!searching_) return {};
  // Copies were put in between since `begin`; steps kept their order.
  std::vector<size_t> steps;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    if (!plan.steps[s].variants.empty()) steps.push_back(s);
  }
  if (steps.size() != open_.size()) return internal_error("steps changed while they were chosen");
  std::optional<std::vector<Dims>> sizes = input_sizes(plan, options_.symbol_values);
  if (sizes && !steps.empty()) {
    Stages::Span stage(options_.stages, "chain");
    Result<std::unique_ptr<Chain>> chain = options_.make_chain(plan, *sizes);
    if (chain.ok()) {
      search(**chain, steps, plan.steps.size(), report);
    } else {
      options_.logger.verbose("the whole cannot be timed: ", chain.status().message());
    }
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    PlanStep& step = plan.steps[steps[i]];
    if (best_[i] >= 0) {
      noted_[places_[i].choice] = places_[i].ways[static_cast<size_t>(best_[i])];
      const Tuner::Way& way = open_[i].alternatives[static_cast<size_t>(best_[i])];
      report.changed.push_back({step.name, text_of(open_[i].chosen), text_of(way)});
      note_best(places_[i], way);
      become(step, std::move(step.variants[static_cast<size_t>(best_[i])]), way);
    }
    step.variants.clear();
  }
  drop_unread_constants(plan);
  std::string note;
  for (int way : noted_) note += str_cat(note.empty() ? "" : " ", way);
  if (report.tried > 0) gpu_.tuner.database().add_note(key_, note);
  return {};
}

}  // namespace redline
