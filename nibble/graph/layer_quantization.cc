#include "nibble/graph/layer_quantization.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

bool has_minmax(AffineKind kind) { return is_tracker(kind) && kind != AffineKind::kFixed; }

// Of a tracker with variables, before it has seen anything.
affine::Range initial_range(AffineKind kind) {
  return kind == AffineKind::kAllValues ? affine::Range{} : affine::Range{-6.0f, 6.0f};
}

std::string described(const Layer& layer, const QuantizedPoint& point) {
  return fmt::format("{}, point '{}' ({})", graph::described(layer), point.name, class_name(point.quantizer.kind));
}

bool is_depthwise_kernel(const QuantizedPoint& point) { return point.is_weight && point.name == "depthwise_kernel"; }

void check_kind(const Layer& layer, const QuantizedPoint& point) {
  const AffineKind kind = point.quantizer.kind;
  const bool is_one_range = kind == AffineKind::kPact || kind == AffineKind::kDorefa;
  if (is_one_range && point.quantizer.per_axis) {
    throw InvalidArgument("[quantize] {}: per_axis is not possible; this quantizer has one range for the whole tensor.",
                          described(layer, point));
  }
  if (point.is_weight && point.quantizer.gradient_bits != 0) {
    throw InvalidArgument(
        "[quantize] {}: gradient_bits is for activations, whose gradients the layers before are trained with; leave it "
        "out here.",
        described(layer, point));
  }
  if (kind == AffineKind::kPact && point.is_weight) {
    throw InvalidArgument(
        "[quantize] {}: PACT clips at 0, which weights cannot take. It is for activations; use LSQ, DoReFa or a range "
        "tracker for weights.",
        described(layer, point));
  }
}

void check_numbers(const Layer& layer, const QuantizedPoint& point) {
  const AffineQuantizer& q = point.quantizer;
  const int lowest = q.kind == AffineKind::kDorefa ? 1 : 2;
  if (q.num_bits < lowest || q.num_bits > 16) {
    throw InvalidArgument("[quantize] {}: num_bits is {}; it must lie between {} and 16.", described(layer, point),
                          q.num_bits, lowest);
  }
  if (!(q.penalty >= 0.0) || !std::isfinite(q.penalty)) {
    throw InvalidArgument("[quantize] {}: penalty is {}; it must be 0 or above.", described(layer, point), q.penalty);
  }
  if (q.gradient_bits < 0 || q.gradient_bits > 16) {
    throw InvalidArgument(
        "[quantize] {}: gradient_bits is {}; it must lie between 1 and 16, or be 0 for float gradients.",
        described(layer, point), q.gradient_bits);
  }
  if (!is_tracker(q.kind)) return;
  try {
    affine::RangeTracker(tracker_config(q), 1);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("[quantize] {}: {}", described(layer, point), error.what());
  }
}

// Number of ranges of a point.
int64_t channels_of(const Layer& layer, const QuantizedPoint& point, const Shape& shape) {
  const AffineQuantizer& q = point.quantizer;
  if (!q.per_axis || q.kind == AffineKind::kFixed) return 1;
  const int rank = shape.rank();
  if (!point.is_weight && q.axis != -1) {
    throw InvalidArgument("[quantize] {}: axis is {}; an activation can be quantized per axis -1, its channels, only.",
                          described(layer, point), q.axis);
  }
  if (rank == 0 || q.axis < -rank || q.axis >= rank) {
    throw InvalidArgument("[quantize] {}: axis {} does not exist in a tensor of shape {}. Pick one of {} .. {}.",
                          described(layer, point), q.axis, shape.str(), -rank, rank - 1);
  }
  if (is_depthwise_kernel(point) && q.axis == -1) return shape[-2] * shape[-1];
  const int64_t channels = shape[q.axis];
  if (channels >= 1) return channels;
  throw InvalidArgument("[quantize] {}: per_axis needs a fixed number of channels, but the tensor is {}.",
                        described(layer, point), shape.str());
}

