#include "nibble/program/threshold_search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"

namespace nibble::program {
namespace {

// Quantizers that never fall where their input rises.
bool is_monotonic(const quant::Quantizer& quantizer) { return quantizer.class_name() != "quantized_hswish"; }

void require_fixed_grid(const ThresholdSearch& search) {
  const nlohmann::json config = search.quantizer->config();
  const auto alpha = config.find("alpha");
  if (alpha != config.end() && (alpha->is_string() || alpha->is_array() || alpha->is_object())) {
    throw Unsupported(
        "[compile] layer '{}': the scale of {} is found from the values it is given, so the activation has no fixed "
        "grid. Give it a number as alpha.",
        search.layer, search.quantizer->str());
  }
  if (!is_monotonic(*search.quantizer)) {
    throw Unsupported(
        "[compile] layer '{}': {} falls and rises, so it is no comparison with thresholds. Use a quantizer that rises, "
        "such as quantized_relu.",
        search.layer, search.quantizer->str());
  }
}

struct Point {
  int64_t channel, x;
};

// The quantizer's result for accumulators.
std::vector<float> evaluate(const ThresholdSearch& search, const std::vector<Point>& points) {
  if (points.empty()) return {};
  Tensor values(Shape{static_cast<int64_t>(points.size())});
  for (size_t i = 0; i < points.size(); ++i) {
    const float real = static_cast<float>(points[i].x) * at(search.scale, points[i].channel);
    values[static_cast<int64_t>(i)] = search.function(real, points[i].channel);
  }
  const auto quantized = search.quantizer->quantize(values).real;
  return {quantized.data().begin(), quantized.data().end()};
}

// A part of a channel's interval whose ends differ.
struct Segment {
  int64_t channel, low, high;
  float value_low, value_high;
};

struct Step {
  int64_t x;    // the first accumulator ...
  float value;  // ... with this result
};

class Bisection {
 public:
  explicit Bisection(const ThresholdSearch& search)
      : search_(search), steps_(search.intervals.size()), first_values_(search.intervals.size()) {}

  void run() {
    begin();
    while (!segments_.empty()) halve();
    for (auto& steps : steps_) {
      std::sort(steps.begin(), steps.end(), [](const Step& a, const Step& b) { return a.x < b.x; });
    }
  }

  const std::vector<std::vector<Step>>& steps() const { return steps_; }
  const std::vector<float>& first_values() const { return first_values_; }

 private:
  void begin() {
    std::vector<Point> ends;
    for (size_t c = 0; c < search_.intervals.size(); ++c) {
      ends.push_back({static_cast<int64_t>(c), search_.intervals[c].low});
      ends.push_back({static_cast<int64_t>(c), search_.intervals[c].high});
    }
    const std::vector<float> values = evaluate(search_, ends);
    for (size_t c = 0; c < search_.intervals.size(); ++c) {
      const float low = values[2 * c], high = values[2 * c + 1];
      first_values_[c] = low;
      add({static_cast<int64_t>(c), search_.intervals[c].low, search_.intervals[c].high, low, high}, segments_);
    }
  }

  // A segment that has a step is halved again, or is the step.
  void add(const Segment& s, std::vector<Segment>& segments) {
    if (s.value_low == s.value_high) return;
    if (s.high - s.low > 1) {
      segments.push_back(s);
      return;
    }
    steps_[static_cast<size_t>(s.channel)].push_back({s.high, s.value_high});
    if (++count_ > search_.max_thresholds) {
      throw Unsupported(
          "[compile] layer '{}': {} has more than {} steps over all channels. Use fewer bits, or leave out the batch "
          "norm before it.",
          search_.layer, search_.quantizer->str(), search_.max_thresholds);
    }
  }

  void halve() {
    std::vector<Point> middles;
    middles.reserve(segments_.size());
    for (const Segment& s : segments_) middles.push_back({s.channel, s.low + (s.high - s.low) / 2});
    const std::vector<float> values = evaluate(search_, middles);
    std::vector<Segment> next;
    for (size_t i = 0; i < segments_.size(); ++i) {
      const Segment& s = segments_[i];
      add({s.channel, s.low, middles[i].x, s.value_low, values[i]}, next);
      add({s.channel, middles[i].x, s.high, values[i], s.value_high}, next);
    }
    segments_ = std::move(next);
  }

