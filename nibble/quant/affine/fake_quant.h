// nibble/quant/affine/fake_quant.h
// Affine fake quantization over a range [min, max], as TensorFlow's kernels do it, with gradients.
//
//   qmin = narrow ? 1 : 0             qmax = 2^b - 1                 unsigned codes
//   scale = (max - min) / (qmax - qmin)
//   zero_point = clamp(round(qmin - min / scale))                    halves away from zero
//   nudged_min = (qmin - zero_point) * scale, nudged_max likewise    so that real 0 has a code
//   y = floor((clamp(x, nudged) - nudged_min) / scale - z0 + 1/2) * scale
//   dx = g inside the nudged range (ends included), else 0; dmin, dmax: sums of g below and above
//
// All in float32, each operation rounded by itself. Source: spec/tfmot-tflite.md, A1.
// A range that does not contain 0 is shifted until it does; its width stays.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nibble/core/error.h"
#include "nibble/quant/affine/channel_layout.h"

namespace nibble::affine {

// Data or a range holds NaN or infinity: in training, it has diverged.
class NonFiniteValue : public InvalidArgument {
 public:
  using InvalidArgument::InvalidArgument;
};

// Unsigned codes of 2 .. 16 bits; narrow drops the lowest: [1, 2^b - 1].
struct CodeFormat {
  int bit_width = 8;
  bool narrow_range = false;

  int32_t qmin() const { return narrow_range ? 1 : 0; }
  int32_t qmax() const { return (int32_t{1} << bit_width) - 1; }
  bool operator==(const CodeFormat&) const = default;
};

// throws InvalidArgument unless 2 <= bit_width <= 16
//   where  begins the message
void check_bit_width(std::string_view where, int bit_width);

struct Range {
  float min = 0.0f, max = 0.0f;
  bool operator==(const Range&) const = default;
};

// A range moved so that real 0 is one of its codes.
struct NudgedRange {
  float scale = 0.0f;          // real step between codes
  float inverse_scale = 0.0f;  // (qmax - qmin) / (max - min): not 1 / scale, which may differ in the last bit
  int32_t zero_point = 0;      // unsigned code of real 0
  float min = 0.0f, max = 0.0f;
  bool is_zero = false;  // min = max = 0 (or a width below the smallest step): every value becomes 0
};

//   throws  InvalidArgument if a bound is not finite, min > max, min = max != 0, or the width overflows float32
NudgedRange nudge(Range range, CodeFormat format);

// How the distance to the low end becomes a number of steps. The kernels differ (A1), by an ulp of a tie:
// constant ranges and per-axis ranges multiply by the inverse, per-tensor variable ranges divide.
enum class StepRule { kMultiply, kDivide };

// One element. NaN gives NaN.
float fake_quant(float x, const NudgedRange& range, StepRule rule);

// Its unsigned code: fake_quant(x) = scale * (code - zero_point).
//   x  not NaN
int32_t fake_quant_code(float x, const NudgedRange& range, StepRule rule);

// Whole tensors.
//   x, y    layout.elements() values
//   ranges  one per channel
//   throws  InvalidArgument if the lengths do not fit
void fake_quant(std::span<const float> x, const ChannelLayout& layout, std::span<const NudgedRange> ranges,
                StepRule rule, std::span<float> y);

struct RangeGradient {
  std::vector<float> min, max;  // one per channel; 0 for a zero range
};

//   upstream  as long as x
//   dx        written
RangeGradient fake_quant_gradient(std::span<const float> x, std::span<const float> upstream,
                                  const ChannelLayout& layout, std::span<const NudgedRange> ranges,
                                  std::span<float> dx);

}  // namespace nibble::affine
