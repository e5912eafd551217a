// SPDX-License-Identifier: Apache-2.0
#include "ops/sequence.h"

#include <algorithm>

#include "ops/axes.h"
#include "ops/host_values.h"
#include "ops/join_types.h"

namespace redline {
namespace {

Status expect_sequence(const InferContext& c, size_t i) {
  if (!c.has_input(i)) return c.input_error(i, "is missing");
  if (c.type(i).kind != Type::Kind::kSequence) return c.input_error(i, "must be a sequence");
  return {};
}

// A place in a sequence: one integer.
Status expect_place(const InferContext& c, size_t i) {
  REDLINE_TRY(c.expect_tensor(i));
  if (!is_int(c.dtype(i))) return c.input_error(i, "must be an integer");
  if (!c.shape(i).has_rank()) return {};
  for (const Dim& dim : c.shape(i).dims()) {
    if (conflict(dim, Dim(1))) return c.input_error(i, "must be one integer");
  }
  return {};
}

// Index of an element, or (inserting) of the end; negative ones count from the end.
Result<size_t> read_place(const TensorView& view, size_t size, bool inserting) {
  std::vector<int64_t> values = read_ints(view);
  if (values.size() != 1) return invalid_argument("a place must be one integer");
  auto count = static_cast<int64_t>(size);
  int64_t at = values[0] < 0 ? values[0] + count : values[0];
  if (at < 0 || at >= count + (inserting ? 1 : 0)) {
    return invalid_argument("place ", values[0], " is out of range for a sequence of ", size);
  }
  return static_cast<size_t>(at);
}

Status infer_sequence_empty(InferContext& c) {
  c.set_output(0, Type::sequence(Type::tensor(c.attrs<SequenceEmptyAttrs>().dtype)));
  return {};
}

Status reference_sequence_empty(ReferenceContext& c) {
  return c.set_output_value(0, HostValue::sequence({}));
}

Status infer_sequence_construct(InferContext& c) {
  if (c.num_inputs() == 0) return c.error("needs one input or more");
  for (size_t i = 0; i < c.num_inputs(); ++i) REDLINE_TRY(c.expect_tensor(i));
  Type element = c.type(0);
  for (size_t i = 1; i < c.num_inputs(); ++i) {
    REDLINE_ASSIGN(element, join_elements(c, element, c.type(i)));
  }
  c.set_output(0, Type::sequence(std::move(element)));
  return {};
}

Status reference_sequence_construct(ReferenceContext& c) {
  std::vector<HostValue> elements;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    REDLINE_ASSIGN(HostValue element, own_copy(c.input_value(i)));
    elements.push_back(std::move(element));
  }
  return c.set_output_value(0, HostValue::sequence(std::move(elements)));
}

Status infer_sequence_at(InferContext& c) {
  REDLINE_TRY(expect_sequence(c, 0));
  REDLINE_TRY(expect_place(c, 1));
  c.set_output(0, *c.type(0).element);
  return {};
}

Status reference_sequence_at(ReferenceContext& c) {
  const std::vector<HostValue>& elements = c.input_value(0).elements;
  REDLINE_ASSIGN(size_t at, read_place(c.input(1), elements.size(), false));
  return c.set_output_value(0, elements[at]);
}

Status infer_sequence_insert(InferContext& c) {
  REDLINE_TRY(expect_sequence(c, 0));
  REDLINE_TRY(c.expect_tensor(1));
  if (c.has_input(2)) REDLINE_TRY(expect_place(c, 2));
  REDLINE_ASSIGN(Type element, join_elements(c, *c.type(0).element, c.type(1)));
  c.set_output(0, Type::sequence(std::move(element)));
  return {};
}

Status reference_sequence_insert(ReferenceContext& c) {
  std::vector<HostValue> elements = c.input_value(0).elements;
  size_t at = elements.size();
  if (c.has_input(2)) {
    REDLINE_ASSIGN(at, read_place(c.input(2), elements.size(), true));
  }
  REDLINE_ASSIGN(HostValue element, own_copy(c.input_value(1)));
  elements.insert(elements.begin() + static_cast<ptrdiff_t>(at), std::move(element));
  return c.set_output_value(0, HostValue::sequence(std::move(elements)));
}

Status infer_sequence_erase(InferContext& c) {
  REDLINE_TRY(expect_sequence(c, 0));
  if (c.has_input(1)) REDLINE_TRY(expect_place(c, 1));
  c.set_output(0, c.type(0));
  return {};
}

Status reference_sequence_erase(ReferenceContext& c) {
  std::vector<HostValue> elements = c.input_value(0).elements;
  if (elements.empty()) return invalid_argument("the sequence is empty");
  size_t at = elements.size() - 1;
  if (c.has_input(1)) {
    REDLINE_ASSIGN(at, read_place(c.input(1), elements.size(), false));
  }
  elements.erase(elements.begin() + static_cast<ptrdiff_t>(at));
  return c.set_output_value(0, HostValue::sequence(std::move(elements)));
}

Status infer_sequence_length(InferContext& c) {
  REDLINE_TRY(expect_sequence(c, 0));
  c.set_output(0, DType::kInt64, SymDims());
  return {};
}

Status reference_sequence_length(ReferenceContext& c) {
  *c.output(0).as<int64_t>() = static_cast<int64_t>(c.input_value(0).elements.size());
  return {};
}

Status infer_split_to_sequence(InferContext& c) {
  const auto& attrs = c.attrs<SplitToSequenceAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  bool listed = c.has_input(1);
  if (listed) {
    REDLINE_TRY(c.expect_tensor(1));
    if (!is_int(c.dtype(1))) return c.input_error(1, "must hold integers");
    if (c.shape(1).has_rank() && c.shape(1).rank() > 1) {
      return c.input_error(1, "must have rank 0 or 1");
    }
  }
  Shape element;
  if (c.shape(0).has_rank()) {
    REDLINE_ASSIGN(int axis, c.normalize_axis(attrs.axis, c.shape(0).rank()));
    SymDims dims = c.shape(0).dims();
    auto at = dims.begin() + axis;
    if (!listed && attrs.keepdims) *at = Dim(1);
    if (!listed && !attrs.keepdims) dims.erase(at);
    // Parts may differ in size, which no one type tells.
    if (!listed) element = std::move(dims);
  }
  c.set_output(0, Type::sequence(Type::tensor(c.dtype(0), std::move(element))));
  return {};
}

Result<std::vector<int64_t>> part_sizes(ReferenceContext& c, int64_t size) {
  // A tensor without elements may have axes of any length.
  constexpr int64_t kMostParts = int64_t{1} << 24;
  std::vector<int64_t> sizes;
  if (size > kMostParts) {
    return unsupported("splitting an axis of ", size, "; the longest supported is ", kMostParts);
  }
  if (!c.has_input(1)) return std::vector<int64_t>(static_cast<size_t>(size), 1);
  std::vector<int64_t> split = read_ints(c.input(1));
  if (c.input(1).dims.rank() > 1) return invalid_argument("split must have rank 0 or 1");
  if (c.input(1).dims.empty()) {
    if (split[0] <= 0) return invalid_argument("parts of size ", split[0]);
    for (int64_t at = 0; at < size; at += std::min(split[0], size - at)) {
      sizes.push_back(std::min(split[0], size - at));
    }
    return sizes;
  }
  int64_t left = size;
  for (int64_t part : split) {
    if (part < 0 || part > left) {
      return invalid_argument("a part of size ", part, " does not fit in what is left of ", size);
    }
    left -= part;
  }
  if (left != 0) return invalid_argument("the parts add up to ", size - left, ", not ", size);
  return split;
}

Status reference_split_to_sequence(ReferenceContext& c) {
  const auto& attrs = c.attrs<SplitToSequenceAttrs>();
  const TensorView& in = c.input(0);
  int64_t axis = attrs.axis < 0 ? attrs.axis + in.dims.rank() : attrs.axis;
  auto at = static_cast<size_t>(axis);
  int64_t size = in.dims[at];
  int64_t outer = in.dims.count(0, static_cast<int>(axis));
  int64_t inner = in.dims.count(static_cast<int>(axis) + 1, in.dims.rank());
  REDLINE_ASSIGN(std::vector<int64_t> sizes, part_sizes(c, size));
  bool drop = !attrs.keepdims && !c.has_input(1);
  std::vector<HostValue> parts;
  int64_t start = 0;
  for (int64_t part : sizes) {
    Dims dims;
    for (size_t d = 0; d < in.dims.size(); ++d) {
      if (d == at && drop) continue;
      dims.push_back(d == at ? part : in.dims[d]);
    }
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(in.dtype, dims));
    with_storage_type(in.dtype, [&](auto element) {
      using T = decltype(element);
      for (int64_t o = 0; o < outer; ++o) {
        std::copy_n(in.as<const T>() + (o * size + start) * inner, part * inner,
                    tensor.mutable_data<T>() + o * part * inner);
      }
    });
    parts.push_back(HostValue::of(std::move(tensor)));
    start += part;
  }
  return c.set_output_value(0, HostValue::sequence(std::move(parts)));
}

