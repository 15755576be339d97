#include "nibble/transform/ptq/weight_ranges.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::ptq {
namespace {

constexpr int kSearchBelow = 6;  // bits

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

double squared_error(std::span<const float> w, float limit, float highest_code) {
  const float scale = limit / highest_code;
  double error = 0;
  for (const float v : w) {
    const float q = std::clamp(std::round(v / scale), -highest_code, highest_code) * scale;
    error += static_cast<double>(v - q) * static_cast<double>(v - q);
  }
  return error;
}

float least_error_limit(std::span<const float> w, float largest, float highest_code) {
  float best = largest;
  double least = squared_error(w, largest, highest_code);
  for (int percent = 99; percent >= 20; --percent) {
    const float limit = largest * static_cast<float>(percent) / 100.0f;
    const double error = squared_error(w, limit, highest_code);
    if (error < least) least = error, best = limit;
  }
  return best;
}

}  // namespace

std::vector<affine::Range> weight_ranges(std::span<const float> w, const affine::ChannelLayout& layout, int bit_width,
                                         WeightRule rule) {
  affine::check_bit_width("ptq", bit_width);
  const float highest_code = std::ldexp(1.0f, bit_width - 1) - 1.0f;
  const bool searches =
      rule == WeightRule::kSquaredError || (rule == WeightRule::kAutomatic && bit_width < kSearchBelow);
  std::vector<affine::Range> ranges;
  for (const std::vector<float>& channel : by_channel(w, layout)) {
    float limit = 0.0f;
    for (const float v : channel) limit = std::max(limit, std::abs(v));
    if (searches && limit > 0.0f) limit = least_error_limit(channel, limit, highest_code);
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
