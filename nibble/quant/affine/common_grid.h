// nibble/quant/affine/common_grid.h
// Values of several steps as multiples of one, so that an Add sums whole numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nibble::affine {

// value = code * step[i] ~= code * factors[i] * step
struct CommonGrid {
  float step = 1.0f;
  std::vector<int64_t> factors;  // 1 .. 2^24
};

// Whole multiples of the smallest step are exactly that. Else the grid is 2^14 times finer than the largest step: a
// code of 8 bits is off by less than a hundredth of its step, and the sum of two still is exact in float32. Codes of
// more than kMostBitsOfAdd bits are only added where the steps are multiples.
//   steps   above 0, at least one
//   throws  InvalidArgument if the largest is more than 2^14 times the smallest and no multiple of it
constexpr int kMostBitsOfAdd = 8;
CommonGrid common_grid(std::span<const float> steps);

}  // namespace nibble::affine
