// lower(): graph layers to steps.
#include <algorithm>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/constraint.h"
#include "nibble/graph/padding.h"
#include "nibble/train/layer_op.h"
#include "nibble/train/plan.h"

namespace nibble::train {
namespace {

using graph::Layer;

graph::Window window_of(const Layer& layer, int64_t in, int64_t kernel, int64_t stride, int64_t dilation = 1) {
  return graph::window(layer.get_string("padding"), in, kernel, stride, dilation);
}

// Elementwise activations do not ask where the channels are.
void require_elementwise_activation(const Layer& layer) {
  for (const char* attribute : {"activation", "depthwise_activation", "pointwise_activation"}) {
    if (!layer.attributes.contains(attribute)) continue;
    const std::string function = layer.activation_function(attribute);
    const auto quantizer = layer.get_quantizer(attribute);
    const bool is_fitted = quantizer != nullptr && quantizer->str().find("alpha='auto") != std::string::npos;
    if (function != "softmax" && function != "log_softmax" && !is_fitted) continue;
    throw Unsupported(
        "[train] layer '{}': with data_format 'channels_first' its {} must work on each value alone; put '{}' into an "
        "Activation layer of its own.",
        layer.name, attribute, quantizer != nullptr ? quantizer->str() : function);
  }
}

Activation plain_function(std::string name) {
  Activation activation;
  activation.fast = kernels::activation_spec(name);
  activation.function = std::move(name);
  return activation;
}

// Straight-through quantizers have the gradient of their unquantized path, whatever their factor. quantized_linear has
// another.
void set_noise(const quant::Quantizer& quantizer, Activation& activation) {
  const nlohmann::json config = quantizer.config();
  if (!config.value("use_ste", false) || !config.contains("qnoise_factor")) return;
  nlohmann::json whole = config;
  whole["qnoise_factor"] = 1.0;
  activation.whole = kernels::activation_spec(*quant::quantizer_from_config(quantizer.class_name(), whole));
  activation.qnoise_factor = config.at("qnoise_factor").get<float>();
}

Activation from_quantizer(quant::QuantizerPtr quantizer) {
  Activation activation;
  activation.fast = kernels::activation_spec(*quantizer);
  if (!activation.fast) set_noise(*quantizer, activation);
  activation.quantizer = std::move(quantizer);
  return activation;
}

Activation activation_of(const Layer& layer, std::string_view attribute) {
  if (auto quantizer = layer.get_quantizer(attribute)) return from_quantizer(std::move(quantizer));
  return plain_function(graph::plain_function_name(layer, layer.activation_function(attribute)));
}

Activation relu_of(const Layer& layer) {
  Activation activation = plain_function("relu");
  if (layer.has("max_value")) activation.max_value = layer.get_float("max_value");
  if (layer.has("negative_slope")) activation.negative_slope = layer.get_float("negative_slope");
  if (layer.has("threshold")) activation.threshold = layer.get_float("threshold");
  const bool plain = !activation.max_value && activation.negative_slope == 0.0 && activation.threshold == 0.0;
  if (!plain) activation.fast.reset();
  return activation;
}

// Softmax works on the channels.
void require_last_axis(const Layer& layer, int rank) {
  const int64_t axis = layer.has("axis") ? layer.get_int("axis") : -1;  // counted with the batch axis
  if (axis != -1 && axis != rank) {
    throw Unsupported("[train] layer '{}': axis {} cannot be trained; the last axis, -1, can.", layer.name, axis);
  }
}

// Of the classes that have an op: in inference their values are values of their input, as in an integer program.
bool moves_values(const Layer& layer) {
  static const std::set<std::string_view> kMoves = {"Permute",          "Cropping2D",      "GlobalMaxPooling2D",
                                                    "SpatialDropout2D", "GaussianDropout", "GaussianNoise",
                                                    "AlphaDropout"};
  if (layer.class_name == "UpSampling2D") return layer.get_string("interpolation") == "nearest";
  return kMoves.contains(layer.class_name);
}

class Lowering {
 public:
  explicit Lowering(const graph::Model& model) : model_(model), shapes_(graph::infer_shapes(model)) {}

