#include "nibble/kernels/activation_spec.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nibble/quant/binary.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/quant/quantized_linear.h"
#include "nibble/quant/quantized_relu.h"
#include "nibble/quant/quantized_relu_po2.h"
#include "nibble/quant/ternary.h"

namespace nibble::kernels {
namespace {

// A comparison with a NaN is false: it passes.
float clip(float value, float low, float high) { return value < low ? low : (value > high ? high : value); }

constexpr float kEpsilon = 1e-7f;  // the reference's smallest magnitude that has a logarithm

float power_of_two(const ActivationSpec& activation, float z) {
  if (std::isnan(z)) return z;
  if (z < kEpsilon) return std::ldexp(1.0f, static_cast<int>(activation.exponent_min));
  const float exponent = std::nearbyint(std::log(z) / std::numbers::ln2_v<float>);
  return std::ldexp(1.0f, static_cast<int>(clip(exponent, activation.exponent_min, activation.exponent_max)));
}

float ternary(float z, float threshold) {
  if (std::isnan(z)) return z;
  if (z == 0.0f || std::abs(z) < threshold) return 0.0f;
  return z > 0.0f ? 1.0f : -1.0f;
}

// Codes must be exact in float, and scales far from the ends of its range.
constexpr int kMostBits = 24;
constexpr int kLargestExponent = 100;

bool is_ordinary(int bits, int integer) { return bits <= kMostBits && std::abs(integer) <= kLargestExponent - bits; }

bool is_power_of_two(float value) {
  int exponent = 0;
  return value > 0.0f && std::isfinite(value) && std::frexp(value, &exponent) == 0.5f &&
         std::abs(exponent) <= kLargestExponent;
}

// The number that a fixed alpha multiplies by; nothing for an array or a fitted alpha.
std::optional<float> fixed_alpha(const quant::Alpha& alpha) {
  if (alpha.is_none()) return 1.0f;
  if (alpha.kind() == quant::Alpha::Kind::kNumber) return alpha.number().real();
  return std::nullopt;
}

std::optional<ActivationSpec> spec_of(const quant::QuantizedRelu& quantizer) {
  const quant::QuantizedReluParams& p = quantizer.params();
  const bool is_general = p.use_sigmoid || p.negative_slope.value != 0.0 || p.use_stochastic_rounding ||
                          p.qnoise_factor != quant::Number(1) || !p.use_ste || p.enable_fast_inference;
  if (is_general || !is_ordinary(p.bits, p.integer)) return std::nullopt;
  ActivationSpec spec{.kind = ActivationKind::kQuantizedRelu,
                      .scale = std::ldexp(1.0f, p.integer - p.bits),
                      .code_max = std::ldexp(1.0f, p.bits) - 1.0f,
                      .upper = quantizer.gradient_end()};
  if (p.relu_upper_bound && p.relu_upper_bound->value != 0.0 && !p.is_quantized_clip) {
    const float highest_code = p.relu_upper_bound->real() / spec.scale;
    if (highest_code != std::floor(highest_code) || highest_code < 0.0f) return std::nullopt;
    spec.code_max = std::min(spec.code_max, highest_code);
  }
  return spec;
}

std::optional<ActivationSpec> spec_of(const quant::QuantizedReluPo2& quantizer) {
  const quant::QuantizedReluPo2Params& p = quantizer.params();
  const bool is_general = p.negative_slope.value != 0.0 || p.use_stochastic_rounding || p.quadratic_approximation ||
                          p.log2_rounding != "rnd" || p.qnoise_factor != quant::Number(1) || !p.use_ste;
  const quant::ExponentRule& rule = quantizer.exponents();
  if (is_general || (rule.max_value && *rule.max_value < 1e-6f)) return std::nullopt;
  // Beyond these a power of two is 0 or infinite in float.
  constexpr float kMostNegative = -200.0f, kMostPositive = 200.0f;
  const float highest = rule.max_value ? rule.exponent(*rule.max_value, false) : rule.highest;
  const float lowest = std::max(rule.lowest, kMostNegative);
  return ActivationSpec{.kind = ActivationKind::kQuantizedReluPo2,
                        .upper = rule.max_value.value_or(std::numeric_limits<float>::infinity()),
                        .exponent_min = lowest,
                        .exponent_max = std::clamp(highest, lowest, kMostPositive)};
}

std::optional<ActivationSpec> spec_of(const quant::QuantizedBits& quantizer) {
  const quant::QuantizedBitsParams& p = quantizer.params();
  const std::optional<float> alpha = fixed_alpha(p.alpha);
  const int unsigned_bits = p.bits - (p.keep_negative ? 1 : 0);
  const bool is_general =
      !alpha || unsigned_bits < 1 || p.use_stochastic_rounding || p.qnoise_factor != quant::Number(1) || !p.use_ste;
  if (is_general || !is_ordinary(p.bits, p.integer)) return std::nullopt;
  const float codes = std::ldexp(1.0f, unsigned_bits);
  return ActivationSpec{.kind = ActivationKind::kQuantizedBits,
                        .scale = std::ldexp(1.0f, p.integer - unsigned_bits),
                        .code_min = p.keep_negative ? -codes + (p.symmetric ? 1.0f : 0.0f) : 0.0f,
                        .code_max = codes - 1.0f,
                        .upper = 0.0f,
                        .alpha = *alpha};
}

std::optional<ActivationSpec> spec_of(const quant::QuantizedLinear& quantizer) {
  const quant::QuantizedLinearParams& p = quantizer.params();
  const std::optional<float> alpha = fixed_alpha(p.alpha);
  const bool is_general =
      !alpha || (p.bits == 1 && p.keep_negative) || p.use_stochastic_rounding || p.qnoise_factor != quant::Number(1);
  if (is_general || !is_ordinary(p.bits, p.integer)) return std::nullopt;
  const int unsigned_bits = p.bits - (p.keep_negative ? 1 : 0);
  const float codes = std::ldexp(1.0f, unsigned_bits);
  ActivationSpec spec{.kind = ActivationKind::kQuantizedBits,
                      .scale = *alpha * std::ldexp(1.0f, p.integer - unsigned_bits),
                      .code_min = p.keep_negative ? -codes + (p.symmetric ? 1.0f : 0.0f) : 0.0f,
                      .code_max = codes - 1.0f};
  // Other scales would round x / scale differently from x * (1 / scale).
  if (!is_power_of_two(spec.scale)) return std::nullopt;
  spec.lower_bound = spec.code_min * spec.scale;
  spec.upper_bound = spec.code_max * spec.scale;
  return spec;
}

std::optional<ActivationSpec> spec_of(const quant::Binary& quantizer) {
  const quant::BinaryParams& p = quantizer.params();
  if (!p.alpha.is_none() || p.use_01 || p.use_stochastic_rounding) return std::nullopt;
  return ActivationSpec{.kind = ActivationKind::kBinary};
}

std::optional<ActivationSpec> spec_of(const quant::Ternary& quantizer) {
  const quant::TernaryParams& p = quantizer.params();
  if (!p.alpha.is_none()) return std::nullopt;
  ActivationSpec spec{.kind = ActivationKind::kTernary};
  spec.threshold = p.threshold.value_or(quant::Ternary::kDefaultThreshold).real();
  return spec;
}

}  // namespace

std::optional<ActivationSpec> activation_spec(const quant::Quantizer& quantizer) {
  if (const auto* q = dynamic_cast<const quant::QuantizedRelu*>(&quantizer)) return spec_of(*q);
  if (const auto* q = dynamic_cast<const quant::QuantizedBits*>(&quantizer)) return spec_of(*q);
  if (const auto* q = dynamic_cast<const quant::QuantizedLinear*>(&quantizer)) return spec_of(*q);
  if (const auto* q = dynamic_cast<const quant::QuantizedReluPo2*>(&quantizer)) return spec_of(*q);
  if (const auto* q = dynamic_cast<const quant::Binary*>(&quantizer)) return spec_of(*q);
  if (const auto* q = dynamic_cast<const quant::Ternary*>(&quantizer)) return spec_of(*q);
  return std::nullopt;
}

std::optional<ActivationSpec> activation_spec(std::string_view function_name) {
  if (function_name == "linear") return ActivationSpec{.kind = ActivationKind::kLinear};
  if (function_name == "relu") return ActivationSpec{.kind = ActivationKind::kRelu};
  return std::nullopt;
}

bool has_binary_gradient(ActivationKind kind) {
  return kind != ActivationKind::kBinary && kind != ActivationKind::kTernary;
}

namespace scalar {

float activation_value(const ActivationSpec& activation, float z) {
  switch (activation.kind) {
    case ActivationKind::kLinear:
      return z;
    case ActivationKind::kRelu:
      return z <= 0.0f ? 0.0f : z;
    case ActivationKind::kQuantizedRelu:
    case ActivationKind::kQuantizedBits: {
      const float code = clip(std::nearbyint(z * (1.0f / activation.scale)), activation.code_min, activation.code_max);
      return code * activation.scale * activation.alpha;
    }
    case ActivationKind::kQuantizedReluPo2:
      return power_of_two(activation, z);
    case ActivationKind::kBinary:
      return std::isnan(z) ? z : (z >= 0.0f ? 1.0f : -1.0f);
    case ActivationKind::kTernary:
      return ternary(z, activation.threshold);
  }
  return z;
}

float activation_gradient(const ActivationSpec& activation, float z) {
  switch (activation.kind) {
    case ActivationKind::kLinear:
      return 1.0f;
    case ActivationKind::kRelu:
      return z > 0.0f ? 1.0f : 0.0f;
    case ActivationKind::kQuantizedRelu:
    case ActivationKind::kQuantizedReluPo2:
      return z > 0.0f && z <= activation.upper ? 1.0f : 0.0f;
    case ActivationKind::kQuantizedBits:
      return z >= activation.lower_bound && z <= activation.upper_bound ? 1.0f : 0.0f;
    case ActivationKind::kBinary:
    case ActivationKind::kTernary: {
      const float t = std::tanh(z);
      return 1.0f - t * t;
    }
  }
  return 1.0f;
}

}  // namespace scalar
}  // namespace nibble::kernels
