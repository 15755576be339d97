#include "nibble/quant/activation_curves.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "nibble/quant/plain_functions.h"

namespace nibble::quant {
namespace {

double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x >= 0.0 ? 1.0 / (1.0 + e) : e / (1.0 + e);
}

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

double elu(double x) { return x > 0.0 ? x : std::expm1(x); }

double selu(double x) {
  // Klambauer et al., "Self-Normalizing Neural Networks", 2017.
  constexpr double kAlpha = 1.6732632423543772, kScale = 1.0507009873554805;
  return kScale * (x > 0.0 ? x : kAlpha * std::expm1(x));
}

// x times a factor that vanishes faster than x grows; -infinity times 0 would be no number.
double times(double x, double factor) { return factor == 0.0 ? 0.0 : x * factor; }

// (1 + erf would have no digits left far below 0)
double gelu(double x) { return times(x, 0.5 * std::erfc(-x * M_SQRT1_2)); }

template <double (*kFunction)(double)>
float rounded(float x) {
  return static_cast<float>(kFunction(x));
}

template <const char* kName>
float plain(float x) {
  static const auto kFunction = plain_function(kName)->value;
  return kFunction(x);
}

constexpr char kHardSigmoid[] = "hard_sigmoid", kSmoothSigmoid[] = "smooth_sigmoid",
               kBinarySigmoid[] = "binary_sigmoid", kHardTanh[] = "hard_tanh", kSmoothTanh[] = "smooth_tanh",
               kBinaryTanh[] = "binary_tanh";

constexpr float kLowestSwish = -1.2784645f, kLowestGelu = -0.7517915f, kLowestMish = -1.1924312f;

float swish(float x) { return static_cast<float>(times(x, sigmoid(x))); }
float mish(float x) { return static_cast<float>(times(x, std::tanh(softplus(x)))); }

const std::array kCurves = {
    ActivationCurve{"sigmoid", rounded<sigmoid>},
    ActivationCurve{"tanh", [](float x) { return static_cast<float>(std::tanh(static_cast<double>(x))); }},
    ActivationCurve{"softplus", rounded<softplus>},
    ActivationCurve{"softsign",
                    [](float x) { return static_cast<float>(x / (1.0 + std::abs(static_cast<double>(x)))); }},
    ActivationCurve{"elu", rounded<elu>},
    ActivationCurve{"selu", rounded<selu>},
    ActivationCurve{"gelu", rounded<gelu>, kLowestGelu},
    ActivationCurve{"swish", swish, kLowestSwish},
    ActivationCurve{"silu", swish, kLowestSwish},
    ActivationCurve{"mish", mish, kLowestMish},
    ActivationCurve{"exponential", [](float x) { return static_cast<float>(std::exp(static_cast<double>(x))); }},
    ActivationCurve{
        "hard_sigmoid",
        [](float x) { return static_cast<float>(std::clamp(static_cast<double>(x) * 0.2 + 0.5, 0.0, 1.0)); }},
    ActivationCurve{"leaky_relu", [](float x) { return x >= 0.0f ? x : x * 0.2f; }},
    ActivationCurve{"qkeras.hard_sigmoid", plain<kHardSigmoid>},
    ActivationCurve{"smooth_sigmoid", plain<kSmoothSigmoid>},
    ActivationCurve{"binary_sigmoid", plain<kBinarySigmoid>},
    ActivationCurve{"hard_tanh", plain<kHardTanh>},
    ActivationCurve{"smooth_tanh", plain<kSmoothTanh>},
    ActivationCurve{"binary_tanh", plain<kBinaryTanh>},
};

}  // namespace

float elu(float x, float alpha) {
  return x > 0.0f ? x : static_cast<float>(static_cast<double>(alpha) * std::expm1(static_cast<double>(x)));
}

const ActivationCurve* activation_curve(std::string_view name) {
  const auto found =
      std::find_if(kCurves.begin(), kCurves.end(), [&](const auto& curve) { return curve.name == name; });
  return found == kCurves.end() ? nullptr : &*found;
}

}  // namespace nibble::quant
