// What sums ask of their input.
#include <algorithm>

#include "nibble/program/fast/step.h"

namespace nibble::program {

Border border_for(const Action& action) {
  const auto* a = std::get_if<Accumulate>(&action);
  if (a == nullptr || a->is_spread()) return {};  // spread sums run as in the reference
  const Window& w = a->window;
  Border border{w.pad_top, w.pad_left, 0, 0};
  const int64_t last_row = (a->out_height - 1) * w.stride_height + (w.height - 1) * w.dilation_height - w.pad_top;
  const int64_t last_column = (a->out_width - 1) * w.stride_width + (w.width - 1) * w.dilation_width - w.pad_left;
  border.bottom = std::max<int64_t>(0, last_row - (a->in_height - 1));
  border.right = std::max<int64_t>(0, last_column - (a->in_width - 1));
  return border;
}

kernels::CodeType type_for(const Action& action) {
  const auto* a = std::get_if<Accumulate>(&action);
  if (a == nullptr || a->weights.empty()) return kernels::CodeType::kUint8;
  const auto [low, high] = std::minmax_element(a->weights.begin(), a->weights.end());
  const bool depthwise = a->groups == a->in_channels && a->out_channels == a->in_channels;
  // The depthwise kernel multiplies bytes by 16 bits.
  if (*low >= -128 && *high <= 127) return kernels::CodeType::kUint8;
  if (*low < INT16_MIN || *high > INT16_MAX) return kernels::CodeType::kInt32;
  return depthwise ? kernels::CodeType::kUint8 : kernels::CodeType::kInt16;
}

}  // namespace nibble::program
