#include "nibble/transform/finalize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/transform/inspect.h"

namespace nibble::transform {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// One dense layer of 2 inputs and 3 units behind an input.
graph::Model dense_model(const std::string& kernel_quantizer, const std::string& bias_quantizer,
                         std::vector<float> kernel) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  std::map<std::string, graph::Attribute> attributes = {{"units", int64_t{3}}};
  if (!kernel_quantizer.empty()) attributes["kernel_quantizer"] = kernel_quantizer;
  if (!bias_quantizer.empty()) attributes["bias_quantizer"] = bias_quantizer;
  graph::Layer dense = graph::make_layer("QDense", "dense", std::move(attributes));
  dense.inputs = {"in"};
  dense.weights = {{"kernel", Tensor(Shape{2, 3}, std::move(kernel))}, {"bias", Tensor(Shape{3}, {0.3f, -0.6f, 0.1f})}};
  model.layers.push_back(std::move(dense));
  model.inputs = {"in"};
  model.outputs = {"dense"};
  return model;
}

const std::vector<float> kKernel = {0.3f, -0.55f, 1.7f, -0.02f, 0.26f, -1.2f};

TEST(Finalize, WritesQuantizedValuesBackAndTellsTheirCodes) {
  const Finalized result = finalize(dense_model("quantized_bits(4,0,1,alpha=1.0)", "quantized_bits(4,0,1)", kKernel));
  const FinalizedWeight& kernel = result.layers.at(0).weights.at(0);
  ASSERT_TRUE(kernel.encoded.has_value());
  EXPECT_THAT(kernel.encoded->codes, ElementsAre(2, -4, 7, 0, 2, -7));
  EXPECT_EQ(result.model.layer("dense").weights[0].value,
            Tensor(Shape({2, 3}), {0.25f, -0.5f, 0.875f, 0, 0.25f, -0.875f}));
  EXPECT_TRUE(result.warnings.empty());
}

TEST(Finalize, TwiceIsOnceForFixedScales) {
  const Finalized once = finalize(dense_model("quantized_bits(4,0,1,alpha=1.0)", "quantized_po2(4)", kKernel));
  EXPECT_EQ(finalize(once.model).model, once.model);
}

TEST(Finalize, SaysWhatStaysFloat) {
  const Finalized result = finalize(dense_model("quantized_bits(4,0,1,alpha=1.0)", "", kKernel));
  EXPECT_THAT(result.warnings, Contains(HasSubstr("bias has no quantizer")));
}

TEST(Finalize, AModelWithoutWeightsIsRefused) {
  graph::Model model = dense_model("quantized_bits(4,0,1,alpha=1.0)", "", kKernel);
  model.layer("dense").weights.clear();
  EXPECT_THROW(finalize(model), InvalidArgument);
}

TEST(Finalize, SignsStayAlignedWithWeights) {
  const graph::Model model = dense_model("quantized_bits(4,0,1,alpha='auto_po2')", "quantized_po2(4)", kKernel);
  const Finalized result = finalize(model);
  EXPECT_EQ(qkeras_weights(result).at("dense").at("signs").size(), 2u);
  // The reference leaves out the entry of the auto_po2 kernel.
  EXPECT_EQ(qkeras_weights(result, Compatibility::kQkeras).at("dense").at("signs").size(), 1u);
}

TEST(Finalize, BatchNormWithoutCenterKeepsItsQuantizersInPlace) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  graph::Layer bn = graph::make_layer(
      "QBatchNormalization", "bn",
      {{"center", false}, {"mean_quantizer", "quantized_bits(4,1,1)"}, {"beta_quantizer", "quantized_bits(2,1,1)"}});
  bn.inputs = {"in"};
  bn.weights = {{"gamma", Tensor(Shape{2}, {1.0f, 1.0f})},
                {"moving_mean", Tensor(Shape{2}, {0.3f, -0.6f})},
                {"moving_variance", Tensor(Shape{2}, {1.0f, 1.0f})}};
  model.layers.push_back(bn);
  const Finalized result = finalize(model);
  EXPECT_EQ(result.layers.at(0).weights.at(1).value, Tensor(Shape({2}), {0.25f, -0.5f}));  // 4 bits, step 1/4
}

