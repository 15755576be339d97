// nibble/kernels/activation_spec.h
// The elementwise activations that have a fast kernel, as plain numbers.
#pragma once

#include <limits>
#include <optional>
#include <string_view>

#include "nibble/quant/quantizer.h"

namespace nibble::kernels {

enum class ActivationKind {
  kLinear,            // z
  kRelu,              // max(z, 0)
  kQuantizedRelu,     // quantized_relu(bits, integer), no slope, no sigmoid
  kQuantizedReluPo2,  // quantized_relu_po2(bits, max_value), no slope
  kQuantizedBits,     // quantized_bits with a fixed alpha; quantized_linear without
  kBinary,            // binary(), alpha None: gradient 1 - tanh(z)^2
  kTernary,           // ternary(threshold), alpha None: gradient 1 - tanh(z)^2
};

// Value and gradient are those of the quantizer it was made from, in the inference phase
// (these kinds do not draw).
struct ActivationSpec {
  ActivationKind kind = ActivationKind::kLinear;
  float scale = 1.0f;     // kQuantizedRelu, kQuantizedBits: step between values
  float code_min = 0.0f;  // lowest and highest code
  float code_max = 0.0f;
  float upper = 0.0f;         // kQuantizedRelu(Po2): the gradient is 0 above this (infinity: never)
  float alpha = 1.0f;         // kQuantizedBits: multiplies the output
  float threshold = 0.0f;     // kTernary
  float exponent_min = 0.0f;  // kQuantizedReluPo2
  float exponent_max = 0.0f;
  // kQuantizedBits: the gradient is 0 outside [lower_bound, upper_bound] (quantized_linear; quantized_bits has no
  // bounds)
  float lower_bound = -std::numeric_limits<float>::infinity();
  float upper_bound = std::numeric_limits<float>::infinity();
  bool operator==(const ActivationSpec&) const = default;
};

// The spec of a quantizer, or nothing if its parameters need the general path.
std::optional<ActivationSpec> activation_spec(const quant::Quantizer& quantizer);
// "linear", "relu"
std::optional<ActivationSpec> activation_spec(std::string_view function_name);

// Bit-exact definitions of one element, which the kernels are tested against. A NaN passes through.
namespace scalar {
float activation_value(const ActivationSpec& activation, float z);
float activation_gradient(const ActivationSpec& activation, float z);  // 0 for a NaN, but NaN for tanh gradients
}  // namespace scalar

// True where the gradient is 0 or 1 and so fits a bit; false where it is computed from z again.
bool has_binary_gradient(ActivationKind kind);

}  // namespace nibble::kernels
