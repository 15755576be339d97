// nibble/quant/exponent.h
// Which power of two stands for a magnitude, for quantized_po2 and quantized_relu_po2.
#pragma once

#include <optional>
#include <span>

#include "nibble/quant/number.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

// An exponent range and how to round to it.
struct ExponentRule {
  float lowest = 0.0f;  // exponents; one bit with an exponent sign gives the single exponent -1/2
  float highest = 0.0f;
  std::optional<float> max_value;  // bounds magnitudes before rounding
  bool use_floor = false;
  bool is_quadratic = false;  // twice an exponent of the square root

  // The exponent of magnitude |x|; NaN for NaN.
  //   reference_arithmetic  floor of a float32 quotient of logarithms, else exact
  float exponent(float magnitude, bool reference_arithmetic) const;
  // The upper or lower neighbour at random, so that the expected power is the magnitude.
  //   u  uniform in [0, 1)
  float random_exponent(float magnitude, float u) const;

 private:
  float clipped(float magnitude, float exponent) const;
  float bounded(float magnitude) const;
};

// magnitude_bits: bits of the code without the number's own sign.
//   throws  InvalidArgument for max_value <= 0 or an unknown log2_rounding
ExponentRule exponent_rule(std::string_view class_name, int magnitude_bits, const std::optional<Number>& max_value,
                           bool is_quadratic, std::string_view log2_rounding);

// QKeras' max(): max(1, max_value), or max(1, 2^highest) without one.
double largest_power(const ExponentRule& rule);

// Codes of values +-2^E.
//   throws  Unsupported if exponents differ by a fraction (one-bit quadratic) or do not fit 32 bits
Encoded power_of_two_codes(std::string_view class_name, std::span<const float> exponents, std::vector<int8_t> signs,
                           int bit_width, bool is_signed);

// All values of the rule by ascending exponent; with a sign, the negative ones after them.
std::vector<float> power_of_two_range(std::string_view class_name, const ExponentRule& rule, bool is_signed);

}  // namespace nibble::quant
