#include "nibble/program/multiplier_choice.h"

#include <algorithm>
#include <cmath>

namespace nibble::program {
namespace {

using affine::Rounding;

constexpr int64_t kSmallest = int64_t{1} << 30, kLargest = INT32_MAX;  // of a multiplier's magnitude
constexpr int64_t kFarthest = int64_t{1} << 11;                        // from the nearest multiplier

__int128 floor_divide(__int128 a, __int128 b) {
  const __int128 quotient = a / b;
  return quotient * b != a && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
__int128 ceiling_divide(__int128 a, __int128 b) { return -floor_divide(-a, b); }

// The bounds that known codes set for a multiplier, those within reach of it.
class Bounds {
 public:
  Bounds(int64_t lowest, int64_t highest) : lowest_(lowest), highest_(highest) {}

  // x * m >= product
  void at_least(__int128 x, __int128 product) {
    if (x > 0) add_low(ceiling_divide(product, x));
    if (x < 0) add_high(floor_divide(product, x));
  }
  // x * m <= product
  void at_most(__int128 x, __int128 product) { at_least(-x, -product); }

  // The multiplier that fewest bounds exclude, of several the nearest.
  int64_t best(int64_t nearest) {
    std::sort(lows_.begin(), lows_.end());
    std::sort(highs_.begin(), highs_.end());
    int64_t best = nearest;
    const auto consider = [&](int64_t m) {
      const auto rank = [&](int64_t v) { return std::pair(excluded(v), std::abs(v - nearest)); };
      if (rank(m) < rank(best)) best = m;
    };
    for (const int64_t m : lows_) consider(m);
    for (const int64_t m : highs_) consider(m);
    return best;
  }

 private:
  // Bounds that hold for all multipliers within reach, or for none, decide nothing.
  void add_low(__int128 m) {
    if (m > lowest_ && m <= highest_) lows_.push_back(static_cast<int64_t>(m));
  }
  void add_high(__int128 m) {
    if (m >= lowest_ && m < highest_) highs_.push_back(static_cast<int64_t>(m));
  }
  int64_t excluded(int64_t m) const {
    return (lows_.end() - std::upper_bound(lows_.begin(), lows_.end(), m)) +
           (std::lower_bound(highs_.begin(), highs_.end(), m) - highs_.begin());
  }

  int64_t lowest_, highest_;
  std::vector<int64_t> lows_, highs_;
};

}  // namespace

affine::FixedPointMultiplier fitted_factor(const FixedPointRule& rule, size_t channel,
                                           std::span<const KnownCode> known) {
  const affine::FixedPointMultiplier factor = rule.factors[channel];
  const int64_t nearest = factor.multiplier, sign = nearest < 0 ? -1 : 1;
  const bool rounds_once = rule.rounding == Rounding::kSingle || rule.rounding == Rounding::kHalfEven;
  if (!rounds_once || std::abs(nearest) <= kSmallest) return factor;
  const int64_t first = sign * std::clamp(std::abs(nearest) - kFarthest, kSmallest, kLargest),
                last = sign * std::clamp(std::abs(nearest) + kFarthest, kSmallest, kLargest);
  Bounds bounds(std::min(first, last), std::max(first, last));
  const __int128 half = __int128{1} << (30 - factor.shift);
  for (const auto& [x, code] : known) {
    const __int128 sum = __int128{x} + rule.bias[channel];
    // Halves belong to the code above; to the even one with that rule.
    const bool is_odd = code % 2 != 0, is_half_even = rule.rounding == Rounding::kHalfEven;
    const int above = is_half_even && is_odd ? 1 : 0, below = is_half_even && !is_odd ? 0 : 1;
    if (code > rule.lowest) bounds.at_least(sum, (2 * __int128{code} - 1) * half + above);
    if (code < rule.highest) bounds.at_most(sum, (2 * __int128{code} + 1) * half - below);
  }
  return {static_cast<int32_t>(bounds.best(nearest)), factor.shift};
}

}  // namespace nibble::program
