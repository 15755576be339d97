// nibble/quant/affine/sum_quantizer.h
// Sums of codes to the codes of the next quantizer, as integer hardware does it: one multiplication, one shift, rounded
// once, halves up.
//
//   code = clamp(floor(sum * multiplier * 2^(shift - 31) + 1/2), lowest, highest)
//
// A float network has a sum as a real number, x = sum * scale rounded to float32. The scale gives the sum back (exactly
// up to kMostExactSum), and so network and integer program round the same number by the same rule, ties and all.
// Rounding x itself falls to the other side where a sum lies within float32's rounding of a tie. Of larger sums, which
// float32 does not tell apart, a few are taken for their neighbours.
//   spec/tfmot-tflite.md, B2; spec/ptq-qat-experiments.md, section 3
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nibble/quant/affine/fixed_point.h"

namespace nibble::affine {

// Two roundings to float32, of the sum and of the scale's product, are less than half a unit of such a sum.
inline constexpr int64_t kMostExactSum = int64_t{1} << 22;

// Codes relative to that of real 0: real = code * scale.
struct CodeGrid {
  float scale = 1.0f;
  int32_t lowest = 0, highest = 0;
};

class SumQuantizer {
 public:
  // Nothing where there is no scale, or a factor is too large for a multiplier (2^31) or no number.
  //   sum_scales  real steps of the sums, above 0: one, or one a channel
  static std::optional<SumQuantizer> make(std::vector<double> sum_scales, CodeGrid grid);

  // The real number of x's code. NaN stays NaN.
  float operator()(float x, size_t channel) const;
  // Of whole tensors, whose channel runs fastest; y may be x.
  void quantize(std::span<const float> x, std::span<float> y) const;

  // One, or one a channel.
  const std::vector<FixedPointMultiplier>& factors() const { return factors_; }

 private:
  std::vector<double> sum_scales_;
  std::vector<FixedPointMultiplier> factors_;
  CodeGrid grid_;
};

}  // namespace nibble::affine
