#include "nibble/quant/plain_functions.h"

#include <algorithm>
#include <cmath>

#include "nibble/quant/rounding.h"

namespace nibble::quant {
namespace {

constexpr float kHardSlope = 0.5f, kSmoothSlope = 0.1875f;

float one(float) { return 1.0f; }
float hard_sigmoid_gradient(float x) { return kHardSlope * clip_gradient(kHardSlope * x + 0.5f, 0.0f, 1.0f); }
float smooth_sigmoid_gradient(float x) { return kSmoothSlope * clip_gradient(kSmoothSlope * x + 0.5f, 0.0f, 1.0f); }
float binary_sigmoid(float x) { return round_half_even(hard_sigmoid(x)); }
float hard_tanh(float x) { return 2.0f * hard_sigmoid(x) - 1.0f; }
float hard_tanh_gradient(float x) { return 2.0f * hard_sigmoid_gradient(x); }
float smooth_tanh(float x) { return 2.0f * smooth_sigmoid(x) - 1.0f; }
float smooth_tanh_gradient(float x) { return 2.0f * smooth_sigmoid_gradient(x); }
float binary_tanh(float x) { return 2.0f * binary_sigmoid(x) - 1.0f; }

constexpr PlainFunction kFunctions[] = {
    {"hard_sigmoid", hard_sigmoid, hard_sigmoid_gradient},
    {"smooth_sigmoid", smooth_sigmoid, smooth_sigmoid_gradient},
    {"binary_sigmoid", binary_sigmoid, hard_sigmoid_gradient},
    {"hard_tanh", hard_tanh, hard_tanh_gradient},
    {"smooth_tanh", smooth_tanh, smooth_tanh_gradient},
    {"binary_tanh", binary_tanh, hard_tanh_gradient},
    {"round_through", round_half_even, one},
    {"sign_through", sign, one},
    {"ceil_through", [](float x) { return std::ceil(x); }, one},
    {"floor_through", [](float x) { return std::floor(x); }, one},
};

}  // namespace

float clip_gradient(float v, float low, float high) { return v >= low && v <= high ? 1.0f : 0.0f; }

float hard_sigmoid(float x) { return clip(kHardSlope * x + 0.5f, 0.0f, 1.0f); }

float smooth_sigmoid(float x) { return clip(kSmoothSlope * x + 0.5f, 0.0f, 1.0f); }

// Both forms are exact in the limit; each is used where its exponential cannot overflow.
float real_sigmoid(float x) {
  if (x >= 0.0f) return 1.0f / (1.0f + std::exp(-x));
  const float e = std::exp(x);
  return e / (1.0f + e);
}

float internal_sigmoid(float x, InternalSigmoid kind) {
  switch (kind) {
    case InternalSigmoid::kHard:
      return hard_sigmoid(x);
    case InternalSigmoid::kSmooth:
      return smooth_sigmoid(x);
    case InternalSigmoid::kReal:
      return real_sigmoid(x);
  }
  return x;
}

float internal_sigmoid_gradient(float x, InternalSigmoid kind) {
  switch (kind) {
    case InternalSigmoid::kHard:
      return hard_sigmoid_gradient(x);
    case InternalSigmoid::kSmooth:
      return smooth_sigmoid_gradient(x);
    case InternalSigmoid::kReal: {
      const float s = real_sigmoid(x);
      return s * (1.0f - s);
    }
  }
  return 1.0f;
}

std::optional<PlainFunction> plain_function(std::string_view name) {
  const auto found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                  [&](const PlainFunction& function) { return function.name == name; });
  if (found == std::end(kFunctions)) return std::nullopt;
  return *found;
}

const std::vector<std::string>& activation_function_names() {
  static const std::vector<std::string> names = {
      // Keras
      "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "log_softmax", "mish", "relu", "relu6",
      "selu", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh",
      // QKeras
      "binary_sigmoid", "binary_tanh", "hard_tanh", "smooth_sigmoid", "smooth_tanh"};
  return names;
}

}  // namespace nibble::quant