TEST(Inspect, AnswersTheQuestionOfSeed0) {
  // alpha='auto' leaves scales that no shift can do, and the file looks like floats.
  const graph::Model model =
      dense_model("quantized_bits(4,0,1,alpha='auto')", "quantized_bits(4,0,1,alpha=1.0)", kKernel);
  const Inspection before = inspect(model);
  EXPECT_FALSE(before.weights.at(0).is_on_grid);
  EXPECT_THAT(before.warnings, Contains(HasSubstr("nibble finalize")));
  const Inspection after = inspect(finalize(model).model);
  EXPECT_TRUE(after.weights.at(0).is_on_grid);
  EXPECT_FALSE(after.weights.at(0).scale_is_power_of_two);
  EXPECT_THAT(after.warnings, Contains(HasSubstr("not powers of two")));
  EXPECT_THAT(after.warnings, Not(Contains(HasSubstr("nibble finalize"))));
}

TEST(Inspect, NamesTheScalesThatAreNoPowersOfTwo) {
  const graph::Model model =
      dense_model("quantized_bits(4,0,1,alpha=[1.0,2.0,3.0])", "quantized_bits(4,0,1,alpha=1.0)", kKernel);
  EXPECT_THAT(inspect(model).warnings, Contains(HasSubstr("leaves a scale that is no power of two (0.375)")));
}

// Layers that hold others, and the one that names its weight otherwise.
std::vector<graph::Layer> layers_with_layers_inside() {
  const std::map<std::string, graph::Attribute> four = {
      {"units", int64_t{2}},
      {"kernel_quantizer", std::string("quantized_bits(4,0,1,alpha=1.0)")},
      {"recurrent_quantizer", std::string("quantized_bits(3,0,1,alpha=1.0)")},
      {"bias_quantizer", std::string("quantized_bits(2,0,1,alpha=1.0)")},
      {"state_quantizer", std::string("quantized_bits(5,0,1,alpha=1.0)")}};
  const graph::Layer lstm = graph::make_layer("QLSTM", "inside", four);
  return {graph::make_layer("QBidirectional", "it", {{"layer", graph::as_inner_layer(lstm)}}),
          graph::make_layer("Bidirectional", "it", {{"layer", graph::as_inner_layer(lstm)}}),
          graph::make_layer("RNN", "it", {{"cell", graph::as_cell(lstm)}}),
          graph::make_layer("QScaleShift", "it",
                            {{"weight_quantizer", std::string("quantized_bits(4,0,1,alpha=1.0)")},
                             {"bias_quantizer", std::string("quantized_bits(2,0,1,alpha=1.0)")}})};
}

TEST(Finalize, QuantizesWeightsOfLayersInside) {
  for (graph::Layer& layer : layers_with_layers_inside()) {
    SCOPED_TRACE(layer.class_name);
    graph::Model model;
    model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{3, 2}}}));
    layer.inputs = {"in"};
    model.layers.push_back(layer);
    model.inputs = {"in"};
    model.outputs = {"it"};
    graph::initialize_weights(model, 5);
    // None on its grid as it is, the biases neither.
    for (graph::Weight& weight : model.layers[1].weights) {
      for (int64_t i = 0; i < weight.value.size(); ++i) weight.value[i] = 0.3f * std::sin(static_cast<float>(i + 1));
    }
    for (const WeightInspection& weight : inspect(model).weights) EXPECT_FALSE(weight.is_on_grid) << weight.name;
    const Finalized result = finalize(model);
    EXPECT_TRUE(result.warnings.empty()) << result.warnings[0];
    ASSERT_EQ(result.layers.size(), 1u);
    for (const FinalizedWeight& weight : result.layers[0].weights) {
      ASSERT_TRUE(weight.encoded) << weight.name;
      const bool recurrent = weight.name.ends_with("recurrent_kernel"), bias = weight.name.ends_with("bias");
      EXPECT_EQ(weight.encoded->bit_width, bias ? 2 : (recurrent ? 3 : 4)) << weight.name;
    }
    const Inspection after = inspect(result.model);
    for (const WeightInspection& weight : after.weights) EXPECT_TRUE(weight.is_on_grid) << weight.name;
    EXPECT_TRUE(after.warnings.empty()) << after.warnings[0];
  }
}

