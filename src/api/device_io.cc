// SPDX-License-Identifier: Apache-2.0
#include "api/engine_impl.h"

// Inputs and outputs of sessions in a GPU's memory.
namespace redline {
namespace {

Status check_device_tensor(const Engine::Impl& engine, const DeviceTensor& tensor) {
  if (engine.gpu == nullptr) {
    return invalid_argument("it is in a GPU's memory, and the engine is for the CPU");
  }
  std::optional<int64_t> count = checked_count({tensor.dims.begin(), tensor.dims.size()});
  size_t bytes = 0;
  if (!count || tensor.dtype == DType::kString ||
      __builtin_mul_overflow(static_cast<size_t>(*count), dtype_bytes(tensor.dtype), &bytes)) {
    return invalid_argument("it cannot be ", dtype_name(tensor.dtype), tensor.dims.to_string(),
                            " in a GPU's memory");
  }
  auto address = reinterpret_cast<cuda::DevicePtr>(tensor.data);
  if (bytes > 0 && address % dtype_bytes(tensor.dtype) != 0) {
    return invalid_argument("it lies at ", tensor.data, ", which is no multiple of its elements' ",
                            dtype_bytes(tensor.dtype), " bytes");
  }
  return engine.gpu->check_is_here(address, bytes);
}

}  // namespace

Status Session::bind_device(std::string_view input, const DeviceTensor& tensor, void* stream) {
  const Engine::Impl& engine = *impl_->engine;
  REDLINE_ASSIGN(size_t i, find_named(engine.inputs, input, "input"));
  std::string named = str_cat("input '", input, "'");
  if (engine.inputs[i].kind != HostValue::Kind::kTensor) {
    return invalid_argument(named, " must be ", engine.inputs[i].type);
  }
  if (Status good = check_device_tensor(engine, tensor); !good.ok())
    return good.with_context(named);
  REDLINE_TRY(impl_->executor->place_input(i, Space::kDevice));
  if (stream != nullptr) {
    REDLINE_TRY(impl_->executor->run_after(static_cast<cuda::StreamHandle>(stream)));
  }
  impl_->inputs[i] =
      HostValue::of(Tensor::wrap(tensor.dtype, tensor.dims, tensor.data, tensor.owner));
  impl_->bound[i] = true;
  return {};
}

Status Session::keep_on_device(std::string_view output, bool keep) {
  const Engine::Impl& engine = *impl_->engine;
  REDLINE_ASSIGN(size_t i, find_named(engine.outputs, output, "output"));
  const ValueInfo& info = engine.outputs[i];
  if (keep && (info.kind != HostValue::Kind::kTensor || info.dtype == DType::kString)) {
    return invalid_argument("output '", output, "' is ", info.type, ", which no GPU can hold");
  }
  if (keep == impl_->kept[i]) return {};
  Status placed = impl_->executor->place_output(i, keep ? Space::kDevice : Space::kHost);
  if (!placed.ok()) {
    return placed.with_context(str_cat("output '", output, "' cannot be kept on a GPU"));
  }
  impl_->kept[i] = keep;
  // What the last run left is where it was wanted then.
  impl_->has_run = impl_->queued = false;
  return {};
}

Result<DeviceTensor> Session::device_output(std::string_view name) {
  REDLINE_ASSIGN(size_t i, find_named(impl_->engine->outputs, name, "output"));
  if (!impl_->kept[i]) {
    return invalid_argument("output '", name, "' is not kept on the GPU; keep_on_device does that");
  }
  if (!impl_->has_run) return invalid_argument("no run has finished yet");
  auto tensor = std::make_shared<Tensor>(impl_->executor->device_output(i));
  return DeviceTensor{tensor->dtype(), tensor->dims(), tensor->mutable_raw(), tensor};
}

void* Session::stream() const {
  const cuda::Stream* stream = impl_->executor->stream();
  return stream == nullptr ? nullptr : stream->get();
}

int Session::gpu() const {
  const cuda::Stream* stream = impl_->executor->stream();
  return stream == nullptr ? -1 : stream->context()->info().ordinal;
}

}  // namespace redline
