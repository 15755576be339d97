// nibble/kernels/integer/kernel_problems.h
// Inputs for tests of integer kernels: codes, integers and requantizations of every kind.
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/kernels/integer/aligned_vector.h"
#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"

namespace nibble::kernels {

// Codes over the whole range of their type, the extremes often.
inline AlignedVector<uint8_t> random_codes(CodeType type, int64_t count, uint32_t seed) {
  RandomStream random({seed, RandomPurpose::kTest, 0, 0});
  AlignedVector<uint8_t> bytes(static_cast<size_t>(count) * size_of(type) + kReadAhead);
  for (uint8_t& byte : bytes)
    byte = static_cast<uint8_t>(random.below(4) == 0 ? random.below(2) * 255 : random.below(256));
  return bytes;
}

inline std::vector<int32_t> random_integers(int64_t count, int32_t low, int32_t high, uint32_t seed) {
  RandomStream random({seed, RandomPurpose::kTest, 1, 0});
  std::vector<int32_t> values(static_cast<size_t>(count));
  const auto span = static_cast<uint32_t>(high - low) + 1;
  for (int32_t& value : values) {
    value = random.below(5) == 0 ? (random.below(2) == 0 ? low : high) : low + static_cast<int32_t>(random.below(span));
  }
  return values;
}

// A requantization of each kind whose codes fit 8 bits, and what it points to.
struct Requantizer {
  std::vector<float> multiplier, offset, low, high;
  std::vector<int32_t> sign, first, last, values;
  std::vector<uint8_t> is_line;
  Requantization r;

  Requantizer(RequantizationKind kind, int64_t channels, float size) {
    RandomStream random({7, RandomPurpose::kTest, 2, 0});
    const auto padded = static_cast<size_t>((channels + 15) / 16 * 16);
    for (size_t c = 0; c < padded; ++c) {
      multiplier.push_back((0.2f + random.uniform()) * 50.0f / size *
                           (kind == RequantizationKind::kLinear && c % 3 == 1 ? -1 : 1));
      offset.push_back(random.uniform() * 20 - 10);
      low.push_back(-static_cast<float>(c % 4)), high.push_back(20.0f + static_cast<float>(c % 7));
      sign.push_back(c % 5 == 2 ? -1 : 1);
    }
    r = {kind, multiplier.data(), offset.data(), low.data(), high.data()};
    r.channels = static_cast<int64_t>(padded);
    if (kind == RequantizationKind::kCorrected) correct(padded, size);
    if (kind == RequantizationKind::kSelect) select(padded, size);
    if (kind == RequantizationKind::kSearch) search(padded, size);
    for (size_t panel = 0; panel < padded / 16; ++panel) is_line.push_back(panel % 2);
    r.is_line = is_line.data();
    r.sign = sign.data(), r.first = first.data(), r.last = last.data(), r.values = values.data();
  }

  void correct(size_t padded, float size) {
    for (size_t c = 0; c < padded; ++c) {
      first.push_back(static_cast<int32_t>(last.size()));
      for (const int32_t x : random_integers(40, -static_cast<int32_t>(size), static_cast<int32_t>(size), 3))
        last.push_back(x);
    }
  }
  void select(size_t padded, float size) {
    r.steps = 3;
    for (int32_t k = 0; k < 3; ++k) {
      for (size_t c = 0; c < padded; ++c)
        last.push_back(static_cast<int32_t>(size * 0.02f * static_cast<float>(k - 1)) + static_cast<int32_t>(c));
    }
    values = random_integers(static_cast<int64_t>(4 * padded), -9, 9, 4);
  }
  void search(size_t padded, float size) {
    r.steps = 15;
    for (size_t c = 0; c < padded; ++c) {
      first.push_back(static_cast<int32_t>(last.size()));
      for (int32_t k = 0; k < 15; ++k)
        last.push_back(k > 11 ? INT32_MAX
                              : static_cast<int32_t>(size / 12 * static_cast<float>(k - 6)) + static_cast<int32_t>(c));
    }
    values = random_integers(static_cast<int64_t>(16 * padded + 32), -60, 60, 5);
  }
};

}  // namespace nibble::kernels
