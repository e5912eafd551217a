// SPDX-License-Identifier: Apache-2.0
#include "passes/value_range.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "core/float_types.h"
#include "ops/compare.h"

namespace redline {
namespace {

constexpr uint64_t kSeed = 20240229;
// Sizes of symbols without a value, tried in this order: networks that shrink images need some
// room, and small sizes take less time.
constexpr int64_t kDefaultSizes[] = {8, 64, 320};

// To make an element of a result. What is cheap then also fits in 2 GB of doubles.
constexpr double kWorkPerElement = 100;

double rounds_to_zero(DType half) { return half == DType::kFloat16 ? 0x1p-25 : 0x1p-134; }

constexpr size_t kChunk = 4096;
constexpr int64_t kChunksPerTask = 16;

// Calls fn(number, elements) for each chunk of an f32 tensor, on all threads of the pool. Constants
// may lie at any address: they are views of the model's file.
template <class Fn>
void for_each_chunk(const Tensor& constant, ThreadPool* pool, Fn&& fn) {
  auto count = static_cast<size_t>(constant.count());
  const auto* bytes = static_cast<const char*>(constant.raw());
  auto visit = [&](int64_t first, int64_t last) {
    float elements[kChunk];
    for (auto chunk = static_cast<size_t>(first); chunk < static_cast<size_t>(last); ++chunk) {
      size_t begin = chunk * kChunk;
      size_t size = std::min(kChunk, count - begin);
      std::memcpy(elements, bytes + begin * sizeof(float), size * sizeof(float));
      fn(chunk, std::span<const float>(elements, size));
    }
  };
  auto chunks = static_cast<int64_t>((count + kChunk - 1) / kChunk);
  if (pool == nullptr) return visit(0, chunks);
  pool->parallel_for(chunks, kChunksPerTask, visit);
}

Type with_numbers(const Type& type, const Dim::Lookup& lookup) {
  if (!type.is_tensor() || !type.shape.has_rank()) return type;
  SymDims dims = type.shape.dims();
  for (Dim& dim : dims) {
    Result<int64_t> size = dim.evaluate(lookup);
    if (size.ok()) dim = *size;
  }
  return Type::tensor(type.dtype, Shape(std::move(dims)));
}

// Elementary operations of one run, nested graphs taken once; infinite where a loop may run on and
// on.
double estimated_work(const Graph& graph, const SymbolValues& symbols, int64_t default_size) {
  auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
    auto it = symbols.find(name);
    return it == symbols.end() ? default_size : it->second;
  };
  double work = 0;
  graph.for_each_node([&](const Node* node) {
    if (node->is("loop")) work = std::numeric_limits<double>::infinity();
    std::vector<Type> inputs;
    std::vector<Type> outputs;
    for (const Value* value : node->inputs()) {
      inputs.push_back(value == nullptr ? Type() : with_numbers(value->type, lookup));
    }
    for (const Value* value : node->outputs()) {
      outputs.push_back(with_numbers(value->type, lookup));
    }
    if (node->op().cost != nullptr) work += node->op().cost(inputs, outputs, node->attrs()).flops;
    for (const Type& type : outputs) {
      std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
      if (dims) work += kWorkPerElement * static_cast<double>(dims->count());
    }
  });
  return work;
}

float largest_finite(const Tensor& tensor) {
  return summarise_floats(tensor.data<float>(), static_cast<size_t>(tensor.count())).largest;
}

std::string count_text(double count) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1e", count);
  return buffer;
}

// The first axis, a batch as a rule, is 1 where nothing is given; others get `size`.
SymbolValues with_defaults(const Graph& graph, SymbolValues symbols, int64_t size) {
  for (const Value* input : graph.inputs()) {
    if (!input->type.is_tensor() || !input->shape().has_rank()) continue;
    for (int axis = 0; axis < input->shape().rank(); ++axis) {
      for (const std::string& symbol : input->shape()[axis].symbols()) {
        symbols.emplace(symbol, axis == 0 ? 1 : size);
      }
    }
  }
  return symbols;
}

Status observe(const Graph& graph, const SymbolValues& symbols, const GraphRunner& runner,
               MeasuredRange& range) {
  REDLINE_ASSIGN(std::vector<HostValue> inputs, random_inputs(graph, symbols, kSeed));
  ValueObserver note = [&](const Value& value, const HostValue& made) {
    if (made.kind != HostValue::Kind::kTensor || made.tensor.dtype() != DType::kFloat32) return;
    double& largest = range.largest[&value];
    largest = std::max<double>(largest, largest_finite(made.tensor));
  };
  return runner ? runner(graph, inputs, note) : interpret(graph, inputs, note).status();
}

}  // namespace

double largest_half(DType half) { return half == DType::kFloat16 ? 65504 : 0x1.fep127; }

ConstantFit fit_of_constant(const Tensor& constant, DType half, ThreadPool* pool) {
  auto count = static_cast<size_t>(constant.count());
  std::vector<FloatSummary> chunks((count + kChunk - 1) / kChunk);
  for_each_chunk(constant, pool, [&](size_t chunk, std::span<const float> elements) {
    chunks[chunk] = summarise_floats(elements.data(), elements.size());
  });
  ConstantFit fit;
  double squares = 0;
  int64_t nonzero = 0;
  for (const FloatSummary& chunk : chunks) {
    fit.largest = std::max<double>(fit.largest, chunk.largest);
    squares += chunk.squares;
    nonzero += chunk.nonzero;
  }
  fit.vanishes = nonzero > 0 && fit.largest <= rounds_to_zero(half);
  // Below the normal numbers f16 has one step, 2^-24, for all: what is smaller than the others by
  // much may be lost, unless most are small.
  double mean_square = squares / static_cast<double>(std::max<int64_t>(nonzero, 1));
  fit.is_coarse = nonzero > 0 && std::sqrt(mean_square) < smallest_normal(half) / 4;
  return fit;
}

Result<Tensor> constant_in(DType half, const Tensor& constant, ThreadPool* pool) {
  REDLINE_ASSIGN(Tensor result, Tensor::create(half, constant.dims()));
  auto limit = static_cast<float>(largest_half(half));
  auto* to = static_cast<char*>(result.mutable_raw());
  for_each_chunk(constant, pool, [&](size_t chunk, std::span<const float> elements) {
    float clamped[kChunk];
    clamp_finite(elements.data(), limit, clamped, elements.size());
    encode_floats(half, clamped, to + chunk * kChunk * dtype_bytes(half), elements.size());
  });
  return result;
}

MeasuredRange measure_range(const Graph& graph, const SymbolValues& symbols, double most_work,
                            const GraphRunner& runner) {
  MeasuredRange range;
  for (int64_t size : kDefaultSizes) {
    SymbolValues sizes = with_defaults(graph, symbols, size);
    double work = estimated_work(graph, sizes, size);
    if (work > most_work) {
      range.outcome = std::isinf(work)
                          ? std::string("not run: a loop may run on and on")
                          : str_cat("not run: about ", count_text(work),
                                    " operations, the limit is ", count_text(most_work));
      return range;
    }
    Status status = observe(graph, sizes, runner, range);
    if (status.ok()) {
      range.complete = true;
      range.outcome = "run once on random inputs in [-1, 1)";
      return range;
    }
    range.outcome = str_cat("did not run to its end: ", status.message());
    if (sizes.size() == symbols.size()) return range;
  }
  return range;
}

}  // namespace redline