Status infer_concat_from_sequence(InferContext& c) {
  const auto& attrs = c.attrs<ConcatFromSequenceAttrs>();
  REDLINE_TRY(expect_sequence(c, 0));
  const Type& element = *c.type(0).element;
  if (!element.is_tensor()) return c.input_error(0, "must hold tensors");
  Shape shape;
  if (element.shape.has_rank()) {
    int rank = element.shape.rank() + (attrs.new_axis ? 1 : 0);
    REDLINE_TRY(check_output_rank(c, rank));
    REDLINE_ASSIGN(int axis, c.normalize_axis(attrs.axis, rank));
    SymDims dims = element.shape.dims();
    if (attrs.new_axis) dims.insert(dims.begin() + axis, Dim(0));
    dims[static_cast<size_t>(axis)] = c.fresh_symbol("concat");
    shape = std::move(dims);
  }
  c.set_output(0, element.dtype, std::move(shape));
  return {};
}

Status reference_concat_from_sequence(ReferenceContext& c) {
  const auto& attrs = c.attrs<ConcatFromSequenceAttrs>();
  std::vector<Tensor> parts;
  for (const HostValue& element : c.input_value(0).elements) parts.push_back(element.tensor);
  if (parts.empty()) return invalid_argument("an empty sequence has nothing to join");
  int rank = parts[0].rank() + (attrs.new_axis ? 1 : 0);
  int64_t axis = attrs.axis < 0 ? attrs.axis + rank : attrs.axis;
  if (axis < 0 || axis >= rank) {
    return invalid_argument("axis ", attrs.axis, " is out of range for rank ", rank);
  }
  int at = static_cast<int>(axis);
  Result<Tensor> joined =
      attrs.new_axis ? stack_tensors(std::move(parts), at) : concat_tensors(parts, at);
  REDLINE_ASSIGN(Tensor tensor, std::move(joined));
  return c.set_output_value(0, HostValue::of(std::move(tensor)));
}

