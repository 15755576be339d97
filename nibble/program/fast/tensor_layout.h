// nibble/program/fast/tensor_layout.h
// How a value lies in memory: samples of rows of pixels of channels, with a border of zeros where a window reaches over
// the edge.
#pragma once

#include <algorithm>

#include "nibble/core/shape.h"
#include "nibble/kernels/integer/codes.h"
#include "nibble/kernels/integer/scaled_sums.h"

namespace nibble::program {

struct Border {
  int64_t top = 0, left = 0, bottom = 0, right = 0;

  void cover(const Border& other) {
    top = std::max(top, other.top), left = std::max(left, other.left);
    bottom = std::max(bottom, other.bottom), right = std::max(right, other.right);
  }
  bool is_empty() const { return top == 0 && left == 0 && bottom == 0 && right == 0; }
};

struct TensorLayout {
  int64_t height = 1, width = 1, channels = 1;
  Border border;
  kernels::CodeFormat format;
  bool is_wide = false;  // integers of 8 bytes, which no kernel knows: steps of the reference alone touch them

  TensorLayout() = default;
  // Rank 3 is [height, width, channels]; of others the last axis is channels and the rest one row.
  explicit TensorLayout(const Shape& shape) : channels(shape.rank() == 0 ? 1 : shape[-1]) {
    if (shape.rank() == 3) {
      height = shape[0], width = shape[1];
    } else {
      width = shape.elements() / channels;
    }
  }

  int64_t row_stride() const { return (border.left + width + border.right) * channels; }
  int64_t sample_stride() const { return (border.top + height + border.bottom) * row_stride(); }
  int64_t elements() const { return height * width * channels; }
  int64_t sample_bytes() const {
    return sample_stride() * static_cast<int64_t>(is_wide ? sizeof(int64_t) : kernels::size_of(format.type));
  }
  int64_t first() const { return border.top * row_stride() + border.left * channels; }
  // Elements from the sample's beginning to the pixel's channel 0; pixels are counted row by row.
  int64_t pixel(int64_t index) const { return first() + index / width * row_stride() + index % width * channels; }
  kernels::PixelLayout pixels() const { return {first(), sample_stride(), row_stride(), channels}; }
};

}  // namespace nibble::program
