#include "nibble/runtime/fixed_point_functions.h"

#include <algorithm>
#include <limits>

#include "nibble/quant/affine/fixed_point.h"

namespace nibble::runtime {
namespace {

using affine::rounding_divide_by_power;

constexpr int32_t kHighest = std::numeric_limits<int32_t>::max(), kLowest = std::numeric_limits<int32_t>::min();

int32_t times(int32_t a, int32_t b) { return affine::doubling_high_multiply(a, b); }

int32_t saturated(int64_t v) {
  return static_cast<int32_t>(std::clamp(v, static_cast<int64_t>(kLowest), static_cast<int64_t>(kHighest)));
}

int32_t shifted_left(int32_t v, int bits) { return saturated(int64_t{v} * (int64_t{1} << bits)); }

// exp(a) on [-1/4, 0) in Q0: Taylor's series around -1/8, with 1/24 x^4 + 1/6 x^3 + 1/2 x^2 nested.
int32_t exp_of_last_quarter(int32_t a) {
  constexpr int32_t kExpOfMinusEighth = 1895147668, kThird = 715827883;
  const int32_t x = a + (1 << 28);
  const int32_t x2 = times(x, x), x3 = times(x2, x), x4 = times(x2, x2);
  const int32_t tail = rounding_divide_by_power(times(rounding_divide_by_power(x4, 2) + x3, kThird) + x2, 1);
  return saturated(int64_t{kExpOfMinusEighth} + times(kExpOfMinusEighth, x + tail));
}

// Newton's iteration for 1 / d, d = (1 + x) / 2 in [1/2, 1], in Q2; starts from 48/17 - 32/17 d.
int32_t reciprocal_of_half_sum(int32_t x) {
  constexpr int32_t kOneQ2 = 1 << 29, k48Over17 = 1515870810, kMinus32Over17 = -1010580540;
  const int64_t sum = int64_t{x} + kHighest;
  const auto d = static_cast<int32_t>((sum + (sum >= 0 ? 1 : -1)) / 2);
  int32_t y = k48Over17 + times(d, kMinus32Over17);
  for (int i = 0; i < 3; ++i) y += shifted_left(times(y, kOneQ2 - times(d, y)), 2);
  return y;
}

}  // namespace

int32_t exp_of_negative(int32_t a, int integer_bits) {
  // exp(-2^k) for k = -2 .. 4
  constexpr int32_t kFactors[] = {1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242};
  if (a == 0) return kHighest;
  const int fraction_bits = 31 - integer_bits;
  const int32_t quarter = int32_t{1} << (fraction_bits - 2);
  const int32_t last = (a & (quarter - 1)) - quarter;
  int32_t result = exp_of_last_quarter(last * (1 << integer_bits));
  const int32_t rest = last - a;
  for (int k = -2; k <= 4 && k < integer_bits; ++k) {
    if ((rest & (int32_t{1} << (fraction_bits + k))) != 0) result = times(result, kFactors[k + 2]);
  }
  return result;
}

int32_t reciprocal_of_one_plus(int32_t x) { return shifted_left(reciprocal_of_half_sum(x), 1); }

int32_t logistic_q4(int32_t v) {
  if (v == 0) return 1 << 30;
  const int32_t negative = v > 0 ? -v : v;
  const int32_t of_magnitude = reciprocal_of_one_plus(exp_of_negative(negative, 4));
  return v > 0 ? of_magnitude : kHighest - of_magnitude;
}

int32_t tanh_q4(int32_t v) {
  if (v == 0) return 0;
  // -2 |v| in Q5 has the bits of -|v| in Q4; then (1 - e) / (1 + e) = 2 / (1 + e) - 1.
  const int32_t e = exp_of_negative(v > 0 ? -v : v, 5);
  const int32_t magnitude = shifted_left(reciprocal_of_half_sum(e) - (1 << 29), 2);
  return v > 0 ? magnitude : -magnitude;
}

}  // namespace nibble::runtime
