// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "core/npy.h"
#include "verb.h"

namespace redline::cli {
namespace {

// Milliseconds of the stages up to the first result, inputs' files not counted.
struct Stages {
  double load = 0;  // or build
  double session = 0;
  double first_run = 0;
};

class Stopwatch {
 public:
  // Since the last call, or since it was made.
  double lap() {
    auto now = Clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last_, now)).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

Status run(const ModelOptions& options, const InputOptions& inputs, const std::string& folder,
           bool timing) {
  Stages stages;
  Stopwatch watch;
  REDLINE_ASSIGN(Engine engine, load_engine_or_model(options));
  stages.load = watch.lap();
  REDLINE_ASSIGN(auto values, make_inputs(engine.inputs(), inputs, options));
  watch.lap();
  REDLINE_ASSIGN(Session session, engine.create_session());
  stages.session = watch.lap();
  REDLINE_TRY(bind_all(session, values));
  REDLINE_TRY(session.run());
  stages.first_run = watch.lap();
  if (!folder.empty()) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return io_error("cannot make the folder '", folder, "': ", error.message());
  }
  std::vector<std::vector<std::string>> rows;
  Json list = Json::array();
  auto store = [&](const std::string& name, const Tensor& tensor) -> Status {
    std::string file;
    if (!folder.empty()) {
      std::string stem = name;
      std::replace(stem.begin(), stem.end(), '/', '_');
      file = (std::filesystem::path(folder) / (stem + ".npy")).string();
      REDLINE_TRY(write_npy_file(file, tensor));
    }
    std::string type = str_cat(dtype_name(tensor.dtype()), tensor.dims().to_string());
    rows.push_back({name, type, file});
    list.push_back({{"name", name}, {"type", type}, {"file", file}});
    return {};
  };
  for (const ValueInfo& info : engine.outputs()) {
    REDLINE_ASSIGN(const HostValue* value, session.output(info.name));
    if (value->kind == HostValue::Kind::kTensor) {
      REDLINE_TRY(store(info.name, value->tensor));
      continue;
    }
    for (size_t i = 0; i < value->elements.size(); ++i) {
      if (value->elements[i].kind == HostValue::Kind::kTensor) {
        REDLINE_TRY(store(str_cat(info.name, ".", i), value->elements[i].tensor));
      }
    }
  }
  if (options.json) {
    Json result = {{"outputs", list}};
    if (timing) {
      result["timing_ms"] = {
          {"load", stages.load}, {"session", stages.session}, {"first_run", stages.first_run}};
    }
    print_json(result);
    return {};
  }
  std::printf("%s", format_table(rows).c_str());
  if (timing) {
    std::printf("load %.1f ms, session %.1f ms, first run %.1f ms\n", stages.load, stages.session,
                stages.first_run);
  }
  return {};
}

}  // namespace

void register_verb_run(VerbTable& table) {
  table.add({"run", "Run a model or an engine once",
             "redline run model.onnx --input x=image.npy --output-dir out",
             [](CLI::App& app) -> Run {
               auto options = add_model_options(app);
               auto inputs = add_input_options(app);
               auto folder = std::make_shared<std::string>();
               app.add_option("--output-dir", *folder, "Folder for NAME.npy of each output");
               auto timing = std::make_shared<bool>(false);
               app.add_flag("--timing", *timing, "Say how long loading and the first run took");
               return [=] { return run(*options, *inputs, *folder, *timing); };
             }});
}

}  // namespace redline::cli