TEST(Finalize, RefusedScaleAxesNameTheLayerAndTheWeight) {
  const graph::Model model =
      dense_model("quantized_bits(4,0,1,alpha='auto',scale_axis=3)", "quantized_bits(4,0,1)", kKernel);
  const auto message_of = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const auto names_it = HasSubstr("layer 'dense' (QDense), kernel: scale_axis 3 is not an axis");
  EXPECT_THAT(message_of([&] { finalize(model); }), names_it);
  EXPECT_THAT(message_of([&] { inspect(model); }), names_it);
}

// One direction is enough for a layer to count as quantized.
TEST(Finalize, QuantizesTheBackwardLayerOfAFloatForwardOne) {
  graph::Layer backward = graph::make_layer("QLSTM", "backward",
                                            {{"units", int64_t{2}},
                                             {"go_backwards", true},
                                             {"kernel_quantizer", std::string("quantized_bits(4,0,1,alpha=1.0)")},
                                             {"recurrent_quantizer", std::string("quantized_bits(3,0,1,alpha=1.0)")},
                                             {"bias_quantizer", std::string("quantized_bits(2,0,1,alpha=1.0)")}});
  const graph::Layer forward = graph::make_layer("LSTM", "forward", {{"units", int64_t{2}}});
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{3, 2}}}));
  model.layers.push_back(graph::make_layer(
      "Bidirectional", "it",
      {{"layer", graph::as_inner_layer(forward)}, {"backward_layer", graph::as_inner_layer(backward)}}));
  model.layers[1].inputs = {"in"};
  model.inputs = {"in"};
  model.outputs = {"it"};
  graph::initialize_weights(model, 5);
  const Finalized result = finalize(model);
  ASSERT_EQ(result.layers.size(), 1u) << (result.warnings.empty() ? "" : result.warnings[0]);
  for (const FinalizedWeight& weight : result.layers[0].weights) {
    EXPECT_EQ(weight.encoded.has_value(), weight.name.starts_with("backward")) << weight.name;
  }
  EXPECT_THAT(result.warnings, Contains(HasSubstr("forward_kernel has no quantizer")));
  const std::vector<std::string> warnings = inspect(model).warnings;
  EXPECT_THAT(warnings, Contains(HasSubstr("has no quantizer for 'forward_kernel'")));
  EXPECT_THAT(warnings, Not(Contains(HasSubstr("weights of class"))));
}

// The reference pairs the weights of both directions with its list of eight quantizers by position.
TEST(Finalize, PairsByPositionAsTheReferenceDoes) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{3, 2}}}));
  model.layers.push_back(layers_with_layers_inside()[0]);
  model.layers[1].inputs = {"in"};
  model.inputs = {"in"};
  model.outputs = {"it"};
  graph::initialize_weights(model, 5);
  const Finalized result = finalize(model, Compatibility::kQkeras);
  std::vector<int> widths;
  for (const FinalizedWeight& weight : result.layers.at(0).weights) widths.push_back(weight.encoded->bit_width);
  EXPECT_THAT(widths, ElementsAre(4, 3, 2, 5, 4, 3));
}

TEST(Inspect, CountsCodes) {
  const Inspection result = inspect(dense_model("quantized_bits(4,0,1,alpha=1.0)", "quantized_bits(4,0,1)", kKernel));
  const WeightInspection& kernel = result.weights.at(0);
  EXPECT_EQ(kernel.bit_width, 4);
  EXPECT_EQ(kernel.code_min, -7);
  EXPECT_EQ(kernel.code_max, 7);
  EXPECT_EQ(kernel.histogram, (std::map<int32_t, int64_t>{{-7, 1}, {-4, 1}, {0, 1}, {2, 2}, {7, 1}}));
  EXPECT_DOUBLE_EQ(kernel.saturated_share, 2.0 / 6);
  EXPECT_DOUBLE_EQ(kernel.clipped_share, 2.0 / 6);
  EXPECT_DOUBLE_EQ(kernel.zero_share, 1.0 / 6);
  EXPECT_FLOAT_EQ(static_cast<float>(kernel.max_error), 1.7f - 0.875f);
  EXPECT_EQ(kernel.bits_used, 4);
}

