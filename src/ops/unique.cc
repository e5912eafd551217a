// SPDX-License-Identifier: Apache-2.0
#include "ops/unique.h"

#include <cmath>
#include <numeric>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_unique(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  std::optional<int64_t> axis = c.attrs<UniqueAttrs>().axis;
  Dim distinct = c.fresh_symbol("unique");
  std::optional<Dim> slices;
  c.set_output(0, c.dtype(0), Shape());
  if (!axis) {
    c.set_output(0, c.dtype(0), SymDims{distinct});
    slices = in.count();
  } else if (in.has_rank()) {
    REDLINE_ASSIGN(int at, c.normalize_axis(*axis, in.rank()));
    SymDims out = in.dims();
    slices = out[static_cast<size_t>(at)];
    out[static_cast<size_t>(at)] = distinct;
    c.set_output(0, c.dtype(0), std::move(out));
  }
  c.set_output(1, DType::kInt64, SymDims{distinct});
  c.set_output(2, DType::kInt64, SymDims{slices ? *slices : c.fresh_symbol("unique")});
  c.set_output(3, DType::kInt64, SymDims{distinct});
  return {};
}

template <class T>
int compare(const T& a, const T& b) {
  if constexpr (std::is_same_v<T, double>) {
    if (std::isnan(a) || std::isnan(b)) return int{std::isnan(a)} - int{std::isnan(b)};
  }
  return a < b ? -1 : int{b < a};
}

struct Distinct {
  std::vector<int64_t> first;    // of each distinct slice: where it first appears
  std::vector<int64_t> inverse;  // of each slice: which distinct one it is
  std::vector<int64_t> counts;
};

template <class T>
Distinct find_distinct(std::span<const T> values, int64_t outer, int64_t size, int64_t inner,
                       bool sorted) {
  auto compare_slices = [&](int64_t a, int64_t b) {
    for (int64_t i = 0; i < outer; ++i) {
      const T* row = values.data() + i * size * inner;
      for (int64_t j = 0; j < inner; ++j) {
        if (int order = compare<T>(row[a * inner + j], row[b * inner + j])) return order;
      }
    }
    return 0;
  };
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return compare_slices(a, b) < 0; });
  Distinct result;
  result.inverse.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || compare_slices(order[i - 1], order[i]) != 0) {
      result.first.push_back(order[i]);
      result.counts.push_back(0);
    }
    ++result.counts.back();
    result.inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(result.first.size()) - 1;
  }
  if (sorted) return result;
  std::vector<size_t> by_appearance(result.first.size());
  std::iota(by_appearance.begin(), by_appearance.end(), size_t{0});
  std::sort(by_appearance.begin(), by_appearance.end(),
            [&](size_t a, size_t b) { return result.first[a] < result.first[b]; });
  Distinct moved;
  std::vector<int64_t> rank(by_appearance.size());
  for (size_t from : by_appearance) {
    rank[from] = static_cast<int64_t>(moved.first.size());
    moved.first.push_back(result.first[from]);
    moved.counts.push_back(result.counts[from]);
  }
  for (int64_t at : result.inverse) moved.inverse.push_back(rank[static_cast<size_t>(at)]);
  return moved;
}

Status write_ints(ReferenceContext& c, size_t i, const std::vector<int64_t>& values) {
  if (!c.wants_output(i)) return {};
  REDLINE_ASSIGN(TensorView out,
                 output_of_size(c, i, DType::kInt64, {static_cast<int64_t>(values.size())}));
  std::copy(values.begin(), values.end(), out.as<int64_t>());
  return {};
}

Status reference_unique(ReferenceContext& c) {
  const auto& attrs = c.attrs<UniqueAttrs>();
  const TensorView& in = c.input(0);
  Dims dims = attrs.axis ? in.dims : Dims{in.count()};
  auto at = static_cast<int>(attrs.axis.value_or(0));
  if (at < 0) at += dims.rank();
  int64_t outer = dims.count(0, at);
  int64_t size = dims[static_cast<size_t>(at)];
  int64_t inner = dims.count(at + 1, dims.rank());
  Distinct found;
  if (in.dtype == DType::kString) {
    found =
        find_distinct<std::string>(in.span<const std::string>(), outer, size, inner, attrs.sorted);
  } else {
    found = with_wide_type(in.dtype, [&](auto wide) {
      using W = decltype(wide);
      std::vector<W> values = read_elements<W>(in);
      return find_distinct<W>(values, outer, size, inner, attrs.sorted);
    });
  }
  dims[static_cast<size_t>(at)] = static_cast<int64_t>(found.first.size());
  REDLINE_ASSIGN(TensorView out, output_of_size(c, 0, in.dtype, dims));
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    T* dst = out.as<T>();
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t slice : found.first) {
        dst = std::copy_n(in.as<const T>() + (i * size + slice) * inner, inner, dst);
      }
    }
  });
  REDLINE_TRY(write_ints(c, 1, found.first));
  REDLINE_TRY(write_ints(c, 2, found.inverse));
  return write_ints(c, 3, found.counts);
}

}  // namespace

void register_op_unique(OpRegistry& registry) {
  registry.add({.name = "unique",
                .inputs = {{"x"}},
                .outputs = {{"y"},
                            {"indices", Arity::kOptional},
                            {"inverse_indices", Arity::kOptional},
                            {"counts", Arity::kOptional}},
                .attrs = attrs_type<UniqueAttrs>(),
                .traits = kTraitDataDependent,
                .infer = infer_unique,
                .reference = reference_unique});
}

}  // namespace redline
