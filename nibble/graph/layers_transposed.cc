// QKeras' transposed convolutions of channels on their own. Source: spec/qkeras.md section 4.
#include "nibble/core/error.h"
#include "nibble/graph/layers_convolution.h"

namespace nibble::graph {
namespace {
using namespace schema;

// Both descend from Conv2DTranspose, whose initializers, regularizers and constraints of "kernel" are those of every
// kernel here.
std::vector<AttributeSpec> inherited() {
  return join({transposed_attributes("glorot_uniform"), {integer("depth_multiplier", 1, 1)}});
}

AttributeSpec activation_called(const char* name) {
  AttributeSpec spec = activation();
  spec.name = name;
  return spec;
}

// What the reference takes and leaves without effect.
void refuse_without_effect(Layer& layer) {
  if (layer.get_int("depth_multiplier") != 1) {
    throw Unsupported("[graph] {}: depth_multiplier {} has no meaning in a transposed convolution; leave it at 1.",
                      described(layer), layer.get_int("depth_multiplier"));
  }
  if (layer.get_int("groups") != 1) {
    throw Unsupported("[graph] {}: groups {} has no effect; leave it at 1{}.", described(layer),
                      layer.get_int("groups"), layer.attributes.contains("group_size") ? " and use group_size" : "");
  }
  if (layer.activation_function() != "linear") {
    throw Unsupported("[graph] {}: `activation` has no effect; use depthwise_activation{}.", described(layer),
                      layer.attributes.contains("pointwise_activation") ? " or pointwise_activation" : "");
  }
}

// depthwise_kernel (kh, kw, ci, group_size): in each group, the out channels by the in channels.
std::vector<WeightSpec> depthwise_transposed_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = convolved_channels(layer, inputs[0]), group = layer.get_int("group_size");
  if (in % group != 0) {
    throw InvalidArgument("[graph] {}: group_size {} must divide the {} channels of the input.", described(layer),
                          group, in);
  }
  if (layer.get_int("filters") != in) {
    throw InvalidArgument("[graph] {}: filters {} must be {}, the channels of the input: each gives one.",
                          described(layer), layer.get_int("filters"), in);
  }
  std::vector<int64_t> kernel = layer.get_ints("kernel_size");
  kernel.insert(kernel.end(), {in, group});
  std::vector<WeightSpec> weights = {{"depthwise_kernel", Shape(std::move(kernel)), "kernel_initializer"}};
  if (layer.get_bool("use_bias")) weights.push_back({"bias", {in}, "bias_initializer"});
  return weights;
}

// depthwise_kernel (kh, kw, 1, ci), pointwise_kernel (1, 1, co, ci)
std::vector<WeightSpec> separable_transposed_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t in = convolved_channels(layer, inputs[0]), filters = layer.get_int("filters");
  std::vector<int64_t> kernel = layer.get_ints("kernel_size");
  kernel.insert(kernel.end(), {1, in});
  std::vector<WeightSpec> weights = {{"depthwise_kernel", Shape(std::move(kernel)), "kernel_initializer"},
                                     {"pointwise_kernel", {1, 1, filters, in}, "kernel_initializer"}};
  if (layer.get_bool("use_bias")) weights.push_back({"bias", {filters}, "bias_initializer"});
  return weights;
}

}  // namespace

std::vector<LayerSchema> transposed_layers() {
  return {{.class_name = "QDepthwiseConv2DTranspose",
           .attributes = join({inherited(),
                               {integer("group_size", 1, 1), activation_called("depthwise_activation"),
                                weight_quantizer("depthwise_kernel_quantizer"), quantizer("bias_quantizer")}}),
           .weights = depthwise_transposed_weights,
           .output_shape = transposed_shape,
           .complete = refuse_without_effect},
          {.class_name = "QSeparableConv2DTranspose",
           .attributes = join({inherited(),
                               {activation_called("depthwise_activation"), activation_called("pointwise_activation"),
                                weight_quantizer("depthwise_kernel_quantizer"),
                                weight_quantizer("pointwise_kernel_quantizer"), quantizer("bias_quantizer")}}),
           .weights = separable_transposed_weights,
           .output_shape = transposed_shape,
           .complete = refuse_without_effect}};
}

}  // namespace nibble::graph
