// SPDX-License-Identifier: Apache-2.0
// count_run_allocations MODEL INPUT=FILE.npy ... [/ INPUT=FILE.npy ...]: builds or loads the model,
// runs it twice with each set of inputs, then three times more in turn, and prints how many
// allocations those made, on all threads.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/npy.h"
#include "count_mallocs.h"
#include "redline/redline.h"

namespace redline {
namespace {

using Feed = std::vector<std::pair<std::string, HostValue>>;

Result<std::vector<Feed>> read_feeds(int argc, char** argv) {
  std::vector<Feed> feeds(1);
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "/") {
      feeds.emplace_back();
      continue;
    }
    const size_t equals = word.rfind('=');
    if (equals == std::string::npos) return invalid_argument("expected INPUT=FILE, got ", word);
    REDLINE_ASSIGN(Tensor tensor, read_npy_file(word.substr(equals + 1)));
    feeds.back().emplace_back(word.substr(0, equals), HostValue::of(std::move(tensor)));
  }
  return feeds;
}

Status run(Session& session, const Feed& feed) {
  for (const auto& [name, value] : feed) REDLINE_TRY(session.bind(name, value));
  return session.run();
}

Result<long> count(int argc, char** argv) {
  REDLINE_ASSIGN(std::vector<Feed> feeds, read_feeds(argc, argv));
  REDLINE_ASSIGN(Engine engine, load(argv[1]));
  REDLINE_ASSIGN(Session session, engine.create_session());
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    for (const Feed& feed : feeds) REDLINE_TRY(run(session, feed));
  }
  const long before = malloc_count();
  for (int i = 0; i < 3; ++i) {
    for (const Feed& feed : feeds) REDLINE_TRY(run(session, feed));
  }
  return malloc_count() - before;
}

}  // namespace
}  // namespace redline

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: count_run_allocations MODEL INPUT=FILE.npy ... [/ ...]\n");
    return 2;
  }
  redline::Result<long> count = redline::count(argc, argv);
  if (!count.ok()) {
    std::fprintf(stderr, "%s\n", count.status().to_string().c_str());
    return 1;
  }
  std::printf("%ld\n", *count);
  return 0;
}
