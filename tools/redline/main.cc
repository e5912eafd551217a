// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdio>

#include "verb.h"

namespace redline::cli {
namespace {

// Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted.
int run_verb(int argc, char** argv) {
  CLI::App app{"Redline: trained models, as fast as the hardware allows", "redline"};
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::simple);
  app.set_help_all_flag("--help-all", "Help of every verb");
  VerbTable table;
  register_verb_all(table);
  std::vector<std::pair<CLI::App*, Run>> runs;
  for (const Verb& verb : table.verbs) {
    CLI::App* sub = app.add_subcommand(verb.name, verb.summary);
    sub->footer("Example:\n  " + verb.example);
    runs.emplace_back(sub, verb.setup(*sub));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    return code == 0 ? 0 : 2;
  }
  catch_interrupts();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error of the write
  for (const auto& [sub, run] : runs) {
    if (!sub->parsed()) continue;
    Status status = run();
    if (status.ok()) return 0;
    std::fprintf(stderr, "redline: %s\n", status.to_string().c_str());
    return status.code() == StatusCode::kCancelled ? 130 : 1;
  }
  return 2;
}

}  // namespace
}  // namespace redline::cli

int main(int argc, char** argv) { return redline::cli::run_verb(argc, argv); }
