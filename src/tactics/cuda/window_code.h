// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/channels_last.h"
#include "ops/window.h"
#include "tactics/cuda/element.h"

// Sliding windows as code: what ops/window.h computes, for sizes that may be names.
namespace redline {

struct AxisCode {
  int64_t stride = 1;
  int64_t dilation = 1;
  std::string pad_begin;
  std::string in, out, kernel;
  // The input position under element k of window o; may lie in the padding.
  std::string position(const std::string& o, const std::string& k) const {
    return str_cat("(", o, ") * ", stride, " - (", pad_begin, ") + ", k, " * ", dilation);
  }
};

struct WindowLists {
  const std::vector<int64_t>& strides;
  const std::vector<int64_t>& dilations;
  const std::vector<int64_t>& pads;
  AutoPad auto_pad;
};

// An operand [n, ..., c] as [n, c, ...].
inline ElementOperand image_operand(ElementOperand operand, bool channels_last) {
  if (channels_last) operand.dims = channels_to_front(operand.dims);
  return operand;
}

inline Result<Dims> static_dims(const ElementOperand& operand) {
  Dims dims;
  for (int axis = 0; axis < operand.rank(); ++axis) {
    std::optional<int64_t> size = operand.static_dim(axis);
    if (!size) return unsupported("sizes must be known here");
    dims.push_back(*size);
  }
  return dims;
}

inline std::vector<AxisCode> window_code(const WindowLists& lists,
                                         const std::vector<std::string>& kernel,
                                         const ElementOperand& x, const ElementOperand& y) {
  std::vector<AxisCode> axes;
  for (size_t i = 0; i < kernel.size(); ++i) {
    AxisCode axis;
    axis.stride = lists.strides.empty() ? 1 : lists.strides[i];
    axis.dilation = lists.dilations.empty() ? 1 : lists.dilations[i];
    axis.kernel = kernel[i];
    axis.in = x.dims[i + 2];
    axis.out = y.dims[i + 2];
    axis.pad_begin = "0";
    if (lists.auto_pad == AutoPad::kNotSet && !lists.pads.empty()) {
      axis.pad_begin = std::to_string(lists.pads[i]);
    } else if (lists.auto_pad == AutoPad::kSameUpper || lists.auto_pad == AutoPad::kSameLower) {
      std::string total = str_cat("((", axis.out, " - 1) * ", axis.stride, " + (", kernel[i],
                                  " - 1) * ", axis.dilation, " + 1 - ", axis.in, ")");
      const char* half = lists.auto_pad == AutoPad::kSameUpper ? " / 2" : " - ";
      axis.pad_begin = str_cat("(", total, " < 0 ? 0 : ", total, half,
                               lists.auto_pad == AutoPad::kSameUpper ? "" : total + " / 2", ")");
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

}  // namespace redline
