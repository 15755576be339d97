// nibble/program/integer_softmax.h
// Softmax from integer logits to integer probabilities, for programs that end in integers.
//
//   d = max x - x                      of the row, >= 0
//   e = (d * multiplier) >> shift      d * scale * log2(e): octaves, with 24 fractional bits
//   v = 2^-e                           30 fractional bits: a table of 256 steps an octave, straight lines between them
//   p = round(2^16 v / sum v)          16 bits, real = p * 2^-16, at most 2^16 - 1
//
// No p but the largest logits' reaches theirs: where rounding would make it equal, it is one less. So the class is the
// logits' own, however near two of them are, and equal logits have equal p.
//
//   |p * 2^-16 - softmax(x * scale)| <= 2^-15 for rows of up to 2048 logits
//
// 2^-17 of it is the rounding of p, 2^-16 the "one less" (or the limit below 1), and a quarter of 2^-15 is left for v:
// 1e-6 of itself from the lines, and 2^-29 for each logit of the row from what the shifts drop.
#pragma once

#include <cstdint>
#include <span>

#include "nibble/program/program.h"

namespace nibble::program {

inline constexpr float kProbabilityScale = 0x1p-16f;
inline constexpr Interval kProbabilities{0, 65535};
inline constexpr int64_t kMostLogits = 65536;  // of a row: beyond it the largest could have p = 0

// The factor for logits of that scale.
//   scale  > 0
Softmax softmax_of_scale(float scale);

//   row, probabilities  equally long, 1 .. kMostLogits; they may be the same memory
void integer_softmax(const Softmax& softmax, std::span<const int32_t> row, std::span<int32_t> probabilities);

}  // namespace nibble::program
