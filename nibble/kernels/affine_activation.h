// nibble/kernels/affine_activation.h
// One pass over the data for [batch-norm apply + activation quantizer + dropout], and one or
// two for its gradient.
//
//   z = x * multiplier[c] + offset[c]
//   y = keep ? activation(z) / (1 - rate) : 0
// Data are [rows, channels] row-major (channels last); rows may be batch*height*width. Every
// function has a scalar twin in namespace `scalar` that defines it; the kernel gives the same numbers (the
// sign of a zero aside) on every machine, except:
//   - sums: float within blocks of a few thousand rows, whose order is the machine's; then double. About
//     1e-6 of the sum of magnitudes.
//   - gradients of tanh (binary, ternary) are within 5e-7 of the definition's.
//   - quantized_relu_po2 within a few units in the last place of 2^(k + 1/2), where the definition's rounded
//     logarithms may fall to either side.
// The calls do not start threads.
#pragma once

#include <cstdint>
#include <span>

#include "nibble/core/philox.h"
#include "nibble/kernels/activation_spec.h"

namespace nibble::kernels {

// Element e (row-major, counted from first_element) is kept iff its 16-bit random number >=
// round(rate * 65536). Element e takes the low (e even) or high (e odd) half of word e / 2 of the stream.
struct Dropout {
  float rate = 0.0f;  // 0 .. < 1; 0: nothing is dropped and no number is drawn
  RandomKey key;
  uint64_t first_element = 0;  // a multiple of 128: where in the stream this slice begins
};

// Bytes of the bit mask for n elements, padded so that vector code may store whole words.
constexpr size_t mask_bytes(size_t elements) { return (elements + 511) / 512 * 64; }

//   x, y        [rows * channels]; may be the same memory
//   multiplier, offset  [channels]
//   mask        written, mask_bytes(rows * channels): bit e set iff element e passes gradient: it was kept and, for
//               kinds with a binary gradient, that is 1. May be null when no gradient is needed. Bits behind
//               the last element are unspecified.
void affine_activation_forward(const float* x, float* y, uint8_t* mask, int64_t rows, int64_t channels,
                               const float* multiplier, const float* offset, const ActivationSpec& activation,
                               const Dropout& dropout);

// Sums over rows of  h  and  h * x, where  h = upstream * dy/dz  (dropout's 1/(1-rate) included).
//   upstream, x  [rows * channels]
//   sum_h, sum_hx  [channels], ADDED to (so that slices accumulate); double to survive millions of rows
void affine_activation_gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t rows,
                                     int64_t channels, const float* multiplier, const float* offset,
                                     const ActivationSpec& activation, float dropout_rate, double* sum_h,
                                     double* sum_hx);

// dx = h * scale_h[c] + x * scale_x[c] + constant[c]: with the coefficients of batch norm's backward pass this is
// the gradient with respect to x. dx may be the memory of upstream.
void affine_activation_gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t rows,
                                int64_t channels, const float* multiplier, const float* offset,
                                const ActivationSpec& activation, float dropout_rate, const float* scale_h,
                                const float* scale_x, const float* constant);

// Sums over rows of x and x*x, added to sum and sum_of_squares [channels].
void channel_moments(const float* x, int64_t rows, int64_t channels, double* sum, double* sum_of_squares);

namespace scalar {
void affine_activation_forward(const float* x, float* y, uint8_t* mask, int64_t rows, int64_t channels,
                               const float* multiplier, const float* offset, const ActivationSpec& activation,
                               const Dropout& dropout);
void affine_activation_gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t rows,
                                     int64_t channels, const float* multiplier, const float* offset,
                                     const ActivationSpec& activation, float dropout_rate, double* sum_h,
                                     double* sum_hx);
void affine_activation_gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t rows,
                                int64_t channels, const float* multiplier, const float* offset,
                                const ActivationSpec& activation, float dropout_rate, const float* scale_h,
                                const float* scale_x, const float* constant);
void channel_moments(const float* x, int64_t rows, int64_t channels, double* sum, double* sum_of_squares);
}  // namespace scalar

}  // namespace nibble::kernels
