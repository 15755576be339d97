// nibble/kernels/integer/sign_bits.h
// Bytes of two values to bits, for the sums of integer_sums.h that count bits.
#pragma once

#include <cstdint>

#include "nibble/kernels/integer/scaled_sums.h"

namespace nibble::kernels {

// Of each pixel the channels in words of 32 bits, bit 0 the first: 1 where the byte is above `zero_point`. Bits beyond
// the last channel are 0.
struct SignBits {
  int64_t rows = 0, columns = 0, channels = 0;
  uint8_t zero_point = 0;
  PixelLayout codes;  // elements: bytes
  PixelLayout words;  // elements: words
};
inline int64_t sign_words(int64_t channels) { return (channels + 31) / 32; }

void sign_bits(const SignBits& s, const uint8_t* codes, int64_t samples, uint32_t* words);

namespace scalar {
void sign_bits(const SignBits& s, const uint8_t* codes, int64_t samples, uint32_t* words);
}

}  // namespace nibble::kernels
