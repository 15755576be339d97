// nibble/runtime/window.h
// How a window of weights or of a pool moves over an image. Axis 0 is the height, 1 the width.
#pragma once

#include <array>
#include <cstdint>

#include "nibble/core/shape.h"

namespace nibble::runtime {

struct Window {
  std::array<int64_t, 2> size = {1, 1};
  std::array<int64_t, 2> stride = {1, 1};
  std::array<int64_t, 2> dilation = {1, 1};
  std::array<int64_t, 2> before = {0, 0};  // padded rows above, columns on the left
  std::array<int64_t, 2> after = {0, 0};   // below, on the right
};

// [batch, out_h, out_w, channels] of an input [batch, h, w, _]; out = (in + before + after - reach) / stride + 1.
//   throws  InvalidArgument where a size, stride or dilation is below 1, padding is negative, or the window does not
//           fit once
Shape windowed_shape(const char* where, const Shape& input, const Window& window, int64_t channels);

// Calls visit(row, column, kernel_row, kernel_column) for the taps of output (y, x) that lie inside the image.
template <class Visit>
void for_each_tap(const Window& w, const Shape& input, int64_t y, int64_t x, Visit visit) {
  for (int64_t ky = 0; ky < w.size[0]; ++ky) {
    const int64_t row = y * w.stride[0] - w.before[0] + ky * w.dilation[0];
    if (row < 0 || row >= input[1]) continue;
    for (int64_t kx = 0; kx < w.size[1]; ++kx) {
      const int64_t column = x * w.stride[1] - w.before[1] + kx * w.dilation[1];
      if (column >= 0 && column < input[2]) visit(row, column, ky, kx);
    }
  }
}

}  // namespace nibble::runtime
