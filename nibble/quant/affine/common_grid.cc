#include "nibble/quant/affine/common_grid.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {

CommonGrid common_grid(std::span<const float> steps) {
  constexpr double kMostFactor = 0x1p24, kFinerBy = 0x1p14;
  const auto [smallest, largest] = std::minmax_element(steps.begin(), steps.end());
  CommonGrid grid{.step = *smallest, .factors = {}};
  const auto factor_of = [&](float step) { return static_cast<double>(step) / static_cast<double>(grid.step); };
  const bool are_multiples = std::all_of(steps.begin(), steps.end(), [&](float step) {
    return factor_of(step) == std::floor(factor_of(step)) && factor_of(step) <= kMostFactor;
  });
  if (!are_multiples) {
    if (static_cast<double>(*largest) > kFinerBy * static_cast<double>(*smallest)) {
      throw InvalidArgument(
          "[common_grid] steps of {} and {} have no common grid: one is more than {} times the other.", *smallest,
          *largest, kFinerBy);
    }
    grid.step = *largest * static_cast<float>(1.0 / kFinerBy);
  }
  for (const float step : steps) grid.factors.push_back(std::llround(factor_of(step)));
  return grid;
}

}  // namespace nibble::affine
