// nibble/kernels/integer/pools.h
// Maxima, minima and sums of windows of integers.
#pragma once

#include <cstdint>

#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/requantization.h"
#include "nibble/kernels/integer/scaled_sums.h"

namespace nibble::kernels {

enum class PoolKind { kExtremum, kSum };

struct Pool {
  PoolKind kind = PoolKind::kExtremum;
  // [channels rounded up to 16]: -1 where the minimum is taken, 0 where the maximum; null: the maximum everywhere
  const int32_t* takes_minimum = nullptr;
  int32_t common = 0;  // kSum: not 0 multiplies each sum by common / (cells inside)
  int64_t height = 1, width = 1, stride_height = 1, stride_width = 1, pad_top = 0, pad_left = 0;
  int64_t in_rows = 0, in_columns = 0, rows = 0, columns = 0, channels = 0;
  CodeFormat in_format, format;
  PixelLayout in_layout, layout;
  Requantization requantization;
};

// Cells outside the input do not count. An extremum's window has a cell inside.
void pool(const Pool& pool, const void* input, int64_t samples, void* results);

namespace scalar {
void pool(const Pool& pool, const void* input, int64_t samples, void* results);
}

}  // namespace nibble::kernels