  Plan run() {
    for (size_t i = 0; i < model_.layers.size(); ++i) {
      layer_index_ = static_cast<int>(i);
      add_layer(model_.layers[i]);
      push_point(model_.layers[i], graph::kOutput);
      push_penalty(model_.layers[i]);
    }
    for (const std::string& name : model_.outputs) plan_.outputs.push_back(last_step_.at(name));
    return std::move(plan_);
  }

 private:
  void add_layer(const Layer& layer);
  void add_channels_first(const Layer& layer);
  int push_permuted(const Layer& layer, int input, const Shape& shape, bool channels_to_the_end);
  void add_convolution(const Layer& layer, bool depthwise);
  void add_pool(const Layer& layer, StepKind kind);
  void add_pad(const Layer& layer);
  void add_concatenate(const Layer& layer);
  void add_batch_norm(const Layer& layer);

  const Shape& input_shape(const Layer& layer) const { return shapes_.at(layer.inputs.at(0)); }

  Step new_step(const Layer& layer, StepKind kind) const {
    Step step;
    step.kind = kind;
    step.layer = layer_index_;
    step.shape = shapes_.at(layer.name);
    for (const std::string& input : layer.inputs) step.inputs.push_back(last_step_.at(input));
    return step;
  }

  void push(const Layer& layer, Step step) {
    plan_.steps.push_back(std::move(step));
    last_step_[layer.name] = static_cast<int>(plan_.steps.size()) - 1;
  }

  void push_plain(const Layer& layer, StepKind kind) { push(layer, new_step(layer, kind)); }

  // The `activation` attribute of a layer that computes something else first.
  void push_fused_activation(const Layer& layer) {
    push_point(layer, graph::kPreActivation);
    if (layer.activation_function() != "linear") push_after(layer, activation_of(layer, "activation"));
    push_point(layer, graph::kPostActivation);
  }

  void push_activation(const Layer& layer, Activation activation) {
    alias(layer);
    push_point(layer, graph::kPreActivation);
    push_after(layer, std::move(activation));
    push_point(layer, graph::kPostActivation);
  }

  // An activation of what the layer's steps gave so far.
  void push_after(const Layer& layer, Activation activation) {
    Step step = new_step(layer, StepKind::kActivation);
    step.inputs = {last_step_.at(layer.name)};
    step.activation = std::move(activation);
    push(layer, std::move(step));
  }

  // Affine quantization of the same, if the layer has that point.
  void push_point(const Layer& layer, std::string_view point) {
    if (!graph::quantized_point(layer, point)) return;
    Step step = new_step(layer, StepKind::kFakeQuant);
    step.inputs = {last_step_.at(layer.name)};
    step.point = point;
    push(layer, std::move(step));
  }

  // A reader of the layer's output, so the output is a value of its own. A regularizer that is not known is refused
  // when a training comes to it: inference goes without.
  void push_penalty(const Layer& layer) {
    constexpr const char* kAttribute = "activity_regularizer";
    if (graph::knows_regularizer(layer, kAttribute) && graph::regularizer_of(layer, kAttribute).is_none()) return;
    Step step = new_step(layer, StepKind::kPenalty);
    step.inputs = {last_step_.at(layer.name)};
    plan_.steps.push_back(std::move(step));
  }

  // A layer whose value is its input's.
  void alias(const Layer& layer) { last_step_[layer.name] = last_step_.at(layer.inputs.at(0)); }

