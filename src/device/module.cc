// SPDX-License-Identifier: Apache-2.0
#include "device/module.h"

namespace redline::cuda {

Result<std::shared_ptr<const Module>> Module::create(ContextPtr context,
                                                     std::span<const std::byte> cubin) {
  REDLINE_TRY(context->make_current());
  ModuleHandle handle = nullptr;
  REDLINE_TRY(context->check(
      context->api().cuModuleLoadData(&handle, cubin.data()),
      str_cat("cuModuleLoadData(", cubin.size(), " bytes) on ", context->info().arch())));
  auto module = std::make_shared<Module>();
  module->module_ = {std::move(context), handle};
  return std::shared_ptr<const Module>(std::move(module));
}

Result<Module::Variable> Module::variable(const std::string& name) const {
  REDLINE_TRY(context()->make_current());
  Variable found;
  CuResult result =
      context()->api().cuModuleGetGlobal_v2(&found.ptr, &found.bytes, get(), name.c_str());
  if (result == kErrorNotFound) return Variable();
  REDLINE_TRY(context()->check(result, str_cat("cuModuleGetGlobal(", name, ")")));
  return found;
}

Result<Function> Function::create(std::shared_ptr<const Module> module, const std::string& name,
                                  int dynamic_shared_bytes) {
  const ContextPtr& context = module->context();
  const DriverApi& api = context->api();
  REDLINE_TRY(context->make_current());
  Function function;
  REDLINE_TRY(
      context->check(api.cuModuleGetFunction(&function.handle_, module->get(), name.c_str()),
                     str_cat("cuModuleGetFunction(", name, ")")));
  // Up to 48 KB need no leave.
  if (dynamic_shared_bytes > 48 * 1024) {
    REDLINE_TRY(context->check(
        api.cuFuncSetAttribute(function.handle_, kFunctionMaxDynamicShared, dynamic_shared_bytes),
        str_cat("cuFuncSetAttribute(", name, ", shared memory, ", dynamic_shared_bytes, ")")));
  }
  function.module_ = std::move(module);
  return function;
}

Status Function::allow_large_clusters() const {
  REDLINE_TRY(context()->make_current());
  return context()->check(
      context()->api().cuFuncSetAttribute(handle_, kFunctionNonPortableCluster, 1),
      "cuFuncSetAttribute(clusters of more than 8 blocks)");
}

Result<Function::Resources> Function::resources() const {
  const DriverApi& api = context()->api();
  REDLINE_TRY(context()->make_current());
  Resources resources;
  const std::pair<FunctionAttribute, int*> attributes[] = {
      {kFunctionRegisters, &resources.registers},
      {kFunctionSharedBytes, &resources.static_shared_bytes},
      {kFunctionLocalBytes, &resources.local_bytes},
      {kFunctionMaxThreads, &resources.max_threads}};
  for (auto [attribute, value] : attributes) {
    REDLINE_TRY(
        context()->check(api.cuFuncGetAttribute(value, attribute, handle_), "cuFuncGetAttribute"));
  }
  return resources;
}

Result<int> Function::occupancy(int block_threads, size_t dynamic_shared_bytes) const {
  REDLINE_TRY(context()->make_current());
  int blocks = 0;
  REDLINE_TRY(context()->check(context()->api().cuOccupancyMaxActiveBlocksPerMultiprocessor(
                                   &blocks, handle_, block_threads, dynamic_shared_bytes),
                               "cuOccupancyMaxActiveBlocksPerMultiprocessor"));
  return blocks;
}

Status launch(const Stream& stream, const Function& function, const LaunchShape& shape,
              std::span<void* const> parameters, std::string_view what) {
  const Context& context = *stream.context();
  LaunchAttribute attributes[3] = {};
  unsigned int count = 0;
  if (shape.cluster.x * shape.cluster.y * shape.cluster.z > 1) {
    attributes[count].id = kLaunchClusterDimension;
    attributes[count++].value.cluster_dim = {shape.cluster.x, shape.cluster.y, shape.cluster.z};
  }
  bool waits = stream.take_waits();
  if (shape.programmatic && !waits) {
    attributes[count].id = kLaunchProgrammaticSerialization;
    attributes[count++].value.programmatic_serialization_allowed = 1;
  }
  if (shape.together) {
    attributes[count].id = kLaunchCooperative;
    attributes[count++].value.cooperative = 1;
  }
  LaunchConfig config = {shape.grid.x,  shape.grid.y,  shape.grid.z,       shape.block.x,
                         shape.block.y, shape.block.z, shape.shared_bytes, stream.get(),
                         attributes,    count};
  REDLINE_TRY(context.make_current());
  CuResult result = context.api().cuLaunchKernelEx(&config, function.get(),
                                                   const_cast<void**>(parameters.data()), nullptr);
  if (result == kSuccess) return {};
  return context.check(
      result, str_cat("launch of ", what, " with grid ", config.grid_x, "x", config.grid_y, "x",
                      config.grid_z, ", block ", config.block_x, "x", config.block_y, "x",
                      config.block_z, ", ", config.shared_bytes, " bytes of shared memory"));
}

Status Graph::begin_capture(const Stream& stream) {
  const Context& context = *stream.context();
  static_cast<void>(stream.take_waits());
  REDLINE_TRY(context.make_current());
  return context.check(context.api().cuStreamBeginCapture_v2(stream.get(), kCaptureThreadLocal),
                       "cuStreamBeginCapture");
}

Result<Graph> Graph::end_capture(const Stream& stream) {
  const ContextPtr& context = stream.context();
  const DriverApi& api = context->api();
  GraphHandle handle = nullptr;
  REDLINE_TRY(context->check(api.cuStreamEndCapture(stream.get(), &handle), "cuStreamEndCapture"));
  Owned<GraphHandle, &DriverApi::cuGraphDestroy> recorded(context, handle);
  Graph graph;
  REDLINE_TRY(
      context->check(api.cuGraphGetNodes(handle, nullptr, &graph.num_nodes_), "cuGraphGetNodes"));
  GraphExecHandle exec = nullptr;
  REDLINE_TRY(context->check(api.cuGraphInstantiateWithFlags(&exec, handle, 0),
                             str_cat("cuGraphInstantiate(", graph.num_nodes_, " nodes)")));
  graph.exec_ = {context, exec};
  return graph;
}

Result<CapturedNodes> captured_nodes(const Stream& stream) {
  const Context& context = *stream.context();
  const DriverApi& api = context.api();
  REDLINE_TRY(context.make_current());
  int status = 0;
  uint64_t id = 0;
  GraphHandle graph = nullptr;
  const GraphNodeHandle* last = nullptr;
  const void* edges = nullptr;  // asked for, since edges of programmatic launches must not be lost
  size_t count = 0;
  REDLINE_TRY(context.check(
      api.cuStreamGetCaptureInfo_v3(stream.get(), &status, &id, &graph, &last, &edges, &count),
      "cuStreamGetCaptureInfo"));
  if (graph == nullptr) return internal_error("the stream is not being captured");
  CapturedNodes nodes;
  nodes.last.assign(last, last + count);
  REDLINE_TRY(context.check(api.cuGraphGetNodes(graph, nullptr, &count), "cuGraphGetNodes"));
  nodes.all.resize(count);
  if (count == 0) return nodes;
  REDLINE_TRY(
      context.check(api.cuGraphGetNodes(graph, nodes.all.data(), &count), "cuGraphGetNodes"));
  nodes.all.resize(count);
  return nodes;
}

Result<NodeWork> work_of(const Context& context, GraphNodeHandle node) {
  const DriverApi& api = context.api();
  NodeWork work;
  REDLINE_TRY(context.make_current());
  REDLINE_TRY(context.check(api.cuGraphNodeGetType(node, &work.type), "cuGraphNodeGetType"));
  if (work.type != kKernelNode) return work;
  KernelNodeParams parameters = {};
  REDLINE_TRY(context.check(api.cuGraphKernelNodeGetParams_v2(node, &parameters),
                            "cuGraphKernelNodeGetParams"));
  const char* name = nullptr;
  REDLINE_TRY(context.check(api.cuFuncGetName(&name, parameters.function), "cuFuncGetName"));
  work.kernel = name;
  return work;
}

Status Graph::launch(const Stream& stream) const {
  const Context& context = *stream.context();
  REDLINE_TRY(context.make_current());
  return context.check(context.api().cuGraphLaunch(exec_.get(), stream.get()), "cuGraphLaunch");
}

}  // namespace redline::cuda
