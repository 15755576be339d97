// nibble/cost/multiplier.h
// The operator that multiplies a weight by an input, by their kinds of number
// (spec/qtools.md section 3). Rows are the weight's mode, columns the input's:
//
//            fixed    po2     ternary  +-1     0/1      float
//   fixed    mul      shifter mux      mux     and      mul
//   po2      shifter  add     mux      mux     and      mul
//   ternary  mux      mux     mux      mux     and      mul
//   +-1      mux      mux     mux      xor     and      mul
//   0/1      and      and     and      and     and      mul
//   float    mul      ...                               mul
#pragma once

#include "nibble/cost/operator.h"

namespace nibble::cost {

// gate_bits: mul sqrt(b_w * b_x); shifter b * log10(b) with b = sqrt(2^b_po2 * b_x); add, and:
// output bits; mux: bits of the operand that passes; xor: 1.
//   compat  kNone gives a 0/1 weight of any name its input's integer bits; the reference does so
//           for the name "binary" alone
Operator multiply(const QuantizerType& weight, const QuantizerType& input, Compat compat = Compat::kNone);

// bits and gate_bits of `fixed` shifted by the exponents of `po2`; shared with the divider, where
// the shifts go the other way (right and left swapped by the caller).
//   throws  nothing
Operator shift(const QuantizerType& fixed, const QuantizerType& po2, ShiftRange range);

}  // namespace nibble::cost
