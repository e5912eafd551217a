// SPDX-License-Identifier: Apache-2.0
#include "api/range_sizes.h"

#include <algorithm>
#include <cmath>

namespace redline {
namespace {

constexpr int kMostParts = 6;  // of the way from the likeliest sizes to an end

double log_of(int64_t size) { return std::log2(static_cast<double>(std::max<int64_t>(size, 1))); }

// The nearest of 2^k and 3 * 2^k, as a factor.
int64_t round_size(double log) {
  int64_t power = int64_t{1} << std::clamp(static_cast<int>(std::floor(log)), 0, 61);
  int64_t nearest = power;
  for (int64_t size : {power / 2 * 3, power * 2}) {
    if (std::abs(log_of(size) - log) < std::abs(log_of(nearest) - log)) nearest = size;
  }
  return nearest;
}

int64_t size_between(int64_t likely, int64_t end, double part) {
  if (part == 1) return end;
  int64_t size = round_size(log_of(likely) * (1 - part) + log_of(end) * part);
  return std::clamp(size, std::min(likely, end), std::max(likely, end));
}

Status check(const BuildSettings::SizeRange& range) {
  if (range.least >= 0 && range.least <= range.likely && range.likely <= range.most) return {};
  return invalid_argument("the sizes of '", range.symbol, "' are ", range.least, " to ", range.most,
                          " and ", range.likely, " between; expected three that do not fall");
}

}  // namespace

Result<std::vector<BuildOptions::SymbolValues>> range_sizes(
    std::span<const BuildSettings::SizeRange> ranges) {
  double down = 0;
  double up = 0;
  for (const BuildSettings::SizeRange& range : ranges) {
    REDLINE_TRY(check(range));
    down += log_of(range.likely) - log_of(range.least);
    up += log_of(range.most) - log_of(range.likely);
  }
  int parts_down = std::clamp(static_cast<int>(std::ceil(down)), 1, kMostParts);
  int parts_up = std::clamp(static_cast<int>(std::ceil(up)), 1, kMostParts);
  std::vector<BuildOptions::SymbolValues> all;
  auto add = [&](int step, int parts, int64_t BuildSettings::SizeRange::*end) {
    if (step >= parts) return;
    double part = static_cast<double>(parts - step) / parts;
    BuildOptions::SymbolValues values;
    for (const BuildSettings::SizeRange& range : ranges) {
      values.emplace_back(range.symbol, size_between(range.likely, range.*end, part));
    }
    all.push_back(std::move(values));
  };
  for (int step = 0; step < kMostParts; ++step) {
    add(step, parts_down, &BuildSettings::SizeRange::least);
    add(step, parts_up, &BuildSettings::SizeRange::most);
  }
  return all;
}

}  // namespace redline
