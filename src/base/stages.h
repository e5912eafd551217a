// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace redline {

// What the stages of a long call took, for people, in the order in which they began first. A stage
// "a/b" is a part of "a". Stages that are entered several times are summed. One thread.
class Stages {
 public:
  // When the call began, which is when this was made.
  std::chrono::steady_clock::time_point begin() const { return begin_; }
  struct Stage {
    std::string name;
    double seconds = 0;
  };
  const std::vector<Stage>& list() const { return list_; }
  void add(std::string_view name, double seconds) { list_[place_of(name)].seconds += seconds; }

  // Adds the time from its making to its end.
  class Span {
   public:
    Span(Stages* stages, std::string_view name) : stages_(stages) {
      if (stages_ != nullptr) at_ = stages_->place_of(name);
    }
    ~Span() { end(); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;
    void end() {
      if (stages_ == nullptr) return;
      std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
      stages_->list_[at_].seconds += elapsed.count();
      stages_ = nullptr;
    }

   private:
    Stages* stages_;
    size_t at_ = 0;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  };

 private:
  size_t place_of(std::string_view name) {
    auto it = std::find_if(list_.begin(), list_.end(),
                           [&](const Stage& stage) { return stage.name == name; });
    if (it == list_.end()) it = list_.insert(it, {std::string(name)});
    return static_cast<size_t>(it - list_.begin());
  }

  std::vector<Stage> list_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace redline
