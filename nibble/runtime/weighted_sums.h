// nibble/runtime/weighted_sums.h
// Convolution, depthwise convolution and dense layers on codes (B4).
//
//   accumulator = sum(w * (x - input_zero_point)) + bias
//   y           = requantize(accumulator)
//
// Padded positions add nothing. Weights have zero_point 0. Accumulators are 64 bits wide here; what width the real
// thing needs is a matter of its weights.
#pragma once

#include "nibble/runtime/requantizer.h"
#include "nibble/runtime/window.h"

namespace nibble::runtime {

struct WeightedSum {
  CodeTensor weights;
  std::span<const int32_t> bias;  // one per output channel, or empty
  int32_t input_zero_point = 0;
  Requantizer requantizer;  // one factor, or one per output channel
};

//   input    [batch, h, w, in]
//   weights  [out, kh, kw, in / groups]; groups follow from the shapes; output channels in blocks, one per group
//   window   its size is overwritten by the weights'
//   output   windowed_shape(...) with `out` channels
//   throws   InvalidArgument where shapes do not fit
void convolution(const CodeTensor& input, const WeightedSum& sum, Window window, std::span<int32_t> output);

//   weights  [kh, kw, in * multiplier]; output channel c * multiplier + m sees input channel c
void depthwise_convolution(const CodeTensor& input, const WeightedSum& sum, Window window, std::span<int32_t> output);

//   input    [batch, in]
//   weights  [out, in]
//   output   [batch, out]
void dense(const CodeTensor& input, const WeightedSum& sum, std::span<int32_t> output);

}  // namespace nibble::runtime
