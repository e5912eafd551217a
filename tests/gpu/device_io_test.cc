// SPDX-License-Identifier: Apache-2.0
// Inputs and outputs in the GPU's memory, through the public API, on the emulator.
#include <gtest/gtest.h>

#include <cstring>

#include "api/engine_impl.h"
#include "build/build.h"
#include "emulator.h"
#include "ir/text.h"

namespace redline {
namespace {

constexpr std::string_view kNetwork = R"(graph g(%x: f32[n,6], %z: f32[n,8], %u: u8[n]) {
  %w: f32[6,8] = const random 1
  %p = matmul(%x, %w)
  %q = add(%p, %z)
  %s = softmax(%q) {axis=-1}
  %flat: i64[1] = const [-1]
  %v = reshape(%q, %flat)
  %b = cast(%u) {to=f32}
  return %s, %v, %q, %b
}
)";

class DeviceIoTest : public testing::Test {
 protected:
  Engine make_engine(std::string_view text, bool on_gpu = true, bool host_fallback = false) {
    auto impl = make_engine_impl({}).value();
    auto graph = parse_graph(*impl->ops, text).value();
    cuda::KernelCompiler compiler(emulator::compile);
    BuildOptions options;
    options.opt_level = 1;
    options.host_fallback = host_fallback;
    if (on_gpu) {
      impl->gpu = context_;
      options.device = "cuda";
      options.gpu = &context_->info();
      options.context = context_;
      options.compiler = &compiler;
    }
    Result<Plan> plan = build_plan(*graph, *impl->tactics, *impl->pool, options);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    impl->plan = *std::move(plan);
    finish_engine(*impl);
    return Engine(impl);
  }

  // From now on the context counts the kernels that are launched or captured.
  int& count_launches() {
    static int launches;
    static cuda::DriverApi api = emulator::driver();  // the context has no copy
    api.cuLaunchKernelEx = [](const cuda::LaunchConfig* config, cuda::FunctionHandle function,
                              void** parameters, void** extra) {
      return ++launches, emulator::driver().cuLaunchKernelEx(config, function, parameters, extra);
    };
    context_ = cuda::Context::create(api, 0).value();
    return launches;
  }

  static Tensor ramp(DType dtype, const Dims& dims, int seed) {
    Tensor tensor = Tensor::create(dtype, dims).value();
    for (int64_t i = 0; i < tensor.count(); ++i) {
      int64_t number = (i * 7 + seed) % 11;
      if (dtype == DType::kUInt8) {
        tensor.mutable_data<uint8_t>()[i] = static_cast<uint8_t>(number);
      } else {
        tensor.mutable_data<float>()[i] = static_cast<float>(number) / 5 - 1;
      }
    }
    return tensor;
  }

  // On the GPU, `offset` bytes into memory of its own.
  DeviceTensor on_gpu(const Tensor& tensor, size_t offset = 0) {
    auto buffer = std::make_shared<cuda::DeviceBuffer>(
        cuda::DeviceBuffer::create(context_, tensor.bytes() + offset + 1).value());
    void* data = static_cast<char*>(buffer->data()) + offset;
    emulator::HostAccess access;
    if (tensor.bytes() > 0) std::memcpy(data, tensor.raw(), tensor.bytes());
    return {tensor.dtype(), tensor.dims(), data, buffer};
  }

  static Tensor on_host(const DeviceTensor& tensor) {
    Tensor copy = Tensor::create(tensor.dtype, tensor.dims).value();
    emulator::HostAccess access;
    if (copy.bytes() > 0) std::memcpy(copy.mutable_raw(), tensor.data, copy.bytes());
    return copy;
  }