void add_variables(const QuantizedPoint& point, const Shape& shape, std::vector<WeightSpec>& variables) {
  const auto add = [&](const char* suffix, bool trainable, float start) {
    variables.push_back({fmt::format("{}_{}", point.name, suffix), shape, "", trainable, start});
  };
  const AffineKind kind = point.quantizer.kind;
  if (has_minmax(kind)) {
    add("min", false, initial_range(kind).min);
    add("max", false, initial_range(kind).max);
  } else if (kind == AffineKind::kLsq || kind == AffineKind::kLsqPlus) {
    add("step", true, 0.0f);
    // LSQ+ has none for weights: their mean is near 0 (spec/ptq-qat-experiments.md 5.2).
    if (kind == AffineKind::kLsqPlus && !point.is_weight) add("offset", true, 0.0f);
  } else if (kind == AffineKind::kPact) {
    add("alpha", true, 0.0f);
  }
}

const WeightSpec& spec_of(const Layer& layer, const QuantizedPoint& point, std::span<const WeightSpec> own) {
  std::vector<std::string> names;
  for (const WeightSpec& weight : own) {
    if (weight.name == point.name) return weight;
    names.push_back(weight.name);
  }
  throw InvalidArgument("[quantize] {} has no weight '{}'. {}", graph::described(layer), point.name,
                        names.empty() ? "It has no weights at all." : suggest(point.name, names));
}

void check_bias_bits(const Layer& layer) {
  const int bits = layer.quantization->bias_bits;
  if (bits == 0 || (bits >= 2 && bits <= 32)) return;
  throw InvalidArgument("[quantize] {}: bias_bits is {}; it must lie between 2 and 32, or be 0 for a float bias.",
                        graph::described(layer), bits);
}

QuantizedPoint require_point(const Layer& layer, std::string_view name) {
  if (const auto point = quantized_point(layer, name)) return *point;
  std::vector<std::string> names;
  for (const QuantizedPoint& point : quantized_points(layer)) names.push_back(point.name);
  throw InvalidArgument("[quantize] {} does not quantize '{}'. {}", graph::described(layer), name,
                        names.empty() ? "It has no quantizers." : suggest(name, names));
}

const Weight& variable(const Layer& layer, const QuantizedPoint& point, const char* suffix) {
  const std::string name = fmt::format("{}_{}", point.name, suffix);
  if (const Weight* found = layer.find_weight(name)) return *found;
  throw InvalidArgument("[quantize] {} has no variable '{}' yet. Initialize the model's weights first.",
                        described(layer, point), name);
}

bool stands_at(const Layer& layer, const QuantizedPoint& point, const char* suffix, float start) {
  const Weight* found = layer.find_weight(fmt::format("{}_{}", point.name, suffix));
  if (found == nullptr) return true;
  const auto values = found->value.data();
  return std::all_of(values.begin(), values.end(), [&](float v) { return v == start; });
}

// The mark of as_seen().
bool saw_zeros(const Layer& layer, const QuantizedPoint& point) {
  const Weight* min = point.quantizer.kind == AffineKind::kAllValues ? layer.find_weight(point.name + "_min") : nullptr;
  if (min == nullptr) return false;
  const auto values = min->value.data();
  return std::any_of(values.begin(), values.end(), [](float v) { return v == 0.0f && std::signbit(v); });
}

affine::AffineParams params_of_step(const AffineQuantizer& q, float step, float offset, const std::string& where) {
  const float zero = -offset / step;
  if (zero != std::nearbyint(zero)) {
    throw Unsupported(
        "[quantize] {}: the offset {} is no multiple of the step {}, so that real 0 has no code. Snap the offset to a "
        "multiple first.",
        where, offset, step);
  }
  return {.scale = step,
          .zero_point = static_cast<int32_t>(zero),
          .bit_width = q.num_bits,
          .is_signed = q.symmetric,
          .narrow_range = q.symmetric && q.narrow_range};
}

