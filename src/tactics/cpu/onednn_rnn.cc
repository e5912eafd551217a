// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ops/elements.h"
#include "ops/recurrent.h"
#include "tactics/cpu/loop_kernel.h"
#include "tactics/cpu/onednn_step.h"

namespace redline {
namespace {

namespace dnnl = kernels::onednn;
using dnnl::RnnKind;
using Floats = std::vector<float>;

// Products of one step and direction that take some 10 us.
constexpr int64_t kWorkWorthATeam = 1 << 19;

enum Input : size_t { kX, kW, kR, kBias, kLengths, kH, kC, kPeepholes };

bool is_lstm(const Problem& problem) { return problem.is("lstm"); }
int64_t gates_of(const Problem& problem) {
  return is_lstm(problem) ? 4 : problem.is("gru") ? 3 : 1;
}

// oneDNN has the activations that ONNX takes when none are named, and relu for a plain RNN.
Result<RnnKind> kind_of(const Problem& problem) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  if (!attrs.alphas.empty() || !attrs.betas.empty()) return unsupported("activations of constants");
  std::vector<std::string> one = {"Tanh"};
  RnnKind kind = RnnKind::kTanh;
  if (is_lstm(problem)) {
    one = {"Sigmoid", "Tanh", "Tanh"};
    kind = RnnKind::kLstm;
  } else if (problem.is("gru")) {
    one = {"Sigmoid", "Tanh"};
    kind = attrs.linear_before_reset ? RnnKind::kGruLinearBeforeReset : RnnKind::kGru;
  } else if (!attrs.activations.empty() && attrs.activations[0] == "Relu") {
    one = {"Relu"};
    kind = RnnKind::kRelu;
  }
  for (size_t i = 0; i < attrs.activations.size(); ++i) {
    if (attrs.activations[i] != one[i % one.size()]) {
      return unsupported("activation ", attrs.activations[i]);
    }
  }
  return kind;
}

Status supports(const Problem& problem) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  REDLINE_TRY(kind_of(problem).status());
  if (attrs.clip) return unsupported("clipping");
  if (attrs.input_forget) return unsupported("an input gate that is tied to the forget gate");
  if (has_operand(problem.inputs, kPeepholes)) return unsupported("peepholes");
  if (has_operand(problem.inputs, kLengths)) return unsupported("sequences of their own lengths");
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  for (size_t i : {kW, kR, kBias}) {
    if (!has_operand(problem.inputs, i)) continue;
    const OperandDesc& operand = problem.inputs[i];
    if (operand.constant == nullptr) return unsupported("weights that are not constant");
    if (operand.dims.count() == 0) return unsupported("weights without elements");
  }
  return dnnl::load().status();
}

struct Sizes {
  int64_t steps = 0, batch = 0, input = 0, hidden = 0, directions = 1, gates = 1;
  int64_t state() const { return directions * batch * hidden; }
  int64_t row() const { return directions * hidden; }
};

Sizes sizes_of(const Problem& problem) {
  const Dims& x = problem.inputs[kX].dims;
  const Dims& r = problem.inputs[kR].dims;
  bool batch_first = problem.attrs.as<RecurrentAttrs>().batch_first;
  return {.steps = x[batch_first ? 1 : 0],
          .batch = x[batch_first ? 0 : 1],
          .input = x[2],
          .hidden = r[2],
          .directions = r[0],
          .gates = gates_of(problem)};
}

// ONNX has input, output, forget, cell; oneDNN input, forget, cell, output.
int64_t onnx_gate(const Problem& problem, int64_t gate) {
  static constexpr int64_t kLstmGates[] = {0, 2, 3, 1};
  return is_lstm(problem) ? kLstmGates[gate] : gate;
}