  static std::vector<Tensor> inputs(int64_t n, int seed) {
    return {ramp(DType::kFloat32, {n, 6}, seed), ramp(DType::kFloat32, {n, 8}, seed + 1),
            ramp(DType::kUInt8, {n}, seed)};
  }
  static Status bind(Session& session, std::string_view name, const Tensor& tensor) {
    return session.bind(name, HostValue::of(tensor));
  }
  std::vector<Tensor> run_on_host(const Engine& engine, const std::vector<Tensor>& tensors) {
    Session session = engine.create_session().value();
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_TRUE(bind(session, engine.inputs()[i].name, tensors[i]).ok());
    }
    Status ran = session.run();
    EXPECT_TRUE(ran.ok()) << ran.message();
    std::vector<Tensor> results;
    for (size_t i = 0; i < engine.outputs().size(); ++i) {
      const Tensor& tensor = (*session.output(i))->tensor;
      Tensor copy = Tensor::create(tensor.dtype(), tensor.dims()).value();
      if (copy.bytes() > 0) std::memcpy(copy.mutable_raw(), tensor.raw(), copy.bytes());
      results.push_back(copy);
    }
    return results;
  }
  static void expect_error(const Status& status, std::string_view words) {
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  }

  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
};

// Each combination of sides, with other addresses and other sizes from run to run, and addresses
// that kernels cannot read 16 or 4 bytes at.
TEST_F(DeviceIoTest, EachSideGivesTheSameBits) {
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  int run = 0;
  for (int64_t n : {3, 40, 3, 1, 0, 3000, 40}) {
    std::vector<Tensor> tensors = inputs(n, run);
    std::vector<Tensor> want = run_on_host(engine, tensors);
    for (int sides = 0; sides < 8; ++sides, ++run) {
      for (size_t i = 0; i < 3; ++i) {
        const std::string& name = engine.inputs()[i].name;
        size_t offset = static_cast<size_t>(run % 4) * dtype_bytes(tensors[i].dtype());
        Status bound = sides >> i & 1 ? session.bind_device(name, on_gpu(tensors[i], offset))
                                      : bind(session, name, tensors[i]);
        ASSERT_TRUE(bound.ok()) << bound.message();
      }
      for (size_t o = 0; o < want.size(); ++o) {
        ASSERT_TRUE(session.keep_on_device(engine.outputs()[o].name, run % 3 == 1).ok());
      }
      ASSERT_TRUE(session.keep_on_device(engine.outputs()[1].name, run % 3 != 0).ok());
      Status ran = session.run();
      ASSERT_TRUE(ran.ok()) << ran.message();
      for (size_t o = 0; o < want.size(); ++o) {
        bool kept = run % 3 == 1 || (o == 1 && run % 3 != 0);
        const std::string& name = engine.outputs()[o].name;
        Tensor got =
            kept ? on_host(session.device_output(name).value()) : (*session.output(name))->tensor;
        EXPECT_TRUE(identical(got, want[o])) << "n " << n << " sides " << sides << " output " << o;
      }
    }
  }
}

TEST_F(DeviceIoTest, LaterRunsLeaveWhatWasTakenAlone) {
  Engine engine = make_engine(kNetwork);
  DeviceTensor first;
  DeviceTensor flat;
  std::vector<Tensor> want = run_on_host(engine, inputs(5, 1));
  {
    Session session = engine.create_session().value();
    for (const ValueInfo& output : engine.outputs()) {
      ASSERT_TRUE(session.keep_on_device(output.name).ok());
    }
    for (int seed : {1, 2, 3, 3}) {
      std::vector<Tensor> tensors = inputs(5, seed);
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(session.bind_device(engine.inputs()[i].name, on_gpu(tensors[i])).ok());
      }
      ASSERT_TRUE(session.run().ok());
      if (seed == 1) {
        first = session.device_output(engine.outputs()[2].name).value();
        flat = session.device_output(engine.outputs()[1].name).value();
      }
    }
  }
  EXPECT_TRUE(identical(on_host(first), want[2]));
  EXPECT_TRUE(identical(on_host(flat), want[1]));
}

