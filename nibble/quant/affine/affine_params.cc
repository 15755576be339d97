#include "nibble/quant/affine/affine_params.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::affine {
namespace {

void check_same_length(const char* where, size_t a, size_t b) {
  if (a != b) throw InvalidArgument("[{}] {} values were given for a result of {}.", where, a, b);
}

// Rounds v and limits it to [low, high]; infinities saturate.
template <class Real>
int64_t rounded_code(Real v, int64_t low, int64_t high) {
  const Real rounded = std::round(v);
  if (rounded <= static_cast<Real>(low)) return low;
  if (rounded >= static_cast<Real>(high)) return high;
  return static_cast<int64_t>(rounded);
}

float scale_of_magnitude(float magnitude, int bit_width) {
  const float scale = magnitude / static_cast<float>((int32_t{1} << (bit_width - 1)) - 1);
  return scale > 0.0f ? scale : 1.0f;
}

}  // namespace

ScaleAndZeroPoint choose_scale_and_zero_point(double rmin, double rmax, int32_t qmin, int32_t qmax) {
  if (!std::isfinite(rmin) || !std::isfinite(rmax) || rmin > rmax || qmin >= qmax) {
    throw InvalidArgument(
        "[choose_scale_and_zero_point] range [{}, {}] to codes [{}, {}]: both must be finite, the low end below the "
        "high end.",
        rmin, rmax, qmin, qmax);
  }
  rmin = std::min(rmin, 0.0);
  rmax = std::max(rmax, 0.0);
  if (rmin == rmax) return {};
  const double low = qmin, high = qmax;
  const double scale = (rmax - rmin) / (high - low);
  const double from_min = low - rmin / scale, from_max = high - rmax / scale;
  const double error_min = std::abs(low) + std::abs(rmin / scale), error_max = std::abs(high) + std::abs(rmax / scale);
  const double zero_point = error_min < error_max ? from_min : from_max;
  return {scale, static_cast<int32_t>(rounded_code(zero_point, qmin, qmax))};
}

AffineParams params_of_range(Range range, int bit_width, bool is_signed) {
  check_bit_width("params_of_range", bit_width);
  AffineParams params{.bit_width = bit_width, .is_signed = is_signed};
  const auto chosen = choose_scale_and_zero_point(range.min, range.max, params.lowest(), params.highest());
  const auto scale = static_cast<float>(chosen.scale);
  if (scale == 0.0f) return params;
  params.scale = scale;
  params.zero_point = chosen.zero_point;
  return params;
}

AffineParams params_of_nudged(const NudgedRange& range, CodeFormat format, bool is_signed) {
  AffineParams params{.bit_width = format.bit_width, .is_signed = is_signed, .narrow_range = format.narrow_range};
  if (range.is_zero) {
    params.zero_point = std::max(params.lowest(), 0);  // 1 where unsigned and narrow: 0 is no code there
    return params;
  }
  params.scale = range.scale;
  params.zero_point = range.zero_point - (is_signed ? int32_t{1} << (format.bit_width - 1) : 0);
  return params;
}

void quantize(std::span<const float> x, const AffineParams& params, std::span<int32_t> codes) {
  check_same_length("quantize", x.size(), codes.size());
  const int64_t low = params.lowest(), high = params.highest(), zero_point = params.zero_point;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) throw InvalidArgument("[quantize] element {} is NaN, which has no code.", i);
    codes[i] =
        static_cast<int32_t>(rounded_code(x[i] / params.scale, low - zero_point, high - zero_point) + zero_point);
  }
}

void dequantize(std::span<const int32_t> codes, const AffineParams& params, std::span<float> x) {
  check_same_length("dequantize", codes.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = params.scale * static_cast<float>(codes[i] - params.zero_point);
}

WeightCodes quantize_weights(std::span<const float> w, const ChannelLayout& layout, int bit_width) {
  check_bit_width("quantize_weights", bit_width);
  check_same_length("quantize_weights", w.size(), static_cast<size_t>(layout.elements()));
  WeightCodes result{std::vector<float>(static_cast<size_t>(layout.channels)), std::vector<int32_t>(w.size())};
  for_each_element(layout, [&](size_t i, size_t c) {
    if (!std::isfinite(w[i])) throw InvalidArgument("[quantize_weights] weight {} (channel {}) is {}.", i, c, w[i]);
    result.scale[c] = std::max(result.scale[c], std::abs(w[i]));
  });
  for (float& scale : result.scale) scale = scale_of_magnitude(scale, bit_width);
  const int64_t limit = (int64_t{1} << (bit_width - 1)) - 1;
  for_each_element(layout, [&](size_t i, size_t c) {
    result.codes[i] = static_cast<int32_t>(rounded_code(w[i] / result.scale[c], -limit, limit));
  });
  return result;
}

BiasCodes quantize_bias(std::span<const float> bias, float input_scale, std::span<const float> weight_scale,
                        int bit_width) {
  if (bit_width < 2 || bit_width > 32) {
    throw InvalidArgument("[quantize_bias] a bias of {} bits is not possible; 2 .. 32 are.", bit_width);
  }
  if (weight_scale.size() != 1) check_same_length("quantize_bias", weight_scale.size(), bias.size());
  const int64_t low = -(int64_t{1} << (bit_width - 1)), high = -low - 1;
  BiasCodes result;
  for (size_t i = 0; i < bias.size(); ++i) {
    const double step = double{input_scale} * double{weight_scale[weight_scale.size() == 1 ? 0 : i]};
    const double steps = double{bias[i]} / step;
    if (std::isnan(steps)) throw InvalidArgument("[quantize_bias] bias {} is {} on a grid of {}.", i, bias[i], step);
    const double rounded = std::round(steps);
    if (rounded < static_cast<double>(low) || rounded > static_cast<double>(high)) ++result.saturated;
    result.codes.push_back(static_cast<int32_t>(rounded_code(steps, low, high)));
  }
  return result;
}

}  // namespace nibble::affine
