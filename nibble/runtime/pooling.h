// nibble/runtime/pooling.h
// Pools of codes (B4). Average and max pools keep scale and zero point of their input; mean has its own.
#pragma once

#include "nibble/runtime/requantizer.h"
#include "nibble/runtime/window.h"

namespace nibble::runtime {

// Sum of the codes inside the image, divided by their number, halves away from zero.
//   input    [batch, h, w, c]
//   output   windowed_shape(...) with c channels
//   throws   InvalidArgument where shapes do not fit or a window lies in the padding alone
void average_pool(const CodeTensor& input, const Window& window, CodeLimits limits, std::span<int32_t> output);

void max_pool(const CodeTensor& input, const Window& window, CodeLimits limits, std::span<int32_t> output);

// Mean over height and width: global average pooling.
struct Mean {
  float input_scale = 1.0f;
  int32_t input_zero_point = 0;
  affine::AffineParams output;
  affine::Rounding rounding = affine::Rounding::kGemmlowpDouble;
};

//   input    [batch, h, w, c]
//   output   [batch, c]
void mean(const CodeTensor& input, const Mean& mean, std::span<int32_t> output);

}  // namespace nibble::runtime
