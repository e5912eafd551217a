// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "onnx/import_rule.h"

namespace redline {

// A model's bytes. Tensors of the graph point into them, so `owner` is kept alive by the graph.
struct ModelBytes {
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  std::string path;  // external data lies beside it; empty: from memory, without external data
};

// Maps a model file.
Result<ModelBytes> open_model(const std::string& path);

// One node that could not become IR.
struct ImportProblem {
  std::string node;  // name, or its first output
  std::string op_type;
  std::string domain;
  int opset = 0;
  std::string reason;
  std::string nearest;  // nearest supported op, when the op is unknown

  std::string to_string() const;
};

struct ImportedModel {
  std::unique_ptr<Graph> graph;
  std::string producer;
  int64_t ir_version = 0;
  int opset = 0;  // of the default domain
  std::vector<std::pair<std::string, std::string>> metadata;
  size_t num_nodes = 0;
};

// What `redline check` prints: how many nodes of each op there are, and each that is a problem.
struct ImportReport {
  struct OpCount {
    std::string op;  // "Conv", "com.microsoft.Gelu"
    size_t nodes = 0;
    size_t problems = 0;
  };
  std::vector<OpCount> ops;
  std::vector<ImportProblem> problems;
};

// Reads an ONNX model. All nodes that cannot be imported are gathered in `report` (when given) and
// in the message of the error.
Result<ImportedModel> import_onnx(const ModelBytes& model, const OpRegistry& ops,
                                  const ImportRegistry& rules, ImportReport* report = nullptr);

std::unique_ptr<ImportRegistry> make_import_registry();

}  // namespace redline