// What steps on the host read or make goes by the host.
TEST_F(DeviceIoTest, ValuesOfTheHostAreBroughtThere) {
  constexpr std::string_view kMixed = R"(graph g(%x: f32[4,6], %k: i64[1]) {
  %a = relu(%x)
  %q = sequence_construct(%x, %a)
  %zero: i64[] = const [0]
  %i = sequence_at(%q, %zero)
  %u = exp(%a)
  %r = expand(%u, %k)
  return %u, %i, %x, %r
}
)";
  Engine engine = make_engine(kMixed, true, /*host_fallback=*/true);
  std::vector<Tensor> tensors = {ramp(DType::kFloat32, {4, 6}, 2),
                                 Tensor::from_int64(std::vector<int64_t>{1})};
  std::vector<Tensor> want = run_on_host(engine, tensors);
  Session session = engine.create_session().value();
  for (bool kept : {true, false, true}) {
    for (size_t i = 0; i < tensors.size(); ++i) {
      ASSERT_TRUE(session.bind_device(engine.inputs()[i].name, on_gpu(tensors[i])).ok());
    }
    for (const ValueInfo& output : engine.outputs()) {
      ASSERT_TRUE(session.keep_on_device(output.name, kept).ok());
    }
    Status ran = session.run();
    ASSERT_TRUE(ran.ok()) << ran.message();
    for (size_t o = 0; o < want.size(); ++o) {
      const std::string& name = engine.outputs()[o].name;
      Tensor got =
          kept ? on_host(session.device_output(name).value()) : (*session.output(o))->tensor;
      EXPECT_TRUE(identical(got, want[o])) << o;
    }
  }
}

TEST_F(DeviceIoTest, RefusesWhatItCannotRead) {
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  Tensor x = ramp(DType::kFloat32, {3, 6}, 1);
  DeviceTensor good = on_gpu(x);
  expect_error(session.bind_device("nobody", good), "no input 'nobody'");
  expect_error(session.keep_on_device("nobody"), "no output 'nobody'");

  DeviceTensor bad = good;
  bad.data = x.mutable_raw();
  expect_error(session.bind_device("x", bad), "is not of memory on a GPU");
  auto pinned = cuda::PinnedBuffer::create(context_, 72).value();
  bad.data = pinned.data();
  expect_error(session.bind_device("x", bad), "is not of memory on a GPU");
  bad.data = nullptr;
  expect_error(session.bind_device("x", bad), "is not of memory on a GPU");
  bad = good;
  bad.dims = {300, 6};  // more than there is
  expect_error(session.bind_device("x", bad), "is not of memory on a GPU");
  bad.dims = {int64_t{1} << 62, 6};
  expect_error(session.bind_device("x", bad), "it cannot be f32");
  bad.dims = {-1, 6};
  expect_error(session.bind_device("x", bad), "it cannot be f32");
  bad = good;
  bad.data = static_cast<char*>(good.data) + 1;
  expect_error(session.bind_device("x", bad), "no multiple of its elements' 4 bytes");
  EXPECT_FALSE(session.run().ok());  // nothing is bound

  auto run_with = [&](const DeviceTensor& tensor) {
    EXPECT_TRUE(session.bind_device("x", tensor).ok());
    EXPECT_TRUE(bind(session, "z", ramp(DType::kFloat32, {3, 8}, 1)).ok());
    EXPECT_TRUE(bind(session, "u", ramp(DType::kUInt8, {3}, 1)).ok());
    return session.run();
  };
  expect_error(run_with(on_gpu(ramp(DType::kUInt8, {3, 6}, 1))), "has element type u8");
  expect_error(run_with(on_gpu(ramp(DType::kFloat32, {18}, 1))), "has rank 1");
  expect_error(run_with(on_gpu(ramp(DType::kFloat32, {3, 5}, 1))), "has size 5 at axis 1");
  expect_error(run_with(on_gpu(ramp(DType::kFloat32, {2, 6}, 1))), "'n' is 2");
  EXPECT_TRUE(run_with(good).ok());

  const std::string& name = engine.outputs()[0].name;
  expect_error(session.device_output(name).status(), "is not kept on the GPU");
  ASSERT_TRUE(session.keep_on_device(name).ok());
  expect_error(session.device_output(name).status(), "no run has finished");
  ASSERT_TRUE(session.run().ok());
  expect_error(session.output(name).status(), "is kept on the GPU");
  EXPECT_TRUE(session.device_output(name).ok());
  EXPECT_TRUE(session.output(1).ok());
}

