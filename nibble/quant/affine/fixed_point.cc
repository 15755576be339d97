#include "nibble/quant/affine/fixed_point.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

constexpr int64_t kLowest32 = std::numeric_limits<int32_t>::min(), kHighest32 = std::numeric_limits<int32_t>::max();

int32_t saturate32(int64_t v) { return static_cast<int32_t>(std::clamp(v, kLowest32, kHighest32)); }

int64_t multiply_double(int64_t x, FixedPointMultiplier factor) {
  const int left = std::max(factor.shift, 0), right = std::max(-factor.shift, 0);
  // Saturated first, so that the shift by at most 31 cannot leave 64 bits.
  const int32_t shifted = saturate32(int64_t{saturate32(x)} * (int64_t{1} << left));
  return rounding_divide_by_power(doubling_high_multiply(shifted, factor.multiplier), right);
}

// product / 2^bits, floor, plus one where the rule rounds up.
__int128 divide_by_power(__int128 product, int bits, Rounding rounding) {
  if (bits <= 0) return product * (__int128{1} << -bits);
  const __int128 low = product >> bits;
  if (rounding == Rounding::kFloor) return low;
  const __int128 rest = product - low * (__int128{1} << bits), half = __int128{1} << (bits - 1);
  const bool is_tie_up = rounding == Rounding::kSingle || (low & 1) != 0;
  return low + (rest > half || (rest == half && is_tie_up) ? 1 : 0);
}

int64_t saturate64(__int128 v) {
  constexpr __int128 kLow = std::numeric_limits<int64_t>::min(), kHigh = std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(std::clamp(v, kLow, kHigh));
}

}  // namespace

FixedPointMultiplier quantize_multiplier(double real, Rounding rounding) {
  if (!(std::abs(real) < 0x1p31)) {
    throw InvalidArgument(
        "[quantize_multiplier] the factor {} has no 32-bit multiplier. Its magnitude must be below 2^31; "
        "are the scales of the layer finite and positive?",
        real);
  }
  if (real == 0.0) return {};
  int shift = 0;
  const double fraction = std::frexp(real, &shift);
  auto multiplier = static_cast<int64_t>(std::round(fraction * 0x1p31));
  if (multiplier == (int64_t{1} << 31) || multiplier == -(int64_t{1} << 31)) {
    multiplier /= 2;
    ++shift;
  }
  if (shift < -31) return {};
  if (rounding != Rounding::kGemmlowpDouble && shift > 30) {
    return {static_cast<int32_t>(real > 0.0 ? kHighest32 : -kHighest32), 30};
  }
  return {static_cast<int32_t>(multiplier), shift};
}

int64_t multiply(int64_t x, FixedPointMultiplier factor, Rounding rounding) {
  if (rounding == Rounding::kGemmlowpDouble) return multiply_double(x, factor);
  return saturate64(divide_by_power(static_cast<__int128>(x) * factor.multiplier, 31 - factor.shift, rounding));
}

int32_t multiply_int64(int64_t x, FixedPointMultiplier factor) {
  constexpr int64_t kLimit = int64_t{1} << 47;
  if (x <= -kLimit || x >= kLimit || factor.shift < -31 || factor.shift > 7) {
    throw InvalidArgument(
        "[multiply_int64] accumulator {} or shift {} is out of range; |x| must be below 2^47 and the "
        "shift in [-31, 7]. Use multiply with one rounding, which has no such limits.",
        x, factor.shift);
  }
  const int32_t multiplier = factor.multiplier;
  const int64_t reduced = multiplier >= 0x7FFF0000 ? 0x7FFF : (int64_t{multiplier} + (1 << 15)) >> 16;
  const int64_t half = int64_t{1} << (14 - factor.shift);
  return saturate32((x * reduced + half) >> (15 - factor.shift));
}

int32_t doubling_high_multiply(int32_t a, int32_t b) {
  if (a == kLowest32 && b == kLowest32) return static_cast<int32_t>(kHighest32);
  const int64_t product = int64_t{a} * int64_t{b};
  const int64_t nudge = product >= 0 ? int64_t{1} << 30 : 1 - (int64_t{1} << 30);
  return static_cast<int32_t>((product + nudge) / (int64_t{1} << 31));
}

int32_t rounding_divide_by_power(int32_t x, int exponent) {
  const int64_t mask = (int64_t{1} << exponent) - 1;
  const int64_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
  return static_cast<int32_t>((int64_t{x} >> exponent) + ((x & mask) > threshold ? 1 : 0));
}

}  // namespace nibble::affine
