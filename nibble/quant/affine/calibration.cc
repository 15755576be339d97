#include "nibble/quant/affine/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/core/thinning.h"
#include "nibble/quant/affine/least_error.h"

namespace nibble::affine {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"min-max", "moving-average", "percentile", "mse", "entropy"};

Range with_zero(Range range) { return {std::min(range.min, 0.0f), std::max(range.max, 0.0f)}; }

Range mirrored(Range range) {
  const float magnitude = std::max(-range.min, range.max);
  return {-magnitude, magnitude};
}

// The value at `share` of the sorted order, between its neighbours where it falls between them.
float order_statistic(const std::vector<float>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double rest = at - static_cast<double>(below);
  return static_cast<float>((1.0 - rest) * static_cast<double>(sorted[below]) +
                            rest * static_cast<double>(sorted[above]));
}

// Bins [0, count) merged into `levels` equal groups and spread back evenly over each group's non-empty bins.
std::vector<double> through_levels(std::span<const double> bins, size_t levels) {
  std::vector<double> result(bins.size());
  for (size_t level = 0; level < levels; ++level) {
    const size_t begin = level * bins.size() / levels, end = (level + 1) * bins.size() / levels;
    double sum = 0.0;
    int64_t occupied = 0;
    for (size_t i = begin; i < end; ++i) {
      sum += bins[i];
      if (bins[i] > 0.0) ++occupied;
    }
    for (size_t i = begin; i < end; ++i) {
      if (bins[i] > 0.0) result[i] = sum / static_cast<double>(occupied);
    }
  }
  return result;
}

// KL(P || Q) of two histograms, zeros smoothed to 1e-4 of a count.
double divergence(std::span<const double> p, std::span<const double> q) {
  constexpr double kSmooth = 1e-4;
  double p_sum = 0.0, q_sum = 0.0, result = 0.0;
  for (const double v : p) p_sum += std::max(v, kSmooth);
  for (const double v : q) q_sum += std::max(v, kSmooth);
  for (size_t i = 0; i < p.size(); ++i) {
    const double a = std::max(p[i], kSmooth) / p_sum, b = std::max(q[i], kSmooth) / q_sum;
    result += a * std::log(a / b);
  }
  return result;
}

void check(const CalibrationOptions& o) {
  check_bit_width("calibration", o.bit_width);
  if (!(o.decay >= 0.0 && o.decay < 1.0)) {
    throw InvalidArgument("[calibration] decay is {}; it must be at least 0 and below 1.", o.decay);
  }
  if (!(o.percentile > 50.0 && o.percentile <= 100.0)) {
    throw InvalidArgument("[calibration] percentile is {}; it must be above 50 and at most 100, e.g. 99.99.",
                          o.percentile);
  }
  if (o.sample_limit < 2) throw InvalidArgument("[calibration] a limit of {} samples is below 2.", o.sample_limit);
}

}  // namespace

CalibrationMethod calibration_method(std::string_view name) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found != kNames.end()) return static_cast<CalibrationMethod>(found - kNames.begin());
  const std::vector<std::string> known(kNames.begin(), kNames.end());
  throw InvalidArgument("[calibration] '{}' is no method. {}", name, suggest(name, known));
}

Calibrator::Calibrator(const CalibrationOptions& options) : options_(options) { check(options); }

void Calibrator::observe(std::span<const float> x) {
  if (x.empty()) throw InvalidArgument("[calibration] a batch without values has no range.");
  Range batch;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i])) {
      throw InvalidArgument("[calibration] value {} of the batch is {}. Ranges need finite numbers; check the data.", i,
                            x[i]);
    }
    batch = {std::min(batch.min, x[i]), std::max(batch.max, x[i])};
  }
  lowest_ = std::min(lowest_, batch.min);
  highest_ = std::max(highest_, batch.max);
  const auto weight = static_cast<float>(is_started_ ? 1.0 - options_.decay : 1.0);
  average_.min -= (average_.min - batch.min) * weight;
  average_.max -= (average_.max - batch.max) * weight;
  is_started_ = true;
  const auto method = options_.method;
  if (method == CalibrationMethod::kMinMax || method == CalibrationMethod::kMovingAverage) return;
  for (const float v : x) keep(v);
}

void Calibrator::keep(float v) {
  if (!is_sampled(position_++, part_)) return;
  samples_.push_back(v);
  if (static_cast<int64_t>(samples_.size()) >= options_.sample_limit) drop_half();
}

void Calibrator::drop_half() {
  size_t from = 0, to = 0;
  for (uint64_t position = 0; position < position_; ++position) {
    if (!is_sampled(position, part_)) continue;
    const float v = samples_[from++];
    if (is_sampled(position, 2 * part_)) samples_[to++] = v;
  }
  samples_.resize(to);
  part_ *= 2;
}

