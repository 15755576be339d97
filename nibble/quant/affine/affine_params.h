// nibble/quant/affine/affine_params.h
// Scale and zero point of a tensor of integer codes, and the codes themselves.
//
//   real = scale * (code - zero_point)        [Jacob et al. 2018, eq. 1]
//
// Rounding is to the nearest code, halves away from zero. Source: spec/tfmot-tflite.md, B1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/quant/affine/channel_layout.h"
#include "nibble/quant/affine/fake_quant.h"

namespace nibble::affine {

// A plain value: copy it, compare it, write it to a model file.
struct AffineParams {
  float scale = 1.0f;         // real step between neighbouring codes; finite, > 0
  int32_t zero_point = 0;     // the code that stands for real 0
  int bit_width = 8;          // bits per code, 2 .. 16
  bool is_signed = true;      // two's complement
  bool narrow_range = false;  // lowest code dropped: int8 [-127, 127], uint8 [1, 255]

  int32_t lowest() const { return (is_signed ? -(int32_t{1} << (bit_width - 1)) : 0) + (narrow_range ? 1 : 0); }
  int32_t highest() const { return (int32_t{1} << (is_signed ? bit_width - 1 : bit_width)) - 1; }
  bool operator==(const AffineParams&) const = default;
};

struct ScaleAndZeroPoint {
  double scale = 0.0;
  int32_t zero_point = 0;
};

// TFLite's choice for a calibrated range, in double. The range is widened to hold 0; the zero point is computed from
// the end where the float error is smaller. A zero range gives scale 0 and zero_point 0.
//   throws  InvalidArgument if a bound is not finite, rmin > rmax, or qmin >= qmax
ScaleAndZeroPoint choose_scale_and_zero_point(double rmin, double rmax, int32_t qmin, int32_t qmax);

// The same as parameters of a tensor. A zero range gives scale 1 and zero_point 0: never 0 / 0.
AffineParams params_of_range(Range range, int bit_width, bool is_signed);

// Parameters whose codes are those of a fake-quantized tensor: zero_point less 2^(b-1) where signed.
AffineParams params_of_nudged(const NudgedRange& range, CodeFormat format, bool is_signed);

// Real numbers to codes: round(x / scale) + zero_point, saturated; the quotient in float32.
//   codes   written; same length as x. Infinities saturate.
//   throws  InvalidArgument if the lengths differ or x holds a NaN
void quantize(std::span<const float> x, const AffineParams& params, std::span<int32_t> codes);

// Codes to real numbers, in float32.
void dequantize(std::span<const int32_t> codes, const AffineParams& params, std::span<float> x);

// Symmetric narrow codes of weights: zero_point 0, scale = max|w| / (2^(b-1) - 1) per channel; a channel of zeros
// has scale 1.
struct WeightCodes {
  std::vector<float> scale;    // one per channel
  std::vector<int32_t> codes;  // w's elements in order, within [-(2^(b-1) - 1), 2^(b-1) - 1]
};

//   throws  InvalidArgument if w holds NaN or infinity or does not fit the layout
WeightCodes quantize_weights(std::span<const float> w, const ChannelLayout& layout, int bit_width = 8);

struct BiasCodes {
  std::vector<int32_t> codes;
  int64_t saturated = 0;  // how many did not fit and were clipped: worth a warning
};

// A bias on its accumulator's grid: round(bias / (input_scale * weight_scale[c])), in double.
//   weight_scale  one, or one per element of bias
//   bit_width     2 .. 32
BiasCodes quantize_bias(std::span<const float> bias, float input_scale, std::span<const float> weight_scale,
                        int bit_width = 32);

// True for a bias that does not fit the widest accumulators: where weights and activations have 16 bits, its grid is so
// fine that values near 1 need more than 32 bits, and TFLite gives them 64. Here such a bias stays a real number.
inline bool stays_float(const BiasCodes& codes, int bit_width) { return bit_width == 32 && codes.saturated > 0; }

}  // namespace nibble::affine
