// nibble/runtime/requantizer.h
// From an accumulator to an output code, and the limits of an activation that is a clamp.
//
//   code = clamp(round(accumulator * factor) + zero_point, lowest, highest)
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/quant/affine/affine_params.h"
#include "nibble/quant/affine/fixed_point.h"
#include "nibble/runtime/code_tensor.h"

namespace nibble::runtime {

// Activations that a clamp of codes computes.
enum class Activation { kNone, kRelu, kRelu6, kReluN1To1 };

struct CodeLimits {
  int32_t lowest = 0, highest = 0;
  bool operator==(const CodeLimits&) const = default;
};

// zero_point + round(limit / scale) at the activation's ends, within the codes of `output` (B3).
CodeLimits activation_limits(const affine::AffineParams& output, Activation activation);

struct Requantizer {
  std::vector<affine::FixedPointMultiplier> factors;  // one, or one per channel
  affine::Rounding rounding = affine::Rounding::kGemmlowpDouble;
  int32_t zero_point = 0;  // of the output
  CodeLimits limits;

  int32_t operator()(int64_t accumulator, int64_t channel = 0) const;
};

// factors = input_scale * weight_scale[c] / output_scale, in double from the float32 scales, in that order.
//   weight_scale  one, or one per output channel
Requantizer make_requantizer(float input_scale, std::span<const float> weight_scale, const affine::AffineParams& output,
                             Activation activation, affine::Rounding rounding);

// throws InvalidArgument unless there is one factor or `channels` of them
void check_channels(const char* where, const Requantizer& requantizer, int64_t channels);

}  // namespace nibble::runtime