TEST(Inspect, FinalizedPowerOfTwoScalesAreRecognised) {
  const Inspection result =
      inspect(finalize(dense_model("quantized_bits(3,0,1,alpha='auto_po2')", "quantized_po2(4)", kKernel)).model);
  EXPECT_TRUE(result.weights.at(0).is_on_grid);
  EXPECT_TRUE(result.weights.at(0).scale_is_power_of_two);
  EXPECT_TRUE(result.weights.at(1).is_power_of_two_code);
  EXPECT_TRUE(result.weights.at(1).is_on_grid);
}

TEST(Inspect, TellsWhatScalesCost) {
  const std::pair<const char*, const char*> rows[] = {{"quantized_bits(4,0,1,alpha='auto')", "multiply"},
                                                      {"quantized_bits(4,0,1,alpha='auto_po2')", "shift"},
                                                      {"quantized_bits(4,0,1,alpha=1.0)", "shift"},
                                                      {"quantized_bits(4,3,1,alpha=1.0)", "none"}};
  for (const auto& [text, cost] : rows) {
    const Inspection result = inspect(dense_model(text, "quantized_bits(4,0,1)", kKernel));
    EXPECT_EQ(scale_cost(result.weights.at(0)), cost) << text;
  }
}

TEST(Inspect, TellsHowManyBitsTheCodesNeed) {
  // 4 integer bits leave a step of 1/8: 1.7 is 14 of them.
  const Inspection result = inspect(dense_model("quantized_bits(8,4,1,alpha=1.0)", "quantized_bits(4,0,1)", kKernel));
  EXPECT_EQ(result.weights.at(0).bit_width, 8);
  EXPECT_EQ(result.weights.at(0).bits_used, 5);
}

TEST(Inspect, FoldedLayersShowWhatTheyComputeWith) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  graph::Layer folded = graph::make_layer("QDenseBatchnorm", "folded",
                                          {{"units", int64_t{2}},
                                           {"use_bias", false},
                                           {"epsilon", 0.0},
                                           {"kernel_quantizer", "quantized_bits(4,0,1,alpha=1.0)"}});
  folded.inputs = {"in"};
  folded.weights = {{"kernel", Tensor({2, 2}, {1.0f, 0.5f, -2.0f, 1.5f})},
                    {"gamma", Tensor({2}, {0.5f, 1.0f})},
                    {"beta", Tensor({2}, {0.25f, 0.0f})},
                    {"iteration", Tensor(Shape{}, {9.0f})},
                    {"moving_mean", Tensor({2}, {0.0f, 0.5f})},
                    {"moving_variance", Tensor({2}, {4.0f, 16.0f})}};
  model.layers.push_back(folded);
  const Inspection result = inspect(model);
  ASSERT_EQ(result.weights.size(), 2u);
  const WeightInspection& kernel = result.weights[0];
  EXPECT_EQ(kernel.name, "folded kernel");
  EXPECT_TRUE(kernel.is_folded);
  // Times gamma / sqrt(variance): 0.25, 0.125, -0.5, 0.375 in eighths.
  EXPECT_EQ(kernel.histogram, (std::map<int32_t, int64_t>{{-4, 1}, {1, 1}, {2, 1}, {3, 1}}));
  EXPECT_EQ(result.weights[1].name, "folded bias");
  EXPECT_EQ(result.weights[1].quantizer, nullptr);
  EXPECT_THAT(result.warnings, Contains(HasSubstr("folded batch normalization ('folded') store float weights")));
  EXPECT_THAT(result.warnings, Contains(HasSubstr("no quantizer for 'folded bias'")));
  EXPECT_THAT(result.warnings, Not(Contains(HasSubstr("run 'nibble finalize'"))));
}

