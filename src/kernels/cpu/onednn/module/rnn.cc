// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

Code make_rnn(const Rnn& p, const Options& options, Primitive** out, Error* error) {
  const bool lstm = p.kind == RnnKind::kLstm;
  const dnnl_memory_desc_t src = to_dnnl(p.src_layer), weights = to_dnnl(p.weights_layer),
                           recurrent = to_dnnl(p.weights_iter), bias = to_dnnl(p.bias),
                           dst = to_dnnl(p.dst_layer);
  dnnl_memory_desc_t src_iter = {}, src_cell = {}, dst_iter = {}, dst_cell = {};
  if (Code c = check_desc(src, 3, "src_layer", error); c != Code::kOk) return c;
  if (Code c = check_desc(weights, 5, "weights_layer", error); c != Code::kOk) return c;
  if (Code c = check_desc(recurrent, 5, "weights_iter", error); c != Code::kOk) return c;
  if (Code c = check_desc(bias, 4, "bias", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, 3, "dst_layer", error); c != Code::kOk) return c;
  if (p.has_src_iter) {
    src_iter = to_dnnl(p.src_iter);
    if (Code c = check_desc(src_iter, 4, "src_iter", error); c != Code::kOk) return c;
    if (lstm) src_cell = to_dnnl(p.src_cell);
  }
  if (p.has_dst_iter) {
    dst_iter = to_dnnl(p.dst_iter);
    if (Code c = check_desc(dst_iter, 4, "dst_iter", error); c != Code::kOk) return c;
    if (lstm) dst_cell = to_dnnl(p.dst_cell);
  }
  const dnnl_rnn_direction_t direction =
      p.direction == RnnDirection::kForward   ? dnnl_unidirectional_left2right
      : p.direction == RnnDirection::kReverse ? dnnl_unidirectional_right2left
                                              : dnnl_bidirectional_concat;
  dnnl_rnn_desc_t desc;
  dnnl_status_t status = dnnl_unimplemented;
  switch (p.kind) {
    case RnnKind::kTanh:
    case RnnKind::kRelu:
      status = dnnl_vanilla_rnn_forward_desc_init(
          &desc, dnnl_forward_inference,
          p.kind == RnnKind::kTanh ? dnnl_eltwise_tanh : dnnl_eltwise_relu, direction, &src,
          &src_iter, &weights, &recurrent, &bias, &dst, &dst_iter, dnnl_rnn_flags_undef, 0.f, 0.f);
      break;
    case RnnKind::kLstm:
      status = dnnl_lstm_forward_desc_init(&desc, dnnl_forward_inference, direction, &src,
                                           &src_iter, &src_cell, &weights, &recurrent, &bias, &dst,
                                           &dst_iter, &dst_cell, dnnl_rnn_flags_undef);
      break;
    case RnnKind::kGru:
      status = dnnl_gru_forward_desc_init(&desc, dnnl_forward_inference, direction, &src, &src_iter,
                                          &weights, &recurrent, &bias, &dst, &dst_iter,
                                          dnnl_rnn_flags_undef);
      break;
    case RnnKind::kGruLinearBeforeReset:
      status = dnnl_lbr_gru_forward_desc_init(&desc, dnnl_forward_inference, direction, &src,
                                              &src_iter, &weights, &recurrent, &bias, &dst,
                                              &dst_iter, dnnl_rnn_flags_undef);
      break;
  }
  if (Code c = check(status, error, "recurrent layer"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "recurrent layer",
                        {{Role::kSrc, DNNL_ARG_SRC_LAYER},
                         {Role::kSrcIter, DNNL_ARG_SRC_ITER, p.has_src_iter},
                         {Role::kSrcCell, DNNL_ARG_SRC_ITER_C, p.has_src_iter && lstm},
                         {Role::kWeights, DNNL_ARG_WEIGHTS_LAYER},
                         {Role::kWeightsIter, DNNL_ARG_WEIGHTS_ITER},
                         {Role::kBias, DNNL_ARG_BIAS},
                         {Role::kDst, DNNL_ARG_DST_LAYER},
                         {Role::kDstIter, DNNL_ARG_DST_ITER, p.has_dst_iter},
                         {Role::kDstCell, DNNL_ARG_DST_ITER_C, p.has_dst_iter && lstm}},
                        out, error);
}

}  // namespace redline::kernels::onednn
