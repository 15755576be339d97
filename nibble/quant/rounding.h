// nibble/quant/rounding.h
// The elementwise arithmetic of all quantizers, in float32.
#pragma once

#include <cmath>

#include "nibble/core/philox.h"

namespace nibble::quant {

inline constexpr float kEpsilon = 1e-7f;           // Keras' epsilon
inline constexpr float kLn2 = 0.693147180559945f;  // rounds to the float nearest ln 2

// To the nearest integer, ties to even.
inline float round_half_even(float v) { return std::nearbyint(v); }

// -1, 0 or 1; NaN passes.
inline float sign(float v) { return v > 0.0f ? 1.0f : (v < 0.0f ? -1.0f : (v == 0.0f ? 0.0f : v)); }

// As sign, but 0 counts as positive.
inline float sign_or_one(float v) { return v >= 0.0f ? 1.0f : (v < 0.0f ? -1.0f : v); }

// NaN passes.
inline float clip(float v, float low, float high) { return v < low ? low : (v > high ? high : v); }

// x where x > 0, else slope * x.
inline float leaky_relu(float x, float slope) {
  return x > 0.0f || std::isnan(x) ? x : (slope == 0.0f ? 0.0f : slope * x);
}

// log2 as the reference has it: a quotient of float32 logarithms, off by a bit here and there.
inline float log2_quotient(float v) { return std::log(v) / kLn2; }

// The power of two whose logarithm is nearest to that of v + epsilon: 2^-23 for 0, NaN for v < 0.
inline float nearest_power_of_two(float v) { return std::exp2(round_half_even(log2_quotient(v + kEpsilon))); }

// floor(log2(v)) without rounding error, for finite v > 0.
inline int floor_log2(float v) { return std::ilogb(v); }

// One of the two multiples of `precision` around v; the upper with probability frac(v / precision).
//   u  uniform in [0, 1)
inline float stochastic_round(float v, float precision, float u) {
  const float steps = v / precision;
  const float lower = std::floor(steps);
  return precision * (steps - lower < u ? lower : std::ceil(steps));
}

// How a quantized value q of x leaves the quantizer. x is the unquantized path, `noise` QKeras'
// qnoise_factor: 0 gives x, 1 gives q.
//   reference_arithmetic  keeps the reference's rounding of x + (q - x)
inline float mix(float x, float q, float noise, bool use_ste, bool reference_arithmetic) {
  if (!reference_arithmetic && noise == 1.0f) return q;
  if (!reference_arithmetic && noise == 0.0f) return x;
  return use_ste ? x + noise * (-x + q) : (1.0f - noise) * x + noise * q;
}

// The gradient of mix with respect to x: 1 with the straight-through estimator.
inline float mix_gradient(float noise, bool use_ste) { return use_ste ? 1.0f : 1.0f - noise; }

// v rounded to r: the reference computes v + (r - v), NaN for infinities.
inline float through(float v, float r, bool reference_arithmetic) { return reference_arithmetic ? v + (-v + r) : r; }

// Random numbers by element: element e of a tensor takes word e of the stream.
class ElementRandom {
 public:
  explicit ElementRandom(const RandomKey& key) : key_(key) {}
  float uniform(int64_t word) {
    const auto index = static_cast<uint32_t>(word / 4);
    if (index != index_ || !is_filled_) {
      block_ = random_block(key_, index);
      index_ = index;
      is_filled_ = true;
    }
    return to_uniform(block_[static_cast<size_t>(word % 4)]);
  }

 private:
  RandomKey key_;
  std::array<uint32_t, 4> block_{};
  uint32_t index_ = 0;
  bool is_filled_ = false;
};

}  // namespace nibble::quant
