// SPDX-License-Identifier: Apache-2.0
#include "ops/fourier.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

// The axis was an attribute before opset 20.
Status import_dft(ImportContext& c) {
  DftAttrs attrs{c.int_attr("inverse") != 0, c.int_attr("onesided") != 0};
  Value* axis = c.input(2);
  if (c.opset() < 20) axis = c.constant(Tensor::scalar_int64(c.int_attr("axis", 1)));
  REDLINE_ASSIGN(Value * y, c.emit("dft", {c.input(0), c.input(1), axis}, attrs));
  c.set_output(0, y);
  return {};
}

Status import_window(ImportContext& c, std::vector<float> coefficients) {
  CosineWindowAttrs attrs{std::move(coefficients), c.int_attr("periodic", 1) != 0,
                          c.dtype_attr("output_datatype", DType::kFloat32)};
  REDLINE_ASSIGN(Value * y, c.emit("cosine_window", {c.input(0)}, attrs));
  c.set_output(0, y);
  return {};
}

Status import_mel(ImportContext& c) {
  MelWeightMatrixAttrs attrs{c.dtype_attr("output_datatype", DType::kFloat32)};
  REDLINE_ASSIGN(Value * y, c.emit("mel_weight_matrix", c.inputs(), attrs));
  c.set_output(0, y);
  return {};
}

}  // namespace

void register_import_fourier(ImportRegistry& registry) {
  registry.add("DFT", import_dft);
  registry.add("STFT", [](ImportContext& c) { return c.import_same("stft"); });
  registry.add("HannWindow", [](ImportContext& c) { return import_window(c, {0.5f, 0.5f}); });
  registry.add("HammingWindow", [](ImportContext& c) {
    return import_window(c, {25.0f / 46, 21.0f / 46});
  });
  registry.add("BlackmanWindow", [](ImportContext& c) {
    return import_window(c, {0.42f, 0.5f, 0.08f});
  });
  registry.add("MelWeightMatrix", import_mel);
}

}  // namespace redline
