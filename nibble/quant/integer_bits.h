// nibble/quant/integer_bits.h
// How many integer bits a range of values needs: QKeras' estimator, used by QAdaptiveActivation.
// Source: spec/qkeras.md section 2, "Integer-bit estimator".
#pragma once

namespace nibble::quant {

struct IntegerBitsOptions {
  int bits = 8;  // in all
  bool symmetric = true;
  bool keep_negative = true;
  // The nearest power of two, so that the outermost values may be clipped; else the next above.
  bool is_clipping = true;
};

// At most bits - keep_negative.
//   minimum, maximum  of the values
int estimate_integer_bits(float minimum, float maximum, const IntegerBitsOptions& options);

}  // namespace nibble::quant
