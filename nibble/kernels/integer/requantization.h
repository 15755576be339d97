// nibble/kernels/integer/requantization.h
// Accumulator to code: one step function of an integer a channel, in the form that is fastest to evaluate.
//
// Which form stands for given steps is decided by program/fast/requantization_plan.h, which checks it at every step:
// the forms here are means, the steps are the definition.
#pragma once

#include <cstdint>

namespace nibble::kernels {

enum class RequantizationKind {
  kNone,       // x itself
  kLinear,     // clamp(x * multiplier + offset, low, high), rounded to the nearest, ties to even
  kCorrected,  // sign * (g + (x > last[first + g - low])), g as kLinear: a guess that is right or one too low; kLinear
               // where `is_line` says so
  kSelect,     // values[k], k of a handful of steps being passed: x > last[k]
  kSearch,     // the same by bisection, for many steps
};

// Arrays hold one entry a channel and are padded to whole vectors of 16.
struct Requantization {
  RequantizationKind kind = RequantizationKind::kNone;
  // kLinear, kCorrected. The product and the sum are rounded each; |low|, |high| <= 2^22.
  const float *multiplier = nullptr, *offset = nullptr, *low = nullptr, *high = nullptr;
  const int32_t* sign = nullptr;     // kCorrected: 1 or -1
  const uint8_t* is_line = nullptr;  // kCorrected: of each 16 channels
  const int32_t* first = nullptr;    // kCorrected, kSearch: where a channel begins in `last`
  // The last x of each code but the highest; INT32_MAX where no step follows.
  //   kSelect  [steps][channels]   kCorrected, kSearch  channel after channel; kSearch: `steps` = 2^n - 1 each
  const int32_t* last = nullptr;
  // kSelect  [steps + 1][channels]   kSearch  channel after channel, steps + 1 each, beginning at first + channel
  const int32_t* values = nullptr;
  int32_t steps = 0;
  int64_t channels = 0;  // padded
};

namespace scalar {
int32_t requantize(const Requantization& r, int32_t x, int64_t channel);
}

}  // namespace nibble::kernels
