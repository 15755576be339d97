#include "nibble/transform/separable_layers.h"

#include "nibble/core/error.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::transform {

using graph::Attribute;
using graph::Layer;

std::map<std::string, Attribute> attributes_shared_with(const Layer& layer, const std::string& class_name) {
  std::map<std::string, Attribute> shared;
  const graph::LayerSchema& schema = *graph::find_schema(class_name);
  for (const auto& [name, value] : layer.attributes) {
    if (schema.find(name) != nullptr) shared.insert({name, value});
  }
  return shared;
}

bool is_separable(const Layer& layer) {
  return layer.class_name == "SeparableConv2D" || layer.class_name == "SeparableConv1D";
}

bool can_separate(const Layer& layer, const Shape& input) {
  return layer.class_name != "SeparableConv1D" || input.is_fixed();
}

namespace {

using Ints = std::vector<int64_t>;

bool is_causal(const Layer& layer) { return layer.get_string("padding") == "causal"; }

Layer depthwise_part(const Layer& layer) {
  auto attributes = attributes_shared_with(layer, "DepthwiseConv2D");
  attributes.insert_or_assign("activation", "linear");
  attributes.insert_or_assign("use_bias", false);
  if (is_causal(layer)) attributes.insert_or_assign("padding", "valid");  // what is padded is so before it
  if (layer.class_name == "SeparableConv1D") {
    attributes.insert_or_assign("kernel_size", Ints{1, layer.get_ints("kernel_size")[0]});
    attributes.insert_or_assign("strides", Ints{layer.get_ints("strides")[0], layer.get_ints("strides")[0]});
    attributes.insert_or_assign("dilation_rate", Ints{1, layer.get_ints("dilation_rate")[0]});
  }
  Layer part = graph::make_layer("DepthwiseConv2D", layer.name + "_depthwise", std::move(attributes));
  part.trainable = layer.trainable;
  return part;
}

Layer pointwise_part(const Layer& layer, std::string name) {
  std::map<std::string, Attribute> attributes = {{"filters", layer.get_int("filters")},
                                                 {"kernel_size", Ints{1, 1}},
                                                 {"activation", layer.attributes.at("activation")},
                                                 {"use_bias", layer.get_bool("use_bias")},
                                                 {"kernel_initializer", layer.attributes.at("pointwise_initializer")},
                                                 {"bias_initializer", layer.attributes.at("bias_initializer")}};
  Layer part = graph::make_layer("Conv2D", std::move(name), std::move(attributes));
  part.trainable = layer.trainable;
  return part;
}

void split_weights(const Layer& layer, Layer& depthwise, Layer& pointwise) {
  if (layer.weights.empty()) return;
  const auto image = [](const Tensor& kernel) {
    if (kernel.shape().rank() == 4) return kernel;
    const Shape& s = kernel.shape();
    return kernel.reshaped(Shape{1, s[0], s[1], s[2]});
  };
  depthwise.weights = {{"depthwise_kernel", image(layer.find_weight("depthwise_kernel")->value)}};
  pointwise.weights = {{"kernel", image(layer.find_weight("pointwise_kernel")->value)}};
  if (const graph::Weight* bias = layer.find_weight("bias")) pointwise.weights.push_back(*bias);
}

Layer reshape(const Layer& layer, std::string name, Ints target) {
  Layer result = graph::make_layer("Reshape", std::move(name), {{"target_shape", std::move(target)}});
  result.trainable = layer.trainable;
  return result;
}

void check_sequence(const Layer& layer, const Shape& input) {
  if (can_separate(layer, input)) return;
  throw Unsupported(
      "[quantize] {}: it can be quantized with a fixed number of steps only, but its input is {}. Build the model with "
      "the number of steps that it will be given.",
      graph::described(layer), input.str());
}

// Zeros before the first step: as many as a window reaches back.
Layer causal_pad(const Layer& layer) {
  const int64_t reach = (layer.get_ints("kernel_size")[0] - 1) * layer.get_ints("dilation_rate")[0];
  Layer result = graph::make_layer("ZeroPadding2D", layer.name + "_pad", {{"padding", Ints{0, 0, reach, 0}}});
  result.trainable = layer.trainable;
  return result;
}

}  // namespace

SeparatedLayer separate(const Layer& layer, const Shape& input, const Shape& output) {
  const bool is_sequence = layer.class_name == "SeparableConv1D";
  if (is_sequence) check_sequence(layer, input);
  SeparatedLayer result;
  Layer depthwise = depthwise_part(layer);
  Layer pointwise = pointwise_part(layer, is_sequence ? layer.name + "_pointwise" : layer.name);
  split_weights(layer, depthwise, pointwise);
  if (!is_sequence) {
    depthwise.inputs = layer.inputs;
    pointwise.inputs = {depthwise.name};
    result.layers = {std::move(depthwise), std::move(pointwise)};
    return result;
  }
  Layer expand = reshape(layer, layer.name + "_expand", {1, input[0], input[1]});
  Layer squeeze = reshape(layer, layer.name, {output[0], output[1]});
  result.layers = {std::move(expand)};
  if (is_causal(layer)) result.layers.push_back(causal_pad(layer));
  for (Layer* part : {&depthwise, &pointwise, &squeeze}) result.layers.push_back(std::move(*part));
  result.layers[0].inputs = layer.inputs;
  for (size_t i = 1; i < result.layers.size(); ++i) result.layers[i].inputs = {result.layers[i - 1].name};
  result.has_squeeze = true;
  return result;
}

graph::Model with_separated_layers(const graph::Model& model) {
  graph::Model result = model;
  result.layers.clear();
  const auto shapes = graph::infer_shapes(model);
  for (const Layer& layer : model.layers) {
    const bool separates =
        is_separable(layer) && !graph::is_channels_first(layer) && can_separate(layer, shapes.at(layer.inputs[0]));
    if (!separates) {
      result.layers.push_back(layer);
      continue;
    }
    SeparatedLayer parts = separate(layer, shapes.at(layer.inputs[0]), shapes.at(layer.name));
    for (Layer& part : parts.layers) result.layers.push_back(std::move(part));
  }
  return result;
}

}  // namespace nibble::transform
