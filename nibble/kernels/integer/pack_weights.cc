#include <cstring>

#include "nibble/kernels/integer/integer_sums.h"

namespace nibble::kernels {
namespace {

constexpr int64_t kIntBytes = 4;

void put_bit(uint8_t* bits, int64_t term) {
  bits[term / 8] = static_cast<uint8_t>(bits[term / 8] | (1u << (term % 8)));
}

void put(Terms terms, int32_t value, uint8_t* step, int64_t term) {
  if (terms == Terms::kBits || terms == Terms::kTernaryBits) {
    if (value > 0) put_bit(step, term);
    if (terms == Terms::kTernaryBits && value != 0) put_bit(step + kPanel * kIntBytes, term);
  } else if (terms == Terms::kBytes || terms == Terms::kBytePairs) {
    step[term] = static_cast<uint8_t>(value);
  } else if (terms == Terms::kWords) {
    const auto word = static_cast<int16_t>(value);
    std::memcpy(step + 2 * term, &word, sizeof(word));
  } else {
    std::memcpy(step, &value, sizeof(value));
  }
}

}  // namespace

int64_t terms_in_a_step(Terms terms) {
  switch (terms) {
    case Terms::kBytes:
      return 4;
    case Terms::kWords:
      return 2;
    case Terms::kInts:
      return 1;
    case Terms::kBytePairs:
      return 8;
    case Terms::kBits:
    case Terms::kTernaryBits:
      break;
  }
  return 32;
}

AlignedVector<int32_t> pack_weights(Terms terms, std::span<const int32_t> weights, int64_t rows, int64_t row_terms,
                                    int64_t channels) {
  const int64_t per_step = terms_in_a_step(terms), row_steps = (row_terms + per_step - 1) / per_step;
  const int64_t panels = (channels + kPanel - 1) / kPanel, steps = rows * row_steps;
  AlignedVector<int32_t> packed(static_cast<size_t>(panels * steps * weight_ints(terms) * kPanel), 0);
  auto* bytes = reinterpret_cast<uint8_t*>(packed.data());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t term = 0; term < row_terms; ++term) {
      const int32_t* values = weights.data() + (row * row_terms + term) * channels;
      const int64_t step = row * row_steps + term / per_step;
      for (int64_t c = 0; c < channels; ++c) {
        int64_t place = ((c / kPanel) * steps + step) * weight_ints(terms) * kPanel, step_term = term % per_step;
        if (terms == Terms::kBytePairs) {
          place += pair_place(c, step_term / 4), step_term %= 4;
        } else {
          place += c % kPanel;
        }
        put(terms, values[c], bytes + place * kIntBytes, step_term);
      }
    }
  }
  return packed;
}

}  // namespace nibble::kernels
