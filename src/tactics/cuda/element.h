// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/nvrtc.h"
#include "ops/body.h"
#include "tactics/tactic.h"

// The loop-nest generator. An op says, in CUDA C++, what one element of its output is, given that
// elements of its inputs can be read at any index. From that come a kernel for the op alone and, as
// movement is then only an index expression, one kernel for any chain of such ops.
namespace redline {

// Where an element is: one integer expression an axis.
using ElementIndex = std::vector<std::string>;

// The C++ type that values of this element type are computed in: float for small floats, i64 or u64
// for integers, bool; "" for strings.
std::string_view compute_type(DType dtype);
// How they lie in memory: "f16", "i32", "b8".
std::string_view storage_type(DType dtype);
// "const TYPE* ", how a kernel takes an input. Only constants are __restrict__: compilers may move
// loads of what nobody writes in front of the wait for the former kernel, which may be writing it.
std::string pointer_to(const OperandDesc& input, std::string_view type);
std::string float_literal(double value, std::string_view type);

// A tensor as a rule sees it.
struct ElementOperand {
  bool present = false;
  DType dtype = DType::kFloat32;
  std::vector<std::string> dims;     // numbers, or names of kernel parameters
  const Tensor* constant = nullptr;  // its value, when that is known to the builder
  int rank() const { return static_cast<int>(dims.size()); }
  std::optional<int64_t> static_dim(int axis) const;
  // Row-major offset of an index.
  std::string offset(const ElementIndex& at) const;
  std::string count() const;
};

class ElementWriter;

// What the rule of an op works with. Statements go to the place in the kernel where the element is
// wanted; names it makes are good until the block it opened is closed.
class ElementContext {
 public:
  const BodyNode& node() const { return *node_; }
  template <class A>
  const A& attrs() const {
    return node_->attrs.as<A>();
  }
  size_t num_inputs() const { return inputs_.size(); }
  bool has_input(size_t i) const { return i < inputs_.size() && inputs_[i].present; }
  const ElementOperand& input(size_t i) const { return inputs_[i]; }
  const ElementOperand& output() const { return output_; }
  size_t output_number() const { return output_number_; }

  // The element of input i there, in the input's compute type. The index must be within its sizes,
  // and the value needed: a read under a condition belongs in a block of that condition.
  Result<std::string> read(size_t i, const ElementIndex& at);
  // The value of a small integer input, as numbers; unsupported when the builder does not know it.
  Result<std::vector<int64_t>> constant_ints(size_t i) const;

  // "type name = value;" with a fresh name, which it returns. `let` is const.
  std::string let(std::string_view type, std::string_view value);
  std::string variable(std::string_view type, std::string_view value);
  void line(std::string_view statement);
  void open(std::string_view head);  // "for (...)" or "if (...)": opens a block
  void close();
  // Opens "for (idx name = 0; name < count; ++name)" and returns the name.
  std::string loop(std::string_view count);
  // Where the condition holds, an operand names what is not there: the run fails. What the element
  // is then does not matter, but nothing may be read outside of the operands.
  void refuse_if(std::string_view condition);
  // A function before the kernel; the same text is written once.
  void function(std::string_view text);

 private:
  friend class ElementWriter;
  ElementWriter* writer_ = nullptr;
  const BodyNode* node_ = nullptr;
  std::vector<ElementOperand> inputs_;
  std::vector<int> values_;
  ElementOperand output_;
  size_t output_number_ = 0;
};

// How one family of ops makes an element. `element` returns an expression of the output's compute
// type without side effects (a name, a literal). `supports` is for what the types alone cannot say;
// null: any attributes.
struct ElementRule {
  std::vector<std::string> ops;
  Status (*supports)(const BodyNode& node, const std::vector<ElementOperand>& inputs) = nullptr;
  Result<std::string> (*element)(ElementContext& context, const ElementIndex& at) = nullptr;
  // The elements of one output cost a loop over this much of an input each: such an op is a
  // kernel's root, never read many times by another.
  bool loops = false;
  // It calls refuse_if().
  bool refuses = false;
};

class ElementRegistry {
 public:
  void add(ElementRule rule);
  const ElementRule* find(std::string_view op) const;
  std::vector<std::string> ops() const;

 private:
  std::vector<std::unique_ptr<ElementRule>> rules_;
  std::map<std::string, const ElementRule*, std::less<>> by_op_;
};

// Every rule of the folder elements/. Made once, read-only.
const ElementRegistry& element_rules();
void register_element_all(ElementRegistry& registry);

// OK when every op of the problem has a rule that takes it.
Status element_supports(const Problem& problem);

// Threads of a block; each makes one element.
inline constexpr int kElementThreads = 256;

// The kernel of output `output`: parameters are the inputs' addresses, the output's address, the
// sizes that are not known, in the order of element_parameters(), and KernelArgs::refused.
std::string element_entry(const Problem& problem, size_t output);
struct ElementKernel {
  std::string entry;
  std::string text;
};
Result<ElementKernel> write_element_kernel(const Problem& problem, size_t output);

// An unknown size: which operand and axis gives its value at run time.
struct ElementParameter {
  bool output = false;
  size_t operand = 0;
  int axis = 0;
};
std::vector<ElementParameter> element_parameters(const Problem& problem);

// Their values, in that order, when a kernel that was written for `written` runs on `problem`.
std::vector<int64_t> parameter_values(const Problem& written, const Problem& problem);

// Whether 32-bit indices reach all elements; they are several times cheaper to take apart.
bool fits_short_indices(const Problem& problem);
// The kernel with 32-bit indices, or with 64-bit ones.
cuda::KernelSource indexed_source(const ElementKernel& kernel, bool wide,
                                  const cuda::DeviceInfo& device);
// With the indices that the problem wants, or both forms, the short one first, where sizes may
// grow.
std::vector<cuda::KernelSource> indexed_sources(const ElementKernel& kernel, const Problem& problem,
                                                const cuda::DeviceInfo& device);

}  // namespace redline