// [directions][columns][gate][hidden] of ONNX's [directions][gate * hidden][columns].
Floats weights_of(const Problem& problem, const Sizes& s, size_t input, int64_t columns) {
  const auto* from = problem.inputs[input].constant->data<float>();
  Floats result(static_cast<size_t>(s.directions * s.gates * s.hidden * columns));
  float* to = result.data();
  for (int64_t d = 0; d < s.directions; ++d) {
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t g = 0; g < s.gates; ++g) {
        int64_t row = (d * s.gates + onnx_gate(problem, g)) * s.hidden;
        for (int64_t h = 0; h < s.hidden; ++h) *to++ = from[(row + h) * columns + c];
      }
    }
  }
  return result;
}

// [directions][gate][hidden]: the sum of both of ONNX's, but for the one that is multiplied by the
// reset gate, which comes last.
Floats bias_of(const Problem& problem, const Sizes& s, bool separate) {
  int64_t rows = s.gates + (separate ? 1 : 0);
  Floats result(static_cast<size_t>(s.directions * rows * s.hidden));
  if (!has_operand(problem.inputs, kBias)) return result;
  const auto* from = problem.inputs[kBias].constant->data<float>();
  for (int64_t d = 0; d < s.directions; ++d) {
    const float* input = from + d * 2 * s.gates * s.hidden;
    const float* recurrent = input + s.gates * s.hidden;
    for (int64_t g = 0; g < rows; ++g) {
      float* to = result.data() + (d * rows + g) * s.hidden;
      int64_t at = std::min(onnx_gate(problem, std::min(g, s.gates - 1)), s.gates - 1) * s.hidden;
      bool last = separate && g + 1 >= s.gates;
      for (int64_t h = 0; h < s.hidden; ++h) {
        float w = last && g == s.gates ? 0.0f : input[at + h];
        float r = last && g < s.gates ? 0.0f : recurrent[at + h];
        to[h] = w + r;
      }
    }
  }
  return result;
}

// Copies [outer][a][b][inner] to [outer][b][a][inner].
void swap_axes(const float* from, int64_t outer, int64_t a, int64_t b, int64_t inner, float* to) {
  for (int64_t o = 0; o < outer; ++o, from += a * b * inner) {
    for (int64_t j = 0; j < b; ++j) {
      for (int64_t i = 0; i < a; ++i, to += inner)
        std::copy_n(from + (i * b + j) * inner, inner, to);
    }
  }
}

class RnnKernel final : public Kernel {
 public:
  RnnKernel(Primitive primitive, const Sizes& s, bool lstm, bool batch_first, bool has_state)
      : primitive_(std::move(primitive)),
        s_(s),
        lstm_(lstm),
        batch_first_(batch_first),
        has_state_(has_state),
        scratchpad_((primitive_.scratchpad_bytes() + 63) / 64 * 64) {}

  Status pack(const Api& api, const Problem& problem) {
    for (const dnnl::Arg& arg : primitive_.args()) {
      if (arg.role == dnnl::Role::kWeights) {
        REDLINE_TRY(pack_one(api, problem, kW, s_.input, arg.desc, weights_));
      } else if (arg.role == dnnl::Role::kWeightsIter) {
        REDLINE_TRY(pack_one(api, problem, kR, s_.hidden, arg.desc, recurrent_));
      } else if (arg.role == dnnl::Role::kBias) {
        bias_ = bias_of(problem, s_, arg.bytes > s_.directions * s_.gates * s_.hidden * 4);
      }
    }
    return {};
  }

  // x, y, and the states before and after, in oneDNN's order.
  size_t workspace_bytes() const override {
    return scratchpad_ + static_cast<size_t>(x_elems() + y_elems() + 4 * state_elems()) * 4;
  }

