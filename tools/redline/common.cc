// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <random>
#include <set>

#include "api/check_settings.h"
#include "core/dim.h"
#include "core/npy.h"
#include "ops/elements.h"
#include "plan/engine_file.h"
#include "verb.h"

namespace redline::cli {
namespace {

// Written by a signal handler, which can reach nothing else.
volatile std::sig_atomic_t g_interrupts = 0;

void on_interrupt(int) {
  g_interrupts = g_interrupts + 1;
  if (g_interrupts > 1) _exit(130);
}

// A bar with the time left, on a terminal only.
class ProgressBar {
 public:
  ~ProgressBar() {
    if (drawn_) std::fprintf(stderr, "\r\033[K");
  }
  bool operator()(std::string_view phase, double fraction) {
    if (interrupted()) return false;
    if (!isatty(STDERR_FILENO)) return true;
    auto now = Clock::now();
    if (phase != phase_) {
      phase_ = phase;
      start_ = now;
    } else if (now - last_ < std::chrono::milliseconds(50)) {
      return true;
    }
    last_ = now;
    drawn_ = true;
    constexpr int kWidth = 30;
    int filled = static_cast<int>(fraction * kWidth);
    std::string bar(static_cast<size_t>(filled), '#');
    bar.resize(kWidth, '.');
    double elapsed = std::chrono::duration<double>(now - start_).count();
    std::string eta;
    if (fraction > 0.02)
      eta = " " + format_number(elapsed / fraction * (1 - fraction), 1) + " s left";
    std::fprintf(stderr, "\r\033[K%-12s [%s] %3.0f%%%s", phase_.c_str(), bar.c_str(),
                 fraction * 100, eta.c_str());
    std::fflush(stderr);
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::string phase_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_;
  bool drawn_ = false;
};

Result<std::pair<std::string, std::string>> split_pair(const std::string& text,
                                                       std::string_view what) {
  size_t at = text.rfind('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size()) {
    return invalid_argument("'", text, "' is not ", what);
  }
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

Result<Tensor> random_tensor(const ValueInfo& info, const std::map<std::string, int64_t>& sizes,
                             std::mt19937_64& random) {
  Dims dims;
  for (size_t axis = 0; axis < info.dims.size(); ++axis) {
    REDLINE_ASSIGN(Dim dim, Dim::parse(info.dims[axis]));
    Result<int64_t> size = dim.evaluate([&](std::string_view name) -> std::optional<int64_t> {
      auto it = sizes.find(std::string(name));
      if (it != sizes.end()) return it->second;
      return axis == 0 ? 1 : 8;
    });
    if (!size.ok()) return size.status().with_context(str_cat("size of input '", info.name, "'"));
    dims.push_back(*size);
  }
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(info.dtype, dims));
  if (info.dtype == DType::kString) return tensor;
  with_wide_type(info.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> values(static_cast<size_t>(tensor.count()));
    for (W& value : values) {
      if constexpr (std::is_same_v<W, double>) {
        value = std::uniform_real_distribution<double>(-1, 1)(random);
      } else {
        value = static_cast<W>(random() & 1);  // good as an index, a mask and a count
      }
    }
    write_elements(values, tensor.view());
  });
  return tensor;
}

}  // namespace

CLI::Validator number_between(double least, double most) {
  std::string form = str_cat(format_number(least, 3), " to ", format_number(most, 0));
  return CLI::Validator(
      [=](std::string& text) {
        char* end = nullptr;
        double number = std::strtod(text.c_str(), &end);
        // No comparison holds for NaN.
        bool good = end != text.c_str() && *end == '\0' && number >= least && number <= most;
        return good ? std::string() : "'" + text + "' is no number from " + form;
      },
      form);
}

bool interrupted() { return g_interrupts > 0; }
void catch_interrupts() { std::signal(SIGINT, on_interrupt); }

namespace {

// Digits from `at` in `text`: where they end, or null where there are none or too many.
const char* read_size(const char* at, const std::string& text, int64_t& size) {
  auto [end, error] = std::from_chars(at, text.data() + text.size(), size);
  return error == std::errc() && size >= 0 ? end : nullptr;
}

Result<std::pair<std::string, int64_t>> parse_size(const std::string& text) {
  REDLINE_ASSIGN(auto pair, split_pair(text, "SYMBOL=SIZE"));
  int64_t size = 0;
  const char* end = read_size(pair.second.data(), pair.second, size);
  if (end == nullptr || *end != '\0') return invalid_argument("'", text, "' is not SYMBOL=SIZE");
  return std::pair(pair.first, size);
}

Result<BuildSettings::SizeRange> parse_range(const std::string& text) {
  constexpr std::string_view kForm = "SYMBOL=MIN..OPT..MAX";
  REDLINE_ASSIGN(auto pair, split_pair(text, kForm));
  BuildSettings::SizeRange range;
  range.symbol = pair.first;
  const char* at = pair.second.c_str();
  for (int64_t* size : {&range.least, &range.likely, &range.most}) {
    bool is_next = size == &range.least || std::string_view(at).starts_with("..");
    if (is_next && size != &range.least) at += 2;
    const char* end = is_next ? read_size(at, pair.second, *size) : nullptr;
    if (end == nullptr) return invalid_argument("'", text, "' is not ", kForm);
    at = end;
  }
  if (*at != '\0') return invalid_argument("'", text, "' is not ", kForm);
  return range;
}

// A failure is wrong usage.
template <class Parse>
CLI::Validator parsed_by(Parse parse, const std::string& form) {
  return CLI::Validator(
      [parse](std::string& text) {
        auto parsed = parse(text);
        return parsed.ok() ? std::string() : std::string(parsed.status().message());
      },
      form);
}

CLI::Validator named_value(const std::string& form) {
  return parsed_by([form](const std::string& text) { return split_pair(text, form); }, form);
}

void add_precision_options(CLI::App& app, const std::shared_ptr<ModelOptions>& options) {
  struct Choice {
    const char* flag;
    Precision precision;
    const char* help;
  };
  constexpr Choice kChoices[] = {
      {"--fp32", Precision::kFloat32, "Compute in f32, the default"},
      {"--tf32", Precision::kTf32, "Round f32 to tf32 (11 bits) before it is multiplied, on GPUs"},
      {"--fp16", Precision::kFloat16, "Compute in f16 wherever that is safe"},
      {"--bf16", Precision::kBFloat16, "Compute in bf16 wherever that is safe"}};
  std::vector<CLI::Option*> flags;
  for (const Choice& choice : kChoices) {
    flags.push_back(app.add_flag_callback(
        choice.flag, [options, p = choice.precision] { options->precision = p; }, choice.help));
    for (size_t i = 0; i + 1 < flags.size(); ++i) flags.back()->excludes(flags[i]);
  }
  app.add_flag("--check-range", options->check_range,
               "With --fp16: look for values that overflow, however long that takes");
}

}  // namespace

std::shared_ptr<ModelOptions> add_model_options(CLI::App& app) {
  auto options = std::make_shared<ModelOptions>();
  app.add_option("model", options->path, "ONNX model or engine file")->required();
  app.add_option("--device", options->device,
                 "Where to run: auto, cpu, cuda, or cuda:N for a further GPU")
      ->capture_default_str();
  app.add_option("--fallback", options->fallback,
                 "Steps that the GPU cannot run: refuse, or allow them on the host (as auto does)")
      ->check(CLI::IsMember({"refuse", "allow"}))
      ->capture_default_str();
  app.add_option("--threads", options->threads, "CPU threads; 0: the physical cores")
      ->capture_default_str();
  app.add_option("--opt-level", options->opt_level,
                 "0: references only; 1: preferred kernels; 2: as the tuning database says; "
                 "3: time the best few; 4, 5: time more")
      ->check(CLI::Range(0, 5))
      ->capture_default_str();
  add_precision_options(app, options);
  app.add_option("--size", options->sizes, "Size of a symbol to optimise for and to run with")
      ->check(parsed_by(parse_size, "SYMBOL=SIZE"))
      ->allow_extra_args(false);
  app.add_option("--shapes", options->shapes,
                 "Sizes of a symbol to be good at: from, the likeliest, to")
      ->check(parsed_by(parse_range, "SYMBOL=MIN..OPT..MAX"))
      ->allow_extra_args(false);
  app.add_option("--disable-pass", options->disabled_passes, "Leave out this pass")
      ->allow_extra_args(false);
  app.add_flag("--verify-passes", options->verify_passes,
               "Run the reference before and after each pass");
  app.add_option("--dump-ir", options->dump_ir, "Folder for the graph after each pass");
  app.add_flag_function(
      "--side-streams,!--no-side-streams",
      [options](int64_t count) { options->side_streams = count > 0; },
      "On a GPU, whether independent steps run side by side; else as is measured to be faster");
  app.add_option("--build-time", options->build_seconds,
                 "Seconds after which a build looks no further for faster kernels")
      ->check(number_between(0, 1e9));
  auto* file = app.add_option("--tuning-db", options->tuning_database,
                              "File of measured times; tuning.jsonl in ~/.cache/redline");
  app.add_flag("--no-tuning-db", options->no_tuning_database, "Neither read nor keep times")
      ->excludes(file);
  app.add_flag("--verbose", options->verbose, "More messages, e.g. why tactics refuse");
  app.add_flag("--json", options->json, "Print JSON");
  return options;
}

void add_target_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--target", options.target,
                 "Build for a GPU of this architecture (sm_90a) without having one");
}

