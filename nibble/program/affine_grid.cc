#include "nibble/program/affine_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/program/program.h"
#include "nibble/quant/affine/fake_quant.h"
#include "nibble/quant/affine/learned_step.h"
#include "nibble/quant/affine/pact_dorefa.h"

namespace nibble::program {
namespace {

using graph::AffineKind;
using graph::QuantizedPoint;
using quant::Encoded;
using quant::Quantized;
using quant::QuantizeOptions;

// What both grids share: a scale, codes around 0, and a function of single numbers.
class Grid : public quant::Quantizer {
 public:
  Grid(float scale, int32_t lowest, int32_t highest) : scale_(scale), lowest_(lowest), highest_(highest) {}

  affine::CodeGrid codes() const { return {scale_, lowest_, highest_}; }
  virtual float of(float x) const = 0;
  virtual bool is_inside(float x) const = 0;

  Quantized quantize(const Tensor& x, const QuantizeOptions&) const override {
    Quantized result{x, Tensor::scalar(scale_)};
    for (float& v : result.real.data()) v = of(v);
    return result;
  }
  Tensor gradient(const Tensor& x, const Tensor& upstream, const QuantizeOptions&) const override {
    Tensor dx = upstream;
    for (int64_t i = 0; i < x.size(); ++i) {
      if (!is_inside(x[i])) dx[i] = 0.0f;
    }
    return dx;
  }
  Encoded encode(const Tensor& x) const override {
    Encoded encoded;
    for (const float v : x.data()) encoded.codes.push_back(static_cast<int32_t>(std::lround(of(v) / scale_)));
    encoded.scale = Tensor::scalar(scale_);
    encoded.bit_width = bits_of({std::min(lowest_, 0), highest_});
    encoded.is_signed = lowest_ < 0;
    int exponent = 0;
    encoded.scale_is_power_of_two = std::frexp(scale_, &exponent) == 0.5f;
    return encoded;
  }
  quant::NumericFormat format() const override {
    return {.bit_width = bits_of({std::min(lowest_, 0), highest_}), .is_signed = lowest_ < 0, .max_value = {}};
  }
  double max() const override { return static_cast<double>(highest_) * static_cast<double>(scale_); }
  double min() const override { return static_cast<double>(lowest_) * static_cast<double>(scale_); }
  std::vector<float> range() const override {
    std::vector<float> values;
    for (int32_t code = lowest_; code <= highest_; ++code) values.push_back(static_cast<float>(code) * scale_);
    return values;
  }
  std::string qkeras_str() const override { return str(); }
  quant::QuantizerPtr as_weight_quantizer() const override { return quant::get_quantizer(str()); }

 private:
  float scale_;
  int32_t lowest_, highest_;
};

class RangeGrid final : public Grid {
 public:
  RangeGrid(affine::Range range, affine::CodeFormat format, affine::StepRule rule, const affine::NudgedRange& nudged)
      : Grid(nudged.is_zero ? 1.0f : nudged.scale, nudged.is_zero ? 0 : format.qmin() - nudged.zero_point,
             nudged.is_zero ? 0 : format.qmax() - nudged.zero_point),
        range_(range),
        format_(format),
        rule_(rule),
        nudged_(nudged) {}

  std::string_view class_name() const override { return "affine_range"; }
  float of(float x) const override { return affine::fake_quant(x, nudged_, rule_); }
  bool is_inside(float x) const override { return nudged_.is_zero || (x >= nudged_.min && x <= nudged_.max); }
  std::string str() const override {
    return fmt::format("affine_range({},{},{},{},{})", format_value(double{range_.min}),
                       format_value(double{range_.max}), format_.bit_width, format_.narrow_range ? "True" : "False",
                       rule_ == affine::StepRule::kDivide ? "True" : "False");
  }
  nlohmann::json config() const override {
    return {{"min", range_.min},
            {"max", range_.max},
            {"bits", format_.bit_width},
            {"narrow_range", format_.narrow_range},
            {"divides", rule_ == affine::StepRule::kDivide}};
  }

