#include "nibble/quant/affine/fake_quant.h"

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/quant/rounding.h"

namespace nibble::affine {
namespace {

int32_t nudged_zero_point(float min, float scale, CodeFormat format) {
  const auto qmin = static_cast<float>(format.qmin()), qmax = static_cast<float>(format.qmax());
  const float real = qmin - min / scale;
  if (real < qmin) return format.qmin();
  if (real > qmax) return format.qmax();
  return static_cast<int32_t>(std::round(real));
}

// Steps of x from real 0, an integer held in a float. Subtracting the zero's own steps before floor makes real 0
// exactly 0.
float steps_from_zero(float x, const NudgedRange& range, StepRule rule) {
  const float distance = quant::clip(x, range.min, range.max) - range.min;
  const float steps = rule == StepRule::kDivide ? distance / range.scale : distance * range.inverse_scale;
  const float zero_steps = std::floor(-range.min * range.inverse_scale + 0.5f);
  return std::floor(steps - zero_steps + 0.5f);
}

void check_lengths(size_t x, size_t other, const ChannelLayout& layout, size_t ranges) {
  if (x != static_cast<size_t>(layout.elements()) || other != x) {
    throw InvalidArgument("[fake_quant] the layout has {} elements, but {} values and {} results were given.",
                          layout.elements(), x, other);
  }
  if (ranges != static_cast<size_t>(layout.channels)) {
    throw InvalidArgument("[fake_quant] {} channels need as many ranges, but {} were given.", layout.channels, ranges);
  }
}

}  // namespace

void check_bit_width(std::string_view where, int bit_width) {
  if (bit_width < 2 || bit_width > 16) {
    throw InvalidArgument("[{}] a width of {} bits is not possible. Affine codes have 2 .. 16 bits.", where, bit_width);
  }
}

NudgedRange nudge(Range range, CodeFormat format) {
  check_bit_width("fake_quant", format.bit_width);
  const auto [min, max] = range;
  if (!std::isfinite(min) || !std::isfinite(max) || !std::isfinite(max - min)) {
    throw NonFiniteValue("[fake_quant] the range [{}, {}] is not finite. Is there a NaN or an infinity in the data?",
                         min, max);
  }
  if (min > max || (min == max && min != 0.0f)) {
    throw InvalidArgument("[fake_quant] the range [{}, {}] is empty; min must be below max, or both 0.", min, max);
  }
  NudgedRange nudged;
  const auto steps = static_cast<float>(format.qmax() - format.qmin());
  nudged.scale = (max - min) / steps;
  nudged.inverse_scale = steps / (max - min);
  // Widths below some 1e-36 have no inverse in float32; such values are 0 for every purpose.
  if (nudged.scale == 0.0f || !std::isfinite(nudged.inverse_scale)) return {.is_zero = true};
  nudged.zero_point = nudged_zero_point(min, nudged.scale, format);
  nudged.min = static_cast<float>(format.qmin() - nudged.zero_point) * nudged.scale;
  nudged.max = static_cast<float>(format.qmax() - nudged.zero_point) * nudged.scale;
  return nudged;
}

float fake_quant(float x, const NudgedRange& range, StepRule rule) {
  if (range.is_zero) return std::isnan(x) ? x : 0.0f;
  return steps_from_zero(x, range, rule) * range.scale;
}

int32_t fake_quant_code(float x, const NudgedRange& range, StepRule rule) {
  if (range.is_zero) return range.zero_point;
  return range.zero_point + static_cast<int32_t>(steps_from_zero(x, range, rule));
}

void fake_quant(std::span<const float> x, const ChannelLayout& layout, std::span<const NudgedRange> ranges,
                StepRule rule, std::span<float> y) {
  check_lengths(x.size(), y.size(), layout, ranges.size());
  for_each_element(layout, [&](size_t i, size_t c) { y[i] = fake_quant(x[i], ranges[c], rule); });
}

RangeGradient fake_quant_gradient(std::span<const float> x, std::span<const float> upstream,
                                  const ChannelLayout& layout, std::span<const NudgedRange> ranges,
                                  std::span<float> dx) {
  check_lengths(x.size(), upstream.size(), layout, ranges.size());
  check_lengths(x.size(), dx.size(), layout, ranges.size());
  std::vector<double> below(ranges.size()), above(ranges.size());
  for_each_element(layout, [&](size_t i, size_t c) {
    const NudgedRange& range = ranges[c];
    const bool is_below = !range.is_zero && x[i] < range.min;
    const bool is_above = !range.is_zero && x[i] > range.max;
    dx[i] = is_below || is_above ? 0.0f : upstream[i];
    if (is_below) below[c] += static_cast<double>(upstream[i]);
    if (is_above) above[c] += static_cast<double>(upstream[i]);
  });
  return {{below.begin(), below.end()}, {above.begin(), above.end()}};
}

}  // namespace nibble::affine
