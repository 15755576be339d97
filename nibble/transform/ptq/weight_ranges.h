// nibble/transform/ptq/weight_ranges.h
// Symmetric ranges of weights, one for the tensor or one a channel.
//
//   [-m, m] in narrow codes: scale = m / (2^(b-1) - 1), zero_point 0
//
// Source: spec/ptq-qat-experiments.md, 5.8.
#pragma once

#include <span>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"
#include "nibble/quant/affine/least_error.h"

namespace nibble::ptq {

enum class WeightRule {
  kAutomatic,     // kLargest at 6 bits and more, kSquaredError below: affine::usual_range_rule()
  kLargest,       // m = max|w|
  kSquaredError,  // m = k max|w|, the k in 1.00, 0.99 .. 0.20 with the least squared error
};

// What a tracker must do to find such ranges anew.
affine::RangeRule range_rule(WeightRule rule, int bit_width);

//   throws  InvalidArgument if w does not fit the layout or holds NaN or infinity
std::vector<affine::Range> weight_ranges(std::span<const float> w, const affine::ChannelLayout& layout, int bit_width,
                                         WeightRule rule);

// Signal to quantization noise, 10 log10(sum x^2 / sum (x - y)^2), in decibels. Equal tensors give kLosslessDb.
inline constexpr double kLosslessDb = 200.0;
double sqnr_db(std::span<const float> x, std::span<const float> y);

}  // namespace nibble::ptq