  Status run(const KernelArgs& args) const override {
    auto* x = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + scratchpad_);
    float* y = x + x_elems();
    float* h = y + y_elems();
    float* c = h + state_elems();
    float* last_h = c + state_elems();
    float* last_c = last_h + state_elems();
    const float* source = args.inputs[kX].as<const float>();
    if (batch_first_) {
      swap_axes(source, 1, s_.batch, s_.steps, s_.input, x);
      source = x;
    }
    void* pointers[9];
    size_t count = 0;
    pointers[count++] = const_cast<float*>(source);
    if (has_state_) {
      read_state(args, kH, h);
      pointers[count++] = h;
      if (lstm_) {
        read_state(args, kC, c);
        pointers[count++] = c;
      }
    }
    pointers[count++] = const_cast<void*>(weights_.raw());
    pointers[count++] = const_cast<void*>(recurrent_.raw());
    pointers[count++] = const_cast<float*>(bias_.data());
    pointers[count++] = y;
    pointers[count++] = last_h;
    if (lstm_) pointers[count++] = last_c;
    if (args.pool) args.pool->use_team(primitive_.api().parallel);
    dnnl::Error error;
    dnnl::Code code = primitive_.api().execute(primitive_.get(), pointers, args.workspace, &error);
    if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
    write_y(args, y);
    write_state(args, 1, last_h);
    write_state(args, 2, last_c);
    return {};
  }

 private:
  static int64_t round_up(int64_t elems) { return (elems + 15) / 16 * 16; }
  int64_t x_elems() const { return batch_first_ ? round_up(s_.steps * s_.batch * s_.input) : 0; }
  int64_t y_elems() const { return round_up(s_.steps * s_.batch * s_.row()); }
  int64_t state_elems() const { return round_up(s_.state()); }

  Status pack_one(const Api& api, const Problem& problem, size_t input, int64_t columns,
                  const MemoryDesc& wanted, Tensor& packed) const {
    Floats plain = weights_of(problem, s_, input, columns);
    int64_t dims[] = {1, s_.directions, columns, s_.gates, s_.hidden};
    REDLINE_ASSIGN(MemoryDesc stored, onednn_desc(api, DType::kFloat32, dims));
    REDLINE_ASSIGN(packed, reorder_constant(api, plain.data(), stored, wanted));
    return {};
  }

  void read_state(const KernelArgs& args, size_t input, float* to) const {
    bool given = input < args.inputs.size() && args.inputs[input].data != nullptr;
    if (!given) {
      std::fill_n(to, s_.state(), 0.0f);
    } else if (batch_first_) {
      swap_axes(args.inputs[input].as<const float>(), 1, s_.batch, s_.directions, s_.hidden, to);
    } else {
      std::copy_n(args.inputs[input].as<const float>(), s_.state(), to);
    }
  }

  void write_state(const KernelArgs& args, size_t output, const float* from) const {
    if (output >= args.outputs.size() || args.outputs[output].data == nullptr) return;
    auto* to = args.outputs[output].as<float>();
    if (batch_first_) {
      swap_axes(from, 1, s_.directions, s_.batch, s_.hidden, to);
    } else {
      std::copy_n(from, s_.state(), to);
    }
  }

  // From [step][batch][direction][hidden].
  void write_y(const KernelArgs& args, const float* from) const {
    if (args.outputs[0].data == nullptr) return;
    auto* to = args.outputs[0].as<float>();
    if (batch_first_) {
      swap_axes(from, 1, s_.steps, s_.batch, s_.row(), to);
    } else {
      swap_axes(from, s_.steps, s_.batch, s_.directions, s_.hidden, to);
    }
  }

  Primitive primitive_;
  Sizes s_;
  bool lstm_, batch_first_, has_state_;
  size_t scratchpad_;
  Tensor weights_, recurrent_;
  Floats bias_;
};