// The body sees one element of each sequence, and tensors as they are.
Status infer_sequence_map(InferContext& c) {
  REDLINE_TRY(expect_sequence(c, 0));
  std::vector<Type> stated = c.subgraph_inputs(0);
  std::vector<Type> types;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.has_input(i)) return c.input_error(i, "is missing");
    const Type& type = c.type(i);
    bool sequence = type.kind == Type::Kind::kSequence;
    types.push_back(sequence ? *type.element : type);
    // Symbols of the body's own stand for each element's sizes.
    Type& own = types.back();
    bool ranked = sequence && own.is_tensor() && !own.shape.has_rank() && i < stated.size() &&
                  stated[i].is_tensor() && stated[i].dtype == own.dtype &&
                  stated[i].shape.has_rank();
    if (ranked) own = stated[i];
  }
  REDLINE_ASSIGN(std::vector<Type> results, c.infer_subgraph(0, types));
  if (results.size() < c.num_outputs()) {
    return c.error(
        str_cat("the body has ", results.size(), " outputs, the node ", c.num_outputs()));
  }
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    Type& element = results[i];
    if (element.is_tensor() && !element.shape.as_static()) element.shape = Shape();
    c.set_output(i, Type::sequence(std::move(element)));
  }
  return {};
}

Status reference_sequence_map(ReferenceContext& c) {
  size_t count = c.input_value(0).elements.size();
  std::vector<std::vector<HostValue>> outputs(c.num_outputs());
  for (size_t k = 0; k < count; ++k) {
    std::vector<HostValue> arguments;
    for (size_t i = 0; i < c.num_inputs(); ++i) {
      if (!c.has_input(i)) return invalid_argument("operand ", i, " is missing");
      const HostValue& value = c.input_value(i);
      if (value.kind != HostValue::Kind::kSequence) {
        arguments.push_back(value);
      } else if (value.elements.size() == count) {
        arguments.push_back(value.elements[k]);
      } else {
        return invalid_argument("sequences of ", count, " and ", value.elements.size(),
                                " elements do not go together");
      }
    }
    REDLINE_ASSIGN(std::vector<HostValue> results, c.run_subgraph(0, arguments));
    if (results.size() < outputs.size()) return internal_error("outputs are missing");
    for (size_t i = 0; i < outputs.size(); ++i) outputs[i].push_back(std::move(results[i]));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    REDLINE_TRY(c.set_output_value(i, HostValue::sequence(std::move(outputs[i]))));
  }
  return {};
}

