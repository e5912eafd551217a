// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "verb.h"

namespace redline::cli {
namespace {

Status run(const std::string& path, bool json) {
  REDLINE_ASSIGN(CheckReport report, check(path));
  size_t bad = 0;
  Json ops = Json::array();
  std::vector<std::vector<std::string>> rows = {{"op", "nodes", "unsupported"}};
  for (const CheckReport::Op& op : report.ops) {
    bad += op.unsupported;
    ops.push_back({{"op", op.name}, {"nodes", op.nodes}, {"unsupported", op.unsupported}});
    rows.push_back(
        {op.name, std::to_string(op.nodes), op.unsupported ? std::to_string(op.unsupported) : ""});
  }
  Json problems = Json::array();
  for (const CheckReport::Problem& p : report.problems) {
    problems.push_back({{"node", p.node},
                        {"op", p.op},
                        {"domain", p.domain},
                        {"opset", p.opset},
                        {"reason", p.reason},
                        {"nearest", p.nearest}});
  }
  double coverage = report.nodes == 0 ? 100
                                      : 100.0 * static_cast<double>(report.nodes - bad) /
                                            static_cast<double>(report.nodes);
  if (json) {
    print_json({{"model", path},
                {"nodes", report.nodes},
                {"coverage_percent", coverage},
                {"ops", ops},
                {"problems", problems},
                {"error", report.error}});
  } else if (report.error.empty()) {
    std::printf("%s", format_table(rows).c_str());
    if (!report.problems.empty()) {
      std::vector<std::vector<std::string>> table = {
          {"\nnode", "op", "opset", "reason", "nearest supported"}};
      for (const CheckReport::Problem& p : report.problems) {
        std::string op = p.domain.empty() ? p.op : p.domain + "." + p.op;
        table.push_back({p.node, op, p.opset ? std::to_string(p.opset) : "?", p.reason, p.nearest});
      }
      std::printf("%s", format_table(table).c_str());
    }
    std::printf("\n%zu nodes, %.1f%% supported\n", report.nodes, coverage);
  }
  if (!report.error.empty()) return invalid_argument(report.error);
  if (bad > 0) return unsupported(path, ": ", bad, " of ", report.nodes, " nodes");
  return {};
}

}  // namespace

void register_verb_check(VerbTable& table) {
  table.add({"check", "Tell what of a model is supported", "redline check model.onnx",
             [](CLI::App& app) -> Run {
               auto path = std::make_shared<std::string>();
               auto json = std::make_shared<bool>(false);
               app.add_option("model", *path, "ONNX model")->required();
               app.add_flag("--json", *json, "Print JSON");
               return [path, json] { return run(*path, *json); };
             }});
}

}  // namespace redline::cli
