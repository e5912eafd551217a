// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "verb.h"

namespace redline::cli {
namespace {

// One way to run a step: the step itself or a variant of it, which has a tactic, a config and
// kernels of its own. Which is taken is decided by how many elements the first output has; ways for
// further such numbers in a row that are the same are one.
struct Way {
  const Json* from;
  Json elements = Json::array();
};

bool is_same(const Json& a, const Json& b) {
  return a["tactic"] == b["tactic"] && a.value("config", Json()) == b.value("config", Json());
}

std::vector<Way> ways_of(const Json& step) {
  std::vector<const Json*> all = {&step};
  auto variants = step.find("variants");
  if (variants == step.end()) return {{&step}};
  for (const Json& variant : *variants) all.push_back(&variant);
  std::stable_sort(all.begin(), all.end(), [](const Json* a, const Json* b) {
    return (*a)["elements"].get<int64_t>() < (*b)["elements"].get<int64_t>();
  });
  std::vector<Way> ways;
  for (const Json* way : all) {
    if (ways.empty() || !is_same(*ways.back().from, *way)) ways.push_back({way});
    ways.back().elements.push_back((*way)["elements"]);
  }
  return ways;
}

Json list_kernels(const Json& info) {
  Json kernels = Json::array();
  for_each_step(info, [&](const Json& step, const std::string& number) {
    for (const Way& way : ways_of(step)) {
      for (const Json& kernel : way.from->value("kernels", Json::array())) {
        Json row = {{"step", step["name"]}, {"number", number}, {"op", step["op"]}};
        row["tactic"] = (*way.from)["tactic"];
        row["config"] = way.from->value("config", Json::object());
        if (!way.elements.empty()) row["elements"] = way.elements;
        row.update(kernel);
        kernels.push_back(std::move(row));
      }
    }
  });
  return kernels;
}

std::string config_text(const Json& config) {
  std::string text;
  for (const auto& [name, value] : config.items()) {
    text += str_cat(text.empty() ? "" : " ", name, "=", value.get<std::string>());
  }
  return text;
}

std::vector<std::string> describe(const Json& kernel) {
  auto number = [&](const char* field) {
    return kernel.contains(field) ? std::to_string(kernel[field].get<int64_t>()) : "";
  };
  std::string elements;
  if (kernel.contains("elements")) {
    const Json& list = kernel["elements"];
    elements = list.front().dump();
    if (list.size() > 1) elements += ".." + list.back().dump();
  }
  std::string occupancy;
  if (kernel.contains("occupancy")) {
    occupancy = format_number(100 * kernel["occupancy"].get<double>(), 1) + "%";
  }
  int64_t shared =
      kernel["shared_bytes"].get<int64_t>() + kernel["dynamic_shared_bytes"].get<int64_t>();
  return {kernel["number"],
          kernel["op"],
          kernel["tactic"],
          kernel["entry"],
          elements,
          number("threads"),
          number("registers"),
          std::to_string(shared),
          number("spill_bytes"),
          number("resident_blocks"),
          occupancy,
          number("bytes"),
          config_text(kernel["config"]),
          short_name(kernel["step"])};
}

Status run(const ModelOptions& options) {
  REDLINE_ASSIGN(Engine engine, load_to_look_at(options));
  Json info = Json::parse(engine.inspect());
  Json kernels = list_kernels(info);
  if (options.json) {
    print_json(kernels);
    return {};
  }
  if (kernels.empty()) {
    std::printf("no kernels of a GPU: %s\n", engine.device() == "cpu"
                                                 ? "the engine is for the CPU"
                                                 : "all steps of the engine run on the host");
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"step", "op", "tactic", "kernel", "elements", "threads", "registers", "shared", "spills",
       "blocks", "occupancy", "bytes", "config", "nodes"}};
  for (const Json& kernel : kernels) rows.push_back(describe(kernel));
  std::printf("%s", format_table(rows).c_str());
  return {};
}

}  // namespace

void register_verb_kernels(VerbTable& table) {
  table.add({"kernels", "List an engine's GPU kernels", "redline kernels model.engine",
             [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               add_target_option(app, *options);
               return [options] { return run(*options); };
             }});
}

}  // namespace redline::cli
