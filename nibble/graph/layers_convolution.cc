#include "nibble/graph/layers_convolution.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/padding.h"

namespace nibble::graph {
namespace {
using namespace schema;

// The input of a convolution: `rank` spatial axes and the channels, which must be fixed.
int64_t channels(const Layer& layer, const Shape& input) {
  const int rank = static_cast<int>(layer.get_ints("kernel_size").size());
  if (input.rank() != rank + 1) {
    throw InvalidArgument(
        "[graph] {} needs an input of {} axes ({} and channels), but gets {}. {}", described(layer), rank + 1,
        rank == 2 ? "height, width" : "steps", input.str(),
        input.rank() < rank + 1 ? "Put a Reshape before it." : "Put a Flatten or a Reshape before it.");
  }
  if (input[-1] == Shape::kFree || input[-1] < 1) {
    throw InvalidArgument("[graph] {} needs a fixed, positive number of channels, but its input is {}.",
                          described(layer), input.str());
  }
  return input[-1];
}

int64_t spatial_extent(const Layer& layer, int axis, const Shape& input) {
  const auto i = static_cast<size_t>(axis);
  const int64_t in = input[axis];
  if (in == Shape::kFree) return Shape::kFree;
  const int64_t kernel = layer.get_ints("kernel_size")[i];
  const int64_t dilation = layer.get_ints("dilation_rate")[i];
  const int64_t out = window(layer.get_string("padding"), in, kernel, layer.get_ints("strides")[i], dilation).out;
  if (out >= 1) return out;
  throw InvalidArgument(
      "[graph] {}: a window of {} (dilation {}) does not fit into axis {} of the input {}. Use "
      "padding 'same', a smaller kernel, or a larger input.",
      described(layer), kernel, dilation, axis, input.str());
}

Shape with_channels(const Layer& layer, const Shape& input, int64_t out_channels) {
  std::vector<int64_t> extents;
  for (int axis = 0; axis + 1 < input.rank(); ++axis) extents.push_back(spatial_extent(layer, axis, input));
  extents.push_back(out_channels);
  return Shape(std::move(extents));
}

Shape kernel_shape(const Layer& layer, std::initializer_list<int64_t> channel_axes) {
  std::vector<int64_t> extents = layer.get_ints("kernel_size");
  extents.insert(extents.end(), channel_axes);
  return Shape(std::move(extents));
}

void add_bias(const Layer& layer, int64_t size, std::vector<WeightSpec>& weights) {
  if (layer.get_bool("use_bias")) weights.push_back({"bias", {size}, "bias_initializer"});
}

std::vector<AttributeSpec> window_attributes(int rank, const char* padding) {
  std::vector<std::string> paddings = {"valid", "same"};
  if (rank == 1) paddings.push_back("causal");
  const std::vector<int64_t> ones(static_cast<size_t>(rank), 1);
  return {required_ints("kernel_size", rank, 1), ints("strides", ones, 1), choice("padding", padding, paddings),
          data_format(), ints("dilation_rate", ones, 1)};
}

std::vector<AttributeSpec> separable_attributes(int rank) {
  return join({{required_integer("filters", 1)},
               window_attributes(rank, "valid"),
               {integer("depth_multiplier", 1, 1), activation(), boolean("use_bias", true),
                initializer("depthwise_initializer", "glorot_uniform"),
                initializer("pointwise_initializer", "glorot_uniform"), initializer("bias_initializer", "zeros")},
               opaques({"depthwise_regularizer", "pointwise_regularizer", "bias_regularizer", "activity_regularizer",
                        "depthwise_constraint", "pointwise_constraint", "bias_constraint"})});
}

std::vector<WeightSpec> separable_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = channels(layer, inputs[0]), multiplier = layer.get_int("depth_multiplier");
  const int64_t filters = layer.get_int("filters");
  std::vector<int64_t> pointwise(layer.get_ints("kernel_size").size(), 1);
  pointwise.insert(pointwise.end(), {in * multiplier, filters});
  std::vector<WeightSpec> weights = {
      {"depthwise_kernel", kernel_shape(layer, {in, multiplier}), "depthwise_initializer"},
      {"pointwise_kernel", Shape(std::move(pointwise)), "pointwise_initializer"}};
  add_bias(layer, filters, weights);
  return weights;
}

// The channels are swapped: (kh, kw, co, ci).
std::vector<WeightSpec> transposed_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = channels(layer, inputs[0]), filters = layer.get_int("filters");
  std::vector<WeightSpec> weights = {{"kernel", kernel_shape(layer, {filters, in}), "kernel_initializer"}};
  add_bias(layer, filters, weights);
  return weights;
}

