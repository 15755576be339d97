#include "nibble/program/threshold_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/program/multiplier_choice.h"
#include "nibble/program/outermost_codes.h"
#include "nibble/program/step_bisection.h"
#include "nibble/program/turning_points.h"

namespace nibble::program {
namespace {

void require_fixed_grid(const ThresholdSearch& search) {
  const nlohmann::json config = search.quantizer->config();
  const auto alpha = config.find("alpha");
  if (alpha != config.end() && (alpha->is_string() || alpha->is_array() || alpha->is_object())) {
    throw Unsupported(
        "[compile] layer '{}': the scale of {} is found from the values it is given, so the activation has no fixed "
        "grid. Give it a number as alpha.",
        search.layer, search.quantizer->str());
  }
}

// The quantizer's result for accumulators.
std::vector<float> evaluate(const ThresholdSearch& search, const std::vector<Point>& points) {
  Tensor values(Shape{static_cast<int64_t>(points.size())});
  for (size_t i = 0; i < points.size(); ++i) {
    const float real = static_cast<float>(points[i].x) * at(search.scale, points[i].channel);
    float& value = values[static_cast<int64_t>(i)];
    value = search.function(real, points[i].channel);
    if (search.sums) value = (*search.sums)(value, static_cast<size_t>(points[i].channel));
  }
  if (search.sums) return {values.data().begin(), values.data().end()};
  const auto quantized = search.quantizer->quantize(values).real;
  return {quantized.data().begin(), quantized.data().end()};
}

// The rule's codes.
std::vector<float> evaluate(const FixedPointRule& rule, const std::vector<Point>& points) {
  std::vector<float> codes;
  codes.reserve(points.size());
  for (const Point& p : points) codes.push_back(static_cast<float>(rule(p.x, static_cast<size_t>(p.channel))));
  return codes;
}

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

// The chain before the quantizer as one line in units of the grid, up to rounding; one a channel. Empty: it is none.
std::vector<RealLine> lines_of(const ThresholdSearch& search, float grid_scale) {
  std::vector<RealLine> lines;
  for (size_t c = 0; c < search.intervals.size(); ++c) {
    const auto channel = static_cast<int64_t>(c);
    const auto line = line_of(search.function, channel, at(search.scale, channel), grid_scale);
    if (!line) return {};
    lines.push_back(*line);
  }
  return lines;
}

// The network's codes at the ends of an interval and on both sides of each step.
std::vector<KnownCode> known_codes(const Interval& interval, const StepFunction& function, const Grid& grid) {
  int32_t before = grid.integers.at(function.first_value);
  std::vector<KnownCode> known = {{interval.low, before}};
  for (const FunctionStep& step : function.steps) {
    known.push_back({step.x - 1, before});
    before = grid.integers.at(step.value);
    known.push_back({step.x, before});
  }
  known.push_back({interval.high, before});
  return known;
}

// Whether the channel's rule stays beside the trained network, a code away at most (a floor lies half a code lower):
// where the quantizer rounds no line, or 32 bits do not hold the bias, it does not. Between its steps the quantizer is
// constant and the rule rises or falls, so these codes tell.
bool is_near(const FixedPointRule& rule, size_t channel, const std::vector<KnownCode>& known) {
  const int64_t most = rule.rounding == affine::Rounding::kFloor ? 2 : 1;
  return std::all_of(known.begin(), known.end(),
                     [&](const KnownCode& k) { return std::abs(int64_t{rule(k.x, channel)} - k.code) <= most; });
}

// Whether the quantizer rounds the line to the nearest integer, which the rule does. Looked at on both sides of each
// step, with room for the float network's rounding.
bool rounds_line(const RealLine& line, const StepFunction& function, const Grid& grid, const FixedPointRule& range) {
  const double room = 0.01 + std::abs(line.offset) * 0x1p-20;
  const auto holds = [&](int64_t x, float value) {
    const double real = std::clamp(static_cast<double>(x) * line.multiplier + line.offset,
                                   static_cast<double>(range.lowest), static_cast<double>(range.highest));
    return std::abs(real - grid.integers.at(value)) <= 0.5 + room;
  };
  float before = function.first_value;
  for (const FunctionStep& step : function.steps) {
    if (!holds(step.x - 1, before) || !holds(step.x, step.value)) return false;
    before = step.value;
  }
  return true;
}

// The quantizer's range, cut by the ReLUs before it. False where its codes are not neighbouring integers.
bool find_range(const ThresholdSearch& search, float grid_scale, const RealLine& line, FixedPointRule& rule) {
  std::optional<affine::CodeGrid> ends;
  try {
    ends = outermost_codes(*search.quantizer);
  } catch (const Unsupported&) {
    return false;  // an end that no accumulator reaches lies on no grid
  }
  if (!ends || ends->scale != grid_scale) return false;
  const double low = std::max<double>(ends->lowest, std::round(line.lowest));
  const double high = std::min<double>(ends->highest, std::round(line.highest));
  if (low > high || std::max(std::abs(low), std::abs(high)) >= 0x1p24) return false;
  rule.lowest = static_cast<int32_t>(low), rule.highest = static_cast<int32_t>(high);
  return true;
}

// Where the network rounds by a multiplier, that one.
affine::FixedPointMultiplier factor_of(const ThresholdSearch& search, const FixedPointRule& rule, size_t channel,
                                       const std::vector<KnownCode>& known) {
  if (!search.sums || rule.rounding != affine::Rounding::kSingle) return fitted_factor(rule, channel, known);
  const auto& factors = search.sums->factors();
  return factors[factors.size() == 1 ? 0 : channel];
}

// The codes of the network beyond all sums, which are finite floats; a ReLU's end is the code of its real number, not
// of a sum. False where channels end at different ones.
bool find_range_of_sums(const ThresholdSearch& search, float grid_scale, FixedPointRule& rule) {
  const auto end = [&](float real, size_t c) {
    const float value = search.function(real, static_cast<int64_t>(c));
    return static_cast<int32_t>(std::lround((*search.sums)(value, c) / grid_scale));
  };
  constexpr float kBeyond = std::numeric_limits<float>::max();
  rule.lowest = end(-kBeyond, 0), rule.highest = end(kBeyond, 0);
  for (size_t c = 1; c < search.intervals.size(); ++c) {
    if (end(-kBeyond, c) != rule.lowest || end(kBeyond, c) != rule.highest) return false;
  }
  return true;
}

// Null where one would be more than rounding away from the trained network.
std::optional<FixedPointRule> find_rule(const ThresholdSearch& search, const Grid& grid,
                                        const std::vector<RealLine>& lines,
                                        const std::vector<StepFunction>& functions) {
  if (lines.empty()) return std::nullopt;
  FixedPointRule rule{*search.rounding, {}, {}};
  const bool has_range =
      search.sums ? find_range_of_sums(search, grid.scale, rule) : find_range(search, grid.scale, lines[0], rule);
  if (!has_range) return std::nullopt;
  for (size_t c = 0; c < lines.size(); ++c) {
    const RealLine& line = lines[c];
    if (!line.is_clipped_last || std::abs(line.multiplier) >= 0x1p31) return std::nullopt;
    push_channel(rule, line);
  }
  for (size_t c = 0; c < lines.size(); ++c) {
    if (!rounds_line(lines[c], functions[c], grid, rule)) return std::nullopt;
    const std::vector<KnownCode> known = known_codes(search.intervals[c], functions[c], grid);
    rule.factors[c] = factor_of(search, rule, c, known);
    if (!is_near(rule, c, known)) return std::nullopt;
  }
  return rule;
}

// What an executor may multiply by, as a guess.
void hint(const std::vector<RealLine>& lines, Compare& compare) {
  for (size_t c = 0; c < lines.size(); ++c) {
    const double multiplier = lines[c].multiplier;
    double offset = lines[c].offset;
    if (compare.rule) {
      // A floor lies half a code below the nearest integer; half a step of the accumulator keeps off its ties.
      const bool is_floor = compare.rule->rounding == affine::Rounding::kFloor;
      offset = static_cast<double>(compare.rule->bias[c]) * multiplier;
      if (is_floor) offset += 0.5 * std::abs(multiplier) - 0.5;
    }
    compare.multiplier.push_back(static_cast<float>(multiplier));
    compare.offset.push_back(static_cast<float>(offset));
  }
}

std::vector<StepFunction> search_steps(const ThresholdSearch& search, const Evaluate& evaluate) {
  std::vector<std::vector<int64_t>> breaks;
  for (size_t c = 0; c < search.intervals.size(); ++c) {
    breaks.push_back(monotonic_breaks(search, static_cast<int64_t>(c)));
  }
  return find_steps(breaks, evaluate, search.max_thresholds, [&] {
    throw Unsupported(
        "[compile] layer '{}': {} has more than {} steps over all channels. Use fewer bits, or leave out the batch "
        "norm before it.",
        search.layer, search.quantizer->str(), search.max_thresholds);
  });
}

using IntegerOf = std::function<int32_t(float value)>;

void push_channel(const StepFunction& function, const IntegerOf& integer_of, Thresholds& result) {
  Compare& compare = result.compare;
  compare.values.push_back(integer_of(function.first_value));
  Interval interval{compare.values.back(), compare.values.back()};
  for (const FunctionStep& step : function.steps) {
    const int32_t value = integer_of(step.value);
    compare.thresholds.push_back(step.x);
    compare.values.push_back(value);
    interval = {std::min<int64_t>(interval.low, value), std::max<int64_t>(interval.high, value)};
  }
  compare.first.push_back(static_cast<int64_t>(compare.thresholds.size()));
  result.intervals.push_back(interval);
}

Grid grid_of(const ThresholdSearch& search, const std::vector<StepFunction>& functions) {
  std::map<float, int32_t> levels;
  for (const StepFunction& function : functions) {
    levels[function.first_value] = 0;
    for (const FunctionStep& step : function.steps) levels[step.value] = 0;
  }
  return grid_of(search, levels);
}

}  // namespace

Thresholds find_thresholds(const ThresholdSearch& search) {
  require_fixed_grid(search);
  std::vector<StepFunction> functions =
      search_steps(search, [&](const std::vector<Point>& points) { return evaluate(search, points); });
  const Grid grid = grid_of(search, functions);
  const std::vector<RealLine> lines = lines_of(search, grid.scale);

  Thresholds result;
  Compare& compare = result.compare;
  compare.quantizer = search.quantizer->str();
  result.scale = grid.scale;
  IntegerOf integer_of = [&](float value) { return grid.integers.at(value); };
  if (search.rounding) compare.rule = find_rule(search, grid, lines, functions);
  if (compare.rule) {
    functions = search_steps(search, [&](const std::vector<Point>& points) { return evaluate(*compare.rule, points); });
    integer_of = [](float value) { return static_cast<int32_t>(value); };
  }
  hint(lines, compare);
  compare.first.push_back(0);
  for (const StepFunction& function : functions) push_channel(function, integer_of, result);
  return result;
}

}  // namespace nibble::program
