// What stays pending until the next quantizer, and the quantizers.
#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/integer_softmax.h"
#include "nibble/program/lowering_rules.h"
#include "nibble/program/threshold_search.h"
#include "nibble/quant/bernoulli.h"

namespace nibble::program {

void Lowering::add_batch_norm(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  const int64_t axis = layer.get_int("axis");
  if (axis != -1 && axis != input_shape(layer).rank()) {
    throw Unsupported("[compile] layer '{}': a batch norm of axis {} is not known here; the last axis, -1, is.",
                      layer.name, axis);
  }
  signal.pending.push(batch_norm(layer));
  signals_[layer.name] = std::move(signal);
}

std::optional<affine::SumQuantizer> Lowering::sum_quantizer(const Signal& signal,
                                                            const quant::Quantizer& quantizer) const {
  const auto grid = code_grid(quantizer);
  if (!signal.sum_divisor || !grid) return std::nullopt;
  const std::vector<Stage>& stages = signal.pending.stages();
  for (size_t i = 0; i < stages.size(); ++i) {
    const auto* rectify = std::get_if<Rectify>(&stages[i]);
    const bool is_clip = rectify != nullptr && rectify->slope == 0.0f && rectify->threshold == 0.0f;
    const bool is_divisor = i == 0 && std::holds_alternative<Divide>(stages[i]);  // an average's own
    if (!is_clip && !is_divisor) return std::nullopt;
  }
  std::vector<double> scales;
  for (const float scale : value_of(signal.operation).scale) {
    scales.push_back(static_cast<double>(scale) / *signal.sum_divisor);
  }
  return affine::SumQuantizer::make(std::move(scales), *grid);
}

namespace {

// A layer's value is what its last point gives; before that, its activation's quantizer gives a step on the way.
bool has_point_after_activation(const Layer& layer) {
  return graph::quantized_point(layer, graph::kPostActivation) || graph::quantized_point(layer, graph::kOutput);
}

}  // namespace

void refuse_draws(const std::string& layer, const quant::Quantizer& quantizer) {
  if (quantizer.class_name() != quant::Bernoulli::kName) return;
  throw Unsupported(
      "[compile] layer '{}': {} draws its values anew at each inference, so no program gives the network's. Take "
      "stochastic_binary, which draws in training alone.",
      layer, quantizer.str());
}

void Lowering::apply_quantizer(const Layer& layer, Signal signal, const quant::QuantizerPtr& quantizer,
                               bool is_layer_output) {
  refuse_draws(layer.name, *quantizer);
  if (signal.operation < 0) {
    signals_[layer.name] = {quantize_input(quantizer, layer.name, is_layer_output), {}};
    return;
  }
  const Value& in = value_of(signal.operation);
  ThresholdSearch search{in.intervals,      in.scale,
                         signal.pending,    quantizer,
                         layer.name,        options_.max_thresholds,
                         options_.rounding, sum_quantizer(signal, *quantizer)};
  const bool differs_by_channel = !signal.pending.is_identity() || in.scale.size() > 1;
  const auto channels = static_cast<size_t>(in.channels());
  if (differs_by_channel) {
    search.intervals.clear();
    for (size_t c = 0; c < channels; ++c) search.intervals.push_back(at(in.intervals, static_cast<int64_t>(c)));
  } else {
    search.intervals = {in.hull()};
  }
  Thresholds found = find_thresholds(search);
  Value result{in.shape, {found.scale}, std::move(found.intervals)};
  const int operation =
      push({layer.name, {signal.operation}, std::move(found.compare), std::move(result), is_layer_output});
  signals_[layer.name] = {operation, {}};
}

void Lowering::apply_point(const Layer& layer, std::string_view name) {
  const auto point = graph::quantized_point(layer, name);
  if (!point) return;
  if (program_.softmax && layer.name == model_.outputs.at(0) && name != graph::kPreActivation) {
    throw Unsupported(
        "[compile] layer '{}': its point '{}' quantizes what the softmax gives, but a program's integers end before "
        "it. Quantize what enters it: the point 'pre_activation'.",
        layer.name, name);
  }
  // The layer's value is what its last point gives, unless a function comes after it.
  const bool is_last = graph::quantized_points(layer).back().name == name;
  const bool ends_here = name != graph::kPreActivation || ends_in_integers(layer);
  apply_quantizer(layer, signals_.at(layer.name), grid_of(layer, *point), is_last && ends_here);
}

Signal Lowering::begin_activation(const Layer& layer) {
  add_alias(layer);
  apply_point(layer, graph::kPreActivation);
  return signals_.at(layer.name);
}

void Lowering::apply_function(const Layer& layer, Signal signal, const std::string& name) {
  if (name == "linear") {
    signals_[layer.name] = std::move(signal);
    return;
  }
  if (name == "softmax") {
    signals_[layer.name] = std::move(signal);
    end_in_softmax(layer);
    return;
  }
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  if (name == "relu") {
    signal.pending.push(Rectify{});
  } else if (name == "relu6") {
    signal.pending.push(Rectify{.highest = 6.0f, .has_highest = true});
  } else if (const auto* curve = quant::activation_curve(graph::plain_function_name(layer, name))) {
    signal.pending.push(Curve{curve});
  } else {
    throw Unsupported("[compile] layer '{}': the float function {} is not known here. Use {}.", layer.name, name,
                      has_affine_points() ? "softmax at the network's end, relu, or another that its points quantize"
                                          : "a quantizer, for example quantized_relu(4,2)");
  }
  signals_[layer.name] = std::move(signal);
}

void Lowering::add_activation(const Layer& layer) {
  Signal signal = begin_activation(layer);
  if (const auto quantizer = layer.get_quantizer("activation")) {
    signal.sum_divisor.reset();  // the network's points know sums, its quantizers do not
    apply_quantizer(layer, signal, quantizer, !has_point_after_activation(layer));
  } else {
    apply_function(layer, signal, layer.activation_function());
  }
  apply_point(layer, graph::kPostActivation);
}

void Lowering::apply_fused_activation(const Layer& layer) {
  apply_point(layer, graph::kPreActivation);
  Signal signal = signals_.at(layer.name);
  if (const auto quantizer = layer.get_quantizer("activation")) {
    signal.sum_divisor.reset();
    apply_quantizer(layer, signal, quantizer, !has_point_after_activation(layer));
  } else {
    apply_function(layer, signal, layer.activation_function());
  }
  apply_point(layer, graph::kPostActivation);
}

void Lowering::add_rectifier(const Layer& layer) {
  Signal signal = begin_activation(layer);
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  Rectify stage;
  if (layer.has("negative_slope")) stage.slope = static_cast<float>(layer.get_float("negative_slope"));
  if (layer.has("threshold")) stage.threshold = static_cast<float>(layer.get_float("threshold"));
  if (layer.has("max_value"))
    stage.highest = static_cast<float>(layer.get_float("max_value")), stage.has_highest = true;
  if (!(stage.slope >= 0.0f && stage.threshold >= 0.0f)) {
    throw Unsupported(
        "[compile] layer '{}' ({}) has the slope {} and the threshold {}, with which it does not rise everywhere, as "
        "comparisons with thresholds need it. Numbers of 0 or more do.",
        layer.name, layer.class_name, stage.slope, stage.threshold);
  }
  signal.pending.push(stage);
  signals_[layer.name] = std::move(signal);
  apply_point(layer, graph::kPostActivation);
}

void Lowering::add_elu(const Layer& layer) {
  Signal signal = begin_activation(layer);
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  const Elu stage{static_cast<float>(layer.get_float("alpha"))};
  if (!(stage.alpha >= 0.0f)) {
    throw Unsupported(
        "[compile] layer '{}' (ELU): its alpha is {}; one of 0 or more rises everywhere, as comparisons "
        "with thresholds need it.",
        layer.name, stage.alpha);
  }
  signal.pending.push(stage);
  signals_[layer.name] = std::move(signal);
  apply_point(layer, graph::kPostActivation);
}

void Lowering::add_prelu(const Layer& layer) {
  Signal signal = begin_activation(layer);
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  std::vector<float> slopes = weight_values(layer, "alpha", "");
  const Tensor& alpha = layer.find_weight("alpha")->value;
  const int64_t channels = value_of(signal.operation).channels();
  const bool is_by_channel = alpha.size() == channels && alpha.shape()[-1] == channels;
  if (alpha.size() != 1 && !is_by_channel) {
    throw Unsupported(
        "[compile] layer '{}' (PReLU): its alpha has the shape {}, one value for each place, but a comparison has "
        "thresholds by channel. Share it over height and width: shared_axes=[1, 2].",
        layer.name, alpha.shape().str());
  }
  signal.pending.push(Slope{std::move(slopes)});
  signals_[layer.name] = std::move(signal);
  apply_point(layer, graph::kPostActivation);
}

void Lowering::add_softmax(const Layer& layer) {
  begin_activation(layer);
  end_in_softmax(layer);
}

void Lowering::end_in_softmax(const Layer& layer) {
  if (model_.outputs.at(0) != layer.name) {
    throw Unsupported(
        "[compile] layer '{}': softmax is known at the end of the network only. {} in its place takes each number for "
        "itself; or end the model here and compile what follows as a second one.",
        layer.name,
        has_affine_points() ? "A sigmoid with the point 'post_activation'" : "A QActivation of quantized_sigmoid(8)");
  }
  if (options_.softmax == SoftmaxForm::kInteger) {
    push_softmax(layer);
  } else {
    program_.softmax = true;
  }
}

void Lowering::push_softmax(const Layer& layer) {
  const Signal signal = signals_.at(layer.name);
  if (signal.operation < 0) return;  // nothing was computed, as run() says
  if (!signal.pending.is_identity()) {
    throw Unsupported(
        "[compile] layer '{}': its logits are real numbers, because a bias, batch norm or curve before it is on no "
        "grid; "
        "softmax in integers needs integers. Put a quantizer before it, or leave the softmax in float.",
        layer.name);
  }
  require_narrow(layer, signal.operation);
  const int logits = with_one_scale(layer, signal.operation);
  const Value& in = value_of(logits);
  if (in.channels() > kMostLogits) {
    throw Unsupported("[compile] layer '{}' has {} logits; softmax in integers knows {} at most. Leave it in float.",
                      layer.name, in.channels(), kMostLogits);
  }
  Value result{in.shape, {kProbabilityScale}, {kProbabilities}};
  const Softmax action = softmax_of_scale(in.scale[0]);
  signals_[layer.name] = {push({layer.name, {logits}, action, std::move(result)}), {}};
}

}  // namespace nibble::program