// A (height, width) list of lists that multiplies the quantized kernel.
AttributeSpec mask() { return opaque("mask", /*only_if_changed=*/true); }

LayerSchema convolution(std::string name, int rank, std::vector<AttributeSpec> attributes) {
  return {.class_name = std::move(name),
          .attributes = std::move(attributes),
          .weights = convolution_weights,
          .output_shape = convolution_shape,
          .complete = check_strides};
}

}  // namespace

std::vector<AttributeSpec> convolution_attributes(int rank, const char* initializer_name) {
  AttributeSpec groups = integer("groups", 1, 1);
  groups.only_if_changed = true;
  return join({{required_integer("filters", 1)},
               window_attributes(rank, "valid"),
               {groups, activation(), boolean("use_bias", true), initializer("kernel_initializer", initializer_name),
                initializer("bias_initializer", "zeros")},
               opaques({"kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint",
                        "bias_constraint"})});
}

std::vector<AttributeSpec> depthwise_attributes(int rank, const char* initializer_name, const char* padding) {
  return join({window_attributes(rank, padding),
               {integer("depth_multiplier", 1, 1), activation(), boolean("use_bias", true),
                initializer("depthwise_initializer", initializer_name), initializer("bias_initializer", "zeros")},
               opaques({"depthwise_regularizer", "bias_regularizer", "activity_regularizer", "depthwise_constraint",
                        "bias_constraint"})});
}

std::vector<WeightSpec> convolution_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = channels(layer, inputs[0]), groups = layer.get_int("groups"), filters = layer.get_int("filters");
  if (in % groups != 0 || filters % groups != 0) {
    throw InvalidArgument("[graph] {}: groups {} must divide the {} input channels and the {} filters.",
                          described(layer), groups, in, filters);
  }
  std::vector<WeightSpec> weights = {{"kernel", kernel_shape(layer, {in / groups, filters}), "kernel_initializer"}};
  add_bias(layer, filters, weights);
  return weights;
}

Shape convolution_shape(const Layer& layer, std::span<const Shape> inputs) {
  channels(layer, inputs[0]);
  return with_channels(layer, inputs[0], layer.get_int("filters"));
}

std::vector<WeightSpec> depthwise_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = channels(layer, inputs[0]), multiplier = layer.get_int("depth_multiplier");
  std::vector<WeightSpec> weights = {
      {"depthwise_kernel", kernel_shape(layer, {in, multiplier}), "depthwise_initializer"}};
  add_bias(layer, in * multiplier, weights);
  return weights;
}

Shape depthwise_shape(const Layer& layer, std::span<const Shape> inputs) {
  return with_channels(layer, inputs[0], channels(layer, inputs[0]) * layer.get_int("depth_multiplier"));
}

std::vector<AttributeSpec> transposed_attributes(const char* initializer_name) {
  AttributeSpec output_padding = required_ints("output_padding", 2, 0);
  output_padding.required = false;
  output_padding.optional = true;
  return join({convolution_attributes(2, initializer_name), {output_padding}});
}

