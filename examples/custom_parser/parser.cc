// SPDX-License-Identifier: Apache-2.0
// A parser for a format of its own (see net.txt), on Redline's graph builder: reads the file,
// builds the engine, runs it on a ramp and prints the outputs.
//
//   custom_parser net.txt
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "redline/builder.h"

namespace {

using redline::Attributes;
using redline::GraphBuilder;
using redline::Result;
using redline::Status;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line.substr(0, line.find('#')));
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

class Parser {
 public:
  Result<redline::Engine> parse(const std::string& path) {
    std::ifstream file(path);
    if (!file) return redline::not_found("cannot open '", path, "'");
    int number = 0;
    for (std::string line; std::getline(file, line);) {
      builder_.set_position(redline::str_cat(path, ":", ++number));
      std::vector<std::string> words = words_of(line);
      if (words.empty()) continue;
      Status status = statement(words);
      if (!status.ok()) return status;
    }
    return builder_.build();
  }

 private:
  Status statement(const std::vector<std::string>& words) {
    if (words[0] == "input" && words.size() >= 2) {
      std::vector<std::string> dims(words.begin() + 2, words.end());
      REDLINE_ASSIGN(values_[words[1]], builder_.input(words[1], redline::DType::kFloat32, dims));
      return {};
    }
    if (words[0] == "weights" && words.size() >= 2) return weights(words);
    if (words[0] == "output" && words.size() == 2) {
      REDLINE_ASSIGN(GraphBuilder::Value value, find(words[1]));
      return builder_.output(value, words[1]);
    }
    if (words.size() >= 3 && words[1] == "=") return op(words);
    return redline::invalid_argument("cannot read the statement that begins with '", words[0], "'");
  }

  Status weights(const std::vector<std::string>& words) {
    redline::Dims dims;
    size_t i = 2;
    for (; i < words.size() && words[i] != "="; ++i) dims.push_back(std::atoll(words[i].c_str()));
    std::vector<float> values;
    for (++i; i < words.size(); ++i) values.push_back(std::strtof(words[i].c_str(), nullptr));
    if (dims.count() != static_cast<int64_t>(values.size())) {
      return redline::invalid_argument("weights '", words[1], "' have ", values.size(),
                                       " values, expected ", dims.count());
    }
    weights_[words[1]] = values;
    auto tensor = redline::Tensor::from<float>(redline::DType::kFloat32, dims, values);
    REDLINE_ASSIGN(values_[words[1]], builder_.constant(tensor, words[1]));
    return {};
  }

  Status op(const std::vector<std::string>& words) {
    std::vector<GraphBuilder::Value> operands;
    Attributes attributes;
    for (size_t i = 3; i < words.size(); ++i) {
      size_t at = words[i].find('=');
      if (at == std::string::npos) {
        REDLINE_ASSIGN(GraphBuilder::Value value, find(words[i]));
        operands.push_back(value);
        continue;
      }
      std::vector<int64_t> numbers;
      std::istringstream list(words[i].substr(at + 1));
      for (std::string item; std::getline(list, item, ',');)
        numbers.push_back(std::atoll(item.c_str()));
      std::string key = words[i].substr(0, at);
      if (numbers.size() == 1) {
        attributes.emplace_back(key, numbers[0]);
      } else {
        attributes.emplace_back(key, numbers);
      }
    }
    REDLINE_ASSIGN(values_[words[0]], builder_.op(words[2], operands, attributes, words[0]));
    return {};
  }

  // "name", or "name:int" for weights as 64-bit integers.
  Result<GraphBuilder::Value> find(const std::string& word) {
    size_t colon = word.find(":int");
    if (colon != std::string::npos) {
      auto it = weights_.find(word.substr(0, colon));
      if (it == weights_.end()) return redline::not_found("'", word, "' is not of weights");
      std::vector<int64_t> numbers(it->second.begin(), it->second.end());
      return builder_.constant(redline::Tensor::from_int64(numbers));
    }
    auto it = values_.find(word);
    if (it == values_.end()) return redline::not_found("nothing is called '", word, "'");
    return it->second;
  }

  GraphBuilder builder_;
  std::map<std::string, GraphBuilder::Value> values_;
  std::map<std::string, std::vector<float>> weights_;
};

Status run(const std::string& path) {
  Parser parser;
  REDLINE_ASSIGN(redline::Engine engine, parser.parse(path));
  REDLINE_ASSIGN(redline::Session session, engine.create_session());
  for (const redline::ValueInfo& input : engine.inputs()) {
    redline::Dims dims;
    for (const std::string& dim : input.dims) {
      char* end = nullptr;
      int64_t size = std::strtoll(dim.c_str(), &end, 10);
      dims.push_back(*end == '\0' ? size : 2);  // two of whatever is open
    }
    std::vector<float> ramp(static_cast<size_t>(dims.count()));
    for (size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<float>(i) / 10;
    auto tensor = redline::Tensor::from<float>(redline::DType::kFloat32, dims, ramp);
    REDLINE_TRY(session.bind(input.name, redline::HostValue::of(tensor)));
  }
  REDLINE_TRY(session.run());
  for (const redline::ValueInfo& output : engine.outputs()) {
    REDLINE_ASSIGN(const redline::HostValue* value, session.output(output.name));
    std::printf("%s %s\n", output.name.c_str(), value->tensor.dims().to_string().c_str());
    for (float v : value->tensor.span<float>()) std::printf("%.6f ", static_cast<double>(v));
    std::printf("\n");
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: custom_parser net.txt\n");
    return 2;
  }
  Status status = run(argv[1]);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return 1;
}
