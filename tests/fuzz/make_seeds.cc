// SPDX-License-Identifier: Apache-2.0
// make_seeds FOLDER: beside FOLDER/onnx, which holds small ONNX files, writes their graphs in text
// form to FOLDER/ir and the plan sections of their engines to FOLDER/engine. Models that do not
// import are left out.

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <span>

#include "base/file_io.h"
#include "build/build.h"
#include "ir/text.h"
#include "onnx/importer.h"
#include "plan/engine_file.h"
#include "plan/engine_format.h"

namespace redline {
namespace {

struct Seeds {
  std::filesystem::path folder;
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<ImportRegistry> rules = make_import_registry();
  std::unique_ptr<TacticRegistry> tactics = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool;

  Status write(const std::string& name, const std::filesystem::path& model_path) {
    REDLINE_ASSIGN(ModelBytes model, open_model(model_path));
    REDLINE_ASSIGN(ImportedModel imported, import_onnx(model, *ops, *rules));
    std::string text = print_graph(*imported.graph);
    REDLINE_TRY(write_file(folder / "ir" / name, std::as_bytes(std::span(text))));
    REDLINE_TRY(write_plan(name, *imported.graph, 0));
    return write_plan(name + "-built", *imported.graph, 1);
  }

  Status write_plan(const std::string& name, Graph& graph, int opt_level) {
    BuildOptions options;
    options.opt_level = opt_level;
    REDLINE_ASSIGN(Plan plan, build_plan(graph, *tactics, *pool, options));
    // They are a GPU's, but any file may have them.
    for (size_t s = 0; s < plan.steps.size() && opt_level > 0; ++s) {
      plan.steps[s].stream = static_cast<int>(s % 3);
    }
    REDLINE_ASSIGN(std::vector<std::byte> engine, serialize_engine({}, plan));
    EngineHeader header;
    std::memcpy(&header, engine.data(), sizeof header);
    return write_file(folder / "engine" / name, std::span<const std::byte>(engine).subspan(
                                                    header.plan.offset, header.plan.bytes));
  }
};

}  // namespace
}  // namespace redline

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  redline::Seeds seeds{argv[1]};
  auto pool = redline::ThreadPool::create(1);
  if (!pool.ok()) return 1;
  seeds.pool = *std::move(pool);
  for (const char* kind : {"ir", "engine"}) {
    std::filesystem::create_directories(seeds.folder / kind);
  }
  int written = 0;
  for (const auto& entry : std::filesystem::directory_iterator(seeds.folder / "onnx")) {
    if (seeds.write(entry.path().filename(), entry.path()).ok()) ++written;
  }
  std::printf("ir, engine: %d seeds\n", written);
  return 0;
}
