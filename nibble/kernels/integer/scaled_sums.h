// nibble/kernels/integer/scaled_sums.h
// Element by element: sums of tensors times whole factors, and what requantizes or moves them.
//
//   code[i] = requantize(sum over the terms of factor * term[i])
//
// An addition, a multiplication by whole numbers, a comparison with thresholds, a copy into another format or place:
// all are this. Modulo 2^32, as integer_sums.h.
#pragma once

#include <cstdint>
#include <span>

#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"

namespace nibble::kernels {

// Where the pixels of a tensor lie: samples of rows of pixels of channels. Strides are in elements.
struct PixelLayout {
  int64_t first = 0;  // the element of the first pixel's channel 0
  int64_t sample_stride = 0, row_stride = 0, pixel_stride = 0;

  int64_t pixel(int64_t sample, int64_t row, int64_t column) const {
    return first + sample * sample_stride + row * row_stride + column * pixel_stride;
  }
};

struct ScaledTerm {
  const void* codes = nullptr;
  CodeFormat format;
  PixelLayout layout;
  int32_t factor = 1;
};

struct ScaledSums {
  std::span<const ScaledTerm> terms;
  const int32_t* channel_factors = nullptr;  // [channels rounded up to 16], of the sum; null: 1
  int64_t rows = 0, columns = 0, channels = 0;
  Requantization requantization;
  CodeFormat format;
  PixelLayout layout;  // of the result
};

void scaled_sums(const ScaledSums& sums, int64_t samples, void* results);

namespace scalar {
void scaled_sums(const ScaledSums& sums, int64_t samples, void* results);
}

}  // namespace nibble::kernels
