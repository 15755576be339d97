// nibble/program/fast/line_fit.h
// A line whose rounded values are a channel's steps.
//
// A batch norm before a uniform quantizer gives steps at nearly equal distances, so that one multiplication may replace
// all comparisons. "Nearly" is not enough here: fit_line() proposes, and is_exact() evaluates the proposal at both ends
// of every part. Both functions are monotonic, so that equal ends mean equality in between.
#pragma once

#include <optional>

#include "nibble/program/fast/channel_steps.h"

namespace nibble::program {

struct Line {
  float multiplier = 0.0f, offset = 0.0f, low = 0.0f, high = 0.0f;

  // As kernels::RequantizationKind::kLinear: clamp(x * multiplier + offset, low, high), rounded, ties to even.
  int32_t operator()(int32_t x) const;
};

bool is_exact(const Line& line, const ChannelSteps& steps);

// A line with is_exact(), if one was found.
std::optional<Line> fit_line(const ChannelSteps& steps);

// A rising line for direction() * values that is right or one too low everywhere, if one was found.
std::optional<Line> fit_guess(const ChannelSteps& steps);

}  // namespace nibble::program
