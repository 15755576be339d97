// nibble/quant/plain_functions.h
// The activation functions of QKeras that are not quantizers, and the names of Keras' own.
//
//   hard_sigmoid    clip(x/2 + 1/2, 0, 1)            smooth_sigmoid  clip(0.1875 x + 1/2, 0, 1)
//   hard_tanh       2 hard_sigmoid(x) - 1            smooth_tanh     2 smooth_sigmoid(x) - 1
//   binary_sigmoid  round(hard_sigmoid(x))           binary_tanh     2 binary_sigmoid(x) - 1
//   round_through, sign_through, ceil_through, floor_through: gradient 1
// clip passes the gradient at both end points.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/quant/quantizer.h"

namespace nibble::quant {

float hard_sigmoid(float x);
float smooth_sigmoid(float x);
float real_sigmoid(float x);

// The sigmoid inside quantizers, and d/dx of it.
float internal_sigmoid(float x, InternalSigmoid kind);
float internal_sigmoid_gradient(float x, InternalSigmoid kind);

// d/dv clip(v, low, high): 1 from low to high inclusive, else 0.
float clip_gradient(float v, float low, float high);

// A function of one number with its derivative.
struct PlainFunction {
  std::string_view name;
  float (*value)(float);
  float (*derivative)(float);
};

// The function of that name, of those listed above.
std::optional<PlainFunction> plain_function(std::string_view name);

// Names of Keras' activations and of the functions above that may stand in a layer's `activation`.
const std::vector<std::string>& activation_function_names();

}  // namespace nibble::quant
