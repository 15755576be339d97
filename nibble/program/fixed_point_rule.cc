#include "nibble/program/fixed_point_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace nibble::program {
namespace {

using affine::Rounding;

constexpr std::pair<Rounding, std::string_view> kNames[] = {{Rounding::kGemmlowpDouble, "gemmlowp-double"},
                                                            {Rounding::kSingle, "single"},
                                                            {Rounding::kHalfEven, "half-even"},
                                                            {Rounding::kFloor, "floor"}};

// Follows a number through the stages.
struct LineOfStages {
  int64_t channel;
  RealLine line;
  bool is_line = true;

  void operator()(const Affine& s) { scale_by(at(s.multiplier, channel)), add(at(s.offset, channel)); }
  void operator()(const Offset& s) { add(at(s.value, channel)); }
  void operator()(const Divide& s) { scale_by(1.0 / s.by); }
  void operator()(const Multiply& s) { scale_by(s.by); }
  void operator()(const Rectify& s) {
    is_line = is_line && s.slope == 0.0f && s.threshold == 0.0f;
    line.lowest = std::max(line.lowest, 0.0);
    if (s.has_highest) line.highest = std::min(line.highest, static_cast<double>(s.highest));
  }
  void operator()(const Curve&) { is_line = false; }
  void operator()(const Slope&) { is_line = false; }
  void operator()(const Elu&) { is_line = false; }

 private:
  bool is_clipped() const { return std::isfinite(line.lowest); }
  void scale_by(double factor) {
    line.is_clipped_last = line.is_clipped_last && !is_clipped();
    line.multiplier *= factor, line.offset *= factor;
  }
  void add(double value) {
    line.is_clipped_last = line.is_clipped_last && !is_clipped();
    line.offset += value;
  }
};

}  // namespace

int32_t FixedPointRule::operator()(int64_t x, size_t channel) const {
  const size_t c = factors.size() == 1 ? 0 : channel;
  const int64_t code = affine::multiply(x + bias[c], factors[c], rounding);
  return static_cast<int32_t>(std::clamp<int64_t>(code, lowest, highest));
}

bool FixedPointRule::only_shifts() const {
  // Twice rounded is not once shifted.
  return rounding != Rounding::kGemmlowpDouble &&
         std::all_of(factors.begin(), factors.end(), [](const affine::FixedPointMultiplier& f) {
           return f.multiplier == 0 || f.multiplier == (1 << 30);
         });
}

std::string_view name_of(Rounding rounding) {
  for (const auto& [value, name] : kNames) {
    if (value == rounding) return name;
  }
  return "?";
}

std::optional<Rounding> rounding_of(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

std::optional<RealLine> line_of(const ChannelFunction& function, int64_t channel, double scale, double code_scale) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  LineOfStages follow{channel, {scale, 0.0, -kInfinite, kInfinite}};
  for (const Stage& stage : function.stages()) std::visit([&](const auto& s) { follow(s); }, stage);
  if (!follow.is_line) return std::nullopt;
  RealLine& line = follow.line;
  line.multiplier /= code_scale, line.offset /= code_scale;
  line.lowest /= code_scale, line.highest /= code_scale;
  return line;
}

void push_channel(FixedPointRule& rule, const RealLine& line) {
  rule.factors.push_back(affine::quantize_multiplier(line.multiplier, rule.rounding));
  constexpr double kMost = std::numeric_limits<int32_t>::max();
  const double bias = line.multiplier == 0.0 ? 0.0 : line.offset / line.multiplier;
  rule.bias.push_back(std::llround(std::clamp(bias, -kMost, kMost)));
}

}  // namespace nibble::program