 private:
  affine::Range range_;
  affine::CodeFormat format_;
  affine::StepRule rule_;
  affine::NudgedRange nudged_;
};

class StepGrid final : public Grid {
 public:
  StepGrid(float step, int32_t lowest, int32_t highest)
      : Grid(step, lowest, highest),
        step_(step),
        low_(static_cast<float>(lowest)),
        high_(static_cast<float>(highest)) {}

  std::string_view class_name() const override { return "affine_step"; }
  float of(float x) const override { return std::nearbyint(std::clamp(x / step_, low_, high_)) * step_; }
  bool is_inside(float x) const override { return x / step_ > low_ && x / step_ < high_; }
  std::string str() const override {
    return fmt::format("affine_step({},{},{})", format_value(double{step_}), low_, high_);
  }
  nlohmann::json config() const override { return {{"step", step_}, {"lowest", low_}, {"highest", high_}}; }

 private:
  float step_, low_, high_;
};

// PACT, and DoReFa's activations, which are PACT at a level of 1.
class ClipGrid final : public Grid {
 public:
  ClipGrid(float highest, int bit_width)
      : Grid(highest / static_cast<float>(levels_of(bit_width)), 0, levels_of(bit_width)),
        highest_(highest),
        bit_width_(bit_width),
        levels_(static_cast<float>(levels_of(bit_width))),
        scale_(highest / levels_) {}

  static int32_t levels_of(int bit_width) { return (int32_t{1} << bit_width) - 1; }

  std::string_view class_name() const override { return "affine_clip"; }
  float of(float x) const override {
    return std::nearbyint(std::clamp(x, 0.0f, highest_) * levels_ / highest_) * scale_;
  }
  bool is_inside(float x) const override { return x > 0.0f && x < highest_; }
  std::string str() const override {
    return fmt::format("affine_clip({},{})", format_value(double{highest_}), bit_width_);
  }
  nlohmann::json config() const override { return {{"highest", highest_}, {"bits", bit_width_}}; }

