// nibble/runtime/elementwise.h
// Operators that see one code of each input at a time (B4).
#pragma once

#include <span>

#include "nibble/runtime/requantizer.h"

namespace nibble::runtime {

// Two inputs and an output with scales of their own.
struct BinaryParams {
  affine::AffineParams left, right, output;
  Activation activation = Activation::kNone;
  affine::Rounding rounding = affine::Rounding::kGemmlowpDouble;
};

// All throw InvalidArgument where lengths differ.

// Both inputs go to the common scale 2 * max(left, right) / 2^L first; L is 20, 15 for codes of more than 8 bits.
void add(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& params,
         std::span<int32_t> output);
void subtract(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& params,
              std::span<int32_t> output);
void multiply(std::span<const int32_t> left, std::span<const int32_t> right, const BinaryParams& params,
              std::span<int32_t> output);

struct UnaryParams {
  affine::AffineParams input, output;
  Activation activation = Activation::kNone;
  affine::Rounding rounding = affine::Rounding::kGemmlowpDouble;
};

// The same numbers on another scale; what concatenation needs where its inputs differ.
void requantize(std::span<const int32_t> x, const UnaryParams& params, std::span<int32_t> output);

//   slope  factor of negative numbers
void leaky_relu(std::span<const int32_t> x, const UnaryParams& params, float slope, std::span<int32_t> output);

// Any function of one code as a table: output[i] = table[x[i] - lowest].
//   throws  InvalidArgument if a code lies outside the table
void look_up(std::span<const int32_t> x, std::span<const int32_t> table, int32_t lowest, std::span<int32_t> output);

// Joins tensors along an axis; all extents but that one agree, and scale and zero point too.
//   axis     negative counts from the last
//   output   as many codes as the inputs together
void concatenate(std::span<const CodeTensor> inputs, int axis, std::span<int32_t> output);

}  // namespace nibble::runtime
