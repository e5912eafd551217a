// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/element_writer.h"

#include <algorithm>

#include "kernels/cuda/sources.h"
#include "ops/constant.h"
#include "ops/fused.h"

namespace redline {
namespace {

bool is_constant_node(const BodyNode& node) { return node.op->name == "constant"; }

std::string parameter_name(const ElementParameter& p) {
  return str_cat(p.output ? "o" : "i", p.operand, "_", p.axis);
}

std::string dim_text(const OperandDesc& operand, bool output, size_t number, int axis) {
  int64_t dim = operand.dims[static_cast<size_t>(axis)];
  return dim == kDynamicDim ? parameter_name({output, number, axis}) : std::to_string(dim);
}

ElementOperand describe(const OperandDesc& operand, bool output, size_t number) {
  ElementOperand result;
  result.present = operand.present;
  if (!operand.present) return result;
  result.dtype = operand.dtype;
  result.constant = operand.constant;
  for (int axis = 0; axis < operand.dims.rank(); ++axis) {
    result.dims.push_back(dim_text(operand, output, number, axis));
  }
  return result;
}

ElementOperand describe(const Type& type) {
  ElementOperand result;
  result.present = true;
  result.dtype = type.dtype;
  for (const Dim& dim : type.shape.dims()) result.dims.push_back(dim.to_string());
  return result;
}

Type type_of(const ElementOperand& operand) {
  SymDims dims;
  for (int axis = 0; axis < operand.rank(); ++axis) {
    std::optional<int64_t> size = operand.static_dim(axis);
    dims.push_back(size ? Dim(*size) : Dim::symbol(operand.dims[static_cast<size_t>(axis)]));
  }
  return Type::tensor(operand.dtype, std::move(dims));
}

}  // namespace

ElementWriter::ElementWriter(const Problem& problem) : problem_(problem), body_(body_of(problem)) {
  for (const ElementParameter& p : element_parameters(problem)) {
    parameters_.push_back(parameter_name(p));
  }
  described_ = describe_values();
}

Status ElementWriter::describe_values() {
  std::vector<Type> inputs;
  std::vector<const Tensor*> constants;
  for (size_t i = 0; i < problem_.inputs.size(); ++i) {
    values_.push_back(describe(problem_.inputs[i], false, i));
    made_.push_back({});
    inputs.push_back(values_[i].present ? type_of(values_[i]) : Type());
    constants.push_back(values_[i].constant);
  }
  bool single = !problem_.is("fused");
  std::vector<Type> types;
  if (!single) {
    REDLINE_ASSIGN(types, infer_body(body_, inputs, constants));
  }
  for (size_t n = 0; n < body_.nodes.size(); ++n) {
    for (int i = 0; i < body_.nodes[n].num_outputs; ++i) {
      if (!single && !types[values_.size()].shape.has_rank()) {
        return unsupported("the rank of a value inside is not known");
      }
      values_.push_back(single ? ElementOperand() : describe(types[values_.size()]));
      made_.push_back({static_cast<int>(n), static_cast<size_t>(i)});
      if (is_constant_node(body_.nodes[n])) {
        values_.back().constant = &body_.nodes[n].attrs.as<ConstantAttrs>().value;
      }
    }
  }
  // What the plan says of the results holds: the body's own rules may have had to invent sizes.
  for (size_t i = 0; i < body_.outputs.size(); ++i) {
    auto v = static_cast<size_t>(body_.outputs[i]);
    if (made_[v].node >= 0) values_[v] = describe(problem_.outputs[i], true, i);
  }
  return {};
}

Status ElementWriter::check() const { return check_around(-1); }

Status ElementWriter::check_around(int anchor) const {
  REDLINE_TRY(described_);
  for (const BodyNode& node : body_.nodes) {
    if (anchor >= 0 && &node == &body_.nodes[static_cast<size_t>(anchor)]) continue;
    if (is_constant_node(node)) {
      const Tensor& value = node.attrs.as<ConstantAttrs>().value;
      if (!value.defined() || value.count() != 1)
        return unsupported("a constant of several elements");
      continue;
    }
    const ElementRule* rule = element_rules().find(node.op->name);
    if (rule == nullptr) return unsupported("no generated kernel for ", node.op->name, " yet");
    if (rule->loops && body_.nodes.size() > 1) {
      return unsupported(node.op->name, " in a region wants a kernel of its own");
    }
    if (rule->refuses && body_.nodes.size() > 1) {
      return unsupported(node.op->name, " in a region would not say what it refuses");
    }
    if (rule->supports == nullptr) continue;
    std::vector<ElementOperand> inputs;
    for (int v : node.inputs) {
      inputs.push_back(v < 0 ? ElementOperand() : values_[static_cast<size_t>(v)]);
    }
    REDLINE_TRY(rule->supports(node, inputs));
  }
  for (const ElementOperand& value : values_) {
    for (const std::string& dim : value.dims) {
      if (dim.find("body") != std::string::npos) return unsupported("a size inside is not known");
    }
  }
  return {};
}

void ElementWriter::line(std::string_view statement) {
  body_text_.append(2 * scopes_.size(), ' ');
  body_text_ += statement;
  body_text_ += '\n';
}

void ElementWriter::open(std::string_view head) {
  line(str_cat(head, " {"));
  scopes_.emplace_back();
}

void ElementWriter::close() {
  scopes_.pop_back();
  line("}");
}

void ElementWriter::function(std::string_view text) {
  if (known_functions_.emplace(text).second) functions_.emplace_back(text);
}

Result<std::string> ElementWriter::load(int input, const ElementIndex& at) {
  if (auto lanes = lanes_of_input_.find(input); lane_ >= 0 && lanes != lanes_of_input_.end()) {
    return lanes->second[static_cast<size_t>(lane_)];
  }
  const ElementOperand& operand = values_[static_cast<size_t>(input)];
  bool whole = at == output_index_ && operand.dims == output_dims_;
  std::string offset = whole ? "linear" : operand.offset(at);
  return str_cat("widen(in", input, "[", offset, "])");
}

void ElementWriter::begin() {
  body_text_.clear();
  scopes_.assign(1, {});
  bound_.clear();
  output_index_.clear();
  output_dims_.clear();
  lanes_of_input_.clear();
  lane_ = -1;
}

void ElementWriter::set_dims(int v, std::vector<std::string> dims) {
  values_[static_cast<size_t>(v)].dims = std::move(dims);
}

std::vector<int> ElementWriter::inputs_of(int v) const {
  std::vector<int> inputs;
  std::vector<int> open = {v};
  std::set<int> seen;
  while (!open.empty()) {
    int at = open.back();
    open.pop_back();
    if (at < 0 || bound_.contains(at) || !seen.insert(at).second) continue;
    int node = made_[static_cast<size_t>(at)].node;
    if (node < 0) {
      inputs.push_back(at);
    } else {
      const std::vector<int>& from = body_.nodes[static_cast<size_t>(node)].inputs;
      open.insert(open.end(), from.begin(), from.end());
    }
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

std::string ElementWriter::functions_text() const {
  std::string text;
  for (const std::string& f : functions_) text += f + "\n";
  return text;
}

ElementKernel ElementWriter::whole(const std::string& entry, int threads,
                                   const std::vector<std::string>& files,
                                   const std::string& statements,
                                   const std::vector<std::string>& more, int together) const {
  std::vector<std::string> rest;
  std::string named;
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    std::string_view type = storage_type(problem_.outputs[i].dtype);
    rest.push_back(str_cat("void* __restrict__ out_raw", i));
    named += str_cat(type, "* const out", i, " = (", type, "*)out_raw", i, ";\n");
  }
  for (const std::string& parameter : parameters_) {
    rest.push_back("const i64 p_" + parameter);
    named += str_cat("const idx ", parameter, " = (idx)p_", parameter, ";\n");
  }
  rest.insert(rest.end(), more.begin(), more.end());
  rest.emplace_back("u32* refused");
  std::string bounds = str_cat(threads, ", ", std::max(1, together / threads));
  return {entry, source_text(signature(entry, bounds, rest), files, named + statements)};
}

void ElementWriter::take_sizes(const KernelSizes& sizes, std::vector<std::string>& files,
                               std::vector<std::string>& parameters, std::string& statements) {
  std::vector<std::string> own = sizes.parameter_list();
  if (own.empty()) return;
  function(str_cat("struct Geometry {\n", sizes.members(), "};"));
  files.emplace_back("division.cuh");
  parameters.insert(parameters.end(), own.begin(), own.end());
  statements = sizes.definition() + statements;
}

ElementKernel ElementWriter::whole(const std::string& entry, int threads,
                                   std::vector<std::string> files, std::string statements,
                                   const KernelSizes& sizes) {
  std::vector<std::string> more;
  take_sizes(sizes, files, more, statements);
  return std::as_const(*this).whole(entry, threads, files, statements, more);
}

ElementContext ElementWriter::context_of(const BodyNode& node, size_t output) {
  ElementContext context;
  context.writer_ = this;
  context.node_ = &node;
  for (int v : node.inputs) {
    context.inputs_.push_back(v < 0 ? ElementOperand() : values_[static_cast<size_t>(v)]);
  }
  context.values_ = node.inputs;
  context.output_number_ = output;
  return context;
}

Result<std::string> ElementWriter::element(int value, const ElementIndex& at) {
  std::string key = std::to_string(value);
  for (const std::string& axis : at) key += "@" + axis;
  for (const auto& scope : scopes_) {
    if (auto found = scope.find(key); found != scope.end()) return found->second;
  }
  if (auto found = bound_.find(value); found != bound_.end()) return found->second;
  const ElementOperand& operand = values_[static_cast<size_t>(value)];
  Made made = made_[static_cast<size_t>(value)];
  std::string text;
  if (made.node < 0) {
    REDLINE_ASSIGN(text, load(value, at));
  } else {
    const BodyNode& node = body_.nodes[static_cast<size_t>(made.node)];
    if (is_constant_node(node)) {
      const Tensor& tensor = node.attrs.as<ConstantAttrs>().value;
      // Bits, so that NaN and the last digit survive.
      std::string bytes;
      for (size_t i = 0; i < tensor.bytes(); ++i) {
        bytes += str_cat(i ? ", " : "",
                         std::to_integer<int>(static_cast<const std::byte*>(tensor.raw())[i]));
      }
      std::string name = fresh("c");
      std::string_view type = storage_type(operand.dtype);
      line(str_cat("union { unsigned char bytes[sizeof(", type, ")]; ", type, " value; } ", name,
                   " = {{", bytes, "}};"));
      text = str_cat("widen(", name, ".value)");
    } else {
      ElementContext context = context_of(node, made.output);
      context.output_ = operand;
      REDLINE_ASSIGN(text, element_rules().find(node.op->name)->element(context, at));
    }
  }
  std::string name = fresh("e");
  line(str_cat("const ", compute_type(operand.dtype), " ", name, " = ", text, ";"));
  scopes_.back()[key] = name;
  return name;
}

// The first line of a kernel: the inputs, then the `rest` of the parameters.
std::string ElementWriter::signature(const std::string& name, const std::string& bounds,
                                     const std::vector<std::string>& rest) const {
  std::string text;
  auto add = [&](const std::string& parameter) { text += (text.empty() ? "" : ", ") + parameter; };
  for (size_t i = 0; i < problem_.inputs.size(); ++i) {
    const OperandDesc& input = problem_.inputs[i];
    std::string_view type = input.present ? storage_type(input.dtype) : "void";
    add(str_cat(pointer_to(input, type), "in", i));
  }
  for (const std::string& parameter : rest) add(parameter);
  return str_cat("extern \"C\" __global__ void __launch_bounds__(", bounds, ") ", name, "(", text,
                 ")");
}

Result<ElementKernel> ElementWriter::kernel(size_t output) {
  REDLINE_TRY(check());
  body_text_.clear();
  functions_.clear();
  known_functions_.clear();
  next_name_ = 0;
  int value = body_.outputs[output];
  ElementOperand target = describe(problem_.outputs[output], true, output);
  output_dims_ = target.dims;
  output_index_.clear();
  scopes_.assign(1, {});
  line("wait_for_former();");
  line("release_next();");
  for (const std::string& parameter : parameters_) {
    line(str_cat("const idx ", parameter, " = (idx)p_", parameter, ";"));
  }
  std::string_view storage = storage_type(target.dtype);
  line(str_cat(storage, "* out = (", storage, "*)out_raw;"));
  line(str_cat("const idx total = ", target.count(), ";"));
  line(str_cat("const idx linear = (idx)blockIdx.x * ", kElementThreads, " + threadIdx.x;"));
  line("if (linear >= total) return;");
  if (target.rank() > 0) line("idx rest = linear;");
  for (int axis = target.rank(); axis-- > 0;) {
    output_index_.insert(output_index_.begin(), str_cat("x", axis));
    const std::string& dim = target.dims[static_cast<size_t>(axis)];
    if (axis == 0) {
      line("const idx x0 = rest;");
    } else {
      line(str_cat("const idx x", axis, " = rest % ", dim, ";"));
      line(str_cat("rest /= ", dim, ";"));
    }
  }
  REDLINE_ASSIGN(std::string result, element(value, output_index_));
  line(str_cat("narrow(&out[linear], ", result, ");"));
  std::string name = element_entry(problem_, output);
  std::vector<std::string> rest = {"void* __restrict__ out_raw"};
  for (const std::string& parameter : parameters_) rest.push_back("const i64 p_" + parameter);
  rest.emplace_back("u32* refused");
  return ElementKernel{
      name, source_text(signature(name, std::to_string(kElementThreads), rest), {}, body_text_)};
}

std::string ElementWriter::source_text(const std::string& signature,
                                       const std::vector<std::string>& files,
                                       const std::string& statements) const {
  std::string text;
  for (const char* file : {"types.cuh", "math.cuh", "index.cuh", "arch/pdl.cuh"}) {
    text += kernels::cuda::source(file);
  }
  for (const std::string& file : files) text += kernels::cuda::source(file);
  return text + functions_text() + signature + " {\n" + statements + "}\n";
}

// Names the lanes of an input at the first lane's index: one wide load, or one element for all.
void ElementWriter::load_lanes(int input, const ElementIndex& at, int lanes,
                               std::string_view left) {
  const ElementOperand& operand = values_[static_cast<size_t>(input)];
  std::vector<std::string>& names = lanes_of_input_[input];
  names.clear();
  ElementIndex from;
  for (size_t axis = 0; axis < at.size(); ++axis) {
    from.push_back(operand.dims[axis] == "1" ? "0" : at[axis]);
  }
  std::string name = fresh("q");
  std::string place = str_cat("in", input, " + ", operand.offset(from));
  if (operand.dims.back() == "1") {
    line(str_cat("const ", compute_type(operand.dtype), " ", name, " = widen(*(", place, "));"));
    names.assign(static_cast<size_t>(lanes), name);
    return;
  }
  std::string loaded = left.empty()
                           ? str_cat("load_lanes<", lanes, ">(", place, ");")
                           : str_cat("load_first_lanes<", lanes, ">(", place, ", ", left, ");");
  line(str_cat("const lanes_of<", storage_type(operand.dtype), ", ", lanes, "> ", name, " = ",
               loaded));
  for (int lane = 0; lane < lanes; ++lane) {
    names.push_back(str_cat("widen(", name, ".element[", lane, "])"));
  }
}

// Names the index along each axis of a group's first element.
ElementIndex ElementWriter::take_apart(const VectorAxes& axes, const std::string& linear) {
  std::string rest = fresh("rest");
  line(str_cat("idx ", rest, " = ", linear, ";"));
  ElementIndex at(axes.rows.size());
  for (size_t axis = axes.rows.size(); axis-- > 0;) {
    const std::string& size = axes.rows[axis];
    at[axis] = fresh("x");
    std::string name = str_cat("row", axis);
    if (axis == 0 || axes.sizes.size(name).known) {
      line(str_cat("const idx ", at[axis], " = ", rest, axis > 0 ? str_cat(" % ", size) : "", ";"));
      if (axis > 0) line(str_cat(rest, " /= ", size, ";"));
      continue;
    }
    std::string quotient = fresh("rest");
    line(str_cat("idx ", quotient, " = ", axes.sizes.divided(rest, name), ";"));
    line(str_cat("const idx ", at[axis], " = ", rest, " - ", quotient, " * ", size, ";"));
    rest = quotient;
  }
  return at;
}

Status ElementWriter::write_group(const VectorAxes& axes, const std::string& linear) {
  ElementIndex at = take_apart(axes, linear);
  int lanes = axes.lanes;
  std::string left = axes.even ? "" : str_cat("sizes.elements - ", linear);
  for (size_t i = 0; i < problem_.inputs.size(); ++i) {
    if (!problem_.inputs[i].present) continue;
    ElementIndex from = at;
    for (size_t axis = 0; axis < at.size(); ++axis) {
      const std::string& size = axes.inputs[i][axis];
      if (size == "1" || size == axes.rows[axis]) continue;
      from[axis] = str_cat("(", size, " == 1 ? 0 : ", at[axis], ")");
    }
    load_lanes(static_cast<int>(i), from, lanes, left);
  }
  std::vector<std::string> results;
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    results.push_back(fresh("r"));
    line(str_cat("lanes_of<", storage_type(problem_.outputs[i].dtype), ", ", lanes, "> ",
                 results.back(), ";"));
  }
  for (lane_ = 0; lane_ < lanes; ++lane_) {
    open("");
    for (size_t i = 0; i < problem_.outputs.size(); ++i) {
      Result<std::string> value = element(body_.outputs[i], at);
      if (!value.ok()) {
        lane_ = -1;
        return value.status();
      }
      line(str_cat("narrow(&", results[i], ".element[", lane_, "], ", *value, ");"));
    }
    close();
  }
  lane_ = -1;
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    line(axes.even ? str_cat("store_lanes(out", i, " + ", linear, ", ", results[i], ");")
                   : str_cat("store_first_lanes(out", i, " + ", linear, ", ", results[i], ", ",
                             left, ");"));
  }
  return {};
}