Shape transposed_shape(const Layer& layer, std::span<const Shape> inputs) {
  channels(layer, inputs[0]);
  Shape out = inputs[0];
  for (int axis = 0; axis < 2; ++axis) {
    const auto i = static_cast<size_t>(axis);
    if (out[axis] == Shape::kFree) continue;
    const int64_t output_padding = layer.has("output_padding") ? layer.get_ints("output_padding")[i] : -1;
    out[axis] = transposed_extent(layer.get_string("padding"), out[axis], layer.get_ints("kernel_size")[i],
                                  layer.get_ints("strides")[i], output_padding, layer.get_ints("dilation_rate")[i]);
    if (out[axis] < 1) {
      throw InvalidArgument("[graph] {}: axis {} of the input {} would become {}.", described(layer), axis,
                            inputs[0].str(), out[axis]);
    }
  }
  out[-1] = layer.get_int("filters");
  return out;
}

int64_t convolved_channels(const Layer& layer, const Shape& input) { return channels(layer, input); }

void check_strides(Layer& layer) {
  const auto above_one = [](int64_t value) { return value > 1; };
  const auto& strides = layer.get_ints("strides");
  const auto& dilation = layer.get_ints("dilation_rate");
  if (std::any_of(strides.begin(), strides.end(), above_one) &&
      std::any_of(dilation.begin(), dilation.end(), above_one)) {
    throw InvalidArgument("[graph] {}: strides [{}] and dilation_rate [{}] cannot both be above 1.", described(layer),
                          fmt::join(strides, ", "), fmt::join(dilation, ", "));
  }
}

std::vector<LayerSchema> convolution_layers() {
  const std::vector<AttributeSpec> kernel_quantizers = {weight_quantizer("kernel_quantizer"),
                                                        quantizer("bias_quantizer")};
  const std::vector<AttributeSpec> depthwise_quantizers = {weight_quantizer("depthwise_quantizer"),
                                                           quantizer("bias_quantizer")};
  const std::vector<AttributeSpec> separable_quantizers = {
      weight_quantizer("depthwise_quantizer"), weight_quantizer("pointwise_quantizer"), quantizer("bias_quantizer")};
  std::vector<LayerSchema> layers = {
      convolution("Conv1D", 1, convolution_attributes(1, "glorot_uniform")),
      convolution("QConv1D", 1, join({convolution_attributes(1, "he_normal"), kernel_quantizers})),
      convolution("Conv2D", 2, convolution_attributes(2, "glorot_uniform")),
      convolution("QConv2D", 2, join({convolution_attributes(2, "he_normal"), kernel_quantizers, {mask()}})),
      {.class_name = "DepthwiseConv2D",
       .attributes = depthwise_attributes(2, "glorot_uniform", "valid"),
       .weights = depthwise_weights,
       .output_shape = depthwise_shape,
       .complete = check_strides},
      {.class_name = "QDepthwiseConv2D",
       .attributes = join({depthwise_attributes(2, "he_normal", "valid"), depthwise_quantizers}),
       .weights = depthwise_weights,
       .output_shape = depthwise_shape,
       .complete = check_strides},
      {.class_name = "Conv2DTranspose",
       .attributes = transposed_attributes("glorot_uniform"),
       .weights = transposed_weights,
       .output_shape = transposed_shape},
      {.class_name = "QConv2DTranspose",
       .attributes = join({transposed_attributes("glorot_uniform"), kernel_quantizers}),
       .weights = transposed_weights,
       .output_shape = transposed_shape},
  };
  for (int rank : {1, 2}) {
    for (bool quantized : {false, true}) {
      layers.push_back({.class_name = fmt::format("{}SeparableConv{}D", quantized ? "Q" : "", rank),
                        .attributes = quantized ? join({separable_attributes(rank), separable_quantizers})
                                                : separable_attributes(rank),
                        .weights = separable_weights,
                        .output_shape = convolution_shape,
                        .complete = check_strides});
    }
  }
  return layers;
}

}  // namespace nibble::graph
