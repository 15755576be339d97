// nibble/program/fixed_point_rule.h
// Requantization as integer hardware and TFLite do it: one multiplication and one shift instead of a comparison.
//
//   code = clamp(round((x + bias) * multiplier * 2^(shift - 31)), lowest, highest)
//
// with the rounding named (quant/affine/fixed_point.h). x is the accumulator, the layer's own bias in it; `bias` is
// what a batch norm adds. Codes are relative to the zero point, as everywhere in a program. A rule is a step function
// of the accumulator like any other, so a program keeps its steps as thresholds, and every executor runs it; the rule
// itself is kept beside them for those who build the hardware. Where the network rounds known sums so itself
// (quant/affine/sum_quantizer.h), kSingle has its codes; else a code may be one beside the trained network's.
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
  // Every factor is a power of two, rounded once: a shift and no multiplier.
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
  bool is_clipped_last = true;            // nothing moves it after a ReLU
};

// Null where the stages are no line up to rounding and clipping.
//   scale       real = x * scale
//   code_scale  real = code * code_scale
std::optional<RealLine> line_of(const ChannelFunction& function, int64_t channel, double scale, double code_scale);

// The nearest factor and bias of a channel; multiplier_choice.h may then look beside the factor. Both have 32 bits, so
// the rule may be far from the line where the factor is tiny (the bias then saturates) or an accumulator is coarse (the
// bias is whole).
void push_channel(FixedPointRule& rule, const RealLine& line);

}  // namespace nibble::program
