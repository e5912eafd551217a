// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "verb.h"

namespace redline::cli {

void register_verb_version(VerbTable& table) {
  table.add({"version", "Print the version", "redline version", [](CLI::App& app) -> Run {
               auto json = std::make_shared<bool>(false);
               app.add_flag("--json", *json, "Print JSON");
               return [json]() -> Status {
                 if (*json) {
                   print_json({{"version", version()}, {"devices", devices()}});
                 } else {
                   std::string names;
                   for (const std::string& device : devices()) {
                     names += (names.empty() ? "" : ", ") + device;
                   }
                   std::printf("redline %s (devices: %s)\n", std::string(version()).c_str(),
                               names.c_str());
                 }
                 return {};
               };
             }});
}

}  // namespace redline::cli
