#include "nibble/quant/affine/range_tracker.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::affine {
namespace {

constexpr Range kInitialRange{-6.0f, 6.0f};

constexpr std::array<std::string_view, 5> kClassNames = {"LastValueQuantizer", "MovingAverageQuantizer",
                                                         "AllValuesQuantizer", "FixedQuantizer", "NoQuantizer"};

Range initial_range(const TrackerConfig& config) {
  switch (config.kind) {
    case TrackerKind::kFixed:
      return config.fixed;
    case TrackerKind::kAllValues:
    case TrackerKind::kNone:
      return {};
    default:
      return kInitialRange;
  }
}

void check(const TrackerConfig& config, int64_t channels) {
  check_bit_width(class_name(config.kind), config.num_bits);
  if (channels < 1) {
    throw InvalidArgument("[{}] a tensor of {} channels has no range.", class_name(config.kind), channels);
  }
  if (!(config.decay >= 0.0 && config.decay < 1.0)) {
    throw InvalidArgument("[{}] decay is {}; it must be at least 0 and below 1.", class_name(config.kind),
                          config.decay);
  }
  if (config.kind == TrackerKind::kFixed) {
    if (!(config.fixed.min < config.fixed.max)) {
      throw InvalidArgument("[FixedQuantizer] the range [{}, {}] is empty; min must be below max.", config.fixed.min,
                            config.fixed.max);
    }
    nudge(config.fixed, config.format());
  }
}

// Quotient of the low and the high end of a symmetric range, negative.
float symmetric_ratio(const TrackerConfig& config) {
  if (config.narrow_range) return -1.0f;
  const auto codes = static_cast<float>(int32_t{1} << config.num_bits);
  return -(codes - 2.0f) / codes;
}

// The range that holds a whole batch, given its smallest and largest value.
Range range_of_ends(const TrackerConfig& config, Range seen) {
  if (!config.symmetric) return {std::min(seen.min, 0.0f), std::max(seen.max, 0.0f)};
  const float ratio = symmetric_ratio(config);
  const float low = std::min(seen.min, seen.max / ratio);
  // AllValues takes the widened low end here, which can make its high end an ulp larger.
  const float mirrored = config.kind == TrackerKind::kAllValues ? low : seen.min;
  return {low, std::max(seen.max, mirrored * ratio)};
}

std::vector<Range> extremes(std::string_view where, std::span<const float> x, const ChannelLayout& layout) {
  std::vector<Range> seen(static_cast<size_t>(layout.channels), {HUGE_VALF, -HUGE_VALF});
  for_each_element(layout, [&](size_t i, size_t c) {
    if (!std::isfinite(x[i])) {
      throw NonFiniteValue(
          "[{}] element {} (channel {}) of the data is {}. Ranges need finite numbers: check the data, or, in "
          "training, lower the learning rate.",
          where, i, c, x[i]);
    }
    seen[c].min = std::min(seen[c].min, x[i]);
    seen[c].max = std::max(seen[c].max, x[i]);
  });
  return seen;
}

}  // namespace

CodeFormat TrackerConfig::format() const {
  const bool is_always_8 = kind == TrackerKind::kFixed && compat == TrackerCompat::kTfmot;
  return {.bit_width = is_always_8 ? 8 : num_bits, .narrow_range = narrow_range};
}

ChannelLayout tracker_layout(const TrackerConfig& config, const Shape& shape, TensorRole role) {
  const bool is_tfmot = config.compat == TrackerCompat::kTfmot;
  const bool is_ignored = config.kind == TrackerKind::kFixed || config.kind == TrackerKind::kNone ||
                          (config.kind == TrackerKind::kAllValues && is_tfmot);
  if (!config.per_axis || is_ignored) return per_tensor(shape);
  if (role == TensorRole::kDepthwiseKernel && !is_tfmot) return per_depthwise_channel(shape);
  return per_axis(shape, -1);
}

RangeTracker::RangeTracker(const TrackerConfig& config, int64_t channels) : config_(config) {
  check(config, channels);
  ranges_.assign(static_cast<size_t>(channels), initial_range(config));
  is_calibrated_ = config.kind == TrackerKind::kFixed || config.kind == TrackerKind::kNone;
}

void RangeTracker::restore(std::vector<Range> ranges) {
  if (ranges.size() != ranges_.size()) {
    throw InvalidArgument("[{}] {} ranges were given for {} channels.", class_name(config_.kind), ranges.size(),
                          ranges_.size());
  }
  for (const Range& range : ranges) nudge(range, config_.format());
  ranges_ = std::move(ranges);
  is_calibrated_ = true;
}

