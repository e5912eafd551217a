// SPDX-License-Identifier: Apache-2.0
// passes_test [--update] FILE.ir ...: runs the blocks of pass tests. A block is
//
//   // pass: name[, name]
//   // symbols: n=4            sizes for the check of results; others are 3
//   // precision: f16         what lower_precision makes of f32, or tf32; the check is as coarse
//   // not run: why            instead of that check
//   graph ...                  what goes in
//   // expect:                 or `expect: unchanged`, or `expect: error "part of it"`
//   graph ...                  what comes out, as it is printed
//
// After the passes the graph must verify, read back as printed, have the output types it had (or
// narrower ones) and give the same results on random inputs. Each file has a block that changes
// the graph and one that must not. --update rewrites what comes out; read the diff.
// passes_test --coverage FOLDER: every pass has a file and every name in the pipeline is a pass.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "ir/interpreter.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "ops/compare.h"
#include "passes/pass.h"

namespace redline {
namespace {

constexpr int64_t kReductionLength = 4096;

struct Block {
  int line = 0;
  std::string head;    // comment lines before the input, as they are
  std::string input;   // text
  std::string expect;  // what stands behind `expect:`
  std::string output;  // text
  std::vector<std::string> passes;
  SymbolValues symbols;
  DType precision = DType::kFloat32;
  bool tf32 = false;
  bool not_run = false;
};

std::string trim(const std::string& text) {
  size_t first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> result;
  std::stringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) result.push_back(trim(item));
  return result;
}

// The comment lines at the end of a text, which belong to what follows.
std::string take_comment(std::string& text) {
  size_t begin = text.size();
  while (begin > 0) {
    size_t line = begin < 2 ? std::string::npos : text.rfind('\n', begin - 2);
    line = line == std::string::npos ? 0 : line + 1;
    if (text.compare(line, 2, "//") != 0) break;
    begin = line;
  }
  std::string comment = text.substr(begin);
  text.erase(begin);
  return comment;
}

Result<std::vector<Block>> read_blocks(const std::string& path) {
  std::ifstream file(path);
  if (!file) return io_error("cannot read ", path);
  std::vector<Block> blocks;
  std::string preamble;
  bool in_output = false;
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    auto value_of = [&line](std::string_view key) -> std::optional<std::string> {
      if (line.rfind(key, 0) != 0) return std::nullopt;
      return trim(line.substr(key.size()));
    };
    if (auto passes = value_of("// pass:")) {
      if (!blocks.empty()) preamble = take_comment(blocks.back().output);
      blocks.push_back({number, std::exchange(preamble, "")});
      blocks.back().passes = split(*passes);
      in_output = false;
    }
    if (blocks.empty()) {
      preamble += line + "\n";
      continue;
    }
    Block& block = blocks.back();
    if (auto expect = value_of("// expect:")) {
      block.expect = *expect;
      in_output = true;
    } else if (in_output) {
      block.output += line + "\n";
    } else if (line.rfind("//", 0) == 0 && block.input.empty()) {
      block.head += line + "\n";
      if (value_of("// not run:")) block.not_run = true;
      if (auto precision = value_of("// precision:")) {
        block.tf32 = *precision == "tf32";
        if (block.tf32) precision = "f32";
        std::optional<DType> dtype = parse_dtype(*precision);
        if (!dtype) return invalid_argument(path, ":", number, ": ", line);
        block.precision = *dtype;
      }
      if (auto symbols = value_of("// symbols:")) {
        for (const std::string& item : split(*symbols)) {
          size_t equals = item.find('=');
          if (equals == std::string::npos) return invalid_argument(path, ":", number, ": ", line);
          block.symbols[item.substr(0, equals)] = std::stoll(item.substr(equals + 1));
        }
      }
    } else {
      block.input += line + "\n";
    }
  }
  if (blocks.empty()) return invalid_argument(path, ": no block; one begins with // pass:");
  return blocks;
}

Status check_identity(const OpRegistry& ops, const Graph& graph) {
  std::string text = print_graph(graph);
  Result<std::unique_ptr<Graph>> again = parse_graph(ops, text);
  if (!again.ok()) return again.status().with_context("printed, it does not parse:\n" + text);
  std::string second = print_graph(**again);
  if (second == text) return {};
  return internal_error("printing, parsing and printing gives another text:\n", text, "then:\n",
                        second);
}

bool at_least_as_narrow(const Type& before, const Type& after) {
  if (!before.is_tensor() || !after.is_tensor()) return before == after;
  if (before.dtype != after.dtype) return false;
  if (!before.shape.has_rank()) return true;
  if (!after.shape.has_rank() || before.shape.rank() != after.shape.rank()) return false;
  for (int i = 0; i < before.shape.rank(); ++i) {
    if (before.shape[i].is_const() && before.shape[i] != after.shape[i]) return false;
  }
  return true;
}

Status check_results(const Graph& before, const Graph& after, const Block& block) {
  if (block.not_run) return {};
  for (uint64_t seed : {1, 2}) {
    REDLINE_ASSIGN(std::vector<HostValue> inputs, random_inputs(before, block.symbols, seed));
    Result<std::vector<HostValue>> want = interpret(before, inputs);
    if (!want.ok()) return want.status().with_context("the input graph does not run");
    Result<std::vector<HostValue>> got = interpret(after, inputs);
    if (!got.ok()) return got.status().with_context("the rewritten graph does not run");
    if (want->size() != got->size()) return internal_error("the number of outputs changed");
    for (size_t i = 0; i < want->size(); ++i) {
      bool lowered = block.precision != DType::kFloat32 || block.tf32;
      Status same =
          lowered
              ? compare_values(
                    (*want)[i], (*got)[i],
                    Tolerance{0, 4 * dtype_epsilon(block.tf32 ? DType::kFloat16 : block.precision)})
              : compare_values((*want)[i], (*got)[i], kReductionLength);
      if (!same.ok()) return same.with_context(str_cat("results differ: output ", i));
    }
  }
  return {};
}

