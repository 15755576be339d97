// nibble/kernels/weight_kernels.h
// Quantized weights with one fitted scale per channel, and powers of two. Internal to nibble/kernels: the
// plain face is WeightQuantizer, the definitions are the quantizers in nibble/quant.
#pragma once

#include <cstdint>

#include "nibble/core/philox.h"
#include "nibble/kernels/activation_spec.h"

namespace nibble::kernels {

// How a weight becomes an integer code, given the step s.
enum class WeightCode {
  kRounded,      // |w| / s rounded half away from zero, at most largest_code
  kSign,         // +1 for w >= 0, else -1
  kSignZeroOne,  // 1 for w >= 0, else 0
  kTernary,      // sign(w) where |w| / s rounds to 1 or more (ties to even), else 0
  kThreshold,    // sign(w) where |w| >= s / 2, else 0
};

// With w the weights divided by `unit_range`:
//   s = first_step_numerator * max|w| / first_step_denominator          one per channel
//   `refits` times:  code = f(w, s),  s = mean(w code) / (mean(code^2) + 1e-7)
//   real = (s * codes_per_range) * (unit_range / codes_per_range * code)
// is_power_of_two: every s is replaced by the power of two nearest to s + 1e-7.
struct FittedPlan {
  enum class Draw { kNone, kBinary, kTernary };

  WeightCode code = WeightCode::kRounded;
  bool is_power_of_two = true;
  float unit_range = 1.0f;       // 2^integer
  float codes_per_range = 1.0f;  // 2^(bits - sign)
  float first_step_numerator = 2.0f;
  float first_step_denominator = 1.0f;
  float largest_code = 1.0f;
  int refits = 0;
  // The codes that are written belong to the last s; false: to the s before it (ternary).
  bool recode_after_fit = true;
  float min_step = 0.0f;  // bounds of s
  float max_step = 0.0f;  // 0: none
  // With a draw, the codes are drawn and the plan's give the scale only:
  //   kBinary   P(+1) = sigmoid(temperature w / d), d the channel's population deviation + 1e-7; word e
  //   kTernary  mean of two such draws around +-s / (2 d); words 2e and 2e + 1
  Draw draw = Draw::kNone;
  float temperature = 1.0f;
  RandomKey random;
};

// Same values as the quantizer's, bit for bit, but for draws within 1e-6 of their probability.
//   weights, real  [rows, channels]; not the same memory
//   returns  false, with `real` unspecified, if a weight is not finite or smaller than 1e-30 but not 0 throughout a
//            channel: the quantizer itself knows what then happens
bool quantize_fitted(const FittedPlan& plan, const float* weights, int64_t rows, int64_t channels, float* real);

// real = sign(w) * 2^clip(round(log2 |w|), exponent_min, exponent_max); 0 becomes +2^exponent_min. Rounds as
// ActivationKind::kQuantizedReluPo2 (and differs from the quantizer where that does).
void quantize_power_of_two(const float* weights, int64_t count, const ActivationSpec& exponents, float* real);

}  // namespace nibble::kernels
