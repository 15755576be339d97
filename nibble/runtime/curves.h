// nibble/runtime/curves.h
// Logistic, tanh and softmax from 8-bit codes to 8-bit codes (B4), the fixed-point reference kernels of TFLite.
//
//   logistic, softmax   output scale 1/256, zero_point -128
//   tanh                output scale 1/128, zero_point 0
#pragma once

#include <span>

#include "nibble/quant/affine/affine_params.h"
#include "nibble/quant/affine/fixed_point.h"
#include "nibble/runtime/code_tensor.h"

namespace nibble::runtime {

// From input codes to a fixed-point number, and where the curve is flat.
struct CurveInput {
  affine::FixedPointMultiplier factor;
  int64_t radius = 0;  // |code - zero_point| from which the result saturates
};

//   input_scale  of the codes
//   throws       Unsupported where the scale is so small that the factor is below 1 (some 7e-9)
CurveInput curve_input(float input_scale);
//   beta         factor of the exponents
CurveInput softmax_input(float input_scale, float beta);

// throw InvalidArgument where lengths differ or codes are no int8
void logistic(std::span<const int32_t> x, const affine::AffineParams& input, std::span<int32_t> output);
void tanh(std::span<const int32_t> x, const affine::AffineParams& input, std::span<int32_t> output);

// Over the last axis.
//   input    any rank >= 1, at most 4095 codes a row: more could leave the sum's 12 integer bits
void softmax(const CodeTensor& input, float input_scale, float beta, std::span<int32_t> output);

}  // namespace nibble::runtime
