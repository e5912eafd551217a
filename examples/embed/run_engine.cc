// SPDX-License-Identifier: Apache-2.0
// run_engine FILE.engine: runs it on zeros and prints the outputs. Links libredline_runtime alone.
#include <redline/engine.h>

#include <cstdio>

namespace {

int fail(const redline::Status& status) {
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}

// Sizes that are not fixed are 1.
redline::Dims sizes_of(const redline::ValueInfo& input) {
  redline::Dims dims;
  for (const std::string& dim : input.dims) {
    int size = 1;
    std::sscanf(dim.c_str(), "%d", &size);
    dims.push_back(size);
  }
  return dims;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  redline::Result<redline::Engine> engine = redline::Engine::load(argv[1]);
  if (!engine.ok()) return fail(engine.status());
  redline::Result<redline::Session> session = engine->create_session();
  if (!session.ok()) return fail(session.status());
  for (const redline::ValueInfo& input : engine->inputs()) {
    redline::Result<redline::Tensor> zeros = redline::Tensor::create(input.dtype, sizes_of(input));
    if (!zeros.ok()) return fail(zeros.status());
    redline::Status bound = session->bind(input.name, redline::HostValue::of(*zeros));
    if (!bound.ok()) return fail(bound);
  }
  redline::Status status = session->run();
  if (!status.ok()) return fail(status);
  for (size_t i = 0; i < engine->outputs().size(); ++i) {
    redline::Result<const redline::HostValue*> value = session->output(i);
    if (!value.ok()) return fail(value.status());
    const redline::Tensor& tensor = (*value)->tensor;
    std::printf("%s %s:", engine->outputs()[i].name.c_str(), tensor.dims().to_string().c_str());
    if (tensor.dtype() == redline::DType::kFloat32) {
      for (float number : tensor.span<float>()) std::printf(" %g", number);
    }
    std::printf("\n");
  }
  return 0;
}
