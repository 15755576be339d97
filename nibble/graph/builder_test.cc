#include "nibble/graph/builder.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"

namespace nibble::graph::build {
namespace {

TEST(SnakeCase, IsKeras) {
  const std::pair<const char*, const char*> rows[] = {{"QDense", "q_dense"},
                                                      {"Conv2D", "conv2d"},
                                                      {"QConv2D", "q_conv2d"},
                                                      {"BatchNormalization", "batch_normalization"},
                                                      {"MaxPooling2D", "max_pooling2d"},
                                                      {"DepthwiseConv2D", "depthwise_conv2d"},
                                                      {"GlobalAveragePooling2D", "global_average_pooling2d"},
                                                      {"Conv2DTranspose", "conv2d_transpose"},
                                                      {"QConv2DBatchnorm", "q_conv2d_batchnorm"},
                                                      {"ReLU", "re_lu"},
                                                      {"LeakyReLU", "leaky_re_lu"},
                                                      {"InputLayer", "input_layer"}};
  for (const auto& [class_name, expected] : rows) EXPECT_EQ(snake_case(class_name), expected);
}

TEST(Builder, NamesLayersAsKerasDoes) {
  const Node in = Input({.shape = {8, 8, 1}});
  Node x = Conv2D({.filters = 2, .kernel_size = {3, 3}})(in);
  x = Conv2D({.filters = 2, .kernel_size = {3, 3}, .name = "conv2d_1"})(x);
  x = Conv2D({.filters = 2, .kernel_size = {3, 3}})(x);
  x = QActivation({.activation = "quantized_relu(4)"})(x);
  const Model model = build_model({in}, {x}, "m");
  std::vector<std::string> names;
  for (const Layer& layer : model.layers) names.push_back(layer.name);
  EXPECT_EQ(names, (std::vector<std::string>{"input_layer", "conv2d", "conv2d_1", "conv2d_2", "q_activation"}));
  EXPECT_EQ(model.inputs, std::vector<std::string>{"input_layer"});
  EXPECT_EQ(model.outputs, std::vector<std::string>{"q_activation"});
}

TEST(Builder, BranchesMeet) {
  const Node in = Input({.shape = {8, 8, 4}, .name = "in"});
  const Node a = Conv2D({.filters = 4, .kernel_size = {3, 3}, .padding = "same", .name = "a"})(in);
  const Node sum = Add({.name = "sum"})({a, in});
  const Model model = build_model({in}, {Concatenate({.name = "both"})({sum, a})});
  EXPECT_EQ(model.layer("sum").inputs, (std::vector<std::string>{"a", "in"}));
  EXPECT_EQ(infer_shapes(model).at("both"), (Shape{8, 8, 8}));
}

TEST(Builder, OneCallTwiceGivesTwoLayers) {
  const Node in = Input({.shape = {4}});
  const LayerCall dense = Dense({.units = 4});
  const Model model = build_model({in}, {dense(dense(in))});
  EXPECT_EQ(model.layers.size(), 3u);
  EXPECT_EQ(model.layers[2].inputs, std::vector<std::string>{"dense"});
}

TEST(Builder, RefusesWhatDoesNotFit) {
  const Node in = Input({.shape = {4}, .name = "in"});
  const Node other = Input({.shape = {4}, .name = "other"});
  EXPECT_THROW(build_model({in}, {Add()({in, other})}), InvalidArgument);
  EXPECT_THROW(build_model({in}, {Conv2D({.filters = 1, .kernel_size = {3, 3}})(in)}), InvalidArgument);
  EXPECT_THROW(build_model({in}, {Dense({.units = 1, .name = "in"})(in)}), InvalidArgument);
  EXPECT_THROW(Dense({}), InvalidArgument);
}

TEST(Builder, DeepNetworksDoNotExhaustTheStack) {
  Node x = Input({.shape = {1}, .name = "in"});
  const Node in = x;
  for (int i = 0; i < 3000; ++i) x = Activation({.activation = "relu"})(x);
  EXPECT_EQ(build_model({in}, {x}).layers.size(), 3001u);
}

TEST(Summary, ShowsShapesParametersAndQuantizers) {
  const Node in = Input({.shape = {28, 28, 1}, .name = "in"});
  Node x = QConv2D({.filters = 16,
                    .kernel_size = {3, 3},
                    .use_bias = false,
                    .kernel_quantizer = "quantized_bits(4,0,1)",
                    .name = "c"})(in);
  x = BatchNormalization({.name = "bn"})(x);
  Model model = build_model({in}, {x}, "tiny");
  const std::vector<LayerSummary> rows = summarize(model);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].parameters, 144);
  EXPECT_EQ(rows[2].parameters, 64);
  EXPECT_EQ(rows[2].trainable_parameters, 32);
  EXPECT_EQ(rows[1].quantizers.rfind("kernel quantized_bits(4,0,1", 0), 0u) << rows[1].quantizers;
  const std::string text = summary(model);
  for (const char* part : {"Model: \"tiny\"", "c (QConv2D)", "(None, 26, 26, 16)", "Total params: 208",
                           "Trainable params: 176", "Non-trainable params: 32"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  model.layer("c").trainable = false;
  EXPECT_EQ(summarize(model)[1].trainable_parameters, 0);
}

}  // namespace
}  // namespace nibble::graph::build
