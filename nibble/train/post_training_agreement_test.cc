// A network that was quantized after training gives in torch what its definition (transform/ptq) gives layer by layer.
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/train/layer_function.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/ptq/quantized_forward.h"
#include "nibble/transform/separable_layers.h"

namespace nibble::train {
namespace {

using namespace graph::build;

Tensor samples(int64_t count, uint64_t seed) {
  Tensor x(Shape{count, 12, 12, 2});
  RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
  for (float& v : x.data()) v = random.normal();
  return x;
}

// Activations as layers of their own and within layers, a branch, a depthwise layer.
graph::Model network(bool fused) {
  const std::string relu = fused ? "relu" : "linear";
  const Node in = Input({.shape = {12, 12, 2}, .name = "input"});
  Node x = Conv2D({.filters = 6, .kernel_size = {3, 3}, .padding = "same", .activation = relu, .name = "conv"})(in);
  if (!fused) {
    x = BatchNormalization({.name = "bn"})(x);
    x = Activation({.activation = "relu", .name = "relu"})(x);
  }
  x = MaxPooling2D({.name = "pool"})(x);
  const Node y = DepthwiseConv2D({.kernel_size = {3, 3}, .padding = "same", .name = "dw"})(x);
  x = Add({.name = "add"})({x, y});
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 5, .activation = fused ? "softmax" : "linear", .name = "logits"})(x);
  if (!fused) x = Activation({.activation = "softmax", .name = "softmax"})(x);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 8);
  return model;
}

struct Row {
  const char* name;
  bool fused;
  ptq::PostTrainingOptions options;
};
class PostTraining : public ::testing::TestWithParam<Row> {};

TEST_P(PostTraining, TorchAndTheDefinitionAgree) {
  const Row& row = GetParam();
  const graph::Model model =
      ptq::quantize_after_training(network(row.fused), samples(64, 1), row.options, layer_function).model;
  const Tensor x = samples(50, 2);
  const Tensor wanted = ptq::quantized_output(model, x, layer_function);
  const Tensor given = Trainer(model, {}).predict(x);
  ASSERT_EQ(given.shape(), wanted.shape());
  int64_t different = 0;
  for (int64_t i = 0; i < given.size(); ++i) different += std::abs(given[i] - wanted[i]) > 1e-5f ? 1 : 0;
  // The network rounds sums by a multiplier (quant/affine/sum_quantizer.h), the definition real numbers: near a tie
  // between two codes they may fall to different sides.
  EXPECT_LE(different, given.size() / 50);
  const Tensor real = Trainer(network(row.fused), {}).predict(x);
  int64_t moved = 0;
  for (int64_t i = 0; i < given.size(); ++i) moved += std::abs(given[i] - real[i]) > 1e-5f ? 1 : 0;
  EXPECT_GT(moved, given.size() / 2);  // it is quantized at all
}

INSTANTIATE_TEST_SUITE_P(
    Rows, PostTraining,
    ::testing::Values(Row{"EightBits", false, {}}, Row{"EightBitsFusedActivations", true, {}},
                      Row{"FourBitsPerChannel", false, {.bit_width = 4, .per_axis = true}},
                      Row{"FourBitsFusedActivations", true, {.bit_width = 4, .per_axis = true}},
                      Row{"SixBitsFloatWeightsKept", false, {.bit_width = 6, .keep_float_weights = true}},
                      Row{"TwelveBits", false, {.bit_width = 12, .least_result_bits = 12, .per_axis = true}}),
    [](const auto& row) { return row.param.name; });

// A separable convolution and a transposed one with a batch norm, whose kernel ends in the input's channels.
graph::Model autoencoder() {
  const Node in = Input({.shape = {12, 12, 2}, .name = "input"});
  Node x = SeparableConv2D({.filters = 6,
                            .kernel_size = {3, 3},
                            .strides = {2, 2},
                            .padding = "same",
                            .activation = "relu",
                            .name = "separable"})(in);
  x = Conv2DTranspose(
      {.filters = 4, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "transposed"})(x);
  x = Activation({.activation = "relu", .name = "relu"})(BatchNormalization({.name = "bn"})(x));
  x = Dense({.units = 5, .name = "logits"})(Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 9);
  for (float& gamma : model.layer("bn").find_weight("gamma")->value.data()) gamma = 0.7f;
  return model;
}

