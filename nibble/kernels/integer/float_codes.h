// nibble/kernels/integer/float_codes.h
// The network's input: floats to codes.
//
//   code = clamp(round(x * multiplier + offset), low, high)      ties to even; the product and the sum are rounded each
#pragma once

#include <cstdint>

#include "nibble/kernels/integer/codes.h"

namespace nibble::kernels {

struct FloatCodes {
  float multiplier = 1.0f, offset = 0.0f;  // multiplier > 0
  float low = 0.0f, high = 0.0f;           // whole, at most 2^22 in size
  CodeFormat format;
};

// Neighbouring elements to neighbouring codes.
//   returns  false if one of x is NaN; the codes are then unspecified
bool float_codes(const FloatCodes& f, const float* x, int64_t count, void* codes, int64_t first);

namespace scalar {
bool float_codes(const FloatCodes& f, const float* x, int64_t count, void* codes, int64_t first);
}

}  // namespace nibble::kernels
