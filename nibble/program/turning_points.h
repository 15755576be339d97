// nibble/program/turning_points.h
// Where a chain of float functions and the quantizer after it turn from falling to rising, as seen from an integer
// accumulator: swish, gelu and mish have a lowest point, and so have quantized_hswish and a PReLU with a slope below 0.
// All of them are evaluated in double and rounded once, which keeps order on either side; between turns, what is found
// by halving intervals (step_bisection.h) is all there is.
#pragma once

#include <optional>

#include "nibble/program/threshold_search.h"

namespace nibble::program {

// The input at which the quantizer's values are lowest, where they fall before and rise after it; nothing: they never
// fall.
std::optional<float> turn_of(const quant::Quantizer& quantizer);

// Rising integers, the first and the last the ends of search.intervals[channel]: between two neighbours the function
// only rises or only falls.
std::vector<int64_t> monotonic_breaks(const ThresholdSearch& search, int64_t channel);

}  // namespace nibble::program
