// nibble/program/turning_points.h
// Where a chain of float functions and the quantizer after it turn from falling to rising, as seen from an integer
// accumulator: swish, gelu and mish have a lowest point, and so has quantized_hswish.
//
// Between turns what is found by halving intervals (step_bisection.h) is all there is. Right beside a turn the curve is
// so flat that float32's rounding is larger than its rise; there every integer is looked at.
#pragma once

#include "nibble/program/threshold_search.h"

namespace nibble::program {

// Rising integers, the first and the last the ends of search.intervals[channel]: between two neighbours the function
// only rises or only falls.
std::vector<int64_t> monotonic_breaks(const ThresholdSearch& search, int64_t channel);

}  // namespace nibble::program