 private:
  float highest_;
  int bit_width_;
  float levels_, scale_;
};

double number(const CallExpression& call, size_t i, double lowest, double highest) {
  const CallValue& value = call.positional.at(i);
  const auto* real = std::get_if<double>(&value);
  const auto* integer = std::get_if<int64_t>(&value);
  const double given = real != nullptr      ? *real
                       : integer != nullptr ? static_cast<double>(*integer)
                                            : std::numeric_limits<double>::quiet_NaN();
  if (given >= lowest && given <= highest) return given;
  throw InvalidArgument("[{}] argument {} must be a number from {} to {}.", call.name, i + 1, lowest, highest);
}

bool flag(const CallExpression& call, size_t i) {
  if (const auto* value = std::get_if<bool>(&call.positional.at(i))) return *value;
  throw InvalidArgument("[{}] argument {} must be True or False.", call.name, i + 1);
}

void check_count(const CallExpression& call, size_t count) {
  if (call.positional.size() == count && call.keyword.empty()) return;
  throw InvalidArgument("[{}] takes {} arguments, by position.", call.name, count);
}

quant::QuantizerPtr make_range(affine::Range range, affine::CodeFormat format, affine::StepRule rule) {
  return std::make_shared<RangeGrid>(range, format, rule, affine::nudge(range, format));
}

constexpr double kLargest = std::numeric_limits<float>::max();

quant::QuantizerPtr read_range(const CallExpression& call) {
  check_count(call, 5);
  const affine::Range range{static_cast<float>(number(call, 0, -kLargest, kLargest)),
                            static_cast<float>(number(call, 1, -kLargest, kLargest))};
  const affine::CodeFormat format{.bit_width = static_cast<int>(number(call, 2, 2, 16)), .narrow_range = flag(call, 3)};
  return make_range(range, format, flag(call, 4) ? affine::StepRule::kDivide : affine::StepRule::kMultiply);
}

quant::QuantizerPtr read_step(const CallExpression& call) {
  check_count(call, 3);
  const auto step = static_cast<float>(number(call, 0, std::numeric_limits<float>::min(), kLargest));
  const auto lowest = static_cast<int32_t>(number(call, 1, -65536, 0));
  return std::make_shared<StepGrid>(step, lowest, static_cast<int32_t>(number(call, 2, 1, 65536)));
}

// Levels within which x * (2^bits - 1) and the scale are ordinary floats.
constexpr double kSmallestClip = 1e-30, kLargestClip = 1e30;

quant::QuantizerPtr read_clip(const CallExpression& call) {
  check_count(call, 2);
  const auto highest = static_cast<float>(number(call, 0, kSmallestClip, kLargestClip));
  return std::make_shared<ClipGrid>(highest, static_cast<int>(number(call, 1, 1, 16)));
}

[[noreturn]] void refuse(const graph::Layer& layer, const QuantizedPoint& point, const char* why) {
  throw Unsupported(
      "[compile] {}, point '{}': {} {}. Train with a range tracker or with LSQ, one range for the tensor.",
      graph::described(layer), point.name, to_string(point.quantizer), why);
}

const Tensor& variable(const graph::Layer& layer, const QuantizedPoint& point, const char* suffix) {
  if (const graph::Weight* found = layer.find_weight(fmt::format("{}_{}", point.name, suffix))) return found->value;
  throw InvalidArgument("[compile] {} has no variable '{}_{}'.", graph::described(layer), point.name, suffix);
}

affine::StepLimits limits_of(const QuantizedPoint& point) {
  return affine::step_limits(point.quantizer.num_bits, point.quantizer.symmetric, point.quantizer.narrow_range);
}

quant::QuantizerPtr clip_grid(const graph::Layer& layer, const QuantizedPoint& point) {
  const bool is_pact = point.quantizer.kind == AffineKind::kPact;
  const float highest = is_pact ? variable(layer, point, "alpha")[0] : 1.0f;
  if (highest >= kSmallestClip && highest <= kLargestClip) {
    return std::make_shared<ClipGrid>(highest, point.quantizer.num_bits);
  }
  throw InvalidArgument("[compile] {}, point '{}': a clipping level of {} is not possible. Train the model again.",
                        graph::described(layer), point.name, highest);
}

bool is_step(AffineKind kind) { return kind == AffineKind::kLsq || kind == AffineKind::kLsqPlus; }

// One quantizer for each range of a weight.
std::vector<quant::QuantizerPtr> weight_grids(const graph::Layer& layer, const QuantizedPoint& point) {
  std::vector<quant::QuantizerPtr> grids;
  if (is_step(point.quantizer.kind)) {
    const affine::StepLimits limits = limits_of(point);
    for (const float step : variable(layer, point, "step").data()) {
      grids.push_back(std::make_shared<StepGrid>(step, -limits.qn, limits.qp));
    }
    return grids;
  }
  const affine::TrackerConfig config = graph::tracker_config(point.quantizer);
  const auto ranges = graph::stored_ranges(layer, point.name);
  const affine::RangeTracker tracker(config, static_cast<int64_t>(ranges.size()));
  for (const affine::Range& range : ranges) grids.push_back(make_range(range, config.format(), tracker.step_rule()));
  return grids;
}

}  // namespace

quant::QuantizerPtr grid_of(const graph::Layer& layer, const QuantizedPoint& point) {
  const graph::AffineQuantizer& q = point.quantizer;
  if (q.per_axis && q.kind != AffineKind::kFixed) refuse(layer, point, "has a scale for each channel");
  if (is_step(q.kind)) {
    const bool has_offset = q.kind == AffineKind::kLsqPlus && variable(layer, point, "offset")[0] != 0.0f;
    if (has_offset) refuse(layer, point, "has an offset, so that real 0 has no code");
    const affine::StepLimits limits = limits_of(point);
    return std::make_shared<StepGrid>(variable(layer, point, "step")[0], -limits.qn, limits.qp);
  }
  if (q.kind == AffineKind::kPact || q.kind == AffineKind::kDorefa) return clip_grid(layer, point);
  const affine::TrackerConfig config = graph::tracker_config(q);
  return make_range(graph::stored_ranges(layer, point.name).at(0), config.format(),
                    affine::RangeTracker(config).step_rule());
}

std::optional<affine::CodeGrid> code_grid(const quant::Quantizer& quantizer) {
  const auto* grid = dynamic_cast<const Grid*>(&quantizer);
  return grid == nullptr ? std::nullopt : std::optional(grid->codes());
}

namespace {

// DoReFa's weights depend on the whole tensor: its largest tanh, and with one bit its mean.
IntegerWeights dorefa_weights(const Tensor& value, int bit_width, int64_t channels) {
  std::vector<float> real(static_cast<size_t>(value.size()));
  affine::dorefa_quantize_weights<float>(value.data(), bit_width, real);
  float scale = 1.0f / static_cast<float>((int32_t{1} << bit_width) - 1);
  if (bit_width == 1) scale = real.empty() || real[0] == 0.0f ? 1.0f : std::abs(real[0]);
  IntegerWeights result;
  result.scale.assign(static_cast<size_t>(channels), scale);
  Interval range{-1, 0};
  for (const float v : real) {
    const auto code = static_cast<int32_t>(std::lround(v / scale));
    range = {std::min<int64_t>(range.low, code), std::max<int64_t>(range.high, code)};
    result.values.push_back(code);
  }
  result.bits = bits_of(range);
  return result;
}

}  // namespace

IntegerWeights integer_weights(const graph::Layer& layer, const QuantizedPoint& point, int64_t channels,
                               int64_t inner) {
  const graph::Weight* weight = layer.find_weight(point.name);
  if (weight == nullptr) {
    throw InvalidArgument("[compile] {} has no weight '{}' yet. Train the model or load its weights first.",
                          graph::described(layer), point.name);
  }
  const Tensor& value = weight->value;
  if (point.quantizer.kind == AffineKind::kDorefa) return dorefa_weights(value, point.quantizer.num_bits, channels);
  const affine::ChannelLayout layout = graph::point_layout(layer, point, value.shape());
  const auto grids = weight_grids(layer, point);
  IntegerWeights result;
  result.scale.assign(static_cast<size_t>(channels), 0.0f);
  Interval range{0, 0};
  for (int64_t i = 0; i < value.size(); ++i) {
    const Encoded encoded = grids[static_cast<size_t>(layout.channel(i))]->encode(Tensor::scalar(value[i]));
    float& scale = result.scale[static_cast<size_t>(i / inner % channels)];
    if (scale != 0.0f && scale != encoded.scale[0]) {
      refuse(layer, point, "has several scales in one channel of the output");
    }
    scale = encoded.scale[0];
    const int64_t code = encoded.codes[0];
    range = {std::min(range.low, code), std::max(range.high, code)};
    result.values.push_back(encoded.codes[0]);
  }
  result.bits = bits_of({std::min<int64_t>(range.low, -1), range.high});
  return result;
}

Tensor through_point(const graph::Layer& layer, std::string_view weight, Tensor value) {
  const auto point = graph::quantized_point(layer, weight);
  if (!point) return value;
  if (point->quantizer.kind == AffineKind::kDorefa) {
    Tensor real(value.shape());
    affine::dorefa_quantize_weights<float>(value.data(), point->quantizer.num_bits, real.data());
    return real;
  }
  const affine::ChannelLayout layout = graph::point_layout(layer, *point, value.shape());
  const auto grids = weight_grids(layer, *point);
  for (int64_t i = 0; i < value.size(); ++i) {
    value[i] = grids[static_cast<size_t>(layout.channel(i))]->quantize(Tensor::scalar(value[i])).real[0];
  }
  return value;
}

std::vector<int64_t> bias_codes(const graph::Layer& layer, float input_scale, const PerChannel& weight_scales) {
  const int bits = layer.quantization ? layer.quantization->bias_bits : 0;
  const std::vector<float> bias = bits == 0 ? std::vector<float>{} : bias_values(layer);
  if (bias.empty()) return {};
  const affine::BiasCodes codes = affine::quantize_bias(bias, input_scale, weight_scales, bits);
  if (affine::stays_float(codes, bits)) return {};
  return {codes.codes.begin(), codes.codes.end()};
}

void register_affine_grids() {
  quant::register_quantizer("affine_range", read_range);
  quant::register_quantizer("affine_step", read_step);
  quant::register_quantizer("affine_clip", read_clip);
}

}  // namespace nibble::program
