// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "base/file_io.h"
#include "ir/text.h"
#include "onnx/importer.h"
#include "passes/pass.h"
#include "verb.h"

namespace redline::cli {
namespace {

struct OptOptions {
  std::string path;
  std::vector<std::string> passes;
  std::vector<std::string> disabled;
  bool all = false;
  bool elide = false;
  bool list = false;
  bool verify = false;
  bool json = false;
  DType compute_dtype = DType::kFloat32;
  bool tf32 = false;
};

bool is_text(const std::string& path) {
  return path.size() > 3 && path.substr(path.size() - 3) == ".ir";
}

Status run(const OptOptions& options) {
  std::unique_ptr<PassRegistry> registry = make_pass_registry();
  if (options.list) {
    std::vector<std::vector<std::string>> rows;
    Json list = Json::array();
    for (const Pass* pass : registry->all()) {
      rows.push_back({pass->name, pass->summary});
      list.push_back({{"pass", pass->name}, {"summary", pass->summary}});
    }
    if (options.json) {
      print_json(list);
    } else {
      std::printf("%s", format_table(rows).c_str());
    }
    return {};
  }
  if (options.path.empty()) return invalid_argument("give a file, or --list for the passes");
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<Graph> graph;
  ModelBytes model;
  if (is_text(options.path)) {
    REDLINE_ASSIGN(std::string text, read_text_file(options.path));
    Result<std::unique_ptr<Graph>> parsed = parse_graph(*ops, text);
    if (!parsed.ok()) return parsed.status().with_context(options.path);
    graph = *std::move(parsed);
  } else {
    REDLINE_ASSIGN(model, open_onnx(options.path));
    REDLINE_ASSIGN(ImportedModel imported, import_onnx(model, *ops, *make_import_registry()));
    graph = std::move(imported.graph);
  }
  PassOptions pass_options;
  pass_options.disabled = options.disabled;
  pass_options.verify_results = options.verify;
  pass_options.compute_dtype = options.compute_dtype;
  pass_options.tf32 = options.tf32;
  if (options.all) {
    REDLINE_TRY(run_passes(*graph, *registry, pipeline(), pass_options).status());
  }
  PassContext context{pass_options};
  for (const std::string& name : options.passes) {
    const Pass* pass = registry->find(name);
    if (pass == nullptr) return not_found("no pass is called '", name, "'; --list shows them");
    REDLINE_TRY(run_pass(*pass, *graph, context).status());
  }
  PrintOptions print;
  print.elide_constants = options.elide;
  std::string text = print_graph(*graph, print);
  if (options.json) {
    print_json({{"nodes", graph->num_nodes()}, {"graph", text}});
  } else {
    std::printf("%s", text.c_str());
  }
  return {};
}

}  // namespace

void register_verb_opt(VerbTable& table) {
  table.add({"opt", "Run passes on a model or on IR text and print the result",
             "redline opt --pass=cse graph.ir", [](CLI::App& app) -> Run {
               auto options = std::make_shared<OptOptions>();
               app.add_option("file", options->path, "ONNX model, or IR text (.ir)");
               app.add_option("--pass", options->passes, "Pass to run; may be given again")
                   ->delimiter(',')
                   ->allow_extra_args(false);
               app.add_flag("--all", options->all, "Run the whole pipeline");
               app.add_option("--disable-pass", options->disabled,
                              "Leave out this pass of the pipeline")
                   ->allow_extra_args(false);
               app.add_flag("--verify-passes", options->verify,
                            "Run the reference before and after each pass");
               app.add_flag_callback(
                   "--fp16", [options] { options->compute_dtype = DType::kFloat16; },
                   "For lower_precision: compute in f16 wherever that is safe");
               app.add_flag_callback(
                   "--bf16", [options] { options->compute_dtype = DType::kBFloat16; },
                   "For lower_precision: compute in bf16 wherever that is safe");
               app.add_flag("--tf32", options->tf32, "For allow_tf32: products round f32 to tf32");
               app.add_flag("--elide", options->elide, "Shorten large constants");
               app.add_flag("--list", options->list, "List the passes");
               app.add_flag("--json", options->json, "Print JSON");
               return [options] { return run(*options); };
             }});
}

}  // namespace redline::cli