// What a kind does not look at is not written to files either: quantizers that do the same are equal.
void clear_unused(AffineQuantizer& q) {
  const AffineQuantizer defaults;
  if (q.is_none()) q = defaults;
  if (q.kind != AffineKind::kFixed) q.fixed = defaults.fixed;
  if (q.kind != AffineKind::kPact) q.penalty = defaults.penalty;
  if (q.kind != AffineKind::kDorefa) q.gradient_bits = defaults.gradient_bits;
  const bool has_step = q.kind == AffineKind::kLsq || q.kind == AffineKind::kLsqPlus;
  if (!has_step) q.gradient_elements = defaults.gradient_elements;
  if (q.kind == AffineKind::kMovingAverage) return;
  q.ema_decay = defaults.ema_decay;
  q.average_start = defaults.average_start;
}

void clear_unused(LayerQuantization& quantization) {
  for (WeightQuantizer& weight : quantization.weights) clear_unused(weight.quantizer);
  for (AffineQuantizer* q : {&quantization.pre_activation, &quantization.post_activation, &quantization.output}) {
    clear_unused(*q);
  }
}

// The same, but for what is no part of the values.
bool has_same_values(AffineQuantizer a, const AffineQuantizer& b) {
  a.penalty = b.penalty;
  a.gradient_elements = b.gradient_elements;
  return a == b;
}

// The variable of a point whose quantizer is the same in both; null otherwise.
const Weight* kept_variable(const Layer& before, const Layer& after, const std::string& variable) {
  for (const QuantizedPoint& point : quantized_points(after)) {
    const auto old = quantized_point(before, point.name);
    const bool is_of_point =
        variable.starts_with(point.name + "_") && variable.find('_', point.name.size() + 1) == std::string::npos;
    if (is_of_point && old && has_same_values(old->quantizer, point.quantizer)) return before.find_weight(variable);
  }
  return nullptr;
}

}  // namespace

bool is_tracker(AffineKind kind) {
  return kind == AffineKind::kLastValue || kind == AffineKind::kMovingAverage || kind == AffineKind::kAllValues ||
         kind == AffineKind::kFixed;
}

bool is_learned(AffineKind kind) {
  return kind == AffineKind::kLsq || kind == AffineKind::kLsqPlus || kind == AffineKind::kPact;
}

affine::TrackerConfig tracker_config(const AffineQuantizer& q) {
  using affine::TrackerKind;
  TrackerKind kind = TrackerKind::kNone;
  if (q.kind == AffineKind::kLastValue) kind = TrackerKind::kLastValue;
  if (q.kind == AffineKind::kMovingAverage) kind = TrackerKind::kMovingAverage;
  if (q.kind == AffineKind::kAllValues) kind = TrackerKind::kAllValues;
  if (q.kind == AffineKind::kFixed) kind = TrackerKind::kFixed;
  if (kind == TrackerKind::kNone) {
    throw InvalidArgument("[quantize] {} does not watch a range.", class_name(q.kind));
  }
  return {.kind = kind,
          .num_bits = q.num_bits,
          .per_axis = q.per_axis && q.kind != AffineKind::kFixed,
          .symmetric = q.symmetric,
          .narrow_range = q.narrow_range,
          .fixed = q.fixed,
          .decay = q.ema_decay,
          .start = q.average_start};
}

std::vector<QuantizedPoint> quantized_points(const LayerQuantization& quantization) {
  std::vector<QuantizedPoint> points;
  for (const WeightQuantizer& weight : quantization.weights) {
    if (!weight.quantizer.is_none()) points.push_back({weight.weight, weight.quantizer, true});
  }
  for (const auto& [name, quantizer] :
       {std::pair(kPreActivation, quantization.pre_activation),
        std::pair(kPostActivation, quantization.post_activation), std::pair(kOutput, quantization.output)}) {
    if (!quantizer.is_none()) points.push_back({std::string(name), quantizer, false});
  }
  return points;
}

