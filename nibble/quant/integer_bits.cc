#include "nibble/quant/integer_bits.h"

#include <algorithm>
#include <cmath>

namespace nibble::quant {
namespace {

// Bits before the binary point that |value| asks for, before rounding.
float wanted(float value) { return std::max(std::log2(std::abs(value)), 0.0f); }

// One step below 2^integer, the largest magnitude that `unsigned_bits` bits hold.
float largest(int integer, int unsigned_bits) {
  return std::ldexp(1.0f, integer) - std::ldexp(1.0f, std::min(integer - unsigned_bits, 0));
}

}  // namespace

int estimate_integer_bits(float minimum, float maximum, const IntegerBitsOptions& options) {
  if (!options.keep_negative) minimum = std::max(minimum, 0.0f), maximum = std::max(maximum, 0.0f);
  const int unsigned_bits = options.bits - (options.keep_negative ? 1 : 0);
  int negative = 0, positive = 0;
  if (options.is_clipping) {
    negative = static_cast<int>(std::nearbyint(wanted(minimum)));
    positive = static_cast<int>(std::nearbyint(wanted(maximum)));
  } else {
    negative = static_cast<int>(std::ceil(wanted(minimum)));
    positive = static_cast<int>(std::ceil(wanted(maximum)));
    if (maximum > largest(positive, unsigned_bits)) ++positive;
    if (options.symmetric && minimum < -largest(negative, unsigned_bits)) ++negative;
  }
  return std::min(unsigned_bits, std::max(negative, positive));
}

}  // namespace nibble::quant