TEST(PostTraining, SeparableAndTransposedConvolutionsAreQuantized) {
  const Tensor x = samples(50, 2), real = Trainer(autoencoder(), {}).predict(x);
  const auto distance = [&](const Tensor& y) {
    double sum = 0, signal = 0;
    for (int64_t i = 0; i < y.size(); ++i) sum += std::pow(y[i] - real[i], 2), signal += std::pow(real[i], 2);
    return std::sqrt(sum / signal);
  };
  for (const bool per_axis : {false, true}) {
    const ptq::PostTrainingOptions options{.per_axis = per_axis};
    const ptq::PostTrainingResult result =
        ptq::quantize_after_training(autoencoder(), samples(64, 1), options, layer_function);
    EXPECT_EQ(result.folded, std::vector<std::string>{"transposed"});
    for (const ptq::QuantizedLayer& row : result.layers) EXPECT_EQ(row.note, "") << row.layer;
    const Tensor given = Trainer(result.model, {}).predict(x);
    EXPECT_GT(distance(given), 1e-4) << "it is quantized";
    EXPECT_LT(distance(given), 0.05);
    const Tensor wanted = ptq::quantized_output(result.model, x, layer_function);
    int64_t different = 0;
    for (int64_t i = 0; i < given.size(); ++i) different += std::abs(given[i] - wanted[i]) > 1e-5f ? 1 : 0;
    EXPECT_LE(different, given.size() / 20);
  }
}

// A separable convolution over a sequence, with every padding; its function stays when it is taken apart.
TEST(PostTraining, SeparableSequencesAreQuantized) {
  const auto sequences = [](int64_t count, uint64_t seed) {
    Tensor x(Shape{count, 12, 3});
    RandomStream random({.seed = seed, .purpose = RandomPurpose::kTest});
    for (float& v : x.data()) v = random.normal();
    return x;
  };
  struct Steps {
    const char* padding;
    int64_t stride, dilation;
  };
  for (const Steps& row : {Steps{"valid", 1, 1}, Steps{"same", 2, 1}, Steps{"causal", 1, 1}, Steps{"causal", 2, 1},
                           Steps{"causal", 1, 2}}) {
    const Node in = Input({.shape = {12, 3}, .name = "input"});
    Node x = layer("SeparableConv1D", "separable",
                   {{"filters", int64_t{6}},
                    {"kernel_size", int64_t{3}},
                    {"strides", row.stride},
                    {"dilation_rate", row.dilation},
                    {"padding", row.padding},
                    {"activation", "relu"}})(in);
    graph::Model model = build_model({in}, {Dense({.units = 5, .name = "logits"})(Flatten({.name = "flatten"})(x))});
    graph::initialize_weights(model, 9);
    const Tensor y = sequences(50, 2), real = Trainer(model, {}).predict(y);
    const Tensor apart = Trainer(transform::with_separated_layers(model), {}).predict(y);
    ASSERT_EQ(apart.shape(), real.shape());
    for (int64_t i = 0; i < real.size(); ++i) ASSERT_NEAR(apart[i], real[i], 1e-5) << row.padding;  // order of sums
    // Found on what is measured: a logit beyond a range of other samples would weigh more than all rounding.
    const ptq::PostTrainingResult result = ptq::quantize_after_training(model, y, {.per_axis = true}, layer_function);
    for (const ptq::QuantizedLayer& each : result.layers) EXPECT_EQ(each.note, "") << each.layer << ", " << row.padding;
    EXPECT_EQ(graph::stored_ranges(result.model.layer("separable_depthwise"), "depthwise_kernel").size(), 3u);
    EXPECT_EQ(graph::stored_ranges(result.model.layer("separable_pointwise"), "kernel").size(), 6u);
    const Tensor given = Trainer(result.model, {}).predict(y);
    double error = 0, signal = 0;
    for (int64_t i = 0; i < real.size(); ++i) error += std::pow(given[i] - real[i], 2), signal += std::pow(real[i], 2);
    EXPECT_GT(error, 1e-8 * signal) << "it is quantized, " << row.padding;
    EXPECT_LT(error, 0.0009 * signal) << row.padding;
  }
}

TEST(LayerFunction, IsTheLayerOnItsOwn) {
  graph::Model model = network(true);
  const Tensor x = samples(3, 4);
  const Tensor conv = layer_function(model.layer("conv"), {&x, 1});
  EXPECT_EQ(conv.shape(), (Shape{3, 12, 12, 6}));
  model.layers.resize(2);
  model.outputs = {"conv"};
  EXPECT_EQ(Trainer(model, {}).predict(x), conv);
  const std::vector<Tensor> two = {x, x};
  const Tensor sum = layer_function(graph::make_layer("Add", "add"), two);
  EXPECT_EQ(sum[7], 2 * x[7]);
}

}  // namespace
}  // namespace nibble::train
