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
               {"constant_folding", "the other passes ask whether operands are constants"},
               {"shape_folding",
                "shape arithmetic hides what reshapes do; its numbers fold further"},
               {"dce",
                "shape arithmetic whose numbers are known by now must not count as a reader"},
               {"known_ranks", "sizes are known by now that can be; conditions too"},
               {"noop_removal", "what does nothing stands between ops that belong together"},
               {"loop_invariants", "a body that hands on a state as it came has no copies by now"},
               {"cast_cleanup", "likewise casts there and back"},
               {"algebraic", "one form for what can be said in several"},
               {"transpose_cancel", "transposes meet once nothing idle stands between them"},
               {"gather_to_split", "views lie back to back by now, and what it makes folds on"},
               {"patches_to_matmul", "likewise; its filters fold in the next round"},
               {"qdq_cleanup", "its scales are constants by now"},
               {"cse", "the forms are now alike, so equal things look equal"},
               {"dce", "what became unread must not count as a reader in the next round"},
           }},
      {.name = "fold",
       .max_rounds = 1,
       .steps =
           {
               {"pad_into_conv", "paddings are constants by now; convolutions still see images"},
           }},
      {.name = "recognise",
       .max_rounds = 2,
       .steps =
           {
               {"recognise_activation", "before a norm or a region takes their parts"},
               {"recognise_softmax", "before attention looks for it"},
               {"recognise_norm", "while its means and roots stand alone"},
               {"recognise_group_norm", "after the norm of its reshaped channels is one"},
               {"recognise_rotary_embedding", "before attention moves the heads it turns"},
               {"recognise_attention", "while its products, masks and transposes stand alone"},
           }},
      {.name = "settle",
       .max_rounds = 4,
       .steps =
           {
               {"noop_removal", "recognisers cut heads anew where they were cut already"},
               {"transpose_cancel", "and leave transposes that their neighbours undo"},
               {"unit_transpose", "no recogniser looks for a transpose any more"},
               {"reshape_past_product", "what comes behind a product wants to be its tail"},
               {"cse", "layers share one mask"},
               {"dce", "what became unread must not count as a reader"},
           }},
      {.name = "weights",
       .max_rounds = 2,
       .steps =
           {
               {"fold_affine", "before the layout changes, and while its parts are ops"},
               {"fold_scale", "likewise"},
           }},
      {.name = "precision",
       .max_rounds = 1,
       .steps =
           {
               {"lower_precision",
                "norms and attention are ops by now, and weights are rounded once, when folded"},
               {"allow_tf32", "likewise: products are found and weights are folded"},
               {"cast_cleanup", "the model may have cast to the type itself"},
               {"dce", "f32 forms that nobody reads"},
           }},
      {.name = "layout",
       .max_rounds = 1,
       .steps =
           {
               {"channels_last", "once no pass looks for [n, c, ...], and before regions hide ops"},
           }},
      {.name = "seams",
       .max_rounds = 4,
       .steps =
           {
               {"transpose_cancel", "where layouts meet, transposes stand back to back"},
               {"unit_transpose", "some that are left move nothing"},
               {"dce", "a transpose that nothing reads would still be a reader"},
           }},
      {.name = "fuse",
       .max_rounds = 1,
       .steps =
           {
               {"merge_siblings", "while anchors stand alone, and the layout says what a split is"},
               {"pack_attention", "no pass makes or removes a split any more"},
               {"fuse_tail", "anchors take their tails before pointwise regions take them"},
               {"fuse_pointwise", "what is left of the pointwise ops"},
               {"fuse_reduce", "regions are whole now, and no anchor wants them"},
           }},
  };
  return kPipeline;
}

}  // namespace redline
