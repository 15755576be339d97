#include "nibble/quant/exponent.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "nibble/core/error.h"
#include "nibble/quant/arguments.h"
#include "nibble/quant/rounding.h"

namespace nibble::quant {

ExponentRule exponent_rule(std::string_view class_name, int magnitude_bits, const std::optional<Number>& max_value,
                           bool is_quadratic, std::string_view log2_rounding) {
  if (log2_rounding != "rnd" && log2_rounding != "floor") {
    throw InvalidArgument("[{}] log2_rounding is '{}'; it must be 'rnd' or 'floor'.", class_name, log2_rounding);
  }
  if (max_value && !(max_value->real() > 0.0f && std::isfinite(max_value->real()))) {
    throw InvalidArgument("[{}] max_value is {}; it must be above 0, or None for no bound.", class_name,
                          python_text(*max_value));
  }
  // Magnitudes above 1 take a bit for the exponent's sign.
  const bool has_exponent_sign = !max_value || max_value->value > 1.0;
  const float half = std::exp2(static_cast<float>(magnitude_bits - (has_exponent_sign ? 1 : 0)));
  ExponentRule rule{.lowest = -half,
                    .highest = half - 1.0f,
                    .max_value = std::nullopt,
                    .use_floor = log2_rounding == "floor",
                    .is_quadratic = is_quadratic};
  if (is_quadratic) rule.highest = 2.0f * std::floor(rule.highest / 2.0f);
  if (max_value) rule.max_value = max_value->real();
  return rule;
}

float ExponentRule::bounded(float magnitude) const {
  const float a = magnitude < kEpsilon ? kEpsilon : magnitude;
  return max_value && a > *max_value ? *max_value : a;
}

float ExponentRule::clipped(float magnitude, float exponent) const {
  if (magnitude < kEpsilon) return lowest;
  const float inside = clip(exponent, lowest, std::max(lowest, highest));
  return is_quadratic ? 2.0f * inside : inside;
}

float ExponentRule::exponent(float magnitude, bool reference_arithmetic) const {
  const float a = is_quadratic ? std::sqrt(bounded(magnitude)) : bounded(magnitude);
  if (!std::isfinite(a)) return clipped(magnitude, a);
  if (!use_floor) return clipped(magnitude, round_half_even(log2_quotient(a)));
  const float lower = reference_arithmetic ? std::floor(log2_quotient(a)) : static_cast<float>(floor_log2(a));
  return clipped(magnitude, lower);
}

float ExponentRule::random_exponent(float magnitude, float u) const {
  const float a = is_quadratic ? std::sqrt(bounded(magnitude)) : bounded(magnitude);
  if (!std::isfinite(a)) return clipped(magnitude, a);
  const auto lower = static_cast<float>(floor_log2(a));
  const float power = std::exp2(lower);
  return clipped(magnitude, u < (a - power) / power ? lower + 1.0f : lower);
}

double largest_power(const ExponentRule& rule) {
  return std::max(1.0, rule.max_value ? static_cast<double>(*rule.max_value) : std::exp2(rule.highest));
}

Encoded power_of_two_codes(std::string_view class_name, std::span<const float> exponents, std::vector<int8_t> signs,
                           int bit_width, bool is_signed) {
  Encoded encoded{.kind = Encoded::Kind::kPowerOfTwo,
                  .codes = {},
                  .signs = std::move(signs),
                  .scale = {},
                  .zero_point = 0,
                  .bit_width = bit_width,
                  .is_signed = is_signed,
                  .scale_is_power_of_two = true};
  const float fraction = exponents.empty() ? 0.0f : exponents[0] - std::floor(exponents[0]);
  for (float exponent : exponents) {
    const float code = exponent - fraction;
    if (code != std::floor(code)) {
      throw Unsupported("[{}] encode: exponents {} and {} differ by a fraction. Use at least 2 bits.", class_name,
                        exponents[0], exponent);
    }
    if (!(std::abs(code) < 0x1p31f)) {
      throw Unsupported("[{}] encode: exponent {} does not fit 32 bits. Use fewer bits.", class_name, exponent);
    }
    encoded.codes.push_back(static_cast<int32_t>(code));
  }
  encoded.scale = Tensor::scalar(std::exp2(fraction));
  encoded.scale_is_power_of_two = fraction == 0.0f;
  return encoded;
}

std::vector<float> power_of_two_range(std::string_view class_name, const ExponentRule& rule, bool is_signed) {
  constexpr float kMostExponents = 1 << 20;
  if (rule.highest - rule.lowest > kMostExponents) {
    throw InvalidArgument("[{}] range() would have more than a million values.", class_name);
  }
  const float stride = rule.is_quadratic ? 2.0f : 1.0f;
  std::vector<float> values;
  // Zero's exponent is not doubled; one that is odd is nobody else's.
  if (rule.is_quadratic && std::fmod(rule.lowest, 2.0f) != 0.0f) values.push_back(std::exp2(rule.lowest));
  for (float exponent = rule.lowest; exponent <= std::max(rule.lowest, rule.highest); exponent += 1.0f) {
    values.push_back(std::exp2(stride * exponent));
  }
  const size_t count = values.size();
  for (size_t i = 0; is_signed && i < count; ++i) values.push_back(-values[i]);
  return values;
}

}  // namespace nibble::quant