void RangeTracker::observe(std::span<const float> x, const ChannelLayout& layout) {
  if (config_.kind == TrackerKind::kFixed || config_.kind == TrackerKind::kNone) return;
  if (static_cast<int64_t>(x.size()) != layout.elements() || layout.channels != channels() || x.empty()) {
    throw InvalidArgument("[{}] {} values in {} channels do not fit a tracker of {} channels and a layout of {}.",
                          class_name(config_.kind), x.size(), layout.channels, channels(), layout.elements());
  }
  move_by(x, layout, extremes(class_name(config_.kind), x, layout));
}

void RangeTracker::observe(std::span<const float> x, Range ends) {
  if (config_.kind == TrackerKind::kFixed || config_.kind == TrackerKind::kNone) return;
  if (x.empty() || channels() != 1) {
    throw InvalidArgument("[{}] {} values between two ends do not fit a tracker of {} channels.",
                          class_name(config_.kind), x.size(), channels());
  }
  move_by(x, {1, 1, static_cast<int64_t>(x.size())}, {&ends, 1});
}

void RangeTracker::move_by(std::span<const float> x, const ChannelLayout& layout, std::span<const Range> seen) {
  std::vector<Range> batch;
  batch.reserve(seen.size());
  for (const Range& ends : seen) batch.push_back(range_of_ends(config_, ends));
  if (config_.range == RangeRule::kMse) batch = least_error_ranges(x, layout, batch, config_.format());
  for (size_t c = 0; c < batch.size(); ++c) move_to(c, batch[c]);
  is_calibrated_ = true;
}

void RangeTracker::move_to(size_t channel, Range batch) {
  Range& stored = ranges_[channel];
  const bool is_average = config_.kind == TrackerKind::kMovingAverage;
  if (config_.kind == TrackerKind::kAllValues) {
    stored = {std::min({stored.min, batch.min, 0.0f}), std::max({stored.max, batch.max, 0.0f})};
  } else if (is_average && (is_calibrated_ || config_.start == AverageStart::kInitialRange)) {
    const auto weight = static_cast<float>(1.0 - config_.decay);
    stored.min -= (stored.min - batch.min) * weight;
    stored.max -= (stored.max - batch.max) * weight;
  } else {
    stored = batch;
  }
}

std::vector<NudgedRange> RangeTracker::nudged() const {
  std::vector<NudgedRange> result;
  result.reserve(ranges_.size());
  for (const Range& range : ranges_) result.push_back(nudge(range, config_.format()));
  return result;
}

StepRule RangeTracker::step_rule() const {
  const bool is_scalar_op =
      config_.kind != TrackerKind::kFixed &&
      (!config_.per_axis || (config_.kind == TrackerKind::kAllValues && config_.compat == TrackerCompat::kTfmot));
  return is_scalar_op ? StepRule::kDivide : StepRule::kMultiply;
}

void RangeTracker::quantize(std::span<const float> x, const ChannelLayout& layout, std::span<float> y) const {
  if (config_.kind == TrackerKind::kNone) {
    if (y.size() != x.size()) {
      throw InvalidArgument("[NoQuantizer] {} values do not fit a result of {}.", x.size(), y.size());
    }
    std::copy(x.begin(), x.end(), y.begin());
    return;
  }
  fake_quant(x, layout, nudged(), step_rule(), y);
}

RangeGradient RangeTracker::gradient(std::span<const float> x, std::span<const float> upstream,
                                     const ChannelLayout& layout, std::span<float> dx) const {
  if (config_.kind != TrackerKind::kNone) return fake_quant_gradient(x, upstream, layout, nudged(), dx);
  if (dx.size() != upstream.size() || x.size() != dx.size()) {
    throw InvalidArgument("[NoQuantizer] {} values, {} upstream and {} results differ in number.", x.size(),
                          upstream.size(), dx.size());
  }
  std::copy(upstream.begin(), upstream.end(), dx.begin());
  return {std::vector<float>(ranges_.size()), std::vector<float>(ranges_.size())};
}

std::string_view class_name(TrackerKind kind) { return kClassNames[static_cast<size_t>(kind)]; }

TrackerKind tracker_kind(std::string_view name) {
  const auto found = std::find(kClassNames.begin(), kClassNames.end(), name);
  if (found != kClassNames.end()) return static_cast<TrackerKind>(found - kClassNames.begin());
  const std::vector<std::string> known(kClassNames.begin(), kClassNames.end());
  throw InvalidArgument("[tracker] '{}' is no range tracker. {}", name, suggest(name, known));
}

}  // namespace nibble::affine
