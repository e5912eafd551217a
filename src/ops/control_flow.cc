// SPDX-License-Identifier: Apache-2.0
#include "ops/control_flow.h"

#include <algorithm>

#include "ops/axes.h"
#include "ops/host_values.h"
#include "ops/join_types.h"

namespace redline {
namespace {

Type scalar_type(DType dtype) { return Type::tensor(dtype, SymDims()); }

// A tensor of one element, whatever its rank.
Status expect_one(const InferContext& c, size_t i, DType dtype) {
  REDLINE_TRY(c.expect_tensor(i));
  if (c.dtype(i) != dtype) return c.input_error(i, str_cat("must be ", dtype_name(dtype)));
  if (!c.shape(i).has_rank()) return {};
  for (const Dim& dim : c.shape(i).dims()) {
    if (conflict(dim, Dim(1))) return c.input_error(i, "must have one element");
  }
  return {};
}

HostValue bool_value(bool value) {
  uint8_t byte = value;
  return HostValue::of(Tensor::from<uint8_t>(DType::kBool, {}, {&byte, 1}));
}

Status infer_if(InferContext& c) {
  REDLINE_TRY(expect_one(c, 0, DType::kBool));
  REDLINE_ASSIGN(std::vector<Type> chosen, c.infer_subgraph(0, {}));
  REDLINE_ASSIGN(std::vector<Type> other, c.infer_subgraph(1, {}));
  if (chosen.size() != other.size() || chosen.size() < c.num_outputs()) {
    return c.error(str_cat("the branches have ", chosen.size(), " and ", other.size(),
                           " outputs, the node has ", c.num_outputs()));
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    REDLINE_ASSIGN(Type type, join_types(c, chosen[i], other[i], "if"));
    c.set_output(i, std::move(type));
  }
  return {};
}

Status reference_if(ReferenceContext& c) {
  REDLINE_ASSIGN(bool condition, condition_of(c.input_value(0)));
  REDLINE_ASSIGN(std::vector<HostValue> results, c.run_subgraph(condition ? 0 : 1, {}));
  for (size_t i = 0; i < c.num_outputs() && i < results.size(); ++i) {
    REDLINE_TRY(c.set_output_value(i, std::move(results[i])));
  }
  return {};
}

// The type that a body first sees for an input of the given type: symbols of its own stay, since
// nodes inside may name them.
Type entry_type(const Type& stated, const Type& given) {
  if (!given.is_tensor() || !stated.is_tensor() || stated.dtype != given.dtype) return given;
  if (!given.shape.has_rank() || !stated.shape.has_rank()) return given;
  if (given.shape.rank() != stated.shape.rank()) return given;
  SymDims dims = given.shape.dims();
  for (size_t i = 0; i < dims.size(); ++i) {
    if (stated.shape.dims()[i].is_symbol()) dims[i] = stated.shape.dims()[i];
  }
  return Type::tensor(given.dtype, std::move(dims));
}

// Makes the body's entry type general enough for what the body hands on; true when it changed.
Result<bool> widen(InferContext& c, Type& entry, const Type& given, const Type& result) {
  if (entry == result) return false;
  if (entry.kind == Type::Kind::kOptional && result.kind != Type::Kind::kOptional) {
    REDLINE_ASSIGN(Type element, join_elements(c, *entry.element, result));
    bool changed = !(element == *entry.element);
    entry = Type::optional(std::move(element));
    return changed;
  }
  bool ranked = entry.is_tensor() && result.is_tensor() && entry.dtype == result.dtype &&
                entry.shape.has_rank() && result.shape.has_rank() &&
                entry.shape.rank() == result.shape.rank();
  if (!ranked) {
    REDLINE_ASSIGN(Type joined, join_elements(c, entry, result));
    bool changed = !(joined == entry);
    entry = std::move(joined);
    return changed;
  }
  bool changed = false;
  SymDims dims = entry.shape.dims();
  for (size_t i = 0; i < dims.size(); ++i) {
    bool free =
        dims[i].is_symbol() && (!given.shape.has_rank() || dims[i] != given.shape.dims()[i]);
    if (free || dims[i] == result.shape.dims()[i]) continue;
    dims[i] = c.fresh_symbol("state");
    changed = true;
  }
  entry = Type::tensor(entry.dtype, std::move(dims));
  return changed;
}

// What a state is after any number of iterations.
Type exit_type(InferContext& c, const Type& entry, const Type& given, const Type& result) {
  if (entry.kind == Type::Kind::kOptional) {
    return result.kind == Type::Kind::kOptional ? entry : *entry.element;
  }
  if (!entry.is_tensor() || !entry.shape.has_rank() || !given.shape.has_rank()) return entry;
  SymDims dims = given.shape.dims();
  for (size_t i = 0; i < dims.size(); ++i) {
    bool kept = result.shape.has_rank() && result.shape.dims()[i] == entry.shape.dims()[i];
    if (!kept) dims[i] = c.fresh_symbol("state");
  }
  return Type::tensor(entry.dtype, std::move(dims));
}

struct BodyTypes {
  std::vector<Type> entry;
  std::vector<Type> results;
};

// Types of a body whose inputs [first, first + given.size()) are states that its outputs from
// first_result on replace. `entry` holds the types of the first inputs, and of those after them.
Result<BodyTypes> infer_body(InferContext& c, std::vector<Type> before, std::span<const Type> given,
                             std::vector<Type> after, size_t first_result) {
  std::vector<Type> stated = c.subgraph_inputs(0);
  size_t first = before.size();
  std::vector<Type> entry = std::move(before);
  entry.insert(entry.end(), given.begin(), given.end());
  entry.insert(entry.end(), after.begin(), after.end());
  for (size_t i = first; i < entry.size() && stated.size() == entry.size(); ++i) {
    entry[i] = entry_type(stated[i], entry[i]);
  }
  while (true) {
    REDLINE_ASSIGN(std::vector<Type> results, c.infer_subgraph(0, entry));
    if (results.size() < first_result + given.size()) {
      return c.error(str_cat("the body has ", results.size(), " outputs, expected ",
                             first_result + given.size(), " or more"));
    }
    bool changed = false;
    for (size_t i = 0; i < given.size(); ++i) {
      REDLINE_ASSIGN(bool wider, widen(c, entry[first + i], given[i], results[first_result + i]));
      changed |= wider;
    }
    if (!changed) return BodyTypes{std::move(entry), std::move(results)};
  }
}

Status infer_loop(InferContext& c) {
  if (c.has_input(0)) REDLINE_TRY(expect_one(c, 0, DType::kInt64));
  if (c.has_input(1)) REDLINE_TRY(expect_one(c, 1, DType::kBool));
  std::vector<Type> given;
  for (size_t i = kFirstState; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return c.input_error(i, "is missing");
    given.push_back(c.type(i));
  }
  REDLINE_ASSIGN(
      BodyTypes body,
      infer_body(c, {scalar_type(DType::kInt64), scalar_type(DType::kBool)}, given, {}, 1));
  if (body.results.size() < c.num_outputs() + 1) {
    return c.error(
        str_cat("the body has ", body.results.size(), " outputs, expected ", c.num_outputs() + 1));
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    const Type& result = body.results[i + 1];
    if (i < given.size()) {
      c.set_output(i, exit_type(c, body.entry[i + kFirstState], given[i], result));
      continue;
    }
    if (!result.is_tensor()) return c.error("what is scanned must be a tensor");
    Shape shape;
    if (result.shape.has_rank()) {
      REDLINE_TRY(check_output_rank(c, result.shape.rank() + 1));
      SymDims dims = {c.fresh_symbol("trips")};
      for (const Dim& dim : result.shape.dims()) {
        dims.push_back(dim.is_const() ? dim : c.fresh_symbol("scan"));
      }
      shape = std::move(dims);
    }
    c.set_output(i, result.dtype, std::move(shape));
  }
  return {};
}

// A stack of no elements: sizes that nothing tells are 0.
Result<Tensor> empty_stack(const Type& type) {
  Dims dims;
  if (type.shape.has_rank()) {
    if (type.shape.rank() > kMaxRank) return invalid_argument("rank above ", kMaxRank);
    for (const Dim& dim : type.shape.dims()) dims.push_back(dim.as_const().value_or(0));
  } else {
    dims.push_back(0);
  }
  return Tensor::create(type.dtype, dims);
}

Status reference_loop(ReferenceContext& c) {
  int64_t trips = INT64_MAX;
  if (c.has_input(0)) {
    REDLINE_ASSIGN(trips, trip_count(c.input_value(0)));
  }
  bool condition = true;
  if (c.has_input(1)) {
    REDLINE_ASSIGN(condition, condition_of(c.input_value(1)));
  }
  std::vector<HostValue> state(2);
  for (size_t i = 2; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return invalid_argument("state ", i - 2, " is missing");
    state.push_back(c.input_value(i));
  }
  size_t states = state.size() - 2;
  std::vector<std::vector<Tensor>> scanned(c.num_outputs() > states ? c.num_outputs() - states : 0);
  for (int64_t i = 0; i < trips && condition; ++i) {
    state[0] = HostValue::of(Tensor::scalar_int64(i));
    state[1] = bool_value(condition);
    REDLINE_ASSIGN(std::vector<HostValue> results, c.run_subgraph(0, state));
    if (results.size() < 1 + states + scanned.size()) return internal_error("outputs are missing");
    REDLINE_ASSIGN(condition, condition_of(results[0]));
    for (size_t s = 0; s < states; ++s) {
      // A body may take an optional and hand on what it holds.
      bool wrap = state[s + 2].kind == HostValue::Kind::kOptional &&
                  results[s + 1].kind != HostValue::Kind::kOptional;
      state[s + 2] =
          wrap ? HostValue::optional({std::move(results[s + 1])}) : std::move(results[s + 1]);
    }
    for (size_t s = 0; s < scanned.size(); ++s) {
      scanned[s].push_back(std::move(results[1 + states + s].tensor));
    }
  }
  for (size_t i = 0; i < std::min(states, c.num_outputs()); ++i) {
    REDLINE_ASSIGN(HostValue value, own_copy(state[i + 2]));
    if (value.kind == HostValue::Kind::kOptional &&
        c.output_type(i).kind != Type::Kind::kOptional) {
      if (value.elements.empty()) return invalid_argument("state ", i, " is an empty optional");
      HostValue element = std::move(value.elements[0]);
      value = std::move(element);
    }
    REDLINE_TRY(c.set_output_value(i, std::move(value)));
  }
  for (size_t s = 0; s < scanned.size(); ++s) {
    REDLINE_ASSIGN(Tensor tensor, stack_results(std::move(scanned[s]), c.output_type(states + s)));
    REDLINE_TRY(c.set_output_value(states + s, HostValue::of(std::move(tensor))));
  }
  return {};
}

// The attributes of a scan, checked and filled in.
struct ScanForm {
  size_t first;  // input 0 is the lengths
  size_t states;
  size_t scanned;
  int batch_axes;  // axes before those that the body sees
};

Result<ScanForm> scan_form(const ScanAttrs& attrs, size_t num_inputs) {
  ScanForm form{1, 0, 0, attrs.batched ? 1 : 0};
  size_t operands = num_inputs > 0 ? num_inputs - 1 : 0;
  if (attrs.num_scanned < 1 || static_cast<uint64_t>(attrs.num_scanned) > operands) {
    return invalid_argument("scan: ", attrs.num_scanned, " of ", operands,
                            " inputs cannot be scanned");
  }
  form.scanned = static_cast<size_t>(attrs.num_scanned);
  form.states = operands - form.scanned;
  return form;
}

int64_t listed(const std::vector<int64_t>& list, size_t i) { return i < list.size() ? list[i] : 0; }

Type drop_axis(const Type& type, int axis) {
  if (!type.shape.has_rank()) return type;
  SymDims dims = type.shape.dims();
  dims.erase(dims.begin() + axis);
  return Type::tensor(type.dtype, std::move(dims));
}

Status infer_scan(InferContext& c) {
  const auto& attrs = c.attrs<ScanAttrs>();
  REDLINE_ASSIGN(ScanForm form, scan_form(attrs, c.num_inputs()));
  if (c.has_input(0)) {
    if (!attrs.batched) return c.input_error(0, "goes with batched only");
    REDLINE_TRY(c.expect_rank(0, 1));
    if (c.dtype(0) != DType::kInt64) return c.input_error(0, "must be i64");
  }
  std::optional<Dim> batch;
  std::optional<Dim> length;
  std::vector<Type> given;
  std::vector<Type> slices;
  for (size_t i = form.first; i < c.num_inputs(); ++i) {
    bool scanned = i >= form.first + form.states;
    REDLINE_TRY(c.expect_tensor(i));
    Type type = c.type(i);
    if (!type.shape.has_rank()) {
      (scanned ? slices : given).push_back(type);
      continue;
    }
    if (type.shape.rank() < form.batch_axes + (scanned ? 1 : 0)) {
      return c.input_error(i, "has too small a rank");
    }
    if (attrs.batched) {
      if (batch && conflict(*batch, type.shape[0])) {
        return c.input_error(i, str_cat("must have the batch ", batch->to_string()));
      }
      if (!batch || type.shape[0].is_const()) batch = type.shape[0];
      type = drop_axis(type, 0);
    }
    if (!scanned) {
      given.push_back(std::move(type));
      continue;
    }
    REDLINE_ASSIGN(int axis,
                   c.normalize_axis(listed(attrs.input_axes, slices.size()), type.shape.rank()));
    const Dim& size = type.shape[axis];
    if (length && conflict(*length, size)) {
      return c.input_error(i, str_cat("must have size ", length->to_string(), " at axis ", axis));
    }
    if (!length || size.is_const()) length = size;
    slices.push_back(drop_axis(type, axis));
  }
  if (attrs.batched && c.has_input(0) && c.shape(0).has_rank() && batch &&
      conflict(c.shape(0)[0], *batch)) {
    return c.input_error(0, str_cat("must have size ", batch->to_string()));
  }
  REDLINE_ASSIGN(BodyTypes body, infer_body(c, {}, given, slices, 0));
  if (body.results.size() < c.num_outputs()) {
    return c.error(
        str_cat("the body has ", body.results.size(), " outputs, expected ", c.num_outputs()));
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    const Type& result = body.results[i];
    if (!result.is_tensor()) return c.error("states and what is scanned must be tensors");
    Type type = i < form.states ? exit_type(c, body.entry[i], given[i], result) : result;
    if (type.shape.has_rank()) {
      SymDims dims = type.shape.dims();
      if (i >= form.states) {
        // Sizes inside the body may be known to the body alone.
        for (Dim& dim : dims) dim = dim.is_const() ? dim : c.fresh_symbol("scan");
        REDLINE_ASSIGN(int axis, c.normalize_axis(listed(attrs.output_axes, i - form.states),
                                                  type.shape.rank() + 1));
        dims.insert(dims.begin() + axis, length ? *length : c.fresh_symbol("scan"));
      }
      if (attrs.batched) dims.insert(dims.begin(), batch ? *batch : c.fresh_symbol("batch"));
      REDLINE_TRY(check_output_rank(c, static_cast<int64_t>(dims.size())));
      type = Type::tensor(type.dtype, std::move(dims));
    }
    c.set_output(i, std::move(type));
  }
  return {};
}

// One run along the scanned axes. Results: the states, then the stacks, which are undefined when
// there was nothing to scan.
Result<std::vector<Tensor>> run_scan(ReferenceContext& c, const ScanForm& form,
                                     std::vector<HostValue> state,
                                     const std::vector<Tensor>& inputs, int64_t length,
                                     int64_t padded) {
  const auto& attrs = c.attrs<ScanAttrs>();
  size_t outputs = c.num_outputs() > form.states ? c.num_outputs() - form.states : 0;
  std::vector<std::vector<Tensor>> elements(outputs);
  for (int64_t step = 0; step < length; ++step) {
    std::vector<HostValue> arguments = std::move(state);
    for (size_t k = 0; k < inputs.size(); ++k) {
      int64_t axis = listed(attrs.input_axes, k);
      if (axis < 0) axis += inputs[k].rank();
      int64_t at = listed(attrs.input_reversed, k) != 0 ? length - 1 - step : step;
      REDLINE_ASSIGN(Tensor slice, take_slice(inputs[k], static_cast<int>(axis), at));
      arguments.push_back(HostValue::of(std::move(slice)));
    }
    REDLINE_ASSIGN(std::vector<HostValue> results, c.run_subgraph(0, arguments));
    if (results.size() < form.states + outputs) return internal_error("outputs are missing");
    for (size_t k = 0; k < outputs; ++k) {
      elements[k].push_back(std::move(results[form.states + k].tensor));
    }
    results.resize(form.states);
    state = std::move(results);
  }
  std::vector<Tensor> finals;
  for (HostValue& value : state) finals.push_back(std::move(value.tensor));
  for (size_t k = 0; k < outputs; ++k) {
    Tensor stack;
    if (!elements[k].empty()) {
      if (listed(attrs.output_reversed, k) != 0)
        std::reverse(elements[k].begin(), elements[k].end());
      int64_t axis = listed(attrs.output_axes, k);
      if (axis < 0) axis += elements[k][0].rank() + 1;
      REDLINE_ASSIGN(Tensor zero, Tensor::create(elements[k][0].dtype(), elements[k][0].dims()));
      while (static_cast<int64_t>(elements[k].size()) < padded) elements[k].push_back(zero);
      REDLINE_ASSIGN(stack, stack_tensors(std::move(elements[k]), static_cast<int>(axis)));
    }
    finals.push_back(std::move(stack));
  }
  return finals;
}

Result<int64_t> scan_length(const ScanAttrs& attrs, const std::vector<Tensor>& inputs) {
  std::optional<int64_t> length;
  for (size_t k = 0; k < inputs.size(); ++k) {
    int64_t axis = listed(attrs.input_axes, k);
    if (axis < 0) axis += inputs[k].rank();
    if (axis < 0 || axis >= inputs[k].rank()) {
      return invalid_argument("there is no axis ", axis, " of ", inputs[k].dims().to_string());
    }
    int64_t size = inputs[k].dims()[static_cast<size_t>(axis)];
    if (length && *length != size) {
      return invalid_argument("scanned inputs have the lengths ", *length, " and ", size);
    }
    length = size;
  }
  return *length;
}

Status reference_scan(ReferenceContext& c) {
  const auto& attrs = c.attrs<ScanAttrs>();
  REDLINE_ASSIGN(ScanForm form, scan_form(attrs, c.num_inputs()));
  std::vector<HostValue> state;
  std::vector<Tensor> inputs;
  for (size_t i = form.first; i < c.num_inputs(); ++i) {
    if (!c.has_input(i) || !c.input_value(i).tensor.defined()) {
      return invalid_argument("operand ", i, " must be a tensor");
    }
    if (i < form.first + form.states) {
      state.push_back(c.input_value(i));
    } else {
      inputs.push_back(c.input_value(i).tensor);
    }
  }
  std::vector<Tensor> results;
  if (!attrs.batched) {
    REDLINE_ASSIGN(int64_t length, scan_length(attrs, inputs));
    REDLINE_ASSIGN(results, run_scan(c, form, state, inputs, length, length));
  } else {
    for (size_t i = form.first; i < c.num_inputs(); ++i) {
      if (c.input(i).dims.empty() || c.input(i).dims[0] != c.input(form.first).dims[0]) {
        return invalid_argument("the operands' batches differ");
      }
    }
    int64_t batch = inputs[0].dims()[0];
    std::vector<int64_t> lengths;
    if (c.has_input(0)) {
      if (!c.input_value(0).tensor.defined() || c.input(0).dtype != DType::kInt64) {
        return invalid_argument("lengths must be i64");
      }
      lengths = read_ints(c.input(0));
    }
    if (!lengths.empty() && static_cast<int64_t>(lengths.size()) != batch) {
      return invalid_argument(lengths.size(), " lengths for a batch of ", batch);
    }
    std::vector<std::vector<Tensor>> rows;
    for (int64_t b = 0; b < batch; ++b) {
      std::vector<HostValue> row_state;
      std::vector<Tensor> row_inputs;
      for (const HostValue& value : state) {
        REDLINE_ASSIGN(Tensor row, take_slice(value.tensor, 0, b));
        row_state.push_back(HostValue::of(std::move(row)));
      }
      for (const Tensor& tensor : inputs) {
        REDLINE_ASSIGN(Tensor row, take_slice(tensor, 0, b));
        row_inputs.push_back(std::move(row));
      }
      REDLINE_ASSIGN(int64_t whole, scan_length(attrs, row_inputs));
      int64_t length = lengths.empty() ? whole : lengths[static_cast<size_t>(b)];
      if (length < 0 || length > whole) {
        return invalid_argument("length ", length, " of batch ", b, " is beyond ", whole);
      }
      REDLINE_ASSIGN(std::vector<Tensor> row,
                     run_scan(c, form, std::move(row_state), row_inputs, length, whole));
      rows.resize(row.size());
      for (size_t k = 0; k < row.size(); ++k) {
        if (!row[k].defined()) return unsupported("a batch of length 0 beside a scanned output");
        rows[k].push_back(std::move(row[k]));
      }
    }
    for (std::vector<Tensor>& row : rows) {
      REDLINE_ASSIGN(Tensor stack, stack_tensors(std::move(row), 0));
      results.push_back(std::move(stack));
    }
    results.resize(c.num_outputs());
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    HostValue value = HostValue::of(results[i]);
    if (!results[i].defined()) {
      REDLINE_ASSIGN(value.tensor, empty_stack(c.output_type(i)));
    } else {
      REDLINE_ASSIGN(value, own_copy(value));
    }
    REDLINE_TRY(c.set_output_value(i, std::move(value)));
  }
  return {};
}

}  // namespace

Result<bool> condition_of(const HostValue& value) {
  if (value.kind != HostValue::Kind::kTensor || value.tensor.dtype() != DType::kBool ||
      value.tensor.count() != 1) {
    return invalid_argument("a condition must be one bool");
  }
  return *value.tensor.data<uint8_t>() != 0;
}

Result<int64_t> trip_count(const HostValue& value) {
  const Tensor& count = value.tensor;
  if (!count.defined() || count.dtype() != DType::kInt64 || count.count() != 1) {
    return invalid_argument("a trip count must be one integer");
  }
  return *count.data<int64_t>();
}

Result<Tensor> stack_results(std::vector<Tensor> results, const Type& type) {
  return results.empty() ? empty_stack(type) : stack_tensors(std::move(results), 0);
}

void register_op_control_flow(OpRegistry& registry) {
  registry.add({.name = "if",
                .inputs = {{"condition"}},
                .outputs = {{"outputs", Arity::kVariadic}},
                .num_subgraphs = 2,
                .infer = infer_if,
                .reference = reference_if});
  registry.add({.name = "loop",
                .inputs = {{"trip_count", Arity::kOptional},
                           {"condition", Arity::kOptional},
                           {"state", Arity::kVariadic}},
                .outputs = {{"outputs", Arity::kVariadic}},
                .num_subgraphs = 1,
                .infer = infer_loop,
                .reference = reference_loop});
  registry.add({.name = "scan",
                .inputs = {{"lengths", Arity::kOptional}, {"operands", Arity::kVariadic}},
                .outputs = {{"outputs", Arity::kVariadic}},
                .attrs = attrs_type<ScanAttrs>(),
                .num_subgraphs = 1,
                .infer = infer_scan,
                .reference = reference_scan});
}

}  // namespace redline
