// SPDX-License-Identifier: Apache-2.0
// make_engine MODEL.onnx OUT.engine [NAME SIZE]...: the likely sizes of inputs whose sizes have
// names, as batch 8; with messages, progress, Ctrl-C and the record of an error.
#include <redline/redline.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

volatile std::sig_atomic_t g_interrupted = 0;

void print(const char* label, std::string_view text) {
  if (!text.empty())
    std::fprintf(stderr, "%s: %.*s\n", label, static_cast<int>(text.size()), text.data());
}

int fail(const redline::Status& status) {
  print("error", status.message());
  print("  file", status.position());
  print("  node", status.node());
  return status.code() == redline::StatusCode::kCancelled ? 130 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc % 2 == 0) {
    std::fprintf(stderr, "usage: make_engine MODEL.onnx OUT.engine [NAME SIZE]...\n");
    return 2;
  }
  std::signal(SIGINT, [](int) { g_interrupted = 1; });
  redline::BuildSettings settings;
  for (int i = 3; i < argc; i += 2) {
    settings.optimal_sizes.emplace_back(argv[i], std::strtoll(argv[i + 1], nullptr, 10));
  }
  settings.log = [](redline::Severity severity, std::string_view message) {
    if (severity >= redline::Severity::kWarning) print("warning", message);
  };
  settings.progress = [](std::string_view phase, double fraction) {
    std::printf("%.*s %.0f%%\n", static_cast<int>(phase.size()), phase.data(), 100 * fraction);
    return g_interrupted == 0;
  };
  redline::Result<redline::Engine> engine = redline::build(argv[1], settings);
  if (!engine.ok()) return fail(engine.status());
  redline::Status saved = engine->save(argv[2]);
  return saved.ok() ? 0 : fail(saved);
}