TEST_F(DeviceIoTest, MemoryOfAnotherGpuIsRefused) {
  cuda::DriverApi api = emulator::driver();
  api.cuPointerGetAttribute = [](void* value, cuda::PointerAttribute attribute, cuda::DevicePtr) {
    *static_cast<int*>(value) =
        attribute == cuda::kPointerMemoryType ? int{cuda::kMemoryDevice} : 1;
    return +cuda::kSuccess;
  };
  context_ = cuda::Context::create(api, 0).value();
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  expect_error(session.bind_device("x", on_gpu(ramp(DType::kFloat32, {3, 6}, 1))),
               "is of memory on GPU 1, not on GPU 0");
}

TEST_F(DeviceIoTest, AnEngineForTheCpuRefusesIt) {
  Engine engine = make_engine(kNetwork, /*on_gpu=*/false);
  Session session = engine.create_session().value();
  expect_error(session.bind_device("x", on_gpu(ramp(DType::kFloat32, {3, 6}, 1))),
               "input 'x': it is in a GPU's memory, and the engine is for the CPU");
  expect_error(session.keep_on_device(engine.outputs()[0].name), "the engine is for the CPU");
  EXPECT_EQ(session.stream(), nullptr);
  EXPECT_EQ(session.gpu(), -1);
}

// Runs wait for the stream that makes an input.
TEST_F(DeviceIoTest, RunsComeAfterTheProducer) {
  static cuda::StreamHandle recorded;
  static cuda::StreamHandle waiting;
  cuda::DriverApi api = emulator::driver();
  api.cuEventRecord = [](cuda::EventHandle, cuda::StreamHandle stream) {
    return recorded = stream, +cuda::kSuccess;
  };
  api.cuStreamWaitEvent = [](cuda::StreamHandle stream, cuda::EventHandle, unsigned int) {
    return waiting = stream, +cuda::kSuccess;
  };
  context_ = cuda::Context::create(api, 0).value();
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  cuda::Stream producer = cuda::Stream::create(context_).value();
  recorded = waiting = nullptr;
  DeviceTensor x = on_gpu(ramp(DType::kFloat32, {3, 6}, 1));
  ASSERT_TRUE(session.bind_device("x", x).ok());
  EXPECT_EQ(waiting, nullptr);
  ASSERT_TRUE(session.bind_device("x", x, producer.get()).ok());
  EXPECT_EQ(recorded, producer.get());
  EXPECT_EQ(waiting, session.stream());
}

// The time is that of one of them.
TEST_F(DeviceIoTest, TimedGraphsHoldTheKernelsSoManyTimes) {
  int& launches = count_launches();
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  std::vector<Tensor> tensors = inputs(30, 1);
  for (size_t i = 0; i < tensors.size(); ++i) {
    ASSERT_TRUE(bind(session, engine.inputs()[i].name, tensors[i]).ok());
  }
  ASSERT_TRUE(session.run().ok());
  emulator::set_span(1000);
  launches = 0;
  EXPECT_EQ(session.time_kernels(2).value(), 500);
  int once = std::exchange(launches, 0);
  EXPECT_GT(once, 0);
  EXPECT_EQ(session.time_kernels(2, 5).value(), 100);
  EXPECT_EQ(launches, 5 * once);
  EXPECT_FALSE(session.time_kernels(2, 0).ok());
  EXPECT_FALSE(session.time_kernels(2, 1001).ok());
}

