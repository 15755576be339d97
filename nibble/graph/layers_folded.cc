// Convolution and dense layers with batch normalization folded in (QKeras' Q*Batchnorm).
#include "nibble/graph/layers_convolution.h"
#include "nibble/graph/layers_dense.h"
#include "nibble/graph/layers_normalization.h"

namespace nibble::graph {
namespace {
using namespace schema;

std::vector<AttributeSpec> folding_attributes() {
  AttributeSpec delay = required_integer("ema_freeze_delay", -1);
  delay.required = false;
  delay.optional = true;
  return join({batch_normalization_attributes(),
               {delay, choice("folding_mode", "ema_stats_folding", {"ema_stats_folding", "batch_stats_folding"})}});
}

// kernel, [bias], [gamma], [beta], iteration, moving_mean, moving_variance
std::vector<WeightSpec> folded_weights(const Layer& layer, std::vector<WeightSpec> weights, int64_t size) {
  for (WeightSpec& weight : batch_normalization_weights(layer, size)) {
    if (weight.name == "moving_mean") weights.push_back({"iteration", {}, "", false, -1.0f});
    weights.push_back(std::move(weight));
  }
  return weights;
}

std::vector<WeightSpec> conv_weights(const Layer& layer, std::span<const Shape> inputs) {
  return folded_weights(layer, convolution_weights(layer, inputs), layer.get_int("filters"));
}

std::vector<WeightSpec> depthwise_folded_weights(const Layer& layer, std::span<const Shape> inputs) {
  return folded_weights(layer, depthwise_weights(layer, inputs), depthwise_shape(layer, inputs)[-1]);
}

std::vector<WeightSpec> dense_folded_weights(const Layer& layer, std::span<const Shape> inputs) {
  return folded_weights(layer, dense_weights(layer, inputs), layer.get_int("units"));
}

}  // namespace

std::vector<LayerSchema> folded_layers() {
  return {
      {.class_name = "QDenseBatchnorm",
       .attributes = join({dense_attributes("he_normal"),
                           {weight_quantizer("kernel_quantizer"), quantizer("bias_quantizer")},
                           folding_attributes()}),
       .weights = dense_folded_weights,
       .output_shape = dense_shape},
      {.class_name = "QConv2DBatchnorm",
       .attributes = join({convolution_attributes(2, "he_normal"),
                           {weight_quantizer("kernel_quantizer"), quantizer("bias_quantizer")},
                           folding_attributes()}),
       .weights = conv_weights,
       .output_shape = convolution_shape,
       .complete = check_strides},
      {.class_name = "QDepthwiseConv2DBatchnorm",
       .attributes = join({depthwise_attributes(2, "he_normal", "valid"),
                           {weight_quantizer("depthwise_quantizer"), quantizer("bias_quantizer")},
                           folding_attributes()}),
       .weights = depthwise_folded_weights,
       .output_shape = depthwise_shape,
       .complete = check_strides},
  };
}

}  // namespace nibble::graph
