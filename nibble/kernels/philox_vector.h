// nibble/kernels/philox_vector.h
// Many random numbers at once: the same bits as nibble::random_block (core/philox.h), one
// block per 64-bit lane.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nibble/core/philox.h"

namespace nibble::kernels {

// The 16-bit number below which an element is dropped: round(rate * 65536), 0 .. 65536.
//   rate  0 .. < 1
uint32_t dropout_threshold(float rate);

// Bit e of `bits` is set iff element first_element + e is kept (affine_activation.h, Dropout).
//   first_element  a multiple of 128
//   elements       bits to make; rounded up to a multiple of 128, so `bits` has
//                  (elements + 127) / 128 * 16 bytes
//   threshold      as dropout_threshold() gives it
void dropout_keep_bits(const RandomKey& key, uint64_t first_element, size_t elements, uint32_t threshold,
                       uint8_t* bits);

// Words first_word .. first_word + count - 1 of the stream, in order.
//   first_word  a multiple of 4
void random_words(const RandomKey& key, uint64_t first_word, size_t count, uint32_t* words);

namespace scalar {
void dropout_keep_bits(const RandomKey& key, uint64_t first_element, size_t elements, uint32_t threshold,
                       uint8_t* bits);
void random_words(const RandomKey& key, uint64_t first_word, size_t count, uint32_t* words);
}  // namespace scalar

}  // namespace nibble::kernels
