// nibble/report/code_histogram.h
// How often each integer code occurs in a quantized tensor.
#pragma once

#include <cstdint>
#include <vector>

#include "nibble/quant/quantizer.h"

namespace nibble::report {

struct CodeBin {
  int32_t first = 0, last = 0;  // codes first..last, both included
  int sign = 1;                 // kPowerOfTwo only: -1 or +1; the values are sign * scale * 2^code
  int64_t count = 0;
  bool operator==(const CodeBin&) const = default;
};

// Bins are in the order of the real values and leave no gap between the lowest and the highest
// code that occurs (of each sign, for powers of two); a code that does not occur has count 0.
struct CodeHistogram {
  quant::Encoded::Kind kind = quant::Encoded::Kind::kAffine;
  int bit_width = 0;       // bits per code
  int32_t zero_point = 0;  // the code that stands for real 0; kAffine only
  std::vector<CodeBin> bins;
  int64_t total = 0;                    // elements counted
  int64_t zeros = 0;                    // elements whose real value is 0
  int64_t used_codes = 0;               // distinct codes that occur (with their sign)
  double scale_min = 0, scale_max = 0;  // over all channels
};

// Most bins of a histogram of one sign; where more codes would be needed, a bin holds a power of two of them.
inline constexpr int kMaxCodeBins = 256;

//   throws  InvalidArgument if there are no codes, or signs are missing or not -1 or +1
CodeHistogram code_histogram(const quant::Encoded& encoded);

}  // namespace nibble::report
