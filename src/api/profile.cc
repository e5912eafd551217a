// SPDX-License-Identifier: Apache-2.0
#include "prof/profile.h"

#include <nlohmann/json.hpp>

#include "api/engine_impl.h"

namespace redline {
namespace {

using nlohmann::ordered_json;
using Part = RunTimes::Part;

constexpr std::pair<Part, const char*> kParts[] = {
    {Part::kPrepare, "prepare_us"},     {Part::kStage, "stage_us"},
    {Part::kLaunch, "launch_us"},       {Part::kCopyIn, "copy_in_us"},
    {Part::kKernels, "kernels_us"},     {Part::kCopyOut, "copy_out_us"},
    {Part::kHostStep, "host_steps_us"},
};

const char* name_of(Part part) {
  switch (part) {
    case Part::kPrepare:
      return "prepare";
    case Part::kStage:
      return "stage inputs";
    case Part::kLaunch:
      return "launch";
    case Part::kWait:
      return "wait for the GPU";
    case Part::kHostStep:
      return "step";
    case Part::kCopyIn:
      return "copy in";
    case Part::kKernels:
      return "kernels";
    case Part::kCopyOut:
      return "copy out";
  }
  return "";
}

ordered_json describe(const Range& range) {
  return {{"min", range.least}, {"median", range.median}};
}

// Per microsecond, in trillions a second.
double rate(double amount, double us) { return us > 0 ? amount / us / 1e6 : 0; }

ordered_json describe(const Rates& rates) {
  ordered_json result = {{"tb_s", rates.bytes_per_us / 1e6}, {"tb_s_from", rates.bytes_from}};
  ordered_json products = ordered_json::object();
  for (const auto& [dtype, flops] : rates.matrix_flops_per_us) {
    products[std::string(dtype_name(dtype))] = flops / 1e6;
  }
  result["products_tflop_s"] = std::move(products);
  result["other_tflop_s"] = rates.other_flops_per_us / 1e6;
  result["tflop_s_from"] = rates.flops_from;
  return result;
}

ordered_json describe(const ChainTimes& chain) {
  ordered_json result = {{"begin_us", chain.begin_us},
                         {"us", chain.us},
                         {"gap_us", chain.gap_us},
                         {"early_us", chain.early_us},
                         {"blocks", chain.blocks}};
  for (const auto& [name, us] : {std::pair("hand_off_us", chain.hand_off_us),
                                 {"load_us", chain.load_us},
                                 {"multiply_us", chain.multiply_us},
                                 {"store_us", chain.store_us}}) {
    if (us >= 0) result[name] = us;
  }
  return result;
}

ordered_json describe(const GraphTimes& times) {
  return {{"graph", times.graph},
          {"begin_us", times.begin_us},
          {"us", times.us},
          {"gap_us", times.gap_us},
          {"early_us", times.early_us}};
}

ordered_json describe(const GraphPass& graph) {
  return {{"traced_by", graph.traced_by},
          {"graphs", graph.graphs},
          {"us", graph.us},
          {"steps_us", graph.us - graph.gaps_us},
          {"gaps_us", graph.gaps_us}};
}

// What a step does in a second, where it takes so long, and the part of its roofline that is.
void add_rates(ordered_json& result, const StepProfile& step, double us) {
  result["tb_s"] = rate(step.work.bytes, us);
  result["tflop_s"] = rate(step.work.matrix_flops + step.work.other_flops, us);
  if (step.floor.us > 0 && us > 0) result["roofline"] = step.floor.us / us;
}

ordered_json describe(const StepProfile& step, const PlanStep& planned, double serial_us) {
  double us = step.us.median;
  ordered_json result = {{"index", step.index},
                         {"name", planned.name},
                         {"op", planned.op->name},
                         {"tactic", planned.tactic.empty() ? "reference" : planned.tactic},
                         {"device", step.on_gpu ? "cuda" : "cpu"},
                         {"us", describe(step.us)},
                         {"share", serial_us > 0 ? us / serial_us : 0},
                         {"bytes", step.work.bytes},
                         {"flops", step.work.matrix_flops + step.work.other_flops}};
  add_rates(result, step, us);
  if (planned.stream > 0) result["stream"] = planned.stream;
  if (step.floor.us > 0) {
    result["roofline_us"] = step.floor.us;
    result["bound"] = step.floor.by_memory ? "memory" : "arithmetic";
  }
  if (step.chain) {
    result["chain"] = describe(*step.chain);
    if (step.chain->us > 0) add_rates(result["chain"], step, step.chain->us);
  }
  if (step.graph) {
    result["graph"] = describe(*step.graph);
    if (step.graph->us > 0) add_rates(result["graph"], step, step.graph->us);
  }
  return result;
}

ordered_json describe_latency(const Profile& profile, bool stamped) {
  ordered_json result = {{"run_us", describe(profile.run_us)},
                         {"timed_run_us", profile.parts.total_us}};
  double rest = profile.parts.total_us;
  for (const auto& [part, name] : kParts) {
    double us = profile.parts.us_in(part);
    result[name] = us;
    rest -= us;
  }
  result["rest_us"] = rest;
  if (stamped) result["gaps_us"] = profile.kernel_gaps_us;
  return result;
}

// Where, among the parts of the run, the graph begins whose first step this is.
double begin_of_graph(const Profile& profile, size_t step) {
  for (const RunTimes::Piece& piece : profile.parts.pieces) {
    bool on_gpu =
        piece.part == Part::kCopyIn || piece.part == Part::kKernels || piece.part == Part::kCopyOut;
    if (on_gpu && piece.step == step) return piece.span.begin_us;
  }
  return 0;
}

// What happened when, for a trace: microseconds from the start of a run. Kernels with time stamps
// are placed where the first part of the chain begins.
ordered_json describe_timeline(const Profile& profile, const Plan& plan, bool stamped) {
  ordered_json events = ordered_json::array();
  auto add = [&](std::string track, std::string name, double begin, double us) -> ordered_json& {
    events.push_back(
        {{"track", std::move(track)}, {"name", std::move(name)}, {"begin_us", begin}, {"us", us}});
    return events.back();
  };
  // Small copies are kernels of the chain too.
  bool copies_first = !profile.steps.empty() && profile.steps[0].chain.has_value() &&
                      plan.steps[profile.steps[0].index].tactic == kUploadTactic;
  Part first = copies_first ? Part::kCopyIn : Part::kKernels;
  double kernels = -1;
  for (const RunTimes::Piece& piece : profile.parts.pieces) {
    bool on_gpu =
        piece.part == Part::kCopyIn || piece.part == Part::kKernels || piece.part == Part::kCopyOut;
    if (piece.part == first && kernels < 0) kernels = piece.span.begin_us;
    std::string name = piece.part == Part::kHostStep ? plan.steps[piece.step].name
                                                     : std::string(name_of(piece.part));
    ordered_json& event =
        add(on_gpu ? "gpu" : "host", std::move(name), piece.span.begin_us, piece.span.us);
    if (piece.part == Part::kHostStep) event["index"] = piece.step;
  }
  auto track_of = [&](const char* what, size_t step) {
    int stream = plan.steps[step].stream;
    return stream == 0 ? what : str_cat(what, ", stream ", stream);
  };
  double alone = 0;
  double graph_at = 0;  // where the graph begins whose steps follow
  size_t graph = SIZE_MAX;
  for (const StepProfile& step : profile.steps) {
    const std::string& name = plan.steps[step.index].name;
    if (step.graph) {
      if (std::exchange(graph, step.graph->graph) != graph) {
        graph_at = begin_of_graph(profile, step.index);
      }
      add(track_of("in the graph", step.index), name, graph_at + step.graph->begin_us,
          step.graph->us)["index"] = step.index;
    }
    if (step.chain) {
      double at = std::max(kernels, 0.0) + step.chain->begin_us;
      add(track_of("kernels", step.index), name, at, step.chain->us)["index"] = step.index;
    }
    if (step.on_gpu && !stamped) {
      add("each step alone", name, alone, step.us.median)["index"] = step.index;
    }
    alone += step.us.median;
  }
  return events;
}

}  // namespace

Result<std::string> Session::profile(const ProfileOptions& options) {
  constexpr int kMostRuns = 100000;
  if (options.runs < 1 || options.runs > kMostRuns) {
    return invalid_argument("a profile takes 1 to ", kMostRuns, " runs, not ", options.runs);
  }
  // Says what is not bound, and warns of slow steps.
  REDLINE_TRY(run());
  const Engine::Impl& engine = *impl_->engine;
  REDLINE_ASSIGN(Profile profile,
                 make_profile(*impl_->executor, engine.plan, *engine.pool, engine.gpu,
                              impl_->inputs, options.runs, Progress(options.progress),
                              engine.gpu != nullptr ? options.gpu_trace : nullptr));
  bool stamped = false;
  double serial = 0;
  double work = 0;
  for (const StepProfile& step : profile.steps) {
    serial += step.us.median;
    stamped |= step.chain.has_value();
    if (step.chain) work += step.chain->us;
  }
  ordered_json result = {{"model", engine.info.model},
                         {"device", engine.info.device},
                         {"device_arch", engine.info.device_arch},
                         {"device_name", engine.gpu ? engine.gpu->info().name : "CPU"},
                         {"runs", profile.runs},
                         {"timestamps", stamped}};
  if (engine.gpu != nullptr) result["rates"]["cuda"] = describe(profile.gpu);
  if (profile.host) result["rates"]["cpu"] = describe(*profile.host);
  result["steps"] = ordered_json::array();
  for (const StepProfile& step : profile.steps) {
    result["steps"].push_back(describe(step, engine.plan.steps[step.index], serial));
  }
  result["serial_us"] = serial;
  if (engine.gpu != nullptr) result["kernels_us"] = profile.kernels_us;
  if (stamped) {
    result["chain"] = {{"us", profile.chain_us}, {"steps_us", work}, {"gaps_us", profile.gaps_us}};
  }
  if (profile.graph) result["graph"] = describe(*profile.graph);
  if (!profile.graph_left_out.empty()) result["graph_left_out"] = profile.graph_left_out;
  result["latency"] = describe_latency(profile, stamped);
  result["timeline"] = describe_timeline(profile, engine.plan, stamped);
  return result.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace redline
