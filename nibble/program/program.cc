#include "nibble/program/program.h"

#include <algorithm>

namespace nibble::program {
namespace {

int unsigned_bits(uint64_t value) {
  int bits = 0;
  for (; value != 0; value >>= 1) ++bits;
  return std::max(1, bits);
}

}  // namespace

int bits_of(const Interval& interval) {
  if (interval.low >= 0) return unsigned_bits(static_cast<uint64_t>(interval.high));
  const auto below = static_cast<uint64_t>(-(interval.low + 1));
  const auto above = static_cast<uint64_t>(std::max<int64_t>(interval.high, 0));
  return 1 + std::max(below == 0 ? 0 : unsigned_bits(below), above == 0 ? 0 : unsigned_bits(above));
}

Interval Value::hull() const {
  Interval hull = intervals.at(0);
  for (const Interval& interval : intervals) {
    hull = {std::min(hull.low, interval.low), std::max(hull.high, interval.high)};
  }
  return hull;
}

bool moves_integers(const Action& action) {
  return std::holds_alternative<MaxPool>(action) || std::holds_alternative<Reshape>(action) ||
         std::holds_alternative<Crop>(action) || std::holds_alternative<Repeat>(action) ||
         std::holds_alternative<Permute>(action);
}

std::string_view name_of(const Action& action) {
  static constexpr std::string_view kNames[] = {"quantize", "accumulate", "compare",     "max_pool", "sum_pool",
                                                "scale",    "add",        "concatenate", "pad",      "reshape",
                                                "softmax",  "crop",       "repeat",      "permute",  "extremum"};
  static_assert(std::variant_size_v<Action> == std::size(kNames));
  return kNames[action.index()];
}

}  // namespace nibble::program