std::vector<QuantizedPoint> quantized_points(const Layer& layer) {
  return layer.quantization ? quantized_points(*layer.quantization) : std::vector<QuantizedPoint>{};
}

std::optional<QuantizedPoint> quantized_point(const Layer& layer, std::string_view name) {
  for (QuantizedPoint& point : quantized_points(layer)) {
    if (point.name == name) return std::move(point);
  }
  return std::nullopt;
}

affine::ChannelLayout point_layout(const Layer& layer, const QuantizedPoint& point, const Shape& shape) {
  if (channels_of(layer, point, shape) == 1 && !point.quantizer.per_axis) return affine::per_tensor(shape);
  if (point.quantizer.kind == AffineKind::kFixed) return affine::per_tensor(shape);
  if (is_depthwise_kernel(point) && point.quantizer.axis == -1) return affine::per_depthwise_channel(shape);
  return affine::per_axis(shape, point.quantizer.axis);
}

std::vector<WeightSpec> quantization_variables(const Layer& layer, std::span<const WeightSpec> own,
                                               const Shape& output) {
  std::vector<WeightSpec> variables;
  if (!layer.quantization) return variables;
  if (is_channels_first(layer)) {
    throw Unsupported(
        "[quantize] layer '{}' ({}) has data_format 'channels_first', whose points cannot be quantized; rebuild the "
        "model "
        "with 'channels_last': the weights are the same.",
        layer.name, layer.class_name);
  }
  check_bias_bits(layer);
  std::set<std::string> seen;
  for (const QuantizedPoint& point : quantized_points(layer)) {
    if (!seen.insert(point.name).second) {
      throw InvalidArgument("[quantize] {} has two quantizers for '{}'. Leave one out.", graph::described(layer),
                            point.name);
    }
    check_kind(layer, point);
    check_numbers(layer, point);
    const Shape& tensor = point.is_weight ? spec_of(layer, point, own).shape : output;
    const int64_t channels = channels_of(layer, point, tensor);
    const bool is_vector = point.quantizer.per_axis && point.quantizer.kind != AffineKind::kFixed;
    add_variables(point, is_vector ? Shape{channels} : Shape{}, variables);
  }
  return variables;
}

void set_quantization(Model& model, std::string_view name, std::optional<LayerQuantization> quantization) {
  const std::map<std::string, Shape> shapes = infer_shapes(model);
  Layer& layer = model.layer(name);
  const LayerSchema& schema = schema_of(layer);
  const std::vector<Shape> inputs = seen_by(layer, input_shapes(layer, shapes));
  const std::vector<WeightSpec> own = schema.weights ? schema.weights(layer, inputs) : std::vector<WeightSpec>{};
  Layer changed = layer;  // all or nothing
  changed.quantization = std::move(quantization);
  if (changed.quantization) clear_unused(*changed.quantization);
  const std::vector<WeightSpec> variables = quantization_variables(changed, own, shapes.at(layer.name));
  const bool is_built = own.empty() || changed.weights.size() >= own.size();
  if (is_built) {
    changed.weights.resize(own.size());
    for (const WeightSpec& spec : variables) {
      const Weight* kept = kept_variable(layer, changed, spec.name);
      changed.weights.push_back(kept != nullptr ? *kept : Weight{spec.name, Tensor(spec.shape, spec.start)});
    }
  }
  layer = std::move(changed);
}

affine::Range as_seen(AffineKind kind, affine::Range range) {
  const bool is_start = kind == AffineKind::kAllValues && range == initial_range(kind);
  return is_start ? affine::Range{-0.0f, 0.0f} : range;
}

std::vector<affine::Range> stored_ranges(const Layer& layer, std::string_view name) {
  const QuantizedPoint point = require_point(layer, name);
  if (point.quantizer.kind == AffineKind::kFixed) return {point.quantizer.fixed};
  if (!has_minmax(point.quantizer.kind)) {
    throw InvalidArgument("[quantize] {} keeps no range.", described(layer, point));
  }
  const auto min = variable(layer, point, "min").value.data(), max = variable(layer, point, "max").value.data();
  std::vector<affine::Range> ranges;
  for (size_t i = 0; i < min.size() && i < max.size(); ++i) {
    ranges.push_back({min[i] + 0.0f, max[i]});  // the mark is no part of the range
  }
  return ranges;
}