Result<std::vector<std::pair<std::string, int64_t>>> parse_sizes(
    const std::vector<std::string>& sizes) {
  std::vector<std::pair<std::string, int64_t>> result;
  for (const std::string& text : sizes) {
    REDLINE_ASSIGN(auto size, parse_size(text));
    result.push_back(std::move(size));
  }
  return result;
}

namespace {

Result<std::vector<BuildSettings::SizeRange>> parse_shapes(const std::vector<std::string>& shapes) {
  std::vector<BuildSettings::SizeRange> result;
  for (const std::string& text : shapes) {
    REDLINE_ASSIGN(BuildSettings::SizeRange range, parse_range(text));
    result.push_back(std::move(range));
  }
  return result;
}

}  // namespace

std::optional<std::string> tuning_database(const ModelOptions& options) {
  if (options.no_tuning_database) return "";
  if (options.tuning_database.empty()) return std::nullopt;
  return options.tuning_database;
}

Result<BuildSettings> build_settings(const ModelOptions& options) {
  BuildSettings settings;
  settings.device = options.device;
  settings.host_fallback = options.fallback == "allow";
  settings.target = options.target;
  if (!options.target.empty() && options.device == "auto") {
    settings.device = "cuda";
    settings.host_fallback = true;
  }
  settings.num_threads = options.threads;
  settings.opt_level = options.opt_level;
  settings.precision = options.precision;
  settings.check_range = options.check_range;
  settings.disabled_passes = options.disabled_passes;
  settings.verify_passes = options.verify_passes;
  settings.dump_ir = options.dump_ir;
  settings.timestamps = options.timestamps;
  settings.side_streams = options.side_streams;
  settings.build_seconds = options.build_seconds;
  settings.tuning_database = tuning_database(options);
  REDLINE_ASSIGN(settings.optimal_sizes, parse_sizes(options.sizes));
  REDLINE_ASSIGN(settings.size_ranges, parse_shapes(options.shapes));
  auto bar = std::make_shared<ProgressBar>();
  settings.progress = [bar](std::string_view phase, double fraction) {
    return (*bar)(phase, fraction);
  };
  settings.log_from = options.verbose ? Severity::kVerbose : Severity::kWarning;
  settings.log = [](Severity severity, std::string_view message) {
    std::fprintf(stderr, "%s: %.*s\n", std::string(severity_name(severity)).c_str(),
                 static_cast<int>(message.size()), message.data());
  };
  return settings;
}

