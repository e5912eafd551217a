// SPDX-License-Identifier: Apache-2.0
#include "api/build_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace redline {

using nlohmann::json;

namespace {

json describe_precision(const PrecisionReport& report) {
  json kept = json::array();
  for (const PrecisionReport::Kept& k : report.kept) {
    kept.push_back({{"op", k.op}, {"reason", k.reason}, {"nodes", k.nodes}});
  }
  json text = {{"dtype", report.tf32 ? "tf32" : dtype_name(report.dtype)},
               {"lowered", report.lowered},
               {"range_check", report.range_check},
               {"kept", std::move(kept)}};
  if (!report.note.empty()) text["note"] = report.note;
  return text;
}

json describe_chain(const ChainReport& report) {
  json changed = json::array();
  for (const ChainReport::Changed& c : report.changed) {
    changed.push_back({{"step", c.step}, {"from", c.from}, {"to", c.to}});
  }
  return {{"tried", report.tried},
          {"us_before", report.us_before},
          {"us", report.us},
          {"changed", std::move(changed)}};
}

json describe_streams(const StreamsReport& report) {
  json result = {{"count", report.count},
                 {"tried", report.tried},
                 {"us_one", report.us_one},
                 {"us", report.us}};
  if (!report.why.empty()) result["why"] = report.why;
  return result;
}

// How good what the model of costs ranks first is: of problems that were timed in more than one
// way, the time of its first pick and of the choice, for all steps that have them.
struct Regret {
  double first_us = 0;
  double chosen_us = 0;
};

Regret regret_of(const ProblemReport& problem) {
  auto is_timed = [](const CandidateReport& c) { return c.us > 0; };
  const auto& all = problem.candidates;
  if (problem.chosen < 0 || std::count_if(all.begin(), all.end(), is_timed) < 2) return {};
  double first = std::find_if(all.begin(), all.end(), is_timed)->us;
  double chosen = all[static_cast<size_t>(problem.chosen)].us;
  if (chosen <= 0) return {};
  return {first * problem.steps, chosen * problem.steps};
}

}  // namespace

std::string describe_build(const BuildReport& build, const Stages& stages) {
  const TuneReport& report = build.tuning;
  json problems = json::array();
  Regret regret;
  for (const ProblemReport& problem : report.problems) {
    json candidates = json::array();
    for (const CandidateReport& c : problem.candidates) {
      json entry = {{"tactic", c.tactic},
                    {"verdict", verdict_name(c.verdict)},
                    {"from_database", c.from_database}};
      if (!c.config.empty()) entry["config"] = c.config;
      if (c.us > 0) entry["us"] = c.us;
      if (c.verdict == Verdict::kRight) entry["error"] = c.error;
      if (!c.reason.empty()) entry["reason"] = c.reason;
      candidates.push_back(std::move(entry));
    }
    json entry = {{"problem", problem.problem},
                  {"steps", problem.steps},
                  {"reason", problem.reason},
                  {"candidates", std::move(candidates)}};
    Regret own = regret_of(problem);
    if (own.chosen_us > 0) entry["first_pick_us"] = own.first_us / problem.steps;
    regret.first_us += own.first_us;
    regret.chosen_us += own.chosen_us;
    entry["chosen"] = problem.chosen < 0 ? json() : json(problem.chosen);
    problems.push_back(std::move(entry));
  }
  json times = json::array();
  for (const Stages::Stage& stage : stages.list()) {
    times.push_back({{"stage", stage.name}, {"seconds", stage.seconds}});
  }
  return json({{"machine", report.machine},
               {"timing_seconds", report.timing_seconds},
               {"check_seconds", report.check_seconds},
               {"regret", {{"first_picks_us", regret.first_us}, {"chosen_us", regret.chosen_us}}},
               {"stages", std::move(times)},
               {"precision", describe_precision(build.precision)},
               {"chain", describe_chain(build.chain)},
               {"streams", describe_streams(build.streams)},
               {"problems", std::move(problems)}})
      .dump(2, ' ', false, json::error_handler_t::replace);
}

}  // namespace redline
