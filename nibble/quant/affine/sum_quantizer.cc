#include "nibble/quant/affine/sum_quantizer.h"

#include <algorithm>
#include <cmath>

namespace nibble::affine {
namespace {

// The nearest whole number, halves to even, of magnitudes that 52 bits hold; std::nearbyint is a call.
double nearest(double v) {
  constexpr double kShift = 0x1.8p52;
  return (v + kShift) - kShift;
}

int64_t rescaled(int64_t sum, FixedPointMultiplier factor) {
  constexpr int64_t kLargest = int64_t{1} << 31;  // whose product with a multiplier fits 64 bits, rounding included
  if (sum < -kLargest || sum > kLargest) return multiply(sum, factor, Rounding::kSingle);
  const int bits = 31 - factor.shift;  // 1 .. 62
  return (sum * factor.multiplier + (int64_t{1} << (bits - 1))) >> bits;
}

float quantized(float x, double sum_scale, FixedPointMultiplier factor, const CodeGrid& grid) {
  if (std::isnan(x)) return x;
  constexpr double kMost = 0x1p50;
  const double sum = nearest(std::clamp(static_cast<double>(x) / sum_scale, -kMost, kMost));
  const int64_t code = rescaled(static_cast<int64_t>(sum), factor);
  return static_cast<float>(std::clamp<int64_t>(code, grid.lowest, grid.highest)) * grid.scale;
}

}  // namespace

std::optional<SumQuantizer> SumQuantizer::make(std::vector<double> sum_scales, CodeGrid grid) {
  if (sum_scales.empty()) return std::nullopt;
  SumQuantizer result;
  for (const double scale : sum_scales) {
    const double factor = scale / static_cast<double>(grid.scale);
    if (!(scale > 0.0) || !(factor < 0x1p31)) return std::nullopt;
    result.factors_.push_back(quantize_multiplier(factor, Rounding::kSingle));
  }
  result.sum_scales_ = std::move(sum_scales);
  result.grid_ = grid;
  return result;
}

float SumQuantizer::operator()(float x, size_t channel) const {
  const size_t c = factors_.size() == 1 ? 0 : channel;
  return quantized(x, sum_scales_[c], factors_[c], grid_);
}

void SumQuantizer::quantize(std::span<const float> x, std::span<float> y) const {
  const size_t channels = factors_.size();
  for (size_t first = 0; first < x.size(); first += channels) {
    const size_t count = std::min(channels, x.size() - first);
    for (size_t c = 0; c < count; ++c) y[first + c] = quantized(x[first + c], sum_scales_[c], factors_[c], grid_);
  }
}

}  // namespace nibble::affine
