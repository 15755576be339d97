#include "nibble/transform/ptq/quantized_forward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;

// Its last activation is of its own layer or of the dense one.
graph::Model network(bool fused_softmax) {
  const Node in = Input({.shape = {6, 6, 1}, .name = "input"});
  Node x = Conv2D({.filters = 4, .kernel_size = {3, 3}, .activation = "relu", .name = "conv"})(in);
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 3, .activation = fused_softmax ? "softmax" : "linear", .name = "dense"})(x);
  if (!fused_softmax) x = Activation({.activation = "softmax", .name = "softmax"})(x);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 4);
  return model;
}

graph::Model quantized(const graph::Model& model, int bits) {
  return quantize_after_training(model, random_samples({32, 6, 6, 1}, 1), {.bit_width = bits, .per_axis = true},
                                 plain_layer)
      .model;
}

TEST(QuantizedForward, IsNearTheFloatNetworkAtEightBitsAndFarAtTwo) {
  const Tensor x = random_samples({16, 6, 6, 1}, 2);
  for (const bool fused : {false, true}) {
    const graph::Model model = network(fused);
    const Tensor real = plain_output(model, x);
    double at_eight = 0, at_two = 0;
    const Tensor eight = quantized_output(quantized(model, 8), x, plain_layer);
    const Tensor two = quantized_output(quantized(model, 2), x, plain_layer);
    for (int64_t i = 0; i < real.size(); ++i) {
      at_eight = std::max(at_eight, static_cast<double>(std::abs(real[i] - eight[i])));
      at_two = std::max(at_two, static_cast<double>(std::abs(real[i] - two[i])));
    }
    EXPECT_GT(at_eight, 0.0);
    EXPECT_LT(at_eight, 0.05);
    EXPECT_GT(at_two, 2 * at_eight);
  }
}

TEST(QuantizedForward, BothPlacesOfTheSoftmaxAreTheSame) {
  const Tensor x = random_samples({8, 6, 6, 1}, 2);
  EXPECT_EQ(quantized_output(quantized(network(false), 4), x, plain_layer),
            quantized_output(quantized(network(true), 4), x, plain_layer));
}

TEST(QuantizedForward, FloatWeightsAndWeightsOnTheGridGiveTheSame) {
  const graph::Model model = network(false);
  const Tensor samples = random_samples({32, 6, 6, 1}, 1), x = random_samples({8, 6, 6, 1}, 2);
  for (const bool per_axis : {false, true}) {
    const auto output = [&](bool keep) {
      const PostTrainingOptions options{.bit_width = 4, .per_axis = per_axis, .keep_float_weights = keep};
      return quantized_output(quantize_after_training(model, samples, options, plain_layer).model, x, plain_layer);
    };
    EXPECT_EQ(output(true), output(false));
  }
}

TEST(QuantizedForward, RefusesWhatWasNeverCalibrated) {
  graph::Model model = network(false);
  const Tensor x = random_samples({2, 6, 6, 1}, 2);
  graph::set_quantization(model, "conv",
                          graph::LayerQuantization{.output = {.kind = graph::AffineKind::kMovingAverage}});
  EXPECT_THROW(quantized_output(model, x, plain_layer), InvalidArgument);
  model = network(false);
  graph::set_quantization(model, "conv", graph::LayerQuantization{.output = {.kind = graph::AffineKind::kDorefa}});
  EXPECT_THROW(quantized_output(model, x, plain_layer), Unsupported);
}

TEST(QuantizedForward, ALayerWithoutQuantizationHasItsOwnWeightsOnly) {
  const graph::Layer layer = without_quantization(quantized(network(false), 8).layer("conv"));
  ASSERT_EQ(layer.weights.size(), 2u);
  EXPECT_EQ(layer.weights[0].name, "kernel");
  EXPECT_EQ(layer.weights[1].name, "bias");
}

}  // namespace
}  // namespace nibble::ptq
