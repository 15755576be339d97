// nibble/program/fixed_point_rule.h
// Requantization as integer hardware and TFLite do it: one multiplication and one shift instead of a comparison.
//
//   code = clamp(round((x + bias) * multiplier * 2^(shift - 31)), lowest, highest)
//
// with the rounding rule named (quant/affine/fixed_point.h). A rule is a step function of the accumulator like any
// other, so a program keeps its steps as thresholds, and every executor runs it; the rule itself is kept beside them
// for those who build the hardware. Its codes are not always the trained network's: rounding differs near ties.
//   spec/tfmot-tflite.md, B2
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "nibble/program/channel_function.h"
#include "nibble/quant/affine/fixed_point.h"

namespace nibble::program {

struct FixedPointRule {
  affine::Rounding rounding = affine::Rounding::kSingle;
  // One a channel, or one for all, as a comparison's thresholds.
  std::vector<affine::FixedPointMultiplier> factors;
  std::vector<int64_t> bias;  // in the accumulator's units, 32 bits: what a batch norm adds
  int32_t lowest = 0, highest = 0;

  int32_t operator()(int64_t x, size_t channel) const;
  // Every factor is a power of two: a shift and no multiplier.
  bool only_shifts() const;
  bool operator==(const FixedPointRule&) const = default;
};

// "gemmlowp-double", "single", "half-even", "floor"
std::string_view name_of(affine::Rounding rounding);
// Null: no such name.
std::optional<affine::Rounding> rounding_of(std::string_view name);

// One channel's real function in front of a quantizer, x * multiplier + offset, clipped.
struct RealLine {
  double multiplier = 0.0, offset = 0.0;  // in units of the codes
  double lowest, highest;                 // what ReLUs leave; infinite where there is none
};

// Null where the stages are no line that is clipped at the end.
//   scale       real = x * scale
//   code_scale  real = code * code_scale
std::optional<RealLine> line_of(const ChannelFunction& function, int64_t channel, double scale, double code_scale);

// The factor and bias of a channel.
void push_channel(FixedPointRule& rule, const RealLine& line);

}  // namespace nibble::program