void store_ranges(Layer& layer, std::string_view name, std::span<const affine::Range> ranges) {
  const QuantizedPoint point = require_point(layer, name);
  const size_t wanted = stored_ranges(layer, name).size();
  if (point.quantizer.kind == AffineKind::kFixed) {
    throw InvalidArgument("[quantize] {} has a range that is part of its configuration.", described(layer, point));
  }
  if (ranges.size() != wanted) {
    throw InvalidArgument("[quantize] {} keeps {} ranges, but {} are given.", described(layer, point), wanted,
                          ranges.size());
  }
  for (const affine::Range& range : ranges) affine::nudge(range, tracker_config(point.quantizer).format());
  Tensor& min = layer.find_weight(point.name + "_min")->value;
  Tensor& max = layer.find_weight(point.name + "_max")->value;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const affine::Range seen = as_seen(point.quantizer.kind, ranges[i]);
    min[static_cast<int64_t>(i)] = seen.min;
    max[static_cast<int64_t>(i)] = seen.max;
  }
}

std::string uncalibrated_point(const Layer& layer) {
  for (const QuantizedPoint& point : quantized_points(layer)) {
    const AffineKind kind = point.quantizer.kind;
    const affine::Range start = initial_range(kind);
    const bool is_at_start =
        has_minmax(kind) && stands_at(layer, point, "min", start.min) && stands_at(layer, point, "max", start.max);
    if (is_at_start && !saw_zeros(layer, point)) return point.name;
    if (is_learned(kind) && stands_at(layer, point, kind == AffineKind::kPact ? "alpha" : "step", 0.0f)) {
      return point.name;
    }
  }
  return "";
}

void require_calibrated(const Model& model, std::string_view who) {
  for (const Layer& layer : model.layers) {
    const std::string point = uncalibrated_point(layer);
    if (point.empty()) continue;
    throw InvalidArgument(
        "[{}] {}: the range of '{}' is still the one it started with, which fits nothing. Calibrate or train the "
        "quantized model first.",
        who, graph::described(layer), point);
  }
}

std::vector<affine::AffineParams> point_params(const Layer& layer, std::string_view name) {
  const QuantizedPoint point = require_point(layer, name);
  const AffineQuantizer& q = point.quantizer;
  std::vector<affine::AffineParams> params;
  if (is_tracker(q.kind)) {
    const affine::CodeFormat format = tracker_config(q).format();
    for (const affine::Range& range : stored_ranges(layer, name)) {
      params.push_back(affine::params_of_nudged(affine::nudge(range, format), format, /*is_signed=*/true));
    }
    return params;
  }
  if (q.kind == AffineKind::kDorefa && point.is_weight) {
    throw Unsupported("[quantize] {}: its levels lie between the codes; it has no scale and zero point.",
                      described(layer, point));
  }
  if (q.kind == AffineKind::kDorefa || q.kind == AffineKind::kPact) {
    const float reach = q.kind == AffineKind::kDorefa ? 1.0f : variable(layer, point, "alpha").value[0];
    const auto steps = static_cast<float>((int32_t{1} << q.num_bits) - 1);
    return {{.scale = reach / steps, .bit_width = q.num_bits, .is_signed = false}};
  }
  const auto step = variable(layer, point, "step").value.data();
  const bool has_offset = q.kind == AffineKind::kLsqPlus && !point.is_weight;
  for (size_t i = 0; i < step.size(); ++i) {
    const float offset = has_offset ? variable(layer, point, "offset").value.data()[i] : 0.0f;
    params.push_back(params_of_step(q, step[i], offset, described(layer, point)));
  }
  return params;
}

}  // namespace nibble::graph
