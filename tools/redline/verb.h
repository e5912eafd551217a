// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "onnx/importer.h"
#include "redline/redline.h"

namespace redline::cli {

using Json = nlohmann::ordered_json;

// One verb of the command line: adds its options to `app` and returns what to do once they are
// parsed. A new verb is one file of this folder that exports register_verb_<stem>.
using Run = std::function<Status()>;
struct Verb {
  std::string name;
  std::string summary;
  std::string example;
  std::function<Run(CLI::App& app)> setup;
};

struct VerbTable {
  std::vector<Verb> verbs;
  void add(Verb verb) { verbs.push_back(std::move(verb)); }
};
void register_verb_all(VerbTable& table);

// What a verb that needs a model or an engine asks for.
struct ModelOptions {
  std::string path;
  std::string device = "auto";
  std::string fallback = "refuse";
  std::string target;
  int threads = 0;
  int opt_level = 3;
  Precision precision = Precision::kFloat32;
  bool check_range = false;
  std::vector<std::string> sizes;   // "batch=8"
  std::vector<std::string> shapes;  // "batch=1..8..64"
  std::vector<std::string> disabled_passes;
  bool verify_passes = false;
  std::string dump_ir;
  bool timestamps = false;
  std::optional<bool> side_streams;
  std::optional<double> build_seconds;
  std::string tuning_database;  // empty: the default one
  bool no_tuning_database = false;
  bool verbose = false;
  bool json = false;
};
std::shared_ptr<ModelOptions> add_model_options(CLI::App& app);
// For verbs that run nothing.
void add_target_option(CLI::App& app, ModelOptions& options);
// As BuildSettings has it.
std::optional<std::string> tuning_database(const ModelOptions& options);
// Shows progress on a terminal; Ctrl-C cancels.
Result<BuildSettings> build_settings(const ModelOptions& options);
Result<Engine> load_engine_or_model(const ModelOptions& options);
// An engine that was built for any machine, or a model, which is built.
Result<Engine> load_to_look_at(const ModelOptions& options);
// For verbs that take no engine.
Result<ModelBytes> open_onnx(const std::string& path);
// An error for a size that is given to a symbol which no input has, for verbs that run an engine:
// builds say so themselves.
Status check_sizes(const std::vector<ValueInfo>& inputs, const ModelOptions& options);
// {"batch", 8} of "batch=8".
Result<std::vector<std::pair<std::string, int64_t>>> parse_sizes(
    const std::vector<std::string>& sizes);

// The files of `--input NAME=FILE`, and seeded random values for the inputs that have none. Unknown
// sizes come from `--size`, else 1 for the first axis and 8 for others.
struct InputOptions {
  std::vector<std::string> files;
  uint64_t seed = 0;
};
std::shared_ptr<InputOptions> add_input_options(CLI::App& app);
Result<std::map<std::string, HostValue>> make_inputs(const std::vector<ValueInfo>& infos,
                                                     const InputOptions& inputs,
                                                     const ModelOptions& model);
Status bind_all(Session& session, const std::map<std::string, HostValue>& inputs);

// For options with a number; a failure is wrong usage.
CLI::Validator number_between(double least, double most);

// True after Ctrl-C. A second Ctrl-C ends the process at once.
bool interrupted();
void catch_interrupts();

// Each step of what an engine's inspect() says, those of subgraphs after the step that they are of.
// `number` tells where it is: "3", and "3.0.2" for step 2 of subgraph 0 of step 3.
void for_each_step(const Json& plan,
                   const std::function<void(const Json& step, const std::string& number)>& visit,
                   const std::string& within = "");
// Names of a step's nodes, cut where there are many.
std::string short_name(const std::string& name);

// Text with the columns aligned; numbers to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);
std::string format_number(double value, int digits = 3);
void print_json(const Json& value);

}  // namespace redline::cli
