#include "nibble/runtime/requantizer.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::runtime {
namespace {

// The code of a real limit, in 64 bits: a tiny scale puts it far outside the codes.
int64_t code_of(const affine::AffineParams& params, float real) {
  const float steps = std::round(real / params.scale);
  return params.zero_point + static_cast<int64_t>(std::clamp(steps, -0x1p40f, 0x1p40f));
}

int32_t saturated(int64_t accumulator, const CodeLimits& limits) {
  return static_cast<int32_t>(
      std::clamp(accumulator, static_cast<int64_t>(limits.lowest), static_cast<int64_t>(limits.highest)));
}

}  // namespace

CodeLimits activation_limits(const affine::AffineParams& output, Activation activation) {
  const CodeLimits all{output.lowest(), output.highest()};
  if (activation == Activation::kNone) return all;
  const float low = activation == Activation::kReluN1To1 ? -1.0f : 0.0f;
  const int32_t lowest = saturated(code_of(output, low), all);
  if (activation == Activation::kRelu) return {lowest, all.highest};
  const float high = activation == Activation::kRelu6 ? 6.0f : 1.0f;
  return {lowest, saturated(code_of(output, high), all)};
}

int32_t Requantizer::operator()(int64_t accumulator, int64_t channel) const {
  const auto& factor = factors[factors.size() == 1 ? 0 : static_cast<size_t>(channel)];
  const int64_t scaled = affine::multiply(accumulator, factor, rounding);
  // Saturated before the zero point is added, so that the sum stays within 64 bits.
  constexpr int64_t kFar = int64_t{1} << 40;
  return saturated(std::clamp(scaled, -kFar, kFar) + zero_point, limits);
}

Requantizer make_requantizer(float input_scale, std::span<const float> weight_scale, const affine::AffineParams& output,
                             Activation activation, affine::Rounding rounding) {
  Requantizer result{{}, rounding, output.zero_point, activation_limits(output, activation)};
  for (const float scale : weight_scale) {
    const double factor = double{input_scale} * double{scale} / double{output.scale};
    result.factors.push_back(affine::quantize_multiplier(factor, rounding));
  }
  return result;
}

void check_channels(const char* where, const Requantizer& requantizer, int64_t channels) {
  const auto count = static_cast<int64_t>(requantizer.factors.size());
  if (count == 1 || count == channels) return;
  throw InvalidArgument("[{}] {} requantization factors were given for {} channels; one or as many are needed.", where,
                        count, channels);
}

}  // namespace nibble::runtime
