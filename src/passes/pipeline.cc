// SPDX-License-Identifier: Apache-2.0
#include "passes/pass.h"

namespace redline {

const std::vector<PipelineGroup>& pipeline() {
  static const std::vector<PipelineGroup> kPipeline = {
      {.name = "canonical",
       .max_rounds = 10,
       .steps =
           {
               {"gemm_to_matmul", "products have one form from here on"},
               {"dce", "what nobody reads costs nothing to drop and everything else to look at"},
           }},
      {.name = "recognise",
       .max_rounds = 2,
       .steps =
           {
               {"recognise_activation", "before a norm or a region takes their parts"},
               {"recognise_norm", "while its means and roots stand alone"},
           }},
      {.name = "weights",
       .max_rounds = 2,
       .steps =
           {
               {"fold_affine", "before the layout changes, and while its parts are ops"},
           }},
      {.name = "layout",
       .max_rounds = 1,
       .steps =
           {
               {"channels_last", "once no pass looks for [n, c, ...], and before regions hide ops"},
           }},
      {.name = "fuse",
       .max_rounds = 1,
       .steps =
           {
               {"fuse_tail", "anchors take their tails before pointwise regions take them"},
               {"fuse_pointwise", "what is left of the pointwise ops"},
           }},
  };
  return kPipeline;
}

}  // namespace redline