Range Calibrator::range() const {
  if (!is_started_) {
    throw InvalidArgument("[calibration] no data was observed, so there is no range. Run the model on data first.");
  }
  const Range widest{lowest_, highest_};
  Range chosen = widest;
  switch (options_.method) {
    case CalibrationMethod::kMinMax:
      break;
    case CalibrationMethod::kMovingAverage:
      chosen = with_zero(average_);
      break;
    case CalibrationMethod::kPercentile:
      chosen = percentile_range(samples_, options_.percentile);
      break;
    case CalibrationMethod::kMse:
      chosen = mse_range(samples_, options_.symmetric ? mirrored(widest) : widest, options_.bit_width);
      break;
    case CalibrationMethod::kEntropy: {
      const float threshold = entropy_threshold(samples_, options_.bit_width);
      chosen = {std::max(lowest_, -threshold), std::min(highest_, threshold)};
      break;
    }
  }
  if (chosen.min == 0.0f && chosen.max == 0.0f) chosen = widest;  // e.g. a ReLU that lets one value in 20,000 through
  return options_.symmetric ? mirrored(chosen) : chosen;
}

ChannelCalibrator::ChannelCalibrator(const CalibrationOptions& options, int64_t channels) {
  if (channels < 1) throw InvalidArgument("[calibration] a tensor of {} channels has no range.", channels);
  channels_.assign(static_cast<size_t>(channels), Calibrator(options));
}

void ChannelCalibrator::observe(std::span<const float> x, const ChannelLayout& layout) {
  if (layout.channels != static_cast<int64_t>(channels_.size()) ||
      layout.elements() != static_cast<int64_t>(x.size())) {
    throw InvalidArgument("[calibration] {} values in {} channels do not fit {} calibrators and a layout of {}.",
                          x.size(), layout.channels, channels_.size(), layout.elements());
  }
  std::vector<std::vector<float>> values(channels_.size());
  for_each_element(layout, [&](size_t i, size_t c) { values[c].push_back(x[i]); });
  for (size_t c = 0; c < channels_.size(); ++c) {
    try {
      channels_[c].observe(values[c]);
    } catch (const InvalidArgument& error) {
      throw InvalidArgument("[calibration] channel {}: {}", c, error.what());
    }
  }
}

std::vector<Range> ChannelCalibrator::ranges() const {
  std::vector<Range> ranges;
  for (const Calibrator& channel : channels_) ranges.push_back(channel.range());
  return ranges;
}

Range percentile_range(std::span<const float> x, double percentile) {
  std::vector<float> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  const double share = percentile / 100.0;
  return with_zero({order_statistic(sorted, 1.0 - share), order_statistic(sorted, share)});
}

Range mse_range(std::span<const float> x, Range widest, int bit_width) {
  return least_error_range(x, widest, {bit_width, false}, ErrorSearch::kEvery);
}

float entropy_threshold(std::span<const float> x, int bit_width) {
  constexpr size_t kBins = 2048;
  float largest = 0.0f;
  bool is_negative = false;
  for (const float v : x) {
    largest = std::max(largest, std::abs(v));
    is_negative = is_negative || v < 0.0f;
  }
  const size_t levels = size_t{1} << (is_negative ? bit_width - 1 : bit_width);
  if (largest == 0.0f || levels >= kBins) return largest;  // as many levels as bins: nothing to gain by clipping
  const double width = static_cast<double>(largest) / kBins;
  std::vector<double> bins(kBins);
  for (const float v : x) {
    const auto at = static_cast<size_t>(std::abs(static_cast<double>(v)) / width);
    bins[std::min(at, kBins - 1)] += 1.0;
  }
  // The zeros that a ReLU leaves have a code in any range. Counted, they would decide alone, against all merging.
  bins[0] = std::min(bins[0], bins[1]);
  double least = HUGE_VAL, outliers = 0.0;
  for (const double count : bins) outliers += count;
  for (size_t i = 0; i < levels; ++i) outliers -= bins[i];
  size_t best = kBins;
  for (size_t count = levels; count <= kBins; ++count) {
    std::vector<double> clipped(bins.begin(), bins.begin() + static_cast<int64_t>(count));
    const std::vector<double> coarse = through_levels(clipped, levels);
    clipped.back() += outliers;
    const double distance = divergence(clipped, coarse);
    if (distance < least) {
      least = distance;
      best = count;
    }
    if (count < kBins) outliers -= bins[count];
  }
  return best == kBins ? largest : static_cast<float>((static_cast<double>(best) + 0.5) * width);
}

}  // namespace nibble::affine
