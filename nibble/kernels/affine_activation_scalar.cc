// The definitions that affine_activation.cc is tested against.
#include <cmath>
#include <cstring>
#include <vector>

#include "nibble/kernels/affine_activation.h"
#include "nibble/kernels/philox_vector.h"

namespace nibble::kernels::scalar {
namespace {

bool bit(const uint8_t* bits, int64_t e) { return (bits[e / 8] >> (e % 8)) & 1; }

void put_bit(uint8_t* bits, int64_t e, bool value) {
  const unsigned one = 1u << (e % 8);
  bits[e / 8] = static_cast<uint8_t>(value ? bits[e / 8] | one : bits[e / 8] & ~one);
}

// upstream * dy/dz of element e
float gradient_of_affine(float upstream, float z, const uint8_t* mask, int64_t e, const ActivationSpec& activation,
                         float keep_scale) {
  if (!bit(mask, e)) return 0.0f;
  const float h = upstream * keep_scale;
  return has_binary_gradient(activation.kind) ? h : h * activation_gradient(activation, z);
}

}  // namespace

void affine_activation_forward(const float* x, float* y, uint8_t* mask, int64_t rows, int64_t channels,
                               const float* multiplier, const float* offset, const ActivationSpec& activation,
                               const Dropout& dropout) {
  const int64_t elements = rows * channels;
  std::vector<uint8_t> keep(mask_bytes(static_cast<size_t>(elements)), 0xFF);
  if (dropout.rate > 0.0f) {
    dropout_keep_bits(dropout.key, dropout.first_element, static_cast<size_t>(elements),
                      dropout_threshold(dropout.rate), keep.data());
  }
  const float keep_scale = 1.0f / (1.0f - dropout.rate);
  const bool binary_gradient = has_binary_gradient(activation.kind);
  for (int64_t e = 0; e < elements; ++e) {
    const int64_t c = e % channels;
    const float z = x[e] * multiplier[c] + offset[c];
    const bool kept = bit(keep.data(), e);
    const float value = activation_value(activation, z);
    y[e] = kept ? (dropout.rate > 0.0f ? value * keep_scale : value) : 0.0f;
    if (mask) put_bit(mask, e, kept && (!binary_gradient || activation_gradient(activation, z) != 0.0f));
  }
}

void affine_activation_gradient_sums(const float* upstream, const float* x, const uint8_t* mask, int64_t rows,
                                     int64_t channels, const float* multiplier, const float* offset,
                                     const ActivationSpec& activation, float dropout_rate, double* sum_h,
                                     double* sum_hx) {
  const float keep_scale = 1.0f / (1.0f - dropout_rate);
  for (int64_t e = 0; e < rows * channels; ++e) {
    const int64_t c = e % channels;
    const float z = x[e] * multiplier[c] + offset[c];
    const float h = gradient_of_affine(upstream[e], z, mask, e, activation, keep_scale);
    sum_h[c] += double{h};
    sum_hx[c] += double{h} * double{x[e]};
  }
}

void affine_activation_gradient(const float* upstream, const float* x, const uint8_t* mask, float* dx, int64_t rows,
                                int64_t channels, const float* multiplier, const float* offset,
                                const ActivationSpec& activation, float dropout_rate, const float* scale_h,
                                const float* scale_x, const float* constant) {
  const float keep_scale = 1.0f / (1.0f - dropout_rate);
  for (int64_t e = 0; e < rows * channels; ++e) {
    const int64_t c = e % channels;
    const float z = x[e] * multiplier[c] + offset[c];
    const float h = gradient_of_affine(upstream[e], z, mask, e, activation, keep_scale);
    dx[e] = h * scale_h[c] + x[e] * scale_x[c] + constant[c];
  }
}

void channel_moments(const float* x, int64_t rows, int64_t channels, double* sum, double* sum_of_squares) {
  for (int64_t e = 0; e < rows * channels; ++e) {
    const int64_t c = e % channels;
    sum[c] += double{x[e]};
    sum_of_squares[c] += double{x[e]} * double{x[e]};
  }
}

}  // namespace nibble::kernels::scalar
