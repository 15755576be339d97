// nibble/cost/saturated.h
// Counts of bits and operations that stop at the largest number instead of turning over. A network of 2^62 elements, or
// of sums 2^30 bits wide, is no circuit, but its figures must not come out negative.
#pragma once

#include <cstdint>
#include <limits>

namespace nibble::cost {

//   a, b  at least 0
inline int64_t saturated_product(int64_t a, int64_t b) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  return b != 0 && a > kLargest / b ? kLargest : a * b;
}
inline int64_t saturated_sum(int64_t a, int64_t b) {
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  return a > kLargest - b ? kLargest : a + b;
}

}  // namespace nibble::cost
