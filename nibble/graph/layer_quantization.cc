#include "nibble/graph/layer_quantization.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/quantization_variables.h"

namespace nibble::graph {
namespace {

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

// Where a network quantizes what enters and leaves an activation.
bool has_activation_points(const Layer& layer) {
  static const std::set<std::string_view> kAreActivations = {"ReLU", "LeakyReLU", "Softmax"};
  // Their `activation` has no effect.
  static const std::set<std::string_view> kWithoutEffect = {"QBatchNormalization", "QDepthwiseConv2DTranspose",
                                                            "QSeparableConv2DTranspose"};
  if (kAreActivations.contains(layer.class_name)) return true;
  const AttributeSpec* activation = schema_of(layer).find("activation");
  const bool is_one = activation != nullptr && activation->kind == AttributeKind::kActivation;
  return is_one && !kWithoutEffect.contains(layer.class_name);
}

// False for what a layer remembers of its batches, and for what becomes part of a batch norm's two numbers.
bool is_quantizable(const Layer& layer, const WeightSpec& weight) {
  const bool is_batch_norm = layer.class_name == "BatchNormalization" || layer.class_name == "QBatchNormalization";
  const bool is_folded_bias = layer.class_name.ends_with("Batchnorm") && weight.name == "bias";
  return weight.trainable && !is_batch_norm && !is_folded_bias;
}

// A point that no network computes would stay at its start for ever.
void require_computed(const Layer& layer, const QuantizedPoint& point, std::span<const WeightSpec> own) {
  std::vector<std::string> possible;
  for (const WeightSpec& weight : own) {
    if (is_quantizable(layer, weight)) possible.push_back(weight.name);
  }
  if (has_activation_points(layer)) {
    for (const std::string_view name : {kPreActivation, kPostActivation}) possible.emplace_back(name);
  }
  possible.emplace_back(kOutput);
  if (std::find(possible.begin(), possible.end(), point.name) != possible.end()) return;
  throw InvalidArgument("[quantize] {}: a layer of this class cannot be quantized at '{}'. Its points are: {}.",
                        graph::described(layer), point.name, fmt::join(possible, ", "));
}

void check_bias_bits(const Layer& layer) {
  const int bits = layer.quantization->bias_bits;
  if (bits == 0 || (bits >= 2 && bits <= 32)) return;
  throw InvalidArgument("[quantize] {}: bias_bits is {}; it must lie between 2 and 32, or be 0 for a float bias.",
                        graph::described(layer), bits);
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
  if (!has_minmax(q.kind)) q.range = defaults.range;
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

// The same, but for what is no part of the values: a range stays one, by whatever rule it was found.
bool has_same_values(AffineQuantizer a, const AffineQuantizer& b) {
  a.range = b.range;
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
          .start = q.average_start,
          .range = q.range};
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
    require_computed(layer, point, own);
    const int64_t channels = channels_of(layer, point, tensor);
    const bool is_vector = point.quantizer.per_axis && point.quantizer.kind != AffineKind::kFixed;
    add_variables(point, is_vector ? Shape{channels} : Shape{}, variables);
  }
  return variables;
}

bool is_quantization_variable(const Layer& layer, std::string_view weight) {
  std::vector<WeightSpec> variables;
  for (const QuantizedPoint& point : quantized_points(layer)) add_variables(point, {}, variables);
  return std::any_of(variables.begin(), variables.end(),
                     [&](const WeightSpec& variable) { return variable.name == weight; });
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

}  // namespace nibble::graph