Result<Engine> load_engine_or_model(const ModelOptions& options) {
  REDLINE_ASSIGN(BuildSettings settings, build_settings(options));
  REDLINE_ASSIGN(Engine engine, load(options.path, settings));
  REDLINE_TRY(check_sizes(engine.inputs(), options));
  return engine;
}

Result<Engine> load_to_look_at(const ModelOptions& options) {
  Result<ModelBytes> model = open_model(options.path);
  ModelOptions own = options;
  // An engine needs no device for that.
  if (model.ok() && looks_like_engine(model->bytes)) own.device = "none";
  return load_engine_or_model(own);
}

Result<ModelBytes> open_onnx(const std::string& path) {
  REDLINE_ASSIGN(ModelBytes model, open_model(path));
  if (looks_like_engine(model.bytes)) {
    return invalid_argument(path, ": is an engine, expected an ONNX model");
  }
  return model;
}

Status check_sizes(const std::vector<ValueInfo>& inputs, const ModelOptions& options) {
  REDLINE_ASSIGN(auto sizes, parse_sizes(options.sizes));
  std::set<std::string> symbols;
  for (const ValueInfo& info : inputs) {
    for (const std::string& text : info.dims) {
      Result<Dim> dim = Dim::parse(text);
      if (dim.ok()) symbols.merge(dim->symbols());
    }
  }
  for (const auto& [symbol, size] : sizes) REDLINE_TRY(check_symbol(symbol, symbols));
  return {};
}

