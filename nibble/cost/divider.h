// nibble/cost/divider.h
// The operator inside batch normalization that divides by a standard deviation
// (spec/qtools.md section 6).
#pragma once

#include "nibble/cost/operator.h"

namespace nibble::cost {

// A fixed-point denominator needs a float32 divider; a power of two only shifts.
//   throws  InvalidArgument for a ternary or binary denominator, which may be 0 or says nothing
Operator divide(const QuantizerType& numerator, const QuantizerType& denominator, Compat compat = Compat::kNone);

}  // namespace nibble::cost
