#include "nibble/program/lowering.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include "nibble/core/error.h"
#include "nibble/graph/padding.h"
#include "nibble/program/accumulator_proof.h"
#include "nibble/program/integer_weights.h"
#include "nibble/program/threshold_search.h"

namespace nibble::program {
namespace {

using graph::Layer;

// A layer's value: an operation's integers, and what float arithmetic is still to be done to them.
struct Signal {
  int operation = -1;  // -1: the float input itself
  ChannelFunction pending;
};

class Lowering {
 public:
  Lowering(const graph::Model& model, const LoweringOptions& options)
      : model_(model), options_(options), shapes_(graph::infer_shapes(model)) {}

  Program run();

  void add_input(const Layer& layer);
  void add_accumulate(const Layer& layer, bool depthwise, bool dense);
  void add_folded(const Layer& layer, bool depthwise);
  void add_batch_norm(const Layer& layer);
  void add_activation(const Layer& layer);
  void add_rectifier(const Layer& layer);
  void add_softmax(const Layer& layer);
  void add_max_pool(const Layer& layer);
  void add_average_pool(const Layer& layer);
  void add_add(const Layer& layer);
  void add_concatenate(const Layer& layer);
  void add_pad(const Layer& layer);
  void add_reshape(const Layer& layer);
  void add_alias(const Layer& layer) { signals_[layer.name] = signals_.at(layer.inputs.at(0)); }

 private:
  const Value& value_of(int operation) const { return program_.operations[static_cast<size_t>(operation)].result; }
  const Shape& input_shape(const Layer& layer) const { return shapes_.at(layer.inputs.at(0)); }

  int push(Operation operation) {
    program_.operations.push_back(std::move(operation));
    return static_cast<int>(program_.operations.size()) - 1;
  }

  int quantize_input(const quant::QuantizerPtr& quantizer, const std::string& layer, bool is_layer_output);
  // The integers that a layer reads; all channels of one scale if `one_scale`.
  int integers(const Layer& layer, size_t input, bool one_scale);
  int with_one_scale(const Layer& layer, int operation);
  void apply_quantizer(const Layer& layer, Signal signal, const quant::QuantizerPtr& quantizer);
  void apply_function(const Layer& layer, Signal signal, const std::string& name);
  void apply_fused_activation(const Layer& layer);
  void push_accumulate(const Layer& layer, Accumulate action, const IntegerWeights& weights,
                       const std::vector<float>& bias, int input);