// Other addresses are told to the graph that is there, and nothing crosses the bus.
TEST_F(DeviceIoTest, NewAddressesNeedNoNewGraph) {
  static int copies;
  static int graphs;
  cuda::DriverApi api = emulator::driver();
  api.cuMemcpyHtoDAsync_v2 = [](cuda::DevicePtr to, const void* from, size_t bytes,
                                cuda::StreamHandle stream) {
    return ++copies, emulator::driver().cuMemcpyHtoDAsync_v2(to, from, bytes, stream);
  };
  api.cuMemcpyDtoHAsync_v2 = [](void* to, cuda::DevicePtr from, size_t bytes,
                                cuda::StreamHandle stream) {
    return ++copies, emulator::driver().cuMemcpyDtoHAsync_v2(to, from, bytes, stream);
  };
  api.cuGraphInstantiateWithFlags = [](cuda::GraphExecHandle* exec, cuda::GraphHandle graph,
                                       unsigned long long flags) {
    return ++graphs, emulator::driver().cuGraphInstantiateWithFlags(exec, graph, flags);
  };
  context_ = cuda::Context::create(api, 0).value();
  Engine engine = make_engine(kNetwork);
  Session session = engine.create_session().value();
  for (const ValueInfo& output : engine.outputs()) {
    ASSERT_TRUE(session.keep_on_device(output.name).ok());
  }
  copies = graphs = 0;
  std::vector<DeviceTensor> held;
  for (int seed : {1, 2, 3}) {
    for (const Tensor& tensor : inputs(3000, seed)) {
      held.push_back(on_gpu(tensor));
      const std::string& name = engine.inputs()[(held.size() - 1) % 3].name;
      ASSERT_TRUE(session.bind_device(name, held.back()).ok());
    }
    ASSERT_TRUE(session.run().ok());
  }
  EXPECT_EQ(copies, 0);
  EXPECT_EQ(graphs, 1);

  ProfileOptions options;
  options.runs = 2;
  Result<std::string> profile = session.profile(options);
  EXPECT_TRUE(profile.ok()) << profile.status().message();
  EXPECT_TRUE(session.run_timed().ok());
  EXPECT_TRUE(session.time_kernels(2).ok());
  ASSERT_TRUE(session.run_timed().ok());
  std::vector<Tensor> want = run_on_host(engine, inputs(3000, 3));
  for (size_t o = 0; o < want.size(); ++o) {
    DeviceTensor got = session.device_output(engine.outputs()[o].name).value();
    EXPECT_TRUE(identical(on_host(got), want[o])) << o;
  }
}

// A part of an input that is an output too is taken away by a later kernel than brings it.
TEST_F(DeviceIoTest, CopiesThatDependOnEachOtherAreApart) {
  constexpr std::string_view kPart = R"(graph g(%x: f32[8,4]) {
  %begin: i64[1] = const [4]
  %end: i64[1] = const [8]
  %y = slice(%x, %begin, %end)
  return %y
}
)";
  int& launches = count_launches();
  Engine engine = make_engine(kPart);
  Session session = engine.create_session().value();
  Tensor x = ramp(DType::kFloat32, {8, 4}, 1);
  ASSERT_TRUE(bind(session, "x", x).ok());
  launches = 0;
  ASSERT_TRUE(session.run().ok());
  EXPECT_EQ(launches, 2);
  const Tensor& y = (*session.output(0))->tensor;
  EXPECT_EQ(std::memcmp(y.raw(), x.data<float>() + 16, y.bytes()), 0);
}

// Each call of the driver fails once: an error, or the right result; and right ones afterwards.
TEST_F(DeviceIoTest, EveryFailureIsReportedAndLeavesItUsable) {
  Engine engine = make_engine(kNetwork);
  std::vector<Tensor> tensors = inputs(7, 4);
  std::vector<Tensor> want = run_on_host(engine, tensors);
  std::vector<DeviceTensor> there;
  for (const Tensor& tensor : tensors) there.push_back(on_gpu(tensor));
  auto run = [&](Session& session) -> Status {
    for (size_t i = 0; i < 3; ++i) {
      REDLINE_TRY(session.bind_device(engine.inputs()[i].name, there[i]));
    }
    for (const ValueInfo& output : engine.outputs()) {
      REDLINE_TRY(session.keep_on_device(output.name));
    }
    REDLINE_TRY(session.run());
    for (size_t o = 0; o < want.size(); ++o) {
      REDLINE_ASSIGN(DeviceTensor got, session.device_output(engine.outputs()[o].name));
      EXPECT_TRUE(identical(on_host(got), want[o])) << o;
    }
    return {};
  };
  emulator::fail_call(0);
  {
    Session session = engine.create_session().value();
    ASSERT_TRUE(run(session).ok());
  }
  int calls = emulator::fail_call(0);
  ASSERT_GT(calls, 8);
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(n);
    Result<Session> session = engine.create_session();
    bool failed = !session.ok() || !run(*session).ok();
    emulator::fail_call(0);
    EXPECT_TRUE(failed) << n;
    if (!session.ok()) continue;
    EXPECT_TRUE(run(*session).ok()) << n;
  }
}

}  // namespace
}  // namespace redline
