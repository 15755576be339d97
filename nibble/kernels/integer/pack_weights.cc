#include <cstring>

#include "nibble/kernels/integer/integer_sums.h"

namespace nibble::kernels {
namespace {

void put(Terms terms, int32_t value, uint8_t* step, int64_t term) {
  if (terms == Terms::kBytes) {
    step[term] = static_cast<uint8_t>(value);
  } else if (terms == Terms::kWords) {
    const auto word = static_cast<int16_t>(value);
    std::memcpy(step + 2 * term, &word, sizeof(word));
  } else {
    std::memcpy(step, &value, sizeof(value));
  }
}

}  // namespace

AlignedVector<int32_t> pack_weights(Terms terms, std::span<const int32_t> weights, int64_t rows, int64_t row_terms,
                                    int64_t channels) {
  const int64_t per_step = terms_in_a_step(terms), row_steps = (row_terms + per_step - 1) / per_step;
  const int64_t panels = (channels + kPanel - 1) / kPanel, steps = rows * row_steps;
  AlignedVector<int32_t> packed(static_cast<size_t>(panels * steps * kPanel), 0);
  auto* bytes = reinterpret_cast<uint8_t*>(packed.data());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t term = 0; term < row_terms; ++term) {
      const int32_t* values = weights.data() + (row * row_terms + term) * channels;
      const int64_t step = row * row_steps + term / per_step;
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t place = ((c / kPanel) * steps + step) * kPanel + c % kPanel;
        put(terms, values[c], bytes + place * 4, term % per_step);
      }
    }
  }
  return packed;
}

}  // namespace nibble::kernels