// No step changes the states.
std::unique_ptr<Kernel> make_idle_kernel() {
  return make_loop_kernel([](const KernelArgs& args) {
    for (size_t i = 1; i < args.outputs.size(); ++i) {
      const TensorView& to = args.outputs[i];
      if (to.data == nullptr) continue;
      auto bytes = static_cast<size_t>(to.count()) * sizeof(float);
      size_t input = i == 1 ? kH : kC;
      bool given = input < args.inputs.size() && args.inputs[input].data != nullptr;
      if (bytes == 0) continue;
      if (given) {
        std::memcpy(to.data, args.inputs[input].data, bytes);
      } else {
        std::memset(to.data, 0, bytes);
      }
    }
    return Status();
  });
}

Result<dnnl::Rnn> describe(const Api& api, const Problem& problem, const Sizes& s) {
  const auto& attrs = problem.attrs.as<RecurrentAttrs>();
  auto desc = [&](std::initializer_list<int64_t> dims, dnnl::Format format = dnnl::Format::kPlain) {
    return onednn_desc(api, DType::kFloat32, {dims.begin(), dims.size()}, format);
  };
  dnnl::Rnn rnn;
  REDLINE_ASSIGN(rnn.kind, kind_of(problem));
  rnn.direction = attrs.direction == RecurrentDirection::kForward   ? dnnl::RnnDirection::kForward
                  : attrs.direction == RecurrentDirection::kReverse ? dnnl::RnnDirection::kReverse
                                                                    : dnnl::RnnDirection::kBoth;
  rnn.has_src_iter = has_operand(problem.inputs, kH) || has_operand(problem.inputs, kC);
  rnn.has_dst_iter = true;
  int64_t biases = s.gates + (rnn.kind == RnnKind::kGruLinearBeforeReset ? 1 : 0);
  REDLINE_ASSIGN(rnn.src_layer, desc({s.steps, s.batch, s.input}));
  REDLINE_ASSIGN(rnn.weights_layer,
                 desc({1, s.directions, s.input, s.gates, s.hidden}, dnnl::Format::kAny));
  REDLINE_ASSIGN(rnn.weights_iter,
                 desc({1, s.directions, s.hidden, s.gates, s.hidden}, dnnl::Format::kAny));
  REDLINE_ASSIGN(rnn.bias, desc({1, s.directions, biases, s.hidden}));
  REDLINE_ASSIGN(rnn.dst_layer, desc({s.steps, s.batch, s.row()}));
  REDLINE_ASSIGN(rnn.src_iter, desc({1, s.directions, s.batch, s.hidden}));
  rnn.src_cell = rnn.dst_iter = rnn.dst_cell = rnn.src_iter;
  return rnn;
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  Sizes s = sizes_of(problem);
  if (s.steps == 0 || s.batch == 0) return make_idle_kernel();
  REDLINE_ASSIGN(const Api* api, onednn_api(args));
  REDLINE_ASSIGN(dnnl::Rnn rnn, describe(*api, problem, s));
  dnnl::Options options;
  // The team meets several times in each step, and waits there on a busy machine.
  int64_t step_work = s.batch * s.gates * s.hidden * s.hidden;
  options.threads = step_work < kWorkWorthATeam ? 1 : args.num_threads();
  // Its name for all kernels of these; the products in them are fast ones.
  options.allow_reference = true;
  dnnl::Primitive* primitive = nullptr;
  dnnl::Error error;
  dnnl::Code code = api->rnn(rnn, options, &primitive, &error);
  if (code != dnnl::Code::kOk) return dnnl::to_status(code, error);
  auto kernel =
      std::make_unique<RnnKernel>(Primitive(api, primitive), s, is_lstm(problem),
                                  problem.attrs.as<RecurrentAttrs>().batch_first, rnn.has_src_iter);
  REDLINE_TRY(kernel->pack(*api, problem));
  return std::unique_ptr<Kernel>(std::move(kernel));
}

}  // namespace

void register_tactic_onednn_rnn(TacticRegistry& registry) {
  registry.add({.name = "cpu.onednn.rnn",
                .device = "cpu",
                .ops = {"lstm", "gru", "rnn"},
                .supports = supports,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