std::shared_ptr<InputOptions> add_input_options(CLI::App& app) {
  auto options = std::make_shared<InputOptions>();
  app.add_option("--input", options->files, "File of an input; inputs without one are random")
      ->check(named_value("NAME=FILE.npy"))
      ->allow_extra_args(false);
  app.add_option("--seed", options->seed, "Of the random inputs")->capture_default_str();
  return options;
}

Result<std::map<std::string, HostValue>> make_inputs(const std::vector<ValueInfo>& infos,
                                                     const InputOptions& inputs,
                                                     const ModelOptions& model) {
  std::map<std::string, HostValue> result;
  REDLINE_ASSIGN(auto size_list, parse_sizes(model.sizes));
  std::map<std::string, int64_t> sizes(size_list.begin(), size_list.end());
  for (const std::string& text : inputs.files) {
    // Names may hold '=': the file is what follows the last one.
    REDLINE_ASSIGN(auto pair, split_pair(text, "NAME=FILE.npy"));
    const ValueInfo* info = nullptr;
    std::string names;
    for (const ValueInfo& candidate : infos) {
      if (candidate.name == pair.first) info = &candidate;
      names += str_cat(names.empty() ? "'" : ", '", candidate.name, "'");
    }
    if (info == nullptr) {
      return invalid_argument("the model has no input '", pair.first, "'; its inputs are: ", names);
    }
    if (result.contains(pair.first)) {
      return invalid_argument("input '", pair.first, "' is given twice");
    }
    REDLINE_ASSIGN(Tensor tensor, read_npy_file(pair.second, info->dtype));
    // Sizes that files give hold for the random inputs too.
    for (size_t axis = 0; axis < info->dims.size() && axis < tensor.dims().size(); ++axis) {
      Result<Dim> dim = Dim::parse(info->dims[axis]);
      if (dim.ok() && dim->is_symbol()) sizes.emplace(dim->symbol_name(), tensor.dims()[axis]);
    }
    HostValue value = HostValue::of(std::move(tensor));
    if (info->kind == HostValue::Kind::kOptional) value = HostValue::optional({std::move(value)});
    if (info->kind == HostValue::Kind::kSequence) value = HostValue::sequence({std::move(value)});
    result[pair.first] = std::move(value);
  }
  std::mt19937_64 random(inputs.seed);
  for (const ValueInfo& info : infos) {
    if (result.contains(info.name) || info.kind == HostValue::Kind::kOptional) continue;
    if (info.kind == HostValue::Kind::kSequence) {
      result[info.name] = HostValue::sequence({});
      continue;
    }
    if (!info.has_rank) {
      return invalid_argument("input '", info.name,
                              "' has no known rank: give it a file with --input");
    }
    REDLINE_ASSIGN(Tensor tensor, random_tensor(info, sizes, random));
    result[info.name] = HostValue::of(std::move(tensor));
  }
  return result;
}

Status bind_all(Session& session, const std::map<std::string, HostValue>& inputs) {
  for (const auto& [name, value] : inputs) REDLINE_TRY(session.bind(name, value));
  return {};
}

std::string format_number(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
  return buffer;
}

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      bool number =
          !row[i].empty() && row[i].find_first_not_of("0123456789.-+e%") == std::string::npos;
      std::string pad(widths[i] - row[i].size(), ' ');
      if (i > 0) line += "  ";
      line += number ? pad + row[i] : row[i] + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

void for_each_step(const Json& plan,
                   const std::function<void(const Json& step, const std::string& number)>& visit,
                   const std::string& within) {
  size_t i = 0;
  for (const Json& step : plan["steps"]) {
    std::string number = str_cat(within, i++);
    visit(step, number);
    size_t graph = 0;
    for (const Json& subgraph : step.value("subgraphs", Json::array())) {
      for_each_step(subgraph, visit, str_cat(number, ".", graph++, "."));
    }
  }
}

std::string short_name(const std::string& name) {
  constexpr size_t kMost = 60;
  return name.size() > kMost ? name.substr(0, kMost - 3) + "..." : name;
}

void print_json(const Json& value) {
  std::printf("%s\n", value.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace redline::cli
