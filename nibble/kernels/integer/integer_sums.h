// nibble/kernels/integer/integer_sums.h
// Sums of products of integers: convolutions and dense layers.
//
//   sum[pixel][channel]  = bias[channel] + sum over steps of dot(bytes at the pixel, the channel's bytes of weights)
//   code[pixel][channel] = requantize(sum)
//
// Sums are computed modulo 2^32: right wherever the sum itself fits 32 bits (program/accumulator_proof.h), whatever
// the order of the terms. Nothing saturates on the way.
//
// Codes of one bit stand for -1 and 1; of w and x in {-1, 1} the product is -1 where their bits differ, so that a sum
// of 32 products is 32 - 2 * popcount(w xor x). Weights of 0 are masked out.
//
// The layout knows no windows. A pixel is the place where its window begins; a step is an offset from there and covers
// four bytes: 4 codes of 8 bits, 2 of 16 or 1 of 32. A window's row of codes lies side by side in a channels-last
// image, so a step may well cover codes of two taps. Steps that reach beyond the row meet weights of 0.
//
// One load spreads a step's codes to all channels. Few channels make few products of it, and then loads take longer
// than products; pairs (kBytePairs) are steps of twice the bytes, see pair_place().
#pragma once

#include <cstdint>
#include <span>

#include "nibble/kernels/integer/aligned_vector.h"
#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"

namespace nibble::kernels {

// What the bytes of a step are; codes and weights have the same number of bits.
enum class Terms {
  kBytes,        // unsigned codes (with their zero_point in them, see `bias`), signed weights
  kBytePairs,    // the same, 8 a step
  kWords,        // signed
  kInts,         // signed
  kBits,         // 32 of each: 1 for 1, 0 for -1
  kTernaryBits,  // the same codes; weights are 32 bits and 32 that are 0 where the weight is 0
};
int64_t terms_in_a_step(Terms terms);
// Four bytes each: what a channel's weights of a step take.
constexpr int64_t weight_ints(Terms terms) {
  return terms == Terms::kTernaryBits || terms == Terms::kBytePairs ? 2 : 1;
}

// kBytes or kBytePairs, whichever is faster on this machine; arguments as pack_weights() has them.
Terms byte_terms(int64_t channels, int64_t row_terms);

// Channels are worked on in panels of this many.
inline constexpr int64_t kPanel = 16;

// Where in a panel's step of pairs, in units of four bytes, the weights of `channel` are that meet the first four codes
// (half 0) or the others (1). The 8 codes lie in a vector as they are, once for every two channels: place e meets half
// e % 2, and belongs to the one channel in the first of the step's two vectors and to the other in the second:
//   first   channel 0 half 0, channel 1 half 1, channel 2 half 0, channel 3 half 1, ...
//   second  channel 1 half 0, channel 0 half 1, channel 3 half 0, channel 2 half 1, ...
constexpr int64_t pair_place(int64_t channel, int64_t half) {
  return (channel + half) % 2 * kPanel + channel % kPanel / 2 * 2 + half;
}

struct IntegerSums {
  Terms terms = Terms::kBytes;
  int64_t steps = 0;
  const int32_t* step_offsets = nullptr;  // [steps]: bytes from the pixel
  const int32_t* weights = nullptr;       // [panels][steps][weight_ints][kPanel] of four bytes, 64-byte aligned
  // [panels * kPanel]; for bytes without zero_point * (the channel's sum of weights), for bits with the number of
  // weights that are not 0; modulo 2^32
  const int32_t* bias = nullptr;
  int64_t channels = 0;       // of the result, computed here ...
  int64_t first_channel = 0;  // ... beginning at this one of `requantization` and of the result's pixel
  Requantization requantization;
  CodeFormat format;  // of the result

  std::span<const int32_t> pixel_offsets;   // of a sample: bytes
  std::span<const int32_t> result_offsets;  // of a sample: elements, of the pixel's channel 0
  // For bits, whose border cannot be 0: where in `bias` that of each of a sample's pixels begins; empty: 0.
  std::span<const int32_t> bias_offsets;
  int64_t sample_stride = 0;  // bytes
  int64_t result_stride = 0;  // elements
};

// Reads up to kReadAhead bytes beyond what the steps cover.
void integer_sums(const IntegerSums& sums, const void* input, int64_t samples, void* results);

namespace scalar {
void integer_sums(const IntegerSums& sums, const void* input, int64_t samples, void* results);
}

// Weights [rows][row_terms][channels] (row by row of a window) in the order of IntegerSums::weights; a row is filled up
// with zeros to whole steps. Values fit the terms' bits; -1 and 1 for kBits, 0 too for kTernaryBits.
AlignedVector<int32_t> pack_weights(Terms terms, std::span<const int32_t> weights, int64_t rows, int64_t row_terms,
                                    int64_t channels);

}  // namespace nibble::kernels
