// SPDX-License-Identifier: Apache-2.0
#include "ops/lp_norm.h"
#include "tactics/cpu/loop_kernel.h"
#include "tactics/cpu/onednn_step.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;

Status supports(const Problem& problem) {
  REDLINE_TRY(expect_f32(problem.inputs[0]));
  int rank = problem.inputs[0].dims.rank();
  if (rank < 3 || rank > 5) return unsupported("takes 1 to 3 spatial axes");
  if (problem.attrs.as<LrnAttrs>().size % 2 == 0) return unsupported("an even number of channels");
  return dnnl::load().status();
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  Dims dims = problem.inputs[0].dims;
  if (dims.count() == 0) return make_empty_kernel();
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  const auto& attrs = problem.attrs.as<LrnAttrs>();
  // Its fast kernels are those of images with two spatial axes.
  dims = Dims{dims[0], dims[1], dims.count(2, dims.rank() - 1), dims.back()};
  dnnl::Lrn lrn;
  REDLINE_ASSIGN(lrn.src, onednn_desc(*api, DType::kFloat32, {dims.begin(), dims.size()}));
  lrn.size = attrs.size;
  lrn.alpha = attrs.alpha;
  lrn.beta = attrs.beta;
  lrn.k = attrs.bias;
  dnnl::Options options;
  options.threads = args.num_threads();
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api->lrn(lrn, options, &primitive, &error);
  if (code == dnnl::Code::kUnsupported) {
    // A window or exponent that no generated kernel takes is still right, only slow.
    options.allow_reference = true;
    code = api->lrn(lrn, options, &primitive, &error);
  }
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  return make_primitive_kernel(Primitive(api, primitive), {{false, 0}, {true, 0}});
}

}  // namespace

void register_tactic_onednn_lrn(TacticRegistry& registry) {
  registry.add({.name = "cpu.onednn.lrn",
                .device = "cpu",
                .ops = {"lrn"},
                .supports = supports,
                .prepare = prepare,
                .preference = 20,
                .library = packing_library});
}

}  // namespace redline
