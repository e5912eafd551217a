// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/element.h"

#include <cmath>
#include <cstdio>

#include "ops/elements.h"
#include "ops/fused.h"
#include "tactics/cuda/element_writer.h"

namespace redline {

std::string_view storage_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return "double";
    case DType::kFloat32:
      return "float";
    case DType::kFloat16:
      return "f16";
    case DType::kBFloat16:
      return "bf16";
    case DType::kBool:
      return "b8";
    case DType::kString:
      return "";
    default:
      return dtype_name(dtype);  // i8, u4, f8e4m3fn: types of kernels/cuda/types.cuh
  }
}

std::string_view compute_type(DType dtype) {
  if (dtype == DType::kFloat64) return "double";
  if (is_float(dtype)) return "float";
  if (is_signed_int(dtype)) return "i64";
  if (is_unsigned_int(dtype)) return "u64";
  return dtype == DType::kBool ? "bool" : "";
}

std::string pointer_to(const OperandDesc& input, std::string_view type) {
  return str_cat("const ", type, input.is_constant() ? "* __restrict__ " : "* ");
}

std::string float_literal(double value, std::string_view type) {
  std::string name(type);
  if (std::isnan(value)) return name + "(NAN)";
  if (std::isinf(value)) return name + (value > 0 ? "(INFINITY)" : "(-INFINITY)");
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", value);
  return str_cat(name, "(", text, ")");
}

std::optional<int64_t> ElementOperand::static_dim(int axis) const {
  const std::string& dim = dims[static_cast<size_t>(axis)];
  if (dim.empty() || dim[0] < '0' || dim[0] > '9') return std::nullopt;
  return std::stoll(dim);
}

std::string ElementOperand::offset(const ElementIndex& at) const {
  std::string text;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    if (text.empty()) {
      text = str_cat("(", at[axis], ")");
    } else if (text == "(0)" || text == "0") {
      text = str_cat("(", at[axis], ")");
    } else {
      text = str_cat("(", text, " * ", dims[axis], " + (", at[axis], "))");
    }
  }
  return text.empty() ? "0" : text;
}

std::string ElementOperand::count() const {
  std::string text = "idx(1)";
  for (const std::string& dim : dims) text += " * " + dim;
  return text;
}

Result<std::string> ElementContext::read(size_t i, const ElementIndex& at) {
  return writer_->element(values_[i], at);
}

Result<std::vector<int64_t>> ElementContext::constant_ints(size_t i) const {
  if (inputs_[i].constant == nullptr) {
    return unsupported("operand ", i, " of ", node_->op->name, " must be a constant here");
  }
  return read_ints(inputs_[i].constant->view());
}

std::string ElementContext::let(std::string_view type, std::string_view value) {
  std::string name = writer_->fresh("v");
  writer_->line(str_cat("const ", type, " ", name, " = ", value, ";"));
  return name;
}

std::string ElementContext::variable(std::string_view type, std::string_view value) {
  std::string name = writer_->fresh("v");
  writer_->line(str_cat(type, " ", name, " = ", value, ";"));
  return name;
}

void ElementContext::line(std::string_view statement) { writer_->line(statement); }
void ElementContext::open(std::string_view head) { writer_->open(head); }
void ElementContext::close() { writer_->close(); }

std::string ElementContext::loop(std::string_view count) {
  std::string name = writer_->fresh("i");
  writer_->open(str_cat("for (idx ", name, " = 0; ", name, " < ", count, "; ++", name, ")"));
  return name;
}

void ElementContext::refuse_if(std::string_view condition) {
  writer_->line(str_cat("if (", condition, ") refuse(refused);"));
}
void ElementContext::function(std::string_view text) { writer_->function(text); }

void ElementRegistry::add(ElementRule rule) {
  rules_.push_back(std::make_unique<ElementRule>(std::move(rule)));
  for (const std::string& op : rules_.back()->ops) {
    REDLINE_ASSERT(!by_op_.contains(op));
    by_op_[op] = rules_.back().get();
  }
}

const ElementRule* ElementRegistry::find(std::string_view op) const {
  auto it = by_op_.find(op);
  return it == by_op_.end() ? nullptr : it->second;
}

std::vector<std::string> ElementRegistry::ops() const {
  std::vector<std::string> names;
  for (const auto& [name, rule] : by_op_) names.push_back(name);
  return names;
}

const ElementRegistry& element_rules() {
  static const ElementRegistry registry = [] {
    ElementRegistry made;
    register_element_all(made);
    return made;
  }();
  return registry;
}

Status element_supports(const Problem& problem) {
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present) continue;
      if (!operand.is_tensor || !operand.has_rank)
        return unsupported("takes tensors of known rank");
      if (operand.dtype == DType::kString) return unsupported("takes no strings");
    }
  }
  ElementWriter writer(problem);
  return writer.check();
}

std::vector<ElementParameter> element_parameters(const Problem& problem) {
  std::vector<ElementParameter> parameters;
  auto collect = [&](const std::vector<OperandDesc>& operands, bool output) {
    for (size_t i = 0; i < operands.size(); ++i) {
      if (!operands[i].present) continue;
      for (int axis = 0; axis < operands[i].dims.rank(); ++axis) {
        if (operands[i].dims[static_cast<size_t>(axis)] == kDynamicDim) {
          parameters.push_back({output, i, axis});
        }
      }
    }
  };
  collect(problem.inputs, false);
  collect(problem.outputs, true);
  return parameters;
}

std::vector<int64_t> parameter_values(const Problem& written, const Problem& problem) {
  std::vector<int64_t> sizes;
  for (const ElementParameter& p : element_parameters(written)) {
    const OperandDesc& operand = (p.output ? problem.outputs : problem.inputs)[p.operand];
    sizes.push_back(operand.dims[static_cast<size_t>(p.axis)]);
  }
  return sizes;
}

bool fits_short_indices(const Problem& problem) {
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (operand.present && operand.dims.count() > problem.most_short_indices) return false;
    }
  }
  return true;
}

cuda::KernelSource indexed_source(const ElementKernel& kernel, bool wide,
                                  const cuda::DeviceInfo& device) {
  return {kernel.entry,
          kernel.text,
          device.arch(),
          {str_cat("-DREDLINE_INDEX=", wide ? "long long" : "int")}};
}

std::vector<cuda::KernelSource> indexed_sources(const ElementKernel& kernel, const Problem& problem,
                                                const cuda::DeviceInfo& device) {
  if (element_parameters(problem).empty()) {
    return {indexed_source(kernel, !fits_short_indices(problem), device)};
  }
  return {indexed_source(kernel, false, device), indexed_source(kernel, true, device)};
}

std::string element_entry(const Problem& problem, size_t output) {
  return str_cat("element_", problem.op->name, "_", output);
}

Result<ElementKernel> write_element_kernel(const Problem& problem, size_t output) {
  ElementWriter writer(problem);
  return writer.kernel(output);
}

}  // namespace redline
