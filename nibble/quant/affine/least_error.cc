#include "nibble/quant/affine/least_error.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/thinning.h"

namespace nibble::affine {
namespace {

constexpr std::array<std::string_view, 2> kNames = {"extremes", "mse"};

constexpr int64_t kSamplesOfOneRange = 16384, kSamplesOfSeveral = 65536, kLeastOfAChannel = 128;

// fake_quant() by division, in the words of which the compiler makes vectors: a training does this in every step.
void to_codes_and_back(std::span<const float> x, const NudgedRange& range, float* y) {
  const float low = range.min, high = range.max, step = range.scale;
  const float divisor = range.is_zero ? 1.0f : step;  // all of it is clipped to 0
  const float zero_steps = range.is_zero ? 0.0f : std::floor(-low * range.inverse_scale + 0.5f);
  for (size_t i = 0; i < x.size(); ++i) {
    float v = x[i];
    v = v < low ? low : v;
    v = v > high ? high : v;
    const float steps = (v - low) / divisor - zero_steps + 0.5f;
    const auto towards_zero = static_cast<int32_t>(steps);
    const int32_t code = towards_zero - (static_cast<float>(towards_zero) > steps ? 1 : 0);  // std::floor
    y[i] = static_cast<float>(code) * step;
  }
}

// One in so many values of a channel is looked at.
int64_t part_of(const ChannelLayout& layout) {
  const int64_t each = layout.outer * layout.inner;
  const int64_t wanted =
      layout.channels == 1 ? kSamplesOfOneRange : std::max(kLeastOfAChannel, kSamplesOfSeveral / layout.channels);
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(std::max<int64_t>(1, each / wanted))));
}

// Positions within a channel.
std::vector<int64_t> sampled_positions(const ChannelLayout& layout) {
  const int64_t each = layout.outer * layout.inner, part = part_of(layout);
  std::vector<int64_t> positions;
  positions.reserve(static_cast<size_t>(each / part + 1));
  for (int64_t run = 0; run * part < each; ++run) {
    const auto position = static_cast<int64_t>(sampled_of_run(static_cast<uint64_t>(run), static_cast<uint64_t>(part)));
    if (position < each) positions.push_back(position);
  }
  return positions;
}

}  // namespace

std::string_view name(RangeRule rule) { return kNames[static_cast<size_t>(rule)]; }

double squared_error(std::span<const float> x, const NudgedRange& range) {
  constexpr size_t kBlock = 64, kLanes = 4;
  std::array<float, kBlock> rounded;
  std::array<double, kLanes> sums = {};
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const std::span<const float> block = x.subspan(begin, std::min(kBlock, x.size() - begin));
    to_codes_and_back(block, range, rounded.data());
    size_t i = 0;
    const auto add = [&](size_t lane) {
      const double difference = static_cast<double>(block[i + lane]) - static_cast<double>(rounded[i + lane]);
      sums[lane] += difference * difference;
    };
    for (; i + kLanes <= block.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) add(lane);
    }
    for (; i < block.size(); ++i) add(0);
  }
  double sum = 0.0;
  for (const double each : sums) sum += each;
  return sum;
}

Range least_error_range(std::span<const float> x, Range widest, CodeFormat format, ErrorSearch search) {
  if (widest.min == widest.max) return widest;
  const auto at = [&](int percent) -> Range {
    const float k = static_cast<float>(percent) / 100.0f;
    return {widest.min * k, widest.max * k};
  };
  return at(least_error_percent([&](int percent) { return squared_error(x, nudge(at(percent), format)); }, search));
}

std::vector<Range> least_error_ranges(std::span<const float> x, const ChannelLayout& layout,
                                      std::span<const Range> widest, CodeFormat format) {
  if (static_cast<int64_t>(x.size()) != layout.elements() || static_cast<int64_t>(widest.size()) != layout.channels) {
    throw InvalidArgument("[range] {} values and {} ranges do not fit a layout of {} in {} channels.", x.size(),
                          widest.size(), layout.elements(), layout.channels);
  }
  const std::vector<int64_t> positions = sampled_positions(layout);
  const size_t each = positions.size();
  std::vector<float> samples(each * widest.size());
  for (size_t k = 0; k < each; ++k) {
    const int64_t outer = positions[k] / layout.inner, inner = positions[k] % layout.inner;
    const float* of_first = x.data() + outer * layout.channels * layout.inner + inner;
    for (size_t c = 0; c < widest.size(); ++c) samples[c * each + k] = of_first[static_cast<int64_t>(c) * layout.inner];
  }
  std::vector<Range> ranges;
  ranges.reserve(widest.size());
  for (size_t c = 0; c < widest.size(); ++c) {
    const std::span<const float> of_channel(samples.data() + c * each, each);
    ranges.push_back(least_error_range(of_channel, widest[c], format, ErrorSearch::kCoarseToFine));
  }
  return ranges;
}

}  // namespace nibble::affine
