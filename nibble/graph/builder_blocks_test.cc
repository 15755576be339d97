// Functions that build several layers: which layers, of what names and shapes.
#include "nibble/graph/builder_blocks.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph::build {
namespace {

std::vector<std::string> described_layers(const Model& model) {
  std::vector<std::string> lines;
  const auto shapes = infer_shapes(model);
  for (const Layer& layer : model.layers) {
    if (layer.class_name != "InputLayer") {
      lines.push_back(layer.name + " " + layer.class_name + " " + shapes.at(layer.name).str());
    }
  }
  return lines;
}

using Lines = std::vector<std::string>;

TEST(MobileNetSeparable, DepthwiseThenPointwise) {
  const Node in = Input({.shape = {8, 8, 2}});
  const Node x = QMobileNetSeparableConv2D({.filters = 6,
                                            .kernel_size = {3, 3},
                                            .strides = {2, 2},
                                            .padding = "SAME",
                                            .activation = "quantized_relu(4)",
                                            .depthwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                                            .pointwise_quantizer = "ternary(alpha=1.0)",
                                            .bias_quantizer = "quantized_bits(4)",
                                            .depthwise_activation = "quantized_relu(3)",
                                            .depthwise_dropout_rate = 0.25,
                                            .name = "s"})(in);
  const Model model = build_model({in}, {x});
  EXPECT_EQ(described_layers(model),
            (Lines{"s_dw QDepthwiseConv2D (4, 4, 2)", "s_dw_act QActivation (4, 4, 2)",
                   "s_dw_dropout Dropout (4, 4, 2)", "s_pw QConv2D (4, 4, 6)", "s_pw_act Activation (4, 4, 6)"}));
  EXPECT_FALSE(model.layer("s_dw").get_bool("use_bias"));
  EXPECT_EQ(model.layer("s_dw").get_quantizer("depthwise_quantizer")->str(), "quantized_bits(4,0,1,alpha=1.0)");
  EXPECT_EQ(model.layer("s_pw").get_quantizer("kernel_quantizer")->str(), "ternary(alpha=1.0)");
  EXPECT_EQ(model.layer("s_pw").get_ints("strides"), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(model.layer("s_dw_dropout").get_float("rate"), 0.25);
}

TEST(MobileNetSeparable, PointwiseFirstOrNothingBetween) {
  const Node in = Input({.shape = {8, 8, 2}});
  Node x = QMobileNetSeparableConv2D({.filters = 6, .kernel_size = {3, 3}, .pw_first = true, .name = "s"})(in);
  EXPECT_EQ(described_layers(build_model({in}, {x})),
            (Lines{"s_pw QConv2D (8, 8, 6)", "s_dw QDepthwiseConv2D (6, 6, 6)"}));
  x = QMobileNetSeparableConv2D({.filters = 6, .kernel_size = {3, 3}})(in);
  EXPECT_EQ(described_layers(build_model({in}, {x})),
            (Lines{"q_depthwise_conv2d QDepthwiseConv2D (6, 6, 2)", "q_conv2d QConv2D (6, 6, 6)"}));
}

TEST(MobileNetSeparable, RegularizersAndConstraintsArrive) {
  const Node in = Input({.shape = {8, 8, 2}});
  const Node x = QMobileNetSeparableConv2D({.filters = 6,
                                            .kernel_size = {3, 3},
                                            .depthwise_regularizer = "l1",
                                            .pointwise_regularizer = "l2",
                                            .bias_constraint = "non_neg",
                                            .name = "s"})(in);
  const Model model = build_model({in}, {x});
  EXPECT_EQ(to_string(model.layer("s_dw").attributes.at("depthwise_regularizer")), "\"l1\"");
  EXPECT_EQ(to_string(model.layer("s_pw").attributes.at("kernel_regularizer")), "\"l2\"");
  EXPECT_EQ(to_string(model.layer("s_pw").attributes.at("bias_constraint")), "\"non_neg\"");
}

QOctaveConv2DOptions quantized(double alpha) {
  return {.filters = 8,
          .kernel_size = {3, 3},
          .alpha = alpha,
          .padding = "same",
          .use_separable = false,
          .name = "o",
          .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
          .bias_quantizer = "quantized_bits(4)",
          .activation = "quantized_relu(4,2)"};
}

TEST(OctaveConv2D, SplitsExchangesAndMerges) {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Octaves split = QOctaveConv2D(quantized(0.25))({.high = in});
  ASSERT_TRUE(split.high && split.low);
  EXPECT_EQ(output_shape(*split.high), (Shape{8, 8, 6}));
  EXPECT_EQ(output_shape(*split.low), (Shape{4, 4, 2}));
  EXPECT_EQ(described_layers(build_model({in}, {*split.high, *split.low})),
            (Lines{"o_c_h_to_h QConv2D (8, 8, 6)", "o_h_act_qr42 QActivation (8, 8, 6)",
                   "o_avg_h_to_l QAveragePooling2D (4, 4, 3)", "o_c_h_to_l QConv2D (4, 4, 2)",
                   "o_l_act_qr42 QActivation (4, 4, 2)"}));

  QOctaveConv2DOptions options = quantized(0.5);
  options.name = "p", options.activation = "", options.acc_quantizer = "quantized_bits(12,4,1)";
  const Octaves exchanged = QOctaveConv2D(options)(split);
  Lines ours;
  for (const std::string& line : described_layers(build_model({in}, {*exchanged.high, *exchanged.low}))) {
    if (line.starts_with("p_")) ours.push_back(line);
  }
  EXPECT_EQ(ours, (Lines{"p_c_h_to_h QConv2D (8, 8, 4)", "p_c_h_to_h_act_qb12_41 QActivation (8, 8, 4)",
                         "p_c_l_to_h QConv2D (4, 4, 4)", "p_c_l_to_h_act_qb12_41 QActivation (4, 4, 4)",
                         "p_u_l_to_h UpSampling2D (8, 8, 4)", "p_a_h Add (8, 8, 4)", "p_c_l_to_l QConv2D (4, 4, 4)",
                         "p_c_l_to_l_act_qb12_41 QActivation (4, 4, 4)", "p_avg_h_to_l QAveragePooling2D (4, 4, 6)",
                         "p_c_h_to_l QConv2D (4, 4, 4)", "p_c_h_to_l_act_qb12_41 QActivation (4, 4, 4)",
                         "p_a_l Add (4, 4, 4)"}));

  options.name = "m", options.alpha = -1.0, options.acc_quantizer = "", options.activation = "quantized_tanh(4)";
  const Octaves merged = QOctaveConv2D(options)(exchanged);
  EXPECT_FALSE(merged.low);
  EXPECT_EQ(output_shape(*merged.high), (Shape{8, 8, 8}));
  EXPECT_EQ(build_model({in}, {*merged.high}).outputs[0], "m_c_h_to_h_act_qt4");
}

TEST(OctaveConv2D, AllInOneResolution) {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  EXPECT_FALSE(QOctaveConv2D(quantized(0.0))({.high = in}).low);
  const Octaves low = QOctaveConv2D(quantized(1.0))({.high = in});
  EXPECT_FALSE(low.high);
  EXPECT_EQ(output_shape(*low.low), (Shape{4, 4, 8}));
}

TEST(OctaveConv2D, SeparableByDefaultWithBothQuantizers) {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Octaves out = QOctaveConv2D({.filters = 4,
                                     .kernel_size = {3, 3},
                                     .alpha = 0.5,
                                     .kernel_initializer = "glorot_normal",
                                     .kernel_regularizer = "l2",
                                     .name = "o",
                                     .depthwise_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                                     .pointwise_quantizer = "ternary(alpha=1.0)"})({.high = in});
  const Model model = build_model({in}, {*out.high, *out.low});
  const Layer& layer = model.layer("o_c_h_to_l");
  EXPECT_EQ(layer.class_name, "QSeparableConv2D");
  EXPECT_EQ(layer.get_quantizer("depthwise_quantizer")->str(), "quantized_bits(4,0,1,alpha=1.0)");
  EXPECT_EQ(layer.get_quantizer("pointwise_quantizer")->str(), "ternary(alpha=1.0)");
  EXPECT_EQ(to_string(layer.attributes.at("pointwise_initializer")), "'glorot_normal'");
  EXPECT_EQ(to_string(layer.attributes.at("depthwise_regularizer")), "\"l2\"");
  EXPECT_EQ(infer_shapes(model).at("o_c_h_to_l"), (Shape{2, 2, 2}));
}

TEST(OctaveConv2D, APixelIsAddedEverywhere) {
  const Node high = Input({.shape = {2, 2, 3}, .name = "high"}), low = Input({.shape = {1, 1, 2}, .name = "low"});
  const Octaves out = QOctaveConv2D(
      {.filters = 4, .kernel_size = {3, 3}, .padding = "same", .name = "o", .kernel_quantizer = "ternary(alpha=1.0)"})(
      {.high = high, .low = low});
  const Model model = build_model({high, low}, {*out.high});
  EXPECT_EQ(model.layer("o_c_l_to_h").class_name, "QConv2D");
  EXPECT_EQ(model.layer("o_c_l_to_h").get_ints("kernel_size"), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(model.find_layer("o_u_l_to_h"), nullptr);
  EXPECT_EQ(output_shape(*out.high), (Shape{2, 2, 4}));
}

TEST(OctaveConv2D, FloatHasKerasLayers) {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Octaves out = OctaveConv2D(
      {.filters = 4, .kernel_size = {3, 3}, .alpha = 0.5, .activation = "relu", .name = "o"})({.high = in});
  EXPECT_EQ(described_layers(build_model({in}, {*out.high, *out.low})),
            (Lines{"o_c_h_to_h SeparableConv2D (6, 6, 2)", "o_h_act Activation (6, 6, 2)",
                   "o_p_h_to_l AveragePooling2D (4, 4, 3)", "o_c_h_to_l SeparableConv2D (2, 2, 2)",
                   "o_l_act Activation (2, 2, 2)"}));
}

TEST(OctaveConv2D, RefusesInASentence) {
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  EXPECT_THROW(QOctaveConv2D(quantized(1.5)), InvalidArgument);
  EXPECT_THROW(QOctaveConv2D(quantized(-0.5)), InvalidArgument);
  EXPECT_THROW(OctaveConv2D({.kernel_size = {3, 3}}), InvalidArgument);
  EXPECT_THROW(QOctaveConv2D(quantized(0.5))({}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::graph::build
