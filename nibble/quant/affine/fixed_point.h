// nibble/quant/affine/fixed_point.h
// Real factors as integers: multiplier and shift, with the rounding rule named.
//
//   real = multiplier * 2^(shift - 31),   0.5 <= multiplier / 2^31 < 1
//
// Source: spec/tfmot-tflite.md, B2 (gemmlowp's fixed-point arithmetic and TFLite's two builds of it).
#pragma once

#include <cstdint>

namespace nibble::affine {

// How the product of an accumulator and a multiplier becomes an integer.
enum class Rounding {
  kGemmlowpDouble,  // rounds twice: TFLite's default. Coarse below 8 bits: the first rounding is at accumulator scale
  kSingle,          // rounds once, halves up: TFLite's single-rounding build
  kHalfEven,        // rounds once, halves to even: what QKeras' quantizers do to the exact value
  kFloor,           // drops the low bits: a bare shift in hardware
};

// A plain value; {0, 0} is the factor 0.
struct FixedPointMultiplier {
  int32_t multiplier = 0;
  int shift = 0;  // positive: to the left
  bool operator==(const FixedPointMultiplier&) const = default;
};

// The nearest multiplier of a real factor. Factors below 2^-32 in magnitude become 0. With kGemmlowpDouble shifts
// reach 31; the others saturate at 2^30 (shift 30), as TFLite's single-rounding build does.
//   real    of scales, compute it in double from the float32 scales: double(in) * double(weight) / double(out)
//   throws  InvalidArgument if real is not finite or its magnitude is 2^31 or more
FixedPointMultiplier quantize_multiplier(double real, Rounding rounding = Rounding::kGemmlowpDouble);

// x * factor as an integer. One rounding is exact for all 64-bit x; the result saturates to 64 bits.
// kGemmlowpDouble works on 32 bits: x * 2^max(shift, 0) saturates to them (TFLite lets it wrap).
int64_t multiply(int64_t x, FixedPointMultiplier factor, Rounding rounding);

// TFLite's rule for 64-bit accumulators (int16 activations): the multiplier is reduced to 16 bits first.
//   x      |x| < 2^47
//   shift  of factor, in [-31, 7]
//   throws  InvalidArgument outside
int32_t multiply_int64(int64_t x, FixedPointMultiplier factor);

// gemmlowp's SaturatingRoundingDoublingHighMul: a * b / 2^31, halves up; (-2^31)^2 saturates.
int32_t doubling_high_multiply(int32_t a, int32_t b);

// gemmlowp's RoundingDivideByPOT: x / 2^exponent, halves away from zero.
//   exponent  0 .. 31
int32_t rounding_divide_by_power(int32_t x, int exponent);

}  // namespace nibble::affine