TEST(Inspect, FloatLayersAreNamed) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  graph::Layer bn = graph::make_layer("BatchNormalization", "bn", {});
  bn.inputs = {"in"};
  model.layers.push_back(bn);
  EXPECT_THROW(inspect(model), InvalidArgument);
  graph::initialize_weights(model, 1);
  EXPECT_THAT(inspect(model).warnings, Contains(HasSubstr("class BatchNormalization are float ('bn')")));
}

// TFMOT's way: the quantizer is not one of the layer's attributes.
TEST(Inspect, LayersWithRangesAreNotCalledFloat) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  for (const char* name : {"quantized", "float"}) {
    model.layers.push_back(graph::make_layer("Dense", name, {{"units", int64_t{2}}}));
    model.layers.back().inputs = {model.layers[model.layers.size() - 2].name};
  }
  model.inputs = {"in"};
  model.outputs = {"float"};
  graph::initialize_weights(model, 1);
  const graph::LayerQuantization ranges = {
      .weights = {{"kernel", {.kind = graph::AffineKind::kLastValue, .symmetric = true}}},
      .output = {.kind = graph::AffineKind::kMovingAverage}};
  graph::set_quantization(model, "in", graph::LayerQuantization{.output = {.kind = graph::AffineKind::kAllValues}});
  graph::set_quantization(model, "quantized", ranges);
  const Inspection result = inspect(model);
  ASSERT_EQ(result.warnings.size(), 1u);
  EXPECT_THAT(result.warnings[0], HasSubstr("class Dense are float ('float'): 'nibble qat --scheme FILE' quantizes"));
  // Variables of the points are no weights.
  std::vector<std::string> names;
  for (const WeightInspection& weight : result.weights) names.push_back(weight.layer + " " + weight.name);
  EXPECT_EQ(names, (std::vector<std::string>{"quantized kernel", "quantized bias", "float kernel", "float bias"}));
}

// Advice of the way that the model was quantized: QKeras' would lead astray.
TEST(Inspect, AffineModelsAreAdvisedOfAffineQuantizers) {
  struct Row {
    const char* class_name;
    std::map<std::string, graph::Attribute> attributes;
    const char* advice;
  };
  for (const Row& row : {Row{"Dense", {{"units", int64_t{2}}}, "an entry of a class or layer says how"},
                         Row{"BatchNormalization", {}, "'nibble qat --batch-norm fold' on the float model merges"},
                         Row{"PReLU", {}, "affine quantization leaves weights of the class as they are"}}) {
    graph::Model model;
    model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
    model.layers.push_back(graph::make_layer(row.class_name, "x", row.attributes));
    model.layers[1].inputs = model.inputs = {"in"};
    model.outputs = {"x"};
    graph::initialize_weights(model, 1);
    graph::set_quantization(model, "in", graph::LayerQuantization{.output = {.kind = graph::AffineKind::kAllValues}});
    const std::vector<std::string> warnings = inspect(model).warnings;
    ASSERT_EQ(warnings.size(), 1u) << row.class_name;
    EXPECT_THAT(warnings[0], HasSubstr(row.advice));
    EXPECT_THAT(warnings[0], Not(HasSubstr("nibble quantize"))) << row.class_name;
  }
}

// A model of pools and rectifiers has no weights, but may have points.
TEST(Inspect, PointsWithoutWeightsAreNoError) {
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{2}}}));
  model.layers.push_back(graph::make_layer("ReLU", "relu", {}));
  model.layers[1].inputs = model.inputs = {"in"};
  model.outputs = {"relu"};
  EXPECT_THROW(inspect(model), InvalidArgument);
  graph::set_quantization(model, "in", graph::LayerQuantization{.output = {.kind = graph::AffineKind::kAllValues}});
  EXPECT_TRUE(inspect(model).weights.empty());
  EXPECT_TRUE(inspect(model).warnings.empty());
}

}  // namespace
}  // namespace nibble::transform