  const graph::Model& model_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, int> last_step_;
  Plan plan_;
  int layer_index_ = 0;
};

int Lowering::push_permuted(const Layer& layer, int input, const Shape& shape, bool channels_to_the_end) {
  Step step;
  step.kind = StepKind::kPermute;
  step.layer = layer_index_;
  step.shape = shape;
  step.inputs = {input};
  for (int axis = 0; axis <= shape.rank(); ++axis) step.order.push_back(axis);
  const auto first = step.order.begin() + 1;
  std::rotate(first, channels_to_the_end ? first + 1 : step.order.end() - 1, step.order.end());
  push(layer, std::move(step));
  return last_step_.at(layer.name);
}

// The layer computes with its channels last, between two permutations.
void Lowering::add_channels_first(const Layer& layer) {
  require_elementwise_activation(layer);
  const Shape in = input_shape(layer), out = shapes_.at(layer.name);
  Layer last = layer;
  last.attributes["data_format"] = std::string("channels_last");
  last.inputs = {layer.name + ", its input"};
  shapes_[last.inputs[0]] = graph::with_channels_last(in);
  last_step_[last.inputs[0]] = push_permuted(layer, last_step_.at(layer.inputs.at(0)), shapes_[last.inputs[0]], true);
  const bool keeps_axes = out.rank() == in.rank();
  if (keeps_axes) shapes_[layer.name] = graph::with_channels_last(out);
  add_layer(last);
  if (!keeps_axes) return;
  shapes_[layer.name] = out;
  push_permuted(layer, last_step_.at(layer.name), out, false);
}

void Lowering::add_convolution(const Layer& layer, bool depthwise) {
  Step step = new_step(layer, StepKind::kConvolution);
  const Shape& in = input_shape(layer);
  const auto& kernel = layer.get_ints("kernel_size");
  const auto& strides = layer.get_ints("strides");
  const auto& dilation = layer.get_ints("dilation_rate");
  ConvolutionGeometry& g = step.geometry;
  g.in_height = in[0], g.in_width = in[1], g.in_channels = in[2];
  g.out_height = step.shape[0], g.out_width = step.shape[1], g.out_channels = step.shape[2];
  g.kernel_height = kernel[0], g.kernel_width = kernel[1];
  g.stride_height = strides[0], g.stride_width = strides[1];
  g.dilation_height = dilation[0], g.dilation_width = dilation[1];
  const graph::Window rows = window_of(layer, in[0], kernel[0], strides[0], dilation[0]);
  const graph::Window columns = window_of(layer, in[1], kernel[1], strides[1], dilation[1]);
  g.pad_top = rows.before, g.pad_bottom = rows.after, g.pad_left = columns.before, g.pad_right = columns.after;
  g.groups = depthwise ? g.in_channels : (layer.has("groups") ? layer.get_int("groups") : 1);
  g.has_bias = layer.get_bool("use_bias");
  push(layer, std::move(step));
  push_fused_activation(layer);
}

void Lowering::add_pool(const Layer& layer, StepKind kind) {
  Step step = new_step(layer, kind);
  const Shape& in = input_shape(layer);
  const auto& size = layer.get_ints("pool_size");
  const auto& strides = layer.has("strides") ? layer.get_ints("strides") : size;
  const graph::Window rows = window_of(layer, in[0], size[0], strides[0]);
  const graph::Window columns = window_of(layer, in[1], size[1], strides[1]);
  step.window = {size[0], size[1], strides[0], strides[1], rows.before, columns.before, rows.after, columns.after};
  push(layer, std::move(step));
}

void Lowering::add_pad(const Layer& layer) {
  Step step = new_step(layer, StepKind::kPad);
  const auto& padding = layer.get_ints("padding");  // top, bottom, left, right
  step.window.pad_top = padding.at(0), step.window.pad_bottom = padding.at(1);
  step.window.pad_left = padding.at(2), step.window.pad_right = padding.at(3);
  push(layer, std::move(step));
}

void Lowering::add_concatenate(const Layer& layer) {
  Step step = new_step(layer, StepKind::kConcatenate);
  const auto axis = static_cast<int>(layer.get_int("axis"));
  step.axis = axis < 0 ? axis + step.shape.rank() + 1 : axis;
  push(layer, std::move(step));
}

void Lowering::add_batch_norm(const Layer& layer) {
  Step step = new_step(layer, StepKind::kBatchNorm);
  const int rank = step.shape.rank() + 1;
  const auto axis = static_cast<int>(layer.get_int("axis"));
  step.axis = (axis < 0 ? axis + rank : axis) == rank - 1 ? -1 : axis;
  push(layer, std::move(step));
}

using Add = std::function<void(Lowering&, const Layer&)>;

void Lowering::add_layer(const Layer& layer) {
  if (graph::is_channels_first(layer) && input_shape(layer).rank() > 1) return add_channels_first(layer);
  const auto plain = [](StepKind kind) { return [kind](Lowering& l, const Layer& x) { l.push_plain(x, kind); }; };
  const Add convolution = [](Lowering& l, const Layer& x) { l.add_convolution(x, false); };
  const Add depthwise = [](Lowering& l, const Layer& x) { l.add_convolution(x, true); };
  const Add dense = [](Lowering& l, const Layer& x) {
    l.push_plain(x, StepKind::kDense);
    l.push_fused_activation(x);
  };
  const Add batch_norm = [](Lowering& l, const Layer& x) { l.add_batch_norm(x); };
  const Add softmax = [](Lowering& l, const Layer& x) {
    require_last_axis(x, l.input_shape(x).rank());
    l.push_activation(x, plain_function("softmax"));
  };
  const Add activation = [](Lowering& l, const Layer& x) { l.push_activation(x, activation_of(x, "activation")); };
  const Add dropout = [](Lowering& l, const Layer& x) {
    Step step = l.new_step(x, StepKind::kDropout);
    step.rate = x.get_float("rate");
    l.push(x, std::move(step));
  };
  // The sums by the op; what comes after them are steps, so that a reader finds its codes.
  const Add transposed = [](Lowering& l, const Layer& x) {
    Step step = l.new_step(x, StepKind::kLayer);
    step.sums_products = true;
    l.push(x, std::move(step));
    l.push_fused_activation(x);
  };
  static const std::map<std::string, Add, std::less<>> kLayers = {
      {"InputLayer", plain(StepKind::kInput)},
      {"Conv2D", convolution},
      {"QConv2D", convolution},
      {"DepthwiseConv2D", depthwise},
      {"QDepthwiseConv2D", depthwise},
      {"Dense", dense},
      {"QDense", dense},
      {"Conv2DTranspose", transposed},
      {"QConv2DTranspose", transposed},
      {"BatchNormalization", batch_norm},
      {"QBatchNormalization", batch_norm},
      {"Activation", activation},
      {"QActivation", activation},
      {"ReLU", [](Lowering& l, const Layer& x) { l.push_activation(x, relu_of(x)); }},
      {"LeakyReLU", [](Lowering& l, const Layer& x) { l.push_activation(x, relu_of(x)); }},
      {"Softmax", softmax},
      {"Dropout", dropout},
      {"MaxPooling2D", [](Lowering& l, const Layer& x) { l.add_pool(x, StepKind::kMaxPool); }},
      {"AveragePooling2D", [](Lowering& l, const Layer& x) { l.add_pool(x, StepKind::kAveragePool); }},
      {"GlobalAveragePooling2D", plain(StepKind::kGlobalAveragePool)},
      {"Flatten", plain(StepKind::kReshape)},
      {"Reshape", plain(StepKind::kReshape)},
      {"ZeroPadding2D", [](Lowering& l, const Layer& x) { l.add_pad(x); }},
      {"Add", plain(StepKind::kAdd)},
      {"Subtract", plain(StepKind::kSubtract)},
      {"Multiply", plain(StepKind::kMultiply)},
      {"Maximum", plain(StepKind::kMaximum)},
      {"Minimum", plain(StepKind::kMinimum)},
      {"Average", plain(StepKind::kAverage)},
      {"Concatenate", [](Lowering& l, const Layer& x) { l.add_concatenate(x); }},
  };
  const auto found = kLayers.find(layer.class_name);
  if (found != kLayers.end()) {
    found->second(*this, layer);
    return;
  }
  if (find_layer_op(layer.class_name) != nullptr) {
    Step step = new_step(layer, StepKind::kLayer);
    step.moves_values = moves_values(layer);
    push(layer, std::move(step));
    return;
  }
  std::set<std::string_view> known;
  for (const auto& [name, add] : kLayers) known.insert(name);
  for (const std::string_view name : layer_op_classes()) known.insert(name);
  throw Unsupported("[train] layer '{}' is a {}, which training does not know. Known: {}.", layer.name,
                    layer.class_name, fmt::join(known, ", "));
}

}  // namespace

Plan lower(const graph::Model& model) { return Lowering(model).run(); }

}  // namespace nibble::train