  const graph::Model& model_;
  const LoweringOptions& options_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, Signal> signals_;
  Program program_;
};

// ---- into integers -----------------------------------------------------------

void Lowering::add_input(const Layer& layer) {
  if (!shapes_.at(layer.name).is_fixed()) {
    throw Unsupported("[compile] input '{}' has the shape {}; a program needs fixed extents.", layer.name,
                      shapes_.at(layer.name).str());
  }
  program_.input_shape = shapes_.at(layer.name);
  signals_[layer.name] = {};
}

int Lowering::quantize_input(const quant::QuantizerPtr& quantizer, const std::string& layer, bool is_layer_output) {
  for (size_t i = 0; i < program_.operations.size(); ++i) {
    const auto* action = std::get_if<QuantizeInput>(&program_.operations[i].action);
    if (action != nullptr && *action->quantizer == *quantizer) return static_cast<int>(i);
  }
  // The codes of inputs beyond all bounds are the outermost ones.
  const quant::Encoded encoded = quantizer->encode(Tensor(Shape{3}, {-1e30f, 0.0f, 1e30f}));
  if (encoded.scale.size() != 1 || encoded.kind != quant::Encoded::Kind::kAffine) {
    throw Unsupported("[compile] layer '{}': {} cannot quantize the input; a fixed-point quantizer with one scale can.",
                      layer, quantizer->str());
  }
  const auto [low, high] = std::minmax_element(encoded.codes.begin(), encoded.codes.end());
  Operation operation{.layer = layer,
                      .inputs = {},
                      .action = QuantizeInput{quantizer},
                      .result = {},
                      .is_layer_output = is_layer_output};
  operation.result = {
      program_.input_shape, {encoded.scale[0]}, {{*low - encoded.zero_point, *high - encoded.zero_point}}};
  return push(std::move(operation));
}

int Lowering::integers(const Layer& layer, size_t input, bool one_scale) {
  const std::string& source = layer.inputs.at(input);
  const Signal& signal = signals_.at(source);
  int operation = signal.operation;
  if (operation < 0) operation = quantize_input(quant::get_quantizer(options_.input_quantizer), source, true);
  if (!signal.pending.is_identity()) {
    throw Unsupported(
        "[compile] layer '{}' ({}) reads '{}', whose values are real numbers. Put a quantizer between them: a "
        "QActivation "
        "after '{}'.",
        layer.name, layer.class_name, source, source);
  }
  return one_scale ? with_one_scale(layer, operation) : operation;
}

// Multiplies channels by integers so that all have the smallest scale.
int Lowering::with_one_scale(const Layer& layer, int operation) {
  const Value& value = value_of(operation);
  if (value.scale.size() == 1) return operation;
  const float smallest = *std::min_element(value.scale.begin(), value.scale.end());
  Scale action;
  Value result{value.shape, {smallest}, {}};
  for (size_t c = 0; c < value.scale.size(); ++c) {
    const double factor = static_cast<double>(value.scale[c]) / smallest;
    if (factor != std::floor(factor) || factor > 0x1p24) {
      throw Unsupported(
          "[compile] layer '{}' ({}) adds or mixes channels whose scales are {} and {}: no whole multiple. Use "
          "quantizers with power-of-two scales before it.",
          layer.name, layer.class_name, value.scale[c], smallest);
    }
    action.factors.push_back(static_cast<int64_t>(factor));
    const Interval& in = at(value.intervals, static_cast<int64_t>(c));
    result.intervals.push_back({in.low * action.factors.back(), in.high * action.factors.back()});
  }
  return push({layer.name, {operation}, std::move(action), std::move(result)});
}

// ---- sums --------------------------------------------------------------------

// The bias in units of the accumulator, if all of it lies on that grid.
std::vector<int64_t> on_grid(const std::vector<float>& bias, const PerChannel& scale) {
  std::vector<int64_t> result;
  for (size_t c = 0; c < bias.size(); ++c) {
    const double units = static_cast<double>(bias[c]) / scale[c];
    if (units != std::floor(units) || std::abs(units) > 0x1p30) return {};
    result.push_back(static_cast<int64_t>(units));
  }
  return result;
}

void Lowering::push_accumulate(const Layer& layer, Accumulate action, const IntegerWeights& weights,
                               const std::vector<float>& bias, int input) {
  const Value& in = value_of(input);
  Value result{shapes_.at(layer.name), {}, {}};
  bool scales_are_powers = true;
  for (const float scale : weights.scale) {
    result.scale.push_back(scale * in.scale[0]);
    int exponent = 0;
    scales_are_powers = scales_are_powers && std::frexp(result.scale.back(), &exponent) == 0.5f;
  }
  action.weights = weights.values;
  action.weight_bits = weights.bits;
  Signal signal;
  if (!bias.empty()) {
    action.bias = on_grid(bias, result.scale);
    if (action.bias.empty()) signal.pending.push(Offset{bias});
  }
  result.intervals = prove_accumulator(action, in.intervals);
  action.is_exact_in_float = action.is_exact_in_float && scales_are_powers;
  if (action.accumulator_bits() > 32) {
    throw Unsupported(
        "[compile] layer '{}' ({}) needs an accumulator of {} bits; 32 are there. Use fewer bits for its weights or "
        "for "
        "the values that enter it.",
        layer.name, layer.class_name, action.accumulator_bits());
  }
  const bool is_layer_output = signal.pending.is_identity() && layer.activation_function() == "linear";
  signal.operation = push({layer.name, {input}, std::move(action), std::move(result), is_layer_output});
  signals_[layer.name] = std::move(signal);
  apply_fused_activation(layer);
}

// Geometry of a convolution layer; weights and bias come later.
Accumulate convolution_of(const Layer& layer, const Shape& in, const Shape& out, bool depthwise) {
  if (layer.get_string("data_format") == "channels_first") {
    throw Unsupported("[compile] layer '{}': data_format 'channels_first' is not known here; 'channels_last' is.",
                      layer.name);
  }
  Accumulate a;
  const auto& kernel = layer.get_ints("kernel_size");
  const auto& strides = layer.get_ints("strides");
  const auto& dilation = layer.get_ints("dilation_rate");
  a.window = {kernel[0], kernel[1], strides[0], strides[1], dilation[0], dilation[1]};
  const std::string& padding = layer.get_string("padding");
  a.window.pad_top = graph::window(padding, in[0], kernel[0], strides[0], dilation[0]).before;
  a.window.pad_left = graph::window(padding, in[1], kernel[1], strides[1], dilation[1]).before;
  a.in_height = in[0], a.in_width = in[1], a.in_channels = in[2];
  a.out_height = out[0], a.out_width = out[1], a.out_channels = out[2];
  a.groups = depthwise ? in[2] : (layer.has("groups") ? layer.get_int("groups") : 1);
  return a;
}

void Lowering::add_accumulate(const Layer& layer, bool depthwise, bool dense) {
  if (layer.has("mask")) {
    throw Unsupported("[compile] layer '{}' has a mask, which is not known here. Multiply it into the kernel.",
                      layer.name);
  }
  const int input = integers(layer, 0, true);
  const Shape& in = input_shape(layer);
  const Shape& out = shapes_.at(layer.name);
  Accumulate action;
  if (dense) {
    action.in_channels = in[-1], action.out_channels = out[-1];
    action.in_width = action.out_width = in.elements() / in[-1];
  } else {
    action = convolution_of(layer, in, out, depthwise);
  }
  const std::string_view weight = depthwise ? "depthwise_kernel" : "kernel";
  const std::string_view attribute = depthwise ? "depthwise_quantizer" : "kernel_quantizer";
  const IntegerWeights weights = integer_weights(layer, weight, attribute, action.out_channels);
  push_accumulate(layer, std::move(action), weights, bias_values(layer), input);
}

// ---- what stays pending until the next quantizer --------------------------------

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

void Lowering::apply_quantizer(const Layer& layer, Signal signal, const quant::QuantizerPtr& quantizer) {
  if (signal.operation < 0) {
    signals_[layer.name] = {quantize_input(quantizer, layer.name, true), {}};
    return;
  }
  const Value& in = value_of(signal.operation);
  ThresholdSearch search{in.intervals, in.scale, signal.pending, quantizer, layer.name, options_.max_thresholds};
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
  const int operation = push({layer.name, {signal.operation}, std::move(found.compare), std::move(result), true});
  signals_[layer.name] = {operation, {}};
}

void Lowering::apply_function(const Layer& layer, Signal signal, const std::string& name) {
  if (name == "linear") {
    signals_[layer.name] = std::move(signal);
    return;
  }
  if (name == "softmax") {
    add_softmax(layer);
    return;
  }
  if (name != "relu" && name != "relu6") {
    throw Unsupported("[compile] layer '{}': the float function {} is not known here. Use a quantizer, for example {}.",
                      layer.name, name, name == "tanh" ? "quantized_tanh(8)" : "quantized_relu(4,2)");
  }
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  Rectify stage;
  if (name == "relu6") stage.highest = 6.0f, stage.has_highest = true;
  signal.pending.push(stage);
  signals_[layer.name] = std::move(signal);
}

void Lowering::add_activation(const Layer& layer) {
  const Signal signal = signals_.at(layer.inputs.at(0));
  if (const auto quantizer = layer.get_quantizer("activation")) {
    apply_quantizer(layer, signal, quantizer);
  } else {
    apply_function(layer, signal, layer.activation_function());
  }
}

void Lowering::apply_fused_activation(const Layer& layer) {
  if (layer.activation_function() == "linear") return;
  const Signal signal = signals_.at(layer.name);
  if (const auto quantizer = layer.get_quantizer("activation")) {
    apply_quantizer(layer, signal, quantizer);
  } else if (layer.activation_function() == "softmax") {
    if (model_.outputs.at(0) != layer.name) {
      throw Unsupported("[compile] layer '{}': softmax is known at the end of the network only.", layer.name);
    }
    program_.softmax = true;
  } else {
    apply_function(layer, signal, layer.activation_function());
  }
}

void Lowering::add_rectifier(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  Rectify stage;
  if (layer.has("negative_slope")) stage.slope = static_cast<float>(layer.get_float("negative_slope"));
  if (layer.has("threshold")) stage.threshold = static_cast<float>(layer.get_float("threshold"));
  if (layer.has("max_value"))
    stage.highest = static_cast<float>(layer.get_float("max_value")), stage.has_highest = true;
  if (stage.slope < 0.0f || (stage.threshold > 0.0f && stage.slope != 0.0f) || stage.threshold < 0.0f) {
    throw Unsupported("[compile] layer '{}' ({}) does not rise everywhere, so it is no comparison with thresholds.",
                      layer.name, layer.class_name);
  }
  signal.pending.push(stage);
  signals_[layer.name] = std::move(signal);
}

void Lowering::add_softmax(const Layer& layer) {
  if (model_.outputs.at(0) != layer.name) {
    throw Unsupported("[compile] layer '{}': softmax is known at the end of the network only.", layer.name);
  }
  program_.softmax = true;
  add_alias(layer);
}

// ---- pools, merges, moves --------------------------------------------------------

Window pool_window(const Layer& layer, const Shape& in) {
  const auto& size = layer.get_ints("pool_size");
  const auto& strides = layer.has("strides") ? layer.get_ints("strides") : size;
  Window w{size[0], size[1], strides[0], strides[1]};
  w.pad_top = graph::window(layer.get_string("padding"), in[0], size[0], strides[0]).before;
  w.pad_left = graph::window(layer.get_string("padding"), in[1], size[1], strides[1]).before;
  return w;
}

// A maximum of f(x) is f of the maximum where f rises, f of the minimum where it falls.
void Lowering::add_max_pool(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  if (signal.operation < 0) signal.operation = integers(layer, 0, false);
  const Value& in = value_of(signal.operation);
  MaxPool action{pool_window(layer, input_shape(layer)), {}};
  for (int64_t c = 0; c < in.channels(); ++c) action.takes_minimum.push_back(signal.pending.direction(c) < 0 ? 1 : 0);
  Value result{shapes_.at(layer.name), in.scale, in.intervals};
  const int input = signal.operation;
  signal.operation = push({layer.name, {input}, std::move(action), std::move(result), signal.pending.is_identity()});
  signals_[layer.name] = std::move(signal);
}

void Lowering::add_average_pool(const Layer& layer) {
  const int input = integers(layer, 0, false);
  const Value& in = value_of(input);
  const Shape& shape = input_shape(layer);
  const bool is_global = !layer.attributes.contains("pool_size");
  Window window{shape[0], shape[1]};
  if (!is_global) {
    window = pool_window(layer, shape);
    const Shape& out = shapes_.at(layer.name);
    const bool overlaps = window.pad_top > 0 || window.pad_left > 0 ||
                          (out[0] - 1) * window.stride_height + window.height > shape[0] ||
                          (out[1] - 1) * window.stride_width + window.width > shape[1];
    if (overlaps) {
      throw Unsupported(
          "[compile] layer '{}': its windows overlap the border and average over fewer cells there. Use "
          "padding 'valid'.",
          layer.name);
    }
  }
  const int64_t cells = window.height * window.width;
  Value result{shapes_.at(layer.name), in.scale, {}};
  for (const Interval& interval : in.intervals)
    result.intervals.push_back({interval.low * cells, interval.high * cells});
  Signal signal;
  signal.operation = push({layer.name, {input}, SumPool{window}, std::move(result)});
  const auto quantizer =
      layer.attributes.contains("average_quantizer") ? layer.get_quantizer("average_quantizer") : nullptr;
  if (quantizer != nullptr) {
    const float factor = 1.0f / static_cast<float>(cells);
    signal.pending.push(Multiply{quantizer->quantize(Tensor::scalar(factor)).real[0]});
  } else {
    signal.pending.push(Divide{static_cast<float>(cells)});
  }
  signals_[layer.name] = std::move(signal);
  if (layer.attributes.contains("activation")) apply_fused_activation(layer);
}

void Lowering::add_add(const Layer& layer) {
  std::vector<int> inputs;
  float smallest = 0.0f;
  for (size_t i = 0; i < layer.inputs.size(); ++i) {
    inputs.push_back(integers(layer, i, true));
    if (value_of(inputs.back()).shape != shapes_.at(layer.name)) {
      throw Unsupported("[compile] layer '{}' adds values of different shapes, which is not known here.", layer.name);
    }
    const float scale = value_of(inputs.back()).scale[0];
    smallest = i == 0 ? scale : std::min(smallest, scale);
  }
  Value result{shapes_.at(layer.name), {smallest}, {}};
  result.intervals.assign(static_cast<size_t>(result.channels()), {});
  for (int& input : inputs) {
    const double factor = static_cast<double>(value_of(input).scale[0]) / smallest;
    if (factor != std::floor(factor) || factor > 0x1p24) {
      throw Unsupported(
          "[compile] layer '{}' adds values of the scales {} and {}: no whole multiple. Use quantizers with "
          "power-of-two scales.",
          layer.name, value_of(input).scale[0], smallest);
    }
    const auto whole = static_cast<int64_t>(factor);
    Value scaled{result.shape, {smallest}, {}};
    for (int64_t c = 0; c < result.channels(); ++c) {
      const Interval& in = at(value_of(input).intervals, c);
      scaled.intervals.push_back({in.low * whole, in.high * whole});
      result.intervals[static_cast<size_t>(c)].low += scaled.intervals.back().low;
      result.intervals[static_cast<size_t>(c)].high += scaled.intervals.back().high;
    }
    if (whole != 1) input = push({layer.name, {input}, Scale{{whole}}, std::move(scaled)});
  }
  signals_[layer.name] = {push({layer.name, inputs, Add{}, std::move(result), true}), {}};
}

void Lowering::add_concatenate(const Layer& layer) {
  const int64_t axis = layer.get_int("axis");
  if (axis != -1 && axis != shapes_.at(layer.name).rank()) {
    throw Unsupported("[compile] layer '{}' joins along axis {}; along the last one, -1, it would do.", layer.name,
                      axis);
  }
  std::vector<int> inputs;
  Value result{shapes_.at(layer.name), {}, {}};
  for (size_t i = 0; i < layer.inputs.size(); ++i) {
    inputs.push_back(integers(layer, i, false));
    const Value& in = value_of(inputs.back());
    for (int64_t c = 0; c < in.channels(); ++c) {
      result.scale.push_back(program::at(in.scale, c));
      result.intervals.push_back(at(in.intervals, c));
    }
  }
  if (std::equal(result.scale.begin() + 1, result.scale.end(), result.scale.begin())) result.scale.resize(1);
  signals_[layer.name] = {push({layer.name, inputs, Concatenate{}, std::move(result), true}), {}};
}

void Lowering::add_pad(const Layer& layer) {
  const int input = integers(layer, 0, false);
  const auto& edges = layer.get_ints("padding");
  Value result{shapes_.at(layer.name), value_of(input).scale, value_of(input).intervals};
  for (Interval& interval : result.intervals) {
    interval = {std::min<int64_t>(interval.low, 0), std::max<int64_t>(interval.high, 0)};
  }
  const Pad action{edges.at(0), edges.at(1), edges.at(2), edges.at(3)};
  signals_[layer.name] = {push({layer.name, {input}, action, std::move(result), true}), {}};
}

// Channels change place: one scale and one interval for all, unless the last axis stays.
void Lowering::add_reshape(const Layer& layer) {
  Signal signal = signals_.at(layer.inputs.at(0));
  const bool keeps_channels = input_shape(layer)[-1] == shapes_.at(layer.name)[-1];
  int input = signal.operation;
  if (!keeps_channels || input < 0) {
    input = integers(layer, 0, !keeps_channels);
    signal.pending = {};
  }
  const Value& in = value_of(input);
  Value result{shapes_.at(layer.name), in.scale, keeps_channels ? in.intervals : std::vector<Interval>{in.hull()}};
  const bool is_layer_output = signal.pending.is_identity();
  signal.operation = push({layer.name, {input}, Reshape{}, std::move(result), is_layer_output});
  signals_[layer.name] = std::move(signal);
}

// ---- the table --------------------------------------------------------------------

using Rule = std::function<void(Lowering&, const Layer&)>;

const std::map<std::string, Rule, std::less<>>& rules() {
  const auto sum = [](bool depthwise, bool dense) {
    return [depthwise, dense](Lowering& l, const Layer& x) { l.add_accumulate(x, depthwise, dense); };
  };
  const auto call = [](void (Lowering::*add)(const Layer&)) {
    return [add](Lowering& l, const Layer& x) { (l.*add)(x); };
  };
  static const std::map<std::string, Rule, std::less<>> kRules = {
      {"InputLayer", call(&Lowering::add_input)},
      {"QConv2D", sum(false, false)},
      {"QDepthwiseConv2D", sum(true, false)},
      {"QDense", sum(false, true)},
      {"BatchNormalization", call(&Lowering::add_batch_norm)},
      {"QBatchNormalization", call(&Lowering::add_batch_norm)},
      {"Activation", call(&Lowering::add_activation)},
      {"QActivation", call(&Lowering::add_activation)},
      {"ReLU", call(&Lowering::add_rectifier)},
      {"LeakyReLU", call(&Lowering::add_rectifier)},
      {"Softmax", call(&Lowering::add_softmax)},
      {"Dropout", call(&Lowering::add_alias)},
      {"GaussianDropout", call(&Lowering::add_alias)},
      {"GaussianNoise", call(&Lowering::add_alias)},
      {"AlphaDropout", call(&Lowering::add_alias)},
      {"SpatialDropout2D", call(&Lowering::add_alias)},
      {"MaxPooling2D", call(&Lowering::add_max_pool)},
      {"AveragePooling2D", call(&Lowering::add_average_pool)},
      {"GlobalAveragePooling2D", call(&Lowering::add_average_pool)},
      {"QAveragePooling2D", call(&Lowering::add_average_pool)},
      {"QGlobalAveragePooling2D", call(&Lowering::add_average_pool)},
      {"Add", call(&Lowering::add_add)},
      {"Concatenate", call(&Lowering::add_concatenate)},
      {"ZeroPadding2D", call(&Lowering::add_pad)},
      {"Flatten", call(&Lowering::add_reshape)},
      {"Reshape", call(&Lowering::add_reshape)},
  };
  return kRules;
}

[[noreturn]] void refuse(const Layer& layer) {
  std::string known;
  for (const auto& [name, rule] : rules()) known += (known.empty() ? "" : ", ") + name;
  const std::string quantized = "Q" + layer.class_name;
  if (rules().contains(quantized)) {
    throw Unsupported(
        "[compile] layer '{}' is a {}, whose weights are real numbers; a {} has integers. 'nibble quantize' "
        "turns one into the other.",
        layer.name, layer.class_name, quantized);
  }
  throw Unsupported("[compile] layer '{}' is a {}, which has no integer form here. Known: {}.", layer.name,
                    layer.class_name, known);
}

Program Lowering::run() {
  if (model_.inputs.size() != 1 || model_.outputs.size() != 1) {
    throw Unsupported("[compile] model '{}' has {} inputs and {} outputs; one of each makes a program.", model_.name,
                      model_.inputs.size(), model_.outputs.size());
  }
  program_.name = model_.name;
  for (const Layer& layer : model_.layers) {
    const auto rule = rules().find(layer.class_name);
    if (rule == rules().end()) refuse(layer);
    rule->second(*this, layer);
  }
  const Signal& last = signals_.at(model_.outputs[0]);
  if (last.operation < 0) throw Unsupported("[compile] model '{}' computes nothing.", model_.name);
  program_.output = last.operation;
  program_.to_real = last.pending;
  return std::move(program_);
}

}  // namespace

Program lower(const graph::Model& model, const LoweringOptions& options) { return Lowering(model, options).run(); }

quant::QuantizerPtr input_quantizer(const Program& program, const graph::Model& model) {
  for (const Operation& operation : program.operations) {
    const auto* action = std::get_if<QuantizeInput>(&operation.action);
    if (action == nullptr) continue;
    const graph::Layer* layer = model.find_layer(operation.layer);
    return layer != nullptr && layer->class_name == "InputLayer" ? action->quantizer : nullptr;
  }
  return nullptr;
}

}  // namespace nibble::program
