#include "nibble/kernels/activation_spec.h"

#include <cmath>
#include <numbers>

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

}  // namespace

std::optional<ActivationSpec> activation_spec(std::string_view function_name) {
  if (function_name == "linear") return ActivationSpec{.kind = ActivationKind::kLinear};
  if (function_name == "relu") return ActivationSpec{.kind = ActivationKind::kRelu};
  return std::nullopt;
}

std::optional<ActivationSpec> activation_spec(const quant::Quantizer& quantizer) { return std::nullopt; }

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
