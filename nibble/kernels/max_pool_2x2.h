// nibble/kernels/max_pool_2x2.h
// 2 x 2 max pooling with stride 2, NHWC, "valid" padding (an odd last row or column is dropped).
#pragma once

#include <cstdint>

namespace nibble::kernels {

//   x       [batch, height, width, channels]
//   y       [batch, height/2, width/2, channels], written
//   argmax  same count as y, written: 0..3 = row*2 + column of the first maximum; may be null
void max_pool_2x2_forward(const float* x, float* y, uint8_t* argmax, int64_t batch, int64_t height, int64_t width,
                          int64_t channels);

//   upstream, argmax  of y's count
//   dx                of x's count; every element is written
void max_pool_2x2_gradient(const float* upstream, const uint8_t* argmax, float* dx, int64_t batch, int64_t height,
                           int64_t width, int64_t channels);

namespace scalar {
void max_pool_2x2_forward(const float* x, float* y, uint8_t* argmax, int64_t batch, int64_t height, int64_t width,
                          int64_t channels);
void max_pool_2x2_gradient(const float* upstream, const uint8_t* argmax, float* dx, int64_t batch, int64_t height,
                           int64_t width, int64_t channels);
}  // namespace scalar

}  // namespace nibble::kernels
