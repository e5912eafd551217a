// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tune/database.h"

// Choices that were measured on another machine: what an engine for a GPU is built by where there
// is no such GPU. They are lines of tuning databases in data/tuning, one file an architecture.
namespace redline {

namespace prior {
// The text of data/tuning/PATH, empty when there is no such file.
std::string_view source(std::string_view path);
}  // namespace prior

// Of GPUs of an architecture ("sm_90a"): the best right way to do each problem, as records of
// `device`. That is the fastest, but for what networks were faster with.
std::vector<TuningRecord> fastest_of(const std::vector<TuningRecord>& records,
                                     const std::string& arch, const std::string& device);

// What is shipped for an architecture.
std::vector<TuningRecord> shipped_records(const std::string& arch, const std::string& device);

}  // namespace redline