Status infer_optional(InferContext& c) {
  const auto& attrs = c.attrs<OptionalAttrs>();
  Type element = Type::tensor(attrs.dtype);
  if (attrs.sequence) element = Type::sequence(std::move(element));
  c.set_output(0, Type::optional(c.has_input(0) ? c.type(0) : element));
  return {};
}

Status reference_optional(ReferenceContext& c) {
  std::vector<HostValue> element;
  if (c.has_input(0)) {
    REDLINE_ASSIGN(HostValue own, own_copy(c.input_value(0)));
    element.push_back(std::move(own));
  }
  return c.set_output_value(0, HostValue::optional(std::move(element)));
}

Status infer_optional_get_element(InferContext& c) {
  const Type& type = c.type(0);
  c.set_output(0, type.kind == Type::Kind::kOptional ? *type.element : type);
  return {};
}

Status reference_optional_get_element(ReferenceContext& c) {
  const HostValue& value = c.input_value(0);
  if (value.kind == HostValue::Kind::kOptional) {
    if (value.elements.empty()) return invalid_argument("the optional is empty");
    return c.set_output_value(0, value.elements[0]);
  }
  REDLINE_ASSIGN(HostValue own, own_copy(value));
  return c.set_output_value(0, std::move(own));
}

Status infer_optional_has_element(InferContext& c) {
  c.set_output(0, DType::kBool, SymDims());
  return {};
}

Status reference_optional_has_element(ReferenceContext& c) {
  bool empty = !c.has_input(0) || (c.input_value(0).kind == HostValue::Kind::kOptional &&
                                   c.input_value(0).elements.empty());
  *c.output(0).as<uint8_t>() = !empty;
  return {};
}

}  // namespace

void register_op_sequence(OpRegistry& registry) {
  registry.add({.name = "sequence_empty",
                .outputs = {{"sequence"}},
                .attrs = attrs_type<SequenceEmptyAttrs>(),
                .infer = infer_sequence_empty,
                .reference = reference_sequence_empty});
  registry.add({.name = "sequence_construct",
                .inputs = {{"elements", Arity::kVariadic}},
                .outputs = {{"sequence"}},
                .infer = infer_sequence_construct,
                .reference = reference_sequence_construct});
  registry.add({.name = "sequence_at",
                .inputs = {{"sequence"}, {"place"}},
                .outputs = {{"element"}},
                .infer = infer_sequence_at,
                .reference = reference_sequence_at});
  registry.add({.name = "sequence_insert",
                .inputs = {{"sequence"}, {"element"}, {"place", Arity::kOptional}},
                .outputs = {{"result"}},
                .infer = infer_sequence_insert,
                .reference = reference_sequence_insert});
  registry.add({.name = "sequence_erase",
                .inputs = {{"sequence"}, {"place", Arity::kOptional}},
                .outputs = {{"result"}},
                .infer = infer_sequence_erase,
                .reference = reference_sequence_erase});
  registry.add({.name = "sequence_length",
                .inputs = {{"sequence"}},
                .outputs = {{"length"}},
                .infer = infer_sequence_length,
                .reference = reference_sequence_length});
  registry.add({.name = "split_to_sequence",
                .inputs = {{"x"}, {"split", Arity::kOptional}},
                .outputs = {{"sequence"}},
                .attrs = attrs_type<SplitToSequenceAttrs>(),
                .infer = infer_split_to_sequence,
                .reference = reference_split_to_sequence});
  registry.add({.name = "concat_from_sequence",
                .inputs = {{"sequence"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<ConcatFromSequenceAttrs>(),
                .infer = infer_concat_from_sequence,
                .reference = reference_concat_from_sequence});
  registry.add({.name = "sequence_map",
                .inputs = {{"sequence"}, {"operands", Arity::kVariadic}},
                .outputs = {{"sequences", Arity::kVariadic}},
                .num_subgraphs = 1,
                .infer = infer_sequence_map,
                .reference = reference_sequence_map});
  registry.add({.name = "optional",
                .inputs = {{"x", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<OptionalAttrs>(),
                .infer = infer_optional,
                .reference = reference_optional});
  registry.add({.name = "optional_get_element",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .infer = infer_optional_get_element,
                .reference = reference_optional_get_element});
  registry.add({.name = "optional_has_element",
                .inputs = {{"x", Arity::kOptional}},
                .outputs = {{"y"}},
                .infer = infer_optional_has_element,
                .reference = reference_optional_has_element});
}

}  // namespace redline
