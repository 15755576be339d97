// nibble/quant/activation_curves.h
// Keras' activation functions of one number as the inference phase evaluates them: in double, rounded to float once.
//
// So a trained network and its integer program (nibble/program) have the same numbers, which the vector code of a
// library would not give: its last bit depends on machine and version. And rounding once keeps order: where a curve
// rises, what is computed never falls.
#pragma once

#include <optional>
#include <string_view>

namespace nibble::quant {

struct ActivationCurve {
  std::string_view name;
  float (*value)(float);
  std::optional<float> lowest_at = {};  // it falls before and rises after; nothing: it never falls
};

// Keras' ELU layer: x above 0, alpha * (e^x - 1) below; it rises where alpha >= 0.
float elu(float x, float alpha);

// "sigmoid", "tanh", "softplus", "softsign", "elu", "selu", "gelu", "swish" and "silu", "mish", "exponential",
// "hard_sigmoid" (Keras': x / 5 + 1 / 2, clipped), "leaky_relu"; QKeras' functions by their names (plain_functions.h),
// its own hard_sigmoid as "qkeras.hard_sigmoid". Null: another.
const ActivationCurve* activation_curve(std::string_view name);

}  // namespace nibble::quant
