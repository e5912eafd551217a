// SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>

#include "redline/builder.h"
#include "redline/redline.h"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): "name"_a

namespace redline {
namespace {

// Errors become redline.Error, with the status's record as attributes. The module owns the type.
nb::handle error_type;

[[noreturn]] void raise(const Status& status) {
  nb::object error = error_type(status.to_string().c_str());
  error.attr("code") = std::string(status_code_name(status.code()));
  error.attr("node") = std::string(status.node());
  error.attr("position") = std::string(status.position());
  PyErr_SetObject(error_type.ptr(), error.ptr());
  throw nb::python_error();
}
void check(const Status& status) {
  if (!status.ok()) raise(status);
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

// DLPack's codes; element types that it lacks have none.
struct DlpackType {
  DType dtype;
  nb::dlpack::dtype_code code;
  uint8_t bits;
  nb::dlpack::dtype dlpack() const { return {static_cast<uint8_t>(code), bits, 1}; }
};
constexpr DlpackType kDlpackTypes[] = {
    {DType::kFloat64, nb::dlpack::dtype_code::Float, 64},
    {DType::kFloat32, nb::dlpack::dtype_code::Float, 32},
    {DType::kFloat16, nb::dlpack::dtype_code::Float, 16},
    {DType::kBFloat16, nb::dlpack::dtype_code::Bfloat, 16},
    {DType::kInt64, nb::dlpack::dtype_code::Int, 64},
    {DType::kInt32, nb::dlpack::dtype_code::Int, 32},
    {DType::kInt16, nb::dlpack::dtype_code::Int, 16},
    {DType::kInt8, nb::dlpack::dtype_code::Int, 8},
    {DType::kUInt64, nb::dlpack::dtype_code::UInt, 64},
    {DType::kUInt32, nb::dlpack::dtype_code::UInt, 32},
    {DType::kUInt16, nb::dlpack::dtype_code::UInt, 16},
    {DType::kUInt8, nb::dlpack::dtype_code::UInt, 8},
    {DType::kBool, nb::dlpack::dtype_code::Bool, 8},
};

// Whether it is another library's array in a GPU's memory; then on which GPU.
std::optional<int> gpu_of(nb::handle object) {
  if (!nb::hasattr(object, "__dlpack__") || !nb::hasattr(object, "__dlpack_device__")) return {};
  constexpr int kDlpackCuda = 2;
  auto [type, number] = nb::cast<std::pair<int, int>>(object.attr("__dlpack_device__")());
  return type == kDlpackCuda ? std::optional(number) : std::nullopt;
}

// The array of an input, once `session` is made to wait for what makes it; `keep` holds it.
DeviceTensor to_device(nb::handle object, const std::string& name, const Session& session,
                       nb::list& keep) {
  auto stream = reinterpret_cast<uintptr_t>(session.stream());
  nb::object capsule = object.attr("__dlpack__")("stream"_a = stream);
  auto array = nb::cast<nb::ndarray<nb::ro>>(capsule);
  keep.append(nb::capsule(new nb::ndarray<nb::ro>(array), [](void* held) noexcept {
    delete static_cast<nb::ndarray<nb::ro>*>(held);
  }));
  DeviceTensor tensor;
  const DlpackType* found =
      std::find_if(std::begin(kDlpackTypes), std::end(kDlpackTypes),
                   [&](const DlpackType& type) { return array.dtype() == type.dlpack(); });
  if (found == std::end(kDlpackTypes)) {
    check(invalid_argument("input '", name, "' has an element type that is not known here: code ",
                           int{array.dtype().code}, " of DLPack, ", int{array.dtype().bits},
                           " bits"));
  }
  tensor.dtype = found->dtype;
  if (array.ndim() > kMaxRank)
    check(invalid_argument("input '", name, "' has rank ", array.ndim()));
  for (size_t i = 0; i < array.ndim(); ++i) {
    tensor.dims.push_back(static_cast<int64_t>(array.shape(i)));
  }
  Dims dense = tensor.dims.strides();
  for (size_t i = 0; i < array.ndim() && tensor.dims.count() > 0; ++i) {
    if (tensor.dims[i] == 1 || array.stride(i) == dense[i]) continue;
    check(invalid_argument("input '", name, "' is not contiguous in the GPU's memory"));
  }
  tensor.data = const_cast<void*>(array.data());
  return tensor;
}

// An array that others take by DLPack without a copy, and that keeps its memory.
nb::object to_array(const DeviceTensor& tensor, int gpu) {
  const DlpackType* found =
      std::find_if(std::begin(kDlpackTypes), std::end(kDlpackTypes),
                   [&](const DlpackType& type) { return type.dtype == tensor.dtype; });
  if (found == std::end(kDlpackTypes)) {
    check(
        unsupported("DLPack has no ", dtype_name(tensor.dtype), "; take this output on the host"));
  }
  std::vector<size_t> shape(tensor.dims.begin(), tensor.dims.end());
  nb::capsule owner(new DeviceTensor(tensor),
                    [](void* held) noexcept { delete static_cast<DeviceTensor*>(held); });
  nb::ndarray<nb::array_api> array(tensor.data, shape.size(), shape.data(), owner, nullptr,
                                   found->dlpack(), nb::device::cuda::value, gpu);
  return nb::cast(array, nb::rv_policy::reference);
}

// numpy and its dtypes, looked up once a session. ml_dtypes is only needed for the types numpy
// lacks.
class Numpy {
 public:
  Numpy() : numpy_(nb::module_::import_("numpy")) {}

  nb::object dtype(DType d) {
    nb::object& cached = dtypes_[static_cast<int>(d)];
    if (cached.is_valid()) return cached;
    const char* name = d == DType::kBool ? "bool_" : kNumpyNames[static_cast<int>(d)];
    nb::object from = d == DType::kString || nb::hasattr(numpy_, name)
                          ? numpy_
                          : nb::object(nb::module_::import_("ml_dtypes"));
    cached = numpy_.attr("dtype")(d == DType::kString ? numpy_.attr("object_") : from.attr(name));
    return cached;
  }

  // The value of a Python object; `keep` holds what the value points into.
  HostValue to_host(nb::handle object, const ValueInfo& info, nb::list& keep) {
    if (info.kind == HostValue::Kind::kOptional) {
      std::vector<HostValue> elements;
      if (!object.is_none()) {
        elements.push_back(nb::isinstance<nb::list>(object) ? sequence(object, info, keep)
                                                            : tensor(object, info, keep));
      }
      return HostValue::optional(std::move(elements));
    }
    if (info.kind == HostValue::Kind::kSequence) return sequence(object, info, keep);
    return tensor(object, info, keep);
  }

  // A copy of an array as a tensor of its own type.
  Tensor to_tensor(nb::handle array) {
    ValueInfo info;
    info.name = "array";
    nb::list keep;
    Tensor view = to_host(array, info, keep).tensor;
    if (view.dtype() == DType::kString) return view;
    Tensor copy = take(Tensor::create(view.dtype(), view.dims()));
    if (view.bytes() > 0) std::memcpy(copy.mutable_raw(), view.raw(), view.bytes());
    return copy;
  }

  // Of a numpy dtype, or anything numpy takes for one.
  DType dtype_of(nb::handle object) {
    nb::object wanted = numpy_.attr("dtype")(object);
    for (int d = 0; d < kNumDTypes; ++d) {
      if (nb::cast<std::string>(wanted.attr("name")) == kNumpyNames[d])
        return static_cast<DType>(d);
    }
    check(invalid_argument("unsupported dtype ", nb::cast<std::string>(nb::str(wanted))));
    return DType::kFloat32;
  }

  nb::object to_python(const HostValue& value) {
    if (value.kind == HostValue::Kind::kOptional) {
      return value.elements.empty() ? nb::none() : to_python(value.elements[0]);
    }
    if (value.kind == HostValue::Kind::kSequence) {
      nb::list list;
      for (const HostValue& element : value.elements) list.append(to_python(element));
      return list;
    }
    const Tensor& tensor = value.tensor;
    nb::list shape;
    for (int64_t dim : tensor.dims()) shape.append(dim);
    nb::object array = numpy_.attr("empty")(nb::tuple(shape), dtype(tensor.dtype()));
    if (tensor.dtype() == DType::kString) {
      nb::object flat = array.attr("reshape")(-1);
      for (int64_t i = 0; i < tensor.count(); ++i) {
        const std::string& text = tensor.data<std::string>()[i];
        flat[nb::int_(i)] = nb::steal(PyUnicode_DecodeUTF8(
            text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
      }
      return array;
    }
    if (tensor.bytes() > 0) std::memcpy(address(array), tensor.raw(), tensor.bytes());
    if (tensor.dtype() == DType::kInt4 || tensor.dtype() == DType::kInt2) {
      auto* bytes = static_cast<uint8_t*>(address(array));
      const uint8_t low_bits = tensor.dtype() == DType::kInt4 ? 15 : 3;
      for (size_t i = 0; i < tensor.bytes(); ++i) bytes[i] &= low_bits;
    }
    return array;
  }

 private:
  static void* address(nb::handle array) {
    return reinterpret_cast<void*>(nb::cast<uintptr_t>(array.attr("ctypes").attr("data")));
  }

  HostValue sequence(nb::handle object, const ValueInfo& info, nb::list& keep) {
    std::vector<HostValue> elements;
    for (nb::handle item : object) elements.push_back(tensor(item, info, keep));
    return HostValue::sequence(std::move(elements));
  }

  HostValue tensor(nb::handle object, const ValueInfo& info, nb::list& keep) {
    nb::object array = nb::borrow(object);
    bool foreign =
        !nb::isinstance(array, numpy_.attr("ndarray")) && nb::hasattr(array, "__dlpack__");
    array = foreign ? numpy_.attr("from_dlpack")(array) : numpy_.attr("asarray")(array);
    auto rank = nb::cast<size_t>(array.attr("ndim"));
    if (rank > kMaxRank) check(invalid_argument("input '", info.name, "' has rank ", rank));
    Dims dims;
    for (nb::handle dim : array.attr("shape")) dims.push_back(nb::cast<int64_t>(dim));
    std::string kind = nb::cast<std::string>(array.attr("dtype").attr("kind"));
    if (kind == "U" || kind == "S" || kind == "O") {
      Tensor tensor = take(Tensor::create(DType::kString, dims));
      int64_t i = 0;
      for (nb::handle item : array.attr("ravel")()) {
        nb::object text = nb::isinstance<nb::bytes>(item)
                              ? nb::borrow(item)
                              : nb::str(item).attr("encode")("utf-8", "surrogateescape");
        auto bytes = nb::cast<nb::bytes>(text);
        tensor.mutable_data<std::string>()[i++].assign(bytes.c_str(), bytes.size());
      }
      return HostValue::of(std::move(tensor));
    }
    // The expected type first: the usual case takes one comparison.
    std::optional<DType> found;
    if (array.attr("dtype").equal(dtype(info.dtype))) found = info.dtype;
    for (int d = 0; !found && d < kNumDTypes - 1; ++d) {
      if (d == static_cast<int>(DType::kInt2) || d == static_cast<int>(DType::kUInt2)) {
        if (nb::cast<std::string>(array.attr("dtype").attr("name")) != kNumpyNames[d]) continue;
      }
      if (array.attr("dtype").equal(dtype(static_cast<DType>(d)))) found = static_cast<DType>(d);
    }
    if (!found) {
      nb::object dtype = array.attr("dtype");
      check(invalid_argument("input '", info.name, "' has the unsupported dtype ",
                             nb::cast<std::string>(nb::str(dtype))));
    }
    // ml_dtypes keeps the low bits of these alone, ours are extended by the sign.
    if (*found == DType::kInt4 || *found == DType::kInt2) array = array.attr("astype")("int8");
    array = numpy_.attr("require")(array, nb::none(), "CA");
    keep.append(array);
    return HostValue::of(Tensor::wrap(*found, dims, address(array), nullptr));
  }

  nb::object numpy_;
  nb::object dtypes_[kNumDTypes];
};

// The library copies and drops callbacks without the GIL, which reference counts need.
std::shared_ptr<nb::object> shared(nb::object callback) {
  return {new nb::object(std::move(callback)), [](nb::object* object) {
            nb::gil_scoped_acquire gil;
            delete object;
          }};
}

Precision precision_from(const std::string& name) {
  if (name == "fp32") return Precision::kFloat32;
  if (name == "tf32") return Precision::kTf32;
  if (name == "fp16") return Precision::kFloat16;
  if (name == "bf16") return Precision::kBFloat16;
  std::string message = "precision is '" + name + "', expected 'fp32', 'tf32', 'fp16' or 'bf16'";
  throw nb::value_error(message.c_str());
}

// The names are those of build() in __init__.py, which has their defaults.
BuildSettings settings_from(const nb::dict& options) {
  BuildSettings settings;
  auto get = [&](const char* name, auto& to) {
    to = nb::cast<std::remove_reference_t<decltype(to)>>(options[name]);
  };
  get("device", settings.device);
  get("threads", settings.num_threads);
  get("disable_passes", settings.disabled_passes);
  get("verify_passes", settings.verify_passes);
  get("dump_ir", settings.dump_ir);
  get("timestamps", settings.timestamps);
  get("side_streams", settings.side_streams);
  get("opt_level", settings.opt_level);
  get("sizes", settings.optimal_sizes);
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
  get("shapes", shapes);
  for (const auto& [symbol, sizes] : shapes) {
    if (sizes.size() != 3) {
      throw nb::value_error(("shapes of '" + symbol + "' are not (least, likely, most)").c_str());
    }
    settings.size_ranges.push_back({symbol, sizes[0], sizes[1], sizes[2]});
  }
  get("build_time", settings.build_seconds);
  get("tuning_database", settings.tuning_database);
  get("check_range", settings.check_range);
  get("target", settings.target);
  std::string word;
  get("precision", word);
  settings.precision = precision_from(word);
  get("fallback", word);
  if (word != "allow" && word != "refuse") {
    throw nb::value_error(("fallback is '" + word + "', expected 'refuse' or 'allow'").c_str());
  }
  settings.host_fallback = word == "allow";
  nb::object progress = options["progress"];
  nb::object log = options["log"];
  if (!progress.is_none()) {
    settings.progress = [call = shared(progress)](std::string_view phase, double fraction) {
      nb::gil_scoped_acquire gil;
      if (PyErr_Occurred()) return false;
      try {
        nb::object go_on = (*call)(std::string(phase), fraction);
        return go_on.is_none() || nb::cast<bool>(go_on);
      } catch (nb::python_error& error) {
        error.restore();  // raised by build_without_gil once the build has stopped
        return false;
      }
    };
  }
  if (!log.is_none()) {
    if (nb::cast<bool>(options["verbose"])) settings.log_from = Severity::kVerbose;
    settings.log = [call = shared(log)](Severity severity, std::string_view message) {
      nb::gil_scoped_acquire gil;
      try {
        (*call)(std::string(severity_name(severity)), std::string(message));
      } catch (nb::python_error& error) {
        error.discard_as_unraisable("the log callback of redline");
      }
    };
  }
  return settings;
}

template <class Call>
auto without_gil(Call&& call) {
  nb::gil_scoped_release release;
  return call();
}

class PySession {
 public:
  explicit PySession(Engine engine)
      : engine_(std::move(engine)), session_(take(engine_.create_session())) {}

  nb::dict run(nb::dict inputs, const std::string& outputs) {
    if (outputs != "host" && outputs != "device") {
      throw nb::value_error(("outputs is '" + outputs + "', expected 'host' or 'device'").c_str());
    }
    Turn turn(running_);
    nb::list keep;
    bind(inputs, keep, outputs == "device");
    check(without_gil([&] { return session_.run(); }));
    nb::dict results;
    for (size_t i = 0; i < engine_.outputs().size(); ++i) {
      const std::string& name = engine_.outputs()[i].name;
      results[name.c_str()] = outputs == "device"
                                  ? to_array(take(session_.device_output(name)), session_.gpu())
                                  : numpy_.to_python(*take(session_.output(i)));
    }
    return results;
  }

  nb::list profile(nb::dict inputs) {
    Turn turn(running_);
    nb::list keep;
    bind(inputs, keep);
    check(without_gil([&] { return session_.run(); }));  // prepares what the sizes need
    nb::list result;
    for (const Session::StepTime& step : take(without_gil([&] { return session_.run_timed(); }))) {
      nb::dict entry;
      entry["name"] = step.name;
      entry["op"] = step.op;
      entry["tactic"] = step.tactic;
      entry["microseconds"] = step.microseconds;
      result.append(entry);
    }
    return result;
  }

  std::string profile_runs(nb::dict inputs, int runs) {
    Turn turn(running_);
    nb::list keep;
    bind(inputs, keep);
    ProfileOptions options;
    options.runs = runs;
    options.gpu_trace = cupti_trace;
    return take(without_gil([&] { return session_.profile(options); }));
  }

  double time_kernels(int repeats, int times_in_graph) {
    Turn turn(running_);
    return take(without_gil([&] { return session_.time_kernels(repeats, times_in_graph); }));
  }

  const Engine& engine() const { return engine_; }
  size_t activation_bytes() const { return session_.activation_bytes(); }
  size_t activation_lower_bound() const { return session_.activation_lower_bound(); }

 private:
  // A run gives up the GIL, so another thread may come while the session is in use.
  class Turn {
   public:
    explicit Turn(std::atomic<bool>& running) : running_(running) {
      if (running_.exchange(true)) {
        check(invalid_argument(
            "the session is running in another thread; make a session for each thread"));
      }
    }
    ~Turn() { running_ = false; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    std::atomic<bool>& running_;
  };

  // Every input, since what an earlier call bound may be gone.
  void bind(nb::dict inputs, nb::list& keep, bool outputs_on_device = false) {
    for (const ValueInfo& info : engine_.outputs()) {
      check(session_.keep_on_device(info.name, outputs_on_device));
    }
    for (auto [name, value] : inputs) {
      std::string text = nb::cast<std::string>(name);
      const ValueInfo* info = nullptr;
      for (const ValueInfo& candidate : engine_.inputs()) {
        if (candidate.name == text) info = &candidate;
      }
      std::optional<int> gpu = info != nullptr ? gpu_of(value) : std::nullopt;
      if (gpu) {
        bind_device(text, value, *gpu, keep);
        continue;
      }
      check(session_.bind(text, info ? numpy_.to_host(value, *info, keep) : HostValue()));
    }
    for (const ValueInfo& info : engine_.inputs()) {
      if (inputs.contains(info.name.c_str())) continue;
      if (info.kind != HostValue::Kind::kOptional) {
        check(invalid_argument("input '", info.name, "' (", info.type, ") is missing"));
      }
      check(session_.bind(info.name, HostValue::optional({})));
    }
  }

  void bind_device(const std::string& name, nb::handle value, int gpu, nb::list& keep) {
    if (session_.gpu() < 0) {
      check(invalid_argument("input '", name, "' is in the memory of GPU ", gpu,
                             ", and the engine is for the CPU"));
    }
    if (session_.gpu() != gpu) {
      check(invalid_argument("input '", name, "' is in the memory of GPU ", gpu,
                             ", and the engine is on GPU ", session_.gpu()));
    }
    check(session_.bind_device(name, to_device(value, name, session_, keep)));
  }

  std::atomic<bool> running_ = false;
  Engine engine_;
  Session session_;
  Numpy numpy_;
};

AttributeValue to_attribute(Numpy& numpy, nb::handle value) {
  if (nb::isinstance<nb::bool_>(value)) return static_cast<int64_t>(nb::cast<bool>(value));
  if (nb::isinstance<nb::int_>(value)) return nb::cast<int64_t>(value);
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  if (nb::hasattr(value, "dtype")) return numpy.to_tensor(value);
  std::vector<nb::object> items;
  for (nb::handle item : value) items.push_back(nb::borrow(item));
  auto all = [&](auto is) { return std::all_of(items.begin(), items.end(), is); };
  if (all([](nb::handle h) { return nb::isinstance<nb::int_>(h); })) {
    return nb::cast<std::vector<int64_t>>(value);
  }
  if (all([](nb::handle h) { return nb::isinstance<nb::str>(h); })) {
    return nb::cast<std::vector<std::string>>(value);
  }
  return nb::cast<std::vector<double>>(value);
}

// redline.GraphBuilder: values are ints.
class PyGraphBuilder {
 public:
  int input(const std::string& name, nb::handle dtype, nb::handle shape) {
    std::vector<std::string> dims;
    for (nb::handle dim : shape) dims.push_back(nb::cast<std::string>(nb::str(dim)));
    return take(builder_.input(name, numpy_.dtype_of(dtype), dims)).id;
  }
  int constant(nb::handle array, const std::string& name) {
    return take(builder_.constant(numpy_.to_tensor(array), name)).id;
  }
  nb::object op(const std::string& op, nb::list inputs, size_t num_outputs, const std::string& name,
                nb::dict attributes) {
    std::vector<GraphBuilder::Value> operands;
    for (nb::handle input : inputs) {
      operands.push_back(input.is_none() ? GraphBuilder::absent()
                                         : GraphBuilder::Value{nb::cast<int>(input)});
    }
    Attributes list;
    for (auto [key, value] : attributes) {
      list.emplace_back(nb::cast<std::string>(key), to_attribute(numpy_, value));
    }
    auto results = take(builder_.op_with_outputs(op, operands, num_outputs, list, name));
    if (num_outputs == 1) return nb::int_(results[0].id);
    nb::list ids;
    for (GraphBuilder::Value value : results) ids.append(value.id);
    return nb::tuple(ids);
  }
  void output(int value, const std::string& name) { check(builder_.output({value}, name)); }
  std::string type(int value) const { return take(builder_.type({value})); }
  std::string text() const { return builder_.text(); }
  void set_position(const std::string& position) { builder_.set_position(position); }
  Engine build() { return take(builder_.build()); }
  GraphBuilder& builder() { return builder_; }

 private:
  GraphBuilder builder_;
  Numpy numpy_;
};

nb::list describe(const std::vector<ValueInfo>& infos) {
  nb::list list;
  for (const ValueInfo& info : infos) list.append(nb::make_tuple(info.name, info.type));
  return list;
}

template <class Build>
Engine build_without_gil(Build&& build) {
  Result<Engine> engine = without_gil(build);
  if (PyErr_Occurred()) throw nb::python_error();
  return take(std::move(engine));
}

}  // namespace
}  // namespace redline

NB_MODULE(_redline, m) {
  using namespace redline;  // NOLINT(google-build-using-namespace)
  m.doc() = "The compiled part of the package redline.";
  nb::set_leak_warnings(false);  // sessions held by globals outlive the module
  m.attr("__version__") = std::string(version());
  m.attr("Error") = nb::steal(PyErr_NewException("redline.Error", PyExc_RuntimeError, nullptr));
  error_type = nb::object(m.attr("Error"));

  nb::class_<Engine>(m, "Engine", "A built model: immutable and thread-safe.")
      .def(
          "save", [](const Engine& e, const std::string& path) { check(e.save(path)); }, "path"_a)
      .def("serialize",
           [](const Engine& e) {
             auto bytes = take(e.serialize());
             return nb::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
           })
      .def(
          "create_session", [](const Engine& e) { return new PySession(e); },
          nb::sig("def create_session(self) -> Session"))
      .def("inspect_json", &Engine::inspect)
      .def("build_report_json", &Engine::build_report)
      .def_prop_ro(
          "inputs", [](const Engine& e) { return describe(e.inputs()); },
          nb::sig("def inputs(self) -> list[tuple[str, str]]"))
      .def_prop_ro(
          "outputs", [](const Engine& e) { return describe(e.outputs()); },
          nb::sig("def outputs(self) -> list[tuple[str, str]]"))
      .def_prop_ro(
          "metadata",
          [](const Engine& e) {
            nb::dict metadata;
            for (const auto& [key, value] : e.metadata()) metadata[key.c_str()] = value;
            return metadata;
          },
          nb::sig("def metadata(self) -> dict[str, str]"));

  nb::class_<PySession>(m, "Session", "Runs an engine. One thread at a time.")
      .def(
          "run", &PySession::run, "inputs"_a, "outputs"_a = "host",
          nb::sig("def run(self, inputs: dict[str, typing.Any], outputs: str = 'host') "
                  "-> dict[str, typing.Any]"),
          "Runs once: {input name: array} to {output name: array}. Arrays are numpy's or anything\n"
          "with DLPack, on the host or on the engine's GPU; lists for sequences, None for an\n"
          "absent optional. outputs='device' leaves all outputs on the GPU, as arrays with DLPack\n"
          "that no later run writes to.")
      .def("profile", &PySession::profile, "inputs"_a,
           nb::sig(
               "def profile(self, inputs: dict[str, typing.Any]) -> list[dict[str, typing.Any]]"),
           "Time of each step of one run, in microseconds.")
      .def("profile_json", &PySession::profile_runs, "inputs"_a, "runs"_a = 20,
           nb::sig("def profile_json(self, inputs: dict[str, typing.Any], runs: int = 20) -> str"))
      .def("time_kernels", &PySession::time_kernels, "repeats"_a = 20, "times_in_graph"_a = 1,
           "Microseconds that the GPU's kernels take for the sizes of the last run, without "
           "copies:\n"
           "the mean of that many launches in a row, each of which runs them `times_in_graph` "
           "times.\n"
           "0 on the CPU.")
      .def_prop_ro("engine", &PySession::engine, nb::rv_policy::reference_internal)
      .def_prop_ro(
          "inputs", [](const PySession& s) { return describe(s.engine().inputs()); },
          nb::sig("def inputs(self) -> list[tuple[str, str]]"))
      .def_prop_ro(
          "outputs", [](const PySession& s) { return describe(s.engine().outputs()); },
          nb::sig("def outputs(self) -> list[tuple[str, str]]"))
      .def_prop_ro("activation_bytes", &PySession::activation_bytes)
      .def_prop_ro("activation_lower_bound", &PySession::activation_lower_bound);

  nb::class_<PyGraphBuilder>(m, "GraphBuilder",
                             "Makes a model op by op. Values are ints; None is an absent operand.")
      .def(nb::init<>())
      .def("input", &PyGraphBuilder::input, "name"_a, "dtype"_a, "shape"_a,
           nb::sig("def input(self, name: str, dtype: typing.Any, "
                   "shape: collections.abc.Iterable[int | str]) -> int"),
           "A graph input; sizes are numbers, symbols ('batch') or expressions of them.")
      .def("constant", &PyGraphBuilder::constant, "array"_a, "name"_a = "",
           nb::sig("def constant(self, array: typing.Any, name: str = '') -> int"))
      .def(
          "op",
          [](PyGraphBuilder& b, const std::string& op, nb::list inputs, size_t outputs,
             const std::string& name,
             nb::kwargs attributes) { return b.op(op, inputs, outputs, name, attributes); },
          "op"_a, "inputs"_a, "outputs"_a = 1, "name"_a = "", "attributes"_a,
          nb::sig("def op(self, op: str, inputs: list[int | None], outputs: int = 1, "
                  "name: str = '', **attributes: typing.Any) -> typing.Any"),
          "Adds an op; its attributes are keyword arguments. Returns its output, or a tuple.")
      .def("output", &PyGraphBuilder::output, "value"_a, "name"_a)
      .def("type", &PyGraphBuilder::type, "value"_a)
      .def("text", &PyGraphBuilder::text, "The graph in its text form.")
      .def("set_position", &PyGraphBuilder::set_position, "position"_a,
           "Where the next ops come from, for the messages of errors: 'net.txt:12'.")
      .def("build", &PyGraphBuilder::build)
      .def_static("op_names", &GraphBuilder::op_names);

  m.def("devices", &devices);
  m.def(
      "build_path",
      [](const std::string& path, const nb::dict& options) {
        BuildSettings settings = settings_from(options);
        return build_without_gil([&] { return load(path, settings); });
      },
      "model"_a, "options"_a);
  m.def(
      "build_bytes",
      [](nb::bytes model, const nb::dict& options) {
        BuildSettings settings = settings_from(options);
        auto bytes = std::as_bytes(std::span(model.c_str(), model.size()));
        return build_without_gil([&] { return load(bytes, settings); });
      },
      "model"_a, "options"_a);
  m.def(
      "build_graph",
      [](PyGraphBuilder& builder, const nb::dict& options) {
        BuildSettings settings = settings_from(options);
        return build_without_gil([&] { return builder.builder().build(settings); });
      },
      "builder"_a, "options"_a);
}
