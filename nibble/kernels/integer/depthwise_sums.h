// nibble/kernels/integer/depthwise_sums.h
// Depthwise convolutions of integers: every channel has its own window.
//
//   sum[pixel][c]  = bias[c] + sum over taps of weight[tap][c] * code[pixel + tap][c]
//   code[pixel][c] = requantize(sum)
//
// Modulo 2^32, as integer_sums.h.
#pragma once

#include <cstdint>
#include <span>

#include "nibble/kernels/integer/aligned_vector.h"
#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"

namespace nibble::kernels {

struct DepthwiseSums {
  std::span<const int32_t> tap_offsets;  // elements from the pixel
  // [taps][channels rounded up to 16], 64-byte aligned; 16 bits unless `input` is kInt32
  const int32_t* weights = nullptr;
  const int32_t* bias = nullptr;  // [channels rounded up to 16]; without zero_point * (sum of weights)
  int64_t channels = 0;
  Requantization requantization;
  CodeType input = CodeType::kUint8;
  CodeFormat format;  // of the result

  std::span<const int32_t> pixel_offsets;        // of a sample: elements
  std::span<const int32_t> result_offsets;       // of a sample: elements
  int64_t sample_stride = 0, result_stride = 0;  // elements

  // `weights` once more for a faster way, if `input` is kUint8: pack_tap_quads(), 64-byte aligned; null without
  const int32_t* quads = nullptr;
};

// Weights [taps][padded] as signed bytes, those of four taps side by side: [taps / 4][padded]; a rest of taps is left
// out. Empty unless all of them are signed bytes.
AlignedVector<int32_t> pack_tap_quads(std::span<const int32_t> weights, int64_t padded);

// Reads up to kReadAhead bytes beyond the input's last element.
void depthwise_sums(const DepthwiseSums& sums, const void* input, int64_t samples, void* results);

namespace scalar {
void depthwise_sums(const DepthwiseSums& sums, const void* input, int64_t samples, void* results);
}

}  // namespace nibble::kernels
