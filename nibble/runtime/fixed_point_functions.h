// nibble/runtime/fixed_point_functions.h
// exp, logistic and tanh on fixed-point numbers, as gemmlowp computes them (spec/tfmot-tflite.md, B4, helpers).
//
// A number Qi has i integer bits: real = raw * 2^(i - 31). Results are Q0, saturated below 1.
#pragma once

#include <cstdint>

namespace nibble::runtime {

// exp(a) for a <= 0 in Qi.
//   integer_bits  4 or 5
int32_t exp_of_negative(int32_t a, int integer_bits);

// 1 / (1 + x) for x in Q0, 0 <= x < 1.
int32_t reciprocal_of_one_plus(int32_t x);

// 1 / (1 + exp(-v)) and tanh(v), v in Q4.
int32_t logistic_q4(int32_t v);
int32_t tanh_q4(int32_t v);

}  // namespace nibble::runtime
