// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <stdexcept>

#include "build/build.h"
#include "onnx/importer.h"
#include "runtime/executor.h"

namespace nb = nanobind;

namespace redline {
namespace {

void check(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.to_string());
}
template <class T>
T take(Result<T> result) {
  check(result.status());
  return *std::move(result);
}

// numpy's (or ml_dtypes') name of each element type.
constexpr const char* kNumpyNames[kNumDTypes] = {"float64",        "float32",
                                                 "float16",        "bfloat16",
                                                 "float8_e4m3fn",  "float8_e4m3fnuz",
                                                 "float8_e5m2",    "float8_e5m2fnuz",
                                                 "float8_e8m0fnu", "float4_e2m1fn",
                                                 "int64",          "int32",
                                                 "int16",          "int8",
                                                 "int4",           "int2",
                                                 "uint64",         "uint32",
                                                 "uint16",         "uint8",
                                                 "uint4",          "uint2",
                                                 "bool",           "object"};

struct Numpy {
  nb::object numpy = nb::module_::import_("numpy");
  nb::object dtypes = nb::module_::import_("ml_dtypes");
  nb::object dtype(DType d) const {
    const char* name = kNumpyNames[static_cast<int>(d)];
    nb::object from = nb::hasattr(dtypes, name) ? dtypes : numpy;
    if (d == DType::kBool) return numpy.attr("dtype")(numpy.attr("bool_"));
    return numpy.attr("dtype")(d == DType::kString ? numpy.attr("object_") : from.attr(name));
  }
};

HostValue to_host(const Numpy& np, nb::handle object, const Type& type) {
  if (type.kind == Type::Kind::kOptional) {
    std::vector<HostValue> elements;
    if (!object.is_none()) elements.push_back(to_host(np, object, *type.element));
    return HostValue::optional(std::move(elements));
  }
  if (type.kind == Type::Kind::kSequence) {
    std::vector<HostValue> elements;
    for (nb::handle item : object) elements.push_back(to_host(np, item, *type.element));
    return HostValue::sequence(std::move(elements));
  }
  nb::object array = np.numpy.attr("ascontiguousarray")(np.numpy.attr("asarray")(object));
  nb::tuple shape = nb::cast<nb::tuple>(np.numpy.attr("shape")(object));
  Dims dims;
  for (nb::handle dim : shape) dims.push_back(nb::cast<int64_t>(dim));
  nb::object dtype = array.attr("dtype");
  std::string kind = nb::cast<std::string>(dtype.attr("kind"));
  if (kind == "U" || kind == "S" || kind == "O") {
    Tensor tensor = take(Tensor::create(DType::kString, dims));
    int64_t i = 0;
    for (nb::handle item : array.attr("ravel")()) {
      nb::object text =
          nb::isinstance<nb::bytes>(item) ? item.attr("decode")("utf-8") : nb::borrow(item);
      tensor.mutable_data<std::string>()[i++] = nb::cast<std::string>(nb::str(text));
    }
    return HostValue::of(std::move(tensor));
  }
  for (int d = 0; d < kNumDTypes - 1; ++d) {
    if (!dtype.equal(np.dtype(static_cast<DType>(d)))) continue;
    Tensor tensor = take(Tensor::create(static_cast<DType>(d), dims));
    nb::bytes bytes = nb::cast<nb::bytes>(array.attr("tobytes")());
    std::memcpy(tensor.mutable_raw(), bytes.c_str(), tensor.bytes());
    return HostValue::of(std::move(tensor));
  }
  throw std::runtime_error("unsupported numpy dtype");
}

nb::object to_python(const Numpy& np, const HostValue& value) {
  if (value.kind == HostValue::Kind::kOptional) {
    return value.elements.empty() ? nb::none() : to_python(np, value.elements[0]);
  }
  if (value.kind == HostValue::Kind::kSequence) {
    nb::list list;
    for (const HostValue& element : value.elements) list.append(to_python(np, element));
    return list;
  }
  const Tensor& tensor = value.tensor;
  nb::list shape;
  for (int64_t dim : tensor.dims()) shape.append(dim);
  if (tensor.dtype() == DType::kString) {
    nb::list items;
    for (int64_t i = 0; i < tensor.count(); ++i)
      items.append(tensor.data<std::string>()[i].c_str());
    nb::object array = np.numpy.attr("empty")(tensor.count(), np.dtype(DType::kString));
    array[nb::slice(nb::none(), nb::none(), nb::none())] = items;
    return array.attr("reshape")(nb::tuple(shape));
  }
  nb::bytes bytes(static_cast<const char*>(tensor.raw()), tensor.bytes());
  return np.numpy.attr("frombuffer")(bytes, np.dtype(tensor.dtype()))
      .attr("reshape")(nb::tuple(shape))
      .attr("copy")();
}

class PySession {
 public:
  explicit PySession(nb::bytes model, const std::string& path, bool reference_only) {
    auto copy = std::make_shared<std::string>(model.c_str(), model.size());
    ModelBytes source{std::as_bytes(std::span(copy->data(), copy->size())), copy, path};
    ImportedModel imported = take(import_onnx(source, *ops_, *rules_));
    graph_ = std::move(imported.graph);
    pool_ = take(ThreadPool::create(0));
    TacticRegistry none;
    plan_ = take(build_plan(*graph_, reference_only ? none : *tactics_, *pool_, {}));
    executor_ = take(Executor::create(plan_, *tactics_, *pool_));
  }

  nb::list run(nb::list inputs) {
    std::vector<HostValue> values;
    size_t i = 0;
    for (nb::handle input : inputs) {
      if (i >= plan_.inputs.size()) throw std::runtime_error("too many inputs");
      values.push_back(
          to_host(np_, input, plan_.values[static_cast<size_t>(plan_.inputs[i++].value)].type));
    }
    {
      nb::gil_scoped_release release;
      check(executor_->run(values));
    }
    nb::list outputs;
    for (size_t k = 0; k < plan_.outputs.size(); ++k)
      outputs.append(to_python(np_, executor_->output(k)));
    return outputs;
  }
  nb::list input_names() const { return names(plan_.inputs); }
  nb::list output_names() const { return names(plan_.outputs); }

 private:
  static nb::list names(const std::vector<NamedValue>& values) {
    nb::list list;
    for (const NamedValue& value : values) list.append(value.name.c_str());
    return list;
  }
  Numpy np_;
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<ImportRegistry> rules_ = make_import_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Graph> graph_;
  Plan plan_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace
}  // namespace redline

NB_MODULE(_redline, m) {
  using redline::PySession;
  nb::class_<PySession>(m, "Session")
      .def(nb::init<nb::bytes, const std::string&, bool>(), nb::arg("model"),
           nb::arg("path") = "", nb::arg("reference_only") = false)
      .def("run", &PySession::run)
      .def_prop_ro("input_names", &PySession::input_names)
      .def_prop_ro("output_names", &PySession::output_names);
}