  const ThresholdSearch& search_;
  std::vector<std::vector<Step>> steps_;  // by channel
  std::vector<float> first_values_;       // below the first step
  std::vector<Segment> segments_;
  int64_t count_ = 0;
};

// The results as integers times one scale.
struct Grid {
  float scale = 1.0f;
  std::map<float, int32_t> integers;
};

[[noreturn]] void refuse_grid(const ThresholdSearch& search) {
  throw Unsupported("[compile] layer '{}': the values of {} are no integers times a scale.", search.layer,
                    search.quantizer->str());
}

Grid grid_of(const ThresholdSearch& search, const std::map<float, int32_t>& levels) {
  std::vector<float> reals;
  for (const auto& [real, unused] : levels) reals.push_back(real);
  const auto count = static_cast<int64_t>(reals.size());
  const quant::Encoded encoded = search.quantizer->encode(Tensor(Shape{count}, reals));
  if (encoded.scale.size() != 1) refuse_grid(search);
  Grid grid;
  grid.scale = encoded.scale[0];
  if (encoded.kind == quant::Encoded::Kind::kPowerOfTwo) {
    // In units of the smallest power.
    grid.scale = 0.0f;
    for (const float real : reals) {
      if (real != 0.0f && (grid.scale == 0.0f || std::abs(real) < grid.scale)) grid.scale = std::abs(real);
    }
    if (grid.scale == 0.0f) grid.scale = 1.0f;
  }
  for (const float real : reals) {
    const double integer = static_cast<double>(real) / grid.scale;
    if (std::abs(integer) > 0x1p30) refuse_grid(search);
    const auto code = static_cast<int32_t>(std::llround(integer));
    if (static_cast<float>(code) * grid.scale != real) refuse_grid(search);
    grid.integers[real] = code;
  }
  return grid;
}

// The chain before the quantizer as one line in units of the grid, up to rounding. ReLUs only cut it off.
struct LineOfStages {
  int64_t channel;
  double multiplier, offset = 0.0;
  bool is_line = true;

  void operator()(const Affine& s) { scale_by(at(s.multiplier, channel)), offset += at(s.offset, channel); }
  void operator()(const Offset& s) { offset += at(s.value, channel); }
  void operator()(const Divide& s) { scale_by(1.0 / s.by); }
  void operator()(const Multiply& s) { scale_by(s.by); }
  void operator()(const Rectify& s) { is_line = is_line && s.slope == 0.0f && s.threshold == 0.0f; }

 private:
  void scale_by(double factor) { multiplier *= factor, offset *= factor; }
};

void hint_at_line(const ThresholdSearch& search, float grid_scale, Compare& compare) {
  for (size_t c = 0; c < search.intervals.size(); ++c) {
    const auto channel = static_cast<int64_t>(c);
    LineOfStages line{channel, at(search.scale, channel)};
    for (const Stage& stage : search.function.stages()) std::visit([&](const auto& s) { line(s); }, stage);
    if (!line.is_line) {
      compare.multiplier.clear(), compare.offset.clear();
      return;
    }
    compare.multiplier.push_back(static_cast<float>(line.multiplier / grid_scale));
    compare.offset.push_back(static_cast<float>(line.offset / grid_scale));
  }
}

}  // namespace

Thresholds find_thresholds(const ThresholdSearch& search) {
  require_fixed_grid(search);
  Bisection bisection(search);
  bisection.run();
  std::map<float, int32_t> levels;
  for (size_t c = 0; c < search.intervals.size(); ++c) {
    levels[bisection.first_values()[c]] = 0;
    for (const Step& step : bisection.steps()[c]) levels[step.value] = 0;
  }
  const Grid grid = grid_of(search, levels);

  Thresholds result;
  result.compare.quantizer = search.quantizer->str();
  result.scale = grid.scale;
  hint_at_line(search, grid.scale, result.compare);
  result.compare.first.push_back(0);
  for (size_t c = 0; c < search.intervals.size(); ++c) {
    Interval interval;
    interval.low = interval.high = grid.integers.at(bisection.first_values()[c]);
    result.compare.values.push_back(static_cast<int32_t>(interval.low));
    for (const Step& step : bisection.steps()[c]) {
      const int32_t value = grid.integers.at(step.value);
      result.compare.thresholds.push_back(step.x);
      result.compare.values.push_back(value);
      interval.low = std::min<int64_t>(interval.low, value);
      interval.high = std::max<int64_t>(interval.high, value);
    }
    result.compare.first.push_back(static_cast<int64_t>(result.compare.thresholds.size()));
    result.intervals.push_back(interval);
  }
  return result;
}

}  // namespace nibble::program
