#include "nibble/program/integer_softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace nibble::program {
namespace {

constexpr int kExponentBits = 24;  // fractional bits of e
constexpr int kValueBits = 30;     // of v
constexpr int kStepsLog2 = 8;      // of the table, an octave
constexpr int kLineBits = kExponentBits - kStepsLog2;
constexpr int kMostShift = 62;
constexpr double kLog2OfE = 1.4426950408889634;

using Table = std::array<uint32_t, (1 << kStepsLog2) + 1>;

// 2^(-i / 256), both ends of the octave.
const Table& powers() {
  static const Table table = [] {
    Table t{};
    for (size_t i = 0; i < t.size(); ++i) {
      t[i] =
          static_cast<uint32_t>(std::lround(std::exp2(kValueBits - std::ldexp(static_cast<double>(i), -kStepsLog2))));
    }
    return t;
  }();
  return table;
}

uint64_t power(uint64_t exponent) {
  const uint64_t octaves = exponent >> kExponentBits;
  if (octaves > kValueBits) return 0;
  const size_t step = (exponent >> kLineBits) & ((1u << kStepsLog2) - 1);
  const uint64_t along = exponent & ((1u << kLineBits) - 1);
  const uint64_t from = powers()[step], to = powers()[step + 1];
  return (from - ((from - to) * along >> kLineBits)) >> octaves;
}

}  // namespace

Softmax softmax_of_scale(float scale) {
  int exponent = 0;
  const double mantissa = std::frexp(std::ldexp(static_cast<double>(scale) * kLog2OfE, kExponentBits), &exponent);
  auto multiplier = static_cast<int64_t>(std::llround(std::ldexp(mantissa, 31)));
  int shift = 31 - exponent;
  if (multiplier > INT32_MAX) multiplier /= 2, --shift;
  // So large a scale that one step of it is 128 octaves: all but the largest logits have 0 either way.
  if (shift < 0) multiplier = INT32_MAX, shift = 0;
  if (shift > kMostShift) multiplier >>= std::min(shift - kMostShift, 31), shift = kMostShift;
  return {static_cast<int32_t>(multiplier), shift};
}

void integer_softmax(const Softmax& softmax, std::span<const int32_t> row, std::span<int32_t> probabilities) {
  const int64_t highest = *std::max_element(row.begin(), row.end());
  std::vector<uint64_t> values(row.size());
  uint64_t sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    // Less than 2^32 times less than 2^31.
    const auto below = static_cast<uint64_t>(highest - row[i]);
    values[i] = power(below * static_cast<uint64_t>(softmax.multiplier) >> softmax.shift);
    sum += values[i];
  }
  const auto share = [sum](uint64_t value) { return static_cast<int64_t>(((value << 16) + sum / 2) / sum); };
  const int64_t largest = std::min(share(uint64_t{1} << kValueBits), kProbabilities.high);
  for (size_t i = 0; i < row.size(); ++i) {
    const bool is_largest = row[i] == highest;
    probabilities[i] = static_cast<int32_t>(is_largest ? largest : std::min(share(values[i]), largest - 1));
  }
}

}  // namespace nibble::program
