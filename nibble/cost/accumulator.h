// nibble/cost/accumulator.h
// Types wide enough to hold a sum (spec/qtools.md section 4).
#pragma once

#include <cstdint>
#include <optional>

#include "nibble/cost/quantizer_type.h"

namespace nibble::cost {

// A sum of `terms` products: ceil(log2(terms)) more integer bits. Float stays as it is; a power
// of two becomes fixed point first.
//   terms  >= 1; one more if a bias is added inside the same accumulator
QuantizerType accumulate(const QuantizerType& product, int64_t terms);

// a + b: the wider integer part plus one bit, the finer fraction. Any float operand makes the sum a float
// of the widest operand's bits.
//   compat  the reference forgets to convert a power of two that stands before a 0/1 value, and counts
//           the bits of a fixed operand into a float sum; kNone does neither
QuantizerType add(const QuantizerType& a, const QuantizerType& b, Compat compat = Compat::kNone);

// The accumulator of a layer with weights: products, then the bias.
QuantizerType accumulate_with_bias(const QuantizerType& product, int64_t terms,
                                   const std::optional<QuantizerType>& bias, Compat compat = Compat::kNone);

}  // namespace nibble::cost
