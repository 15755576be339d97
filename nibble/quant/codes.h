// nibble/quant/codes.h
// From float-held integers to Encoded, and the checks that go with it.
#pragma once

#include <span>
#include <string_view>

#include "nibble/quant/number.h"
#include "nibble/quant/quantizer.h"

namespace nibble::quant {

// throws InvalidArgument unless upstream has x's shape
void check_upstream(std::string_view class_name, const Tensor& x, const Tensor& upstream);

// throws InvalidArgument if x holds a NaN, Unsupported if qnoise_factor is not 1 (values between
// x and its quantized form have no code)
void check_encodable(std::string_view class_name, const Tensor& x, const Number& qnoise_factor);

// Integers to affine codes with zero_point 0.
//   throws  Unsupported if an integer does not fit 32 bits
Encoded affine_codes(std::string_view class_name, std::span<const float> integers, Tensor scale, int bit_width,
                     bool is_signed);

// Real values of an Encoded.
//   shape  the encoded tensor's
Tensor decode(const Encoded& encoded, const Shape& shape);

// 0 .. 2^(b-1) - 1, then -2^(b-1) .. -1, times step.
//   throws  InvalidArgument for more than 20 bits
std::vector<float> twos_complement_range(std::string_view class_name, int bits, float step);
// 0 .. 2^b - 1, times step.
std::vector<float> unsigned_range(std::string_view class_name, int bits, float step);

}  // namespace nibble::quant
