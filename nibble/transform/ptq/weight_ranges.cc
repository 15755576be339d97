#include "nibble/transform/ptq/weight_ranges.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::ptq {
namespace {

std::vector<std::vector<float>> by_channel(std::span<const float> w, const affine::ChannelLayout& layout) {
  if (static_cast<int64_t>(w.size()) != layout.elements()) {
    throw InvalidArgument("[ptq] {} weights do not fit a layout of {}.", w.size(), layout.elements());
  }
  std::vector<std::vector<float>> channels(static_cast<size_t>(layout.channels));
  affine::for_each_element(layout, [&](size_t i, size_t c) {
    if (!std::isfinite(w[i])) {
      throw InvalidArgument("[ptq] weight {} (channel {}) is {}. The training has diverged; train the model anew.", i,
                            c, w[i]);
    }
    channels[c].push_back(w[i]);
  });
  return channels;
}

float least_error_limit(std::span<const float> w, float largest, int bit_width) {
  const auto limit = [&](int percent) {
    return percent == 100 ? largest : largest * static_cast<float>(percent) / 100.0f;
  };
  const auto error = [&](int percent) {
    return affine::squared_error(w, affine::nudge({-limit(percent), limit(percent)}, {bit_width, true}));
  };
  return limit(affine::least_error_percent(error, affine::ErrorSearch::kEvery));
}

}  // namespace

affine::RangeRule range_rule(WeightRule rule, int bit_width) {
  if (rule == WeightRule::kAutomatic) return affine::usual_range_rule(bit_width);
  return rule == WeightRule::kSquaredError ? affine::RangeRule::kMse : affine::RangeRule::kExtremes;
}

std::vector<affine::Range> weight_ranges(std::span<const float> w, const affine::ChannelLayout& layout, int bit_width,
                                         WeightRule rule) {
  affine::check_bit_width("ptq", bit_width);
  const bool searches = range_rule(rule, bit_width) == affine::RangeRule::kMse;
  std::vector<affine::Range> ranges;
  for (const std::vector<float>& channel : by_channel(w, layout)) {
    float limit = 0.0f;
    for (const float v : channel) limit = std::max(limit, std::abs(v));
    if (searches && limit > 0.0f) limit = least_error_limit(channel, limit, bit_width);
    ranges.push_back({-limit, limit});
  }
  return ranges;
}

double sqnr_db(std::span<const float> x, std::span<const float> y) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto v = static_cast<double>(x[i]), difference = v - static_cast<double>(y[i]);
    signal += v * v;
    noise += difference * difference;
  }
  if (noise == 0) return kLosslessDb;
  if (signal == 0) return -kLosslessDb;
  return std::clamp(10.0 * std::log10(signal / noise), -kLosslessDb, kLosslessDb);
}

}  // namespace nibble::ptq