Result<ElementKernel> ElementWriter::vector_kernel(const std::string& entry, const VectorAxes& axes,
                                                   int unroll, int threads) {
  REDLINE_TRY(check());
  next_name_ = 0;
  scopes_.assign(1, {});
  // Between inputs and outputs every value has the output's sizes: broadcasting is the loads'
  // matter.
  for (size_t v = 0; v < values_.size(); ++v) {
    values_[v].dims = v < axes.inputs.size() ? axes.inputs[v] : axes.rows;
  }
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    std::string_view type = storage_type(problem_.outputs[i].dtype);
    line(str_cat(type, "* out", i, " = (", type, "*)out_raw", i, ";"));
  }
  line(str_cat("const idx first = (idx)blockIdx.x * ", threads * unroll, " + threadIdx.x;"));
  for (int u = 0; u < unroll; ++u) {
    open(str_cat("if (first + ", u * threads, " < ", axes.groups, ")"));
    std::string linear = fresh("linear");
    line(str_cat("const idx ", linear, " = (first + ", u * threads, ") * ", axes.lanes, ";"));
    REDLINE_TRY(write_group(axes, linear));
    close();
  }
  std::vector<std::string> rest;
  for (size_t i = 0; i < problem_.outputs.size(); ++i) {
    rest.push_back(str_cat("void* __restrict__ out_raw", i));
  }
  std::vector<std::string> files = {"lanes.cuh"};
  if (!axes.even) files.emplace_back("first_lanes.cuh");
  std::string statements = "wait_for_former();\nrelease_next();\n" + body_text_;
  take_sizes(axes.sizes, files, rest, statements);
  return ElementKernel{
      entry, source_text(signature(entry, std::to_string(threads), rest), files, statements)};
}

}  // namespace redline