struct Outcome {
  Status status;
  bool changed = false;
  std::string text;  // what came out
};

Outcome run_block(const OpRegistry& ops, const PassRegistry& passes, const Block& block) {
  Outcome outcome;
  outcome.status = [&]() -> Status {
    REDLINE_ASSIGN(std::unique_ptr<Graph> graph, parse_graph(ops, block.input));
    REDLINE_TRY(verify(*graph).with_context("the input"));
    REDLINE_TRY(check_identity(ops, *graph));
    std::unique_ptr<Graph> original = graph->clone();
    std::string before = print_graph(*graph);
    PassOptions options;
    options.symbol_values = block.symbols;
    options.compute_dtype = block.precision;
    options.tf32 = block.tf32;
    PassContext context{options};
    for (const std::string& name : block.passes) {
      const Pass* pass = passes.find(name);
      if (pass == nullptr) return not_found("no pass is named '", name, "'");
      std::string previous = print_graph(*graph);
      REDLINE_ASSIGN(bool changed, run_pass(*pass, *graph, context));
      if (changed != (print_graph(*graph) != previous)) {
        return internal_error("the pass '", name, "' says ", changed ? "it changed" : "it kept",
                              " the graph, which is not so");
      }
    }
    outcome.text = print_graph(*graph);
    outcome.changed = outcome.text != before;
    REDLINE_TRY(check_identity(ops, *graph));
    for (size_t i = 0; i < original->outputs().size(); ++i) {
      const Type& was = original->outputs()[i]->type;
      const Type& is = graph->outputs()[i]->type;
      if (!at_least_as_narrow(was, is)) {
        return internal_error("output ", i, " had the type ", was.to_string(), " and has ",
                              is.to_string());
      }
    }
    return check_results(*original, *graph, block);
  }();
  return outcome;
}

Status check_block(const Block& block, const Outcome& outcome) {
  if (block.expect.rfind("error", 0) == 0) {
    std::string part = trim(block.expect.substr(5));
    if (part.size() < 2) return invalid_argument("expected: error \"part of the message\"");
    part = part.substr(1, part.size() - 2);
    if (outcome.status.ok()) return internal_error("expected an error with '", part, "'");
    if (outcome.status.message().find(part) != std::string_view::npos) return {};
    return outcome.status;
  }
  REDLINE_TRY(outcome.status);
  if (block.expect == "unchanged") {
    if (!outcome.changed) return {};
    return internal_error("the graph must stay, but became\n", outcome.text);
  }
  if (trim(outcome.text) == trim(block.output)) return {};
  return internal_error("expected\n", block.output, "but got\n", outcome.text);
}

bool run_file(const std::string& path, bool update) {
  auto ops = make_op_registry();
  auto passes = make_pass_registry();
  Result<std::vector<Block>> blocks = read_blocks(path);
  if (!blocks.ok()) {
    std::printf("%s\n", blocks.status().to_string().c_str());
    return false;
  }
  bool good = true;
  int fired = 0;
  int kept = 0;
  std::string rewritten;
  for (Block& block : *blocks) {
    Outcome outcome = run_block(*ops, *passes, block);
    if (update && outcome.status.ok() && block.expect.empty()) {
      block.output = "\n" + outcome.text + "\n";
      block.output.erase(0, 1);
    }
    Status status = check_block(block, outcome);
    if (!status.ok()) {
      good = false;
      std::printf("%s:%d: %s\n", path.c_str(), block.line, std::string(status.message()).c_str());
    }
    fired += outcome.changed ? 1 : 0;
    kept += block.expect == "unchanged" ? 1 : 0;
    rewritten += block.head + block.input +
                 "// expect:" + (block.expect.empty() ? "" : " " + block.expect) + "\n" +
                 block.output;
  }
  if (fired == 0 || kept == 0) {
    good = false;
    std::printf("%s: needs a block that changes the graph and one with `expect: unchanged`\n",
                path.c_str());
  }
  if (update) {
    while (rewritten.size() > 1 && rewritten.substr(rewritten.size() - 2) == "\n\n") {
      rewritten.pop_back();
    }
    std::ofstream(path) << rewritten;
  }
  std::printf("%s: %zu blocks, %d changed the graph%s\n", path.c_str(), blocks->size(), fired,
              good ? "" : ": FAILED");
  return good;
}

bool check_coverage(const std::string& folder) {
  bool good = true;
  auto passes = make_pass_registry();
  for (const Pass* pass : passes->all()) {
    if (std::filesystem::exists(folder + "/" + pass->name + ".ir")) continue;
    std::printf("the pass '%s' has no %s.ir\n", pass->name.c_str(), pass->name.c_str());
    good = false;
  }
  for (const PipelineGroup& group : pipeline()) {
    for (const PipelineStep& step : group.steps) {
      if (passes->find(step.pass) != nullptr) continue;
      std::printf("the pipeline names '%s', which is no pass\n", std::string(step.pass).c_str());
      good = false;
    }
  }
  return good;
}

}  // namespace
}  // namespace redline

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  if (args.size() == 2 && args[0] == "--coverage") return redline::check_coverage(args[1]) ? 0 : 1;
  bool update = !args.empty() && args[0] == "--update";
  if (update) args.erase(args.begin());
  if (args.empty()) {
    std::printf("usage: passes_test [--update] FILE.ir ... | --coverage FOLDER\n");
    return 2;
  }
  bool good = true;
  for (const std::string& path : args) good = redline::run_file(path, update) && good;
  return good ? 0 : 1;
}
