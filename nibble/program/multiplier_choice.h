// nibble/program/multiplier_choice.h
// The multiplier of a channel's rule that has the most of the trained network's codes.
//
// For what stands where the network rounds no known sums by a multiplier itself: behind batch norms and float biases,
// quantizers of QKeras, and other roundings than kSingle. There it multiplies and divides in float32, whose rounding
// now and then moves a step by one accumulator; a factor that is off by as little often has all of the steps as they
// are. For x + bias of either sign, a code k asks of the multiplier m, where the rule rounds once,
//   (2k - 1) * 2^(30 - shift) <= (x + bias) * m < (2k + 1) * 2^(30 - shift)
// which is an interval of m. Of the multipliers within 2^-19 of the real factor, the one in the most intervals is
// taken, of several the nearest.
#pragma once

#include <cstdint>
#include <span>

#include "nibble/program/fixed_point_rule.h"

namespace nibble::program {

// What the trained network gives for an accumulator.
struct KnownCode {
  int64_t x = 0;
  int32_t code = 0;
};

// The channel's factor; as it is where the rule rounds twice or not at all, or where it is a power of two (a shift).
//   rule   with its range, and factor and bias of the channel
//   known  of the channel: both sides of each step, and the ends
affine::FixedPointMultiplier fitted_factor(const FixedPointRule& rule, size_t channel,
                                           std::span<const KnownCode> known);

}  // namespace nibble::program
