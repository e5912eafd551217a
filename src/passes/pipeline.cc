// SPDX-License-Identifier: Apache-2.0
#include "passes/pass.h"

namespace redline {

const std::vector<PipelineGroup>& pipeline() {
  static const std::vector<PipelineGroup> kPipeline = {
      {.name = "canonical",
       .max_rounds = 10,
       .steps =
           {
               {"dce", "what nobody reads costs nothing to drop and everything else to look at"},
           }},
  };
  return kPipeline;
}

}  // namespace redline
