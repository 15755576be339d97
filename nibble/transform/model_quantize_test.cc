#include "nibble/transform/model_quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::transform {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

using Attributes = std::map<std::string, graph::Attribute>;

graph::Layer make(const std::string& class_name, const std::string& name, const std::string& input,
                  Attributes attributes = {}) {
  graph::Layer layer = graph::make_layer(class_name, name, std::move(attributes));
  if (!input.empty()) layer.inputs = {input};
  return layer;
}

// A small network with one layer of every kind that issue 2 converts.
graph::Model make_model() {
  graph::Model model;
  const std::vector<int64_t> kernel = {3, 3};
  model.layers = {
      make("InputLayer", "input", "", {{"shape", std::vector<int64_t>{8, 8, 1}}}),
      make("Conv2D", "conv", "input", {{"filters", int64_t{4}}, {"kernel_size", kernel}, {"activation", "relu"}}),
      make("BatchNormalization", "bn", "conv"),
      make("Activation", "act", "bn", {{"activation", "relu"}}),
      make("DepthwiseConv2D", "dw", "act", {{"kernel_size", kernel}, {"use_bias", false}}),
      make("ReLU", "relu6", "dw", {{"max_value", 6.0}}),
      make("ReLU", "leaky", "relu6", {{"negative_slope", 0.25}}),
      make("Flatten", "flatten", "leaky"),
      make("Dense", "dense", "flatten", {{"units", int64_t{3}}}),
      make("Activation", "softmax", "dense", {{"activation", "softmax"}}),
  };
  model.inputs = {"input"};
  model.outputs = {"softmax"};
  graph::initialize_weights(model, 7);
  return model;
}

std::string text(const graph::Layer& layer, const std::string& attribute) {
  const auto quantizer = layer.get_quantizer(attribute);
  return quantizer == nullptr ? "none" : quantizer->str();
}

std::string canonical(const std::string& quantizer) { return quant::get_quantizer(quantizer)->str(); }

TEST(ModelQuantize, ClassEntriesConvertEveryLayerOfTheClass) {
  const json config = {
      {"QConv2D", {{"kernel_quantizer", "quantized_bits(4,0,1,alpha=1.0)"}, {"bias_quantizer", "quantized_bits(4)"}}},
      {"QDense", {{"kernel_quantizer", "ternary(alpha='auto')"}}},
      {"QDepthwiseConv2D", {{"depthwise_quantizer", "binary(alpha=1.0)"}, {"bias_quantizer", "quantized_bits(4)"}}}};
  const graph::Model model = model_quantize(make_model(), config, {.activation_bits = 3});
  const graph::Layer& conv = model.layer("conv");
  EXPECT_EQ(conv.class_name, "QConv2D");
  EXPECT_EQ(text(conv, "kernel_quantizer"), canonical("quantized_bits(4,0,1,alpha=1.0)"));
  EXPECT_EQ(text(conv, "bias_quantizer"), canonical("quantized_bits(4)"));
  EXPECT_EQ(text(conv, "activation"), canonical("quantized_relu(3)"));
  EXPECT_EQ(model.layer("dense").class_name, "QDense");
  EXPECT_EQ(text(model.layer("dense"), "bias_quantizer"), "none");
  EXPECT_EQ(model.layer("dense").activation_function(), "linear");
  EXPECT_EQ(text(model.layer("dw"), "bias_quantizer"), "none") << "no bias, no quantizer for it";
  EXPECT_EQ(model.layer("act").class_name, "Activation");
  EXPECT_EQ(model.layer("bn").class_name, "BatchNormalization");
}

TEST(ModelQuantize, LayersInsideABidirectionalAreConvertedByItsEntry) {
  const json entry = {{"kernel_quantizer", "quantized_bits(4,0,1,alpha=1.0)"},
                      {"recurrent_quantizer", "quantized_bits(3,0,1,alpha=1.0)"},
                      {"bias_quantizer", "quantized_bits(2,0,1)"},
                      {"state_quantizer", "quantized_bits(5,0,1)"}};
  const graph::Layer lstm = graph::make_layer("LSTM", "inside", {{"units", int64_t{2}}});
  const graph::Layer gru = graph::make_layer("GRU", "back", {{"units", int64_t{2}}, {"go_backwards", true}});
  for (const bool has_backward : {false, true}) {
    graph::Model source;
    source.layers.push_back(graph::make_layer("InputLayer", "in", {{"shape", std::vector<int64_t>{3, 2}}}));
    std::map<std::string, graph::Attribute> attributes = {{"layer", graph::as_inner_layer(lstm)}};
    if (has_backward) attributes["backward_layer"] = graph::as_inner_layer(gru);
    source.layers.push_back(graph::make_layer("Bidirectional", "both", std::move(attributes)));
    source.layers[1].inputs = source.inputs = {"in"};
    source.outputs = {"both"};
    for (const char* key : {"QBidirectional", "both"}) {
      const graph::Model model = model_quantize(source, {{key, entry}}, {});
      EXPECT_EQ(model.layer("both").class_name, "QBidirectional");
      const graph::Layer forward = graph::inner_layer(model.layer("both"), "layer");
      const graph::Layer backward = graph::inner_layer(model.layer("both"), "backward_layer");
      EXPECT_EQ(forward.class_name, "QLSTM");
      EXPECT_EQ(backward.class_name, has_backward ? "QGRU" : "QLSTM");
      for (const graph::Layer* inner : {&forward, &backward}) {
        EXPECT_EQ(text(*inner, "kernel_quantizer"), canonical("quantized_bits(4,0,1,alpha=1.0)"));
        EXPECT_EQ(text(*inner, "recurrent_quantizer"), canonical("quantized_bits(3,0,1,alpha=1.0)"));
        EXPECT_EQ(text(*inner, "bias_quantizer"), canonical("quantized_bits(2,0,1)"));
        EXPECT_EQ(text(*inner, "state_quantizer"), canonical("quantized_bits(5,0,1)"));
      }
      EXPECT_TRUE(backward.get_bool("go_backwards"));
    }
    EXPECT_EQ(graph::inner_layer(model_quantize(source, json::object(), {}).layer("both"), "layer").class_name, "LSTM");
  }
}

TEST(ModelQuantize, NameEntryHidesTheClassEntryEntirely) {
  const json config = {
      {"conv", {{"kernel_quantizer", "binary(alpha=1.0)"}}},
      {"QConv2D", {{"kernel_quantizer", "quantized_bits(4)"}, {"bias_quantizer", "quantized_bits(4)"}}}};
  const graph::Model model = model_quantize(make_model(), config);
  EXPECT_EQ(text(model.layer("conv"), "kernel_quantizer"), canonical("binary(alpha=1.0)"));
  EXPECT_EQ(text(model.layer("conv"), "bias_quantizer"), "none");
}

TEST(ModelQuantize, ActivationsAreFoundByFunction) {
  const json config = {{"QActivation", {{"relu", "quantized_relu(2)"}, {"leakyrelu", "quantized_relu(4,0,0,0.25)"}}}};
  const graph::Model model = model_quantize(make_model(), config);
  EXPECT_EQ(text(model.layer("act"), "activation"), canonical("quantized_relu(2)"));
  EXPECT_EQ(model.layer("relu6").class_name, "QActivation");
  EXPECT_FALSE(model.layer("relu6").attributes.contains("max_value"));
  EXPECT_EQ(text(model.layer("leaky"), "activation"), canonical("quantized_relu(4,0,0,0.25)"));
  EXPECT_EQ(model.layer("softmax").class_name, "Activation");
}

TEST(ModelQuantize, EmptyTextAsksForTheAutomaticActivation) {
  const graph::Model model = model_quantize(make_model(), {{"act", ""}}, {.activation_bits = 5});
  EXPECT_EQ(text(model.layer("act"), "activation"), canonical("quantized_relu(5)"));
}

TEST(ModelQuantize, BatchNormalizationTakesNoDefaults) {
  const graph::Model model = model_quantize(make_model(), {{"bn", {{"mean_quantizer", "quantized_bits(6)"}}}});
  const graph::Layer& bn = model.layer("bn");
  EXPECT_EQ(bn.class_name, "QBatchNormalization");
  EXPECT_EQ(text(bn, "mean_quantizer"), canonical("quantized_bits(6)"));
  for (const char* other : {"gamma_quantizer", "beta_quantizer", "variance_quantizer", "inverse_quantizer"}) {
    EXPECT_EQ(text(bn, other), "none") << other;
  }
}

TEST(ModelQuantize, InverseQuantizerIsKept) {
  const json config = {{"QBatchNormalization", {{"inverse_quantizer", "quantized_bits(8,0,1)"}}}};
  EXPECT_EQ(text(model_quantize(make_model(), config).layer("bn"), "inverse_quantizer"),
            canonical("quantized_bits(8,0,1)"));
  // The reference forgets it.
  EXPECT_EQ(
      text(model_quantize(make_model(), config, {.compat = Compatibility::kQkeras}).layer("bn"), "inverse_quantizer"),
      "none");
}

TEST(ModelQuantize, WeightsAreTransferredOnlyOnRequest) {
  const json config = {{"QConv2D", {{"kernel_quantizer", "quantized_bits(4)"}}}};
  const graph::Model source = make_model();
  EXPECT_EQ(model_quantize(source, config, {.transfer_weights = true}).layer("conv").weights,
            source.layer("conv").weights);
  EXPECT_TRUE(model_quantize(source, config).layer("conv").weights.empty());
}

TEST(ModelQuantize, ConnectionsStay) {
  const json config = {{"QConv2D", {{"kernel_quantizer", "quantized_bits(4)"}}}};
  const graph::Model model = model_quantize(make_model(), config, {.transfer_weights = true});
  EXPECT_EQ(model.layer("conv").inputs, std::vector<std::string>{"input"});
  EXPECT_EQ(model.outputs, std::vector<std::string>{"softmax"});
  graph::validate(model);
}

struct Refusal {
  const char* name;
  json config;
  const char* says;
};

class ModelQuantizeRefuses : public ::testing::TestWithParam<Refusal> {};

TEST_P(ModelQuantizeRefuses, WithASentence) {
  try {
    model_quantize(make_model(), GetParam().config);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ModelQuantizeRefuses,
    ::testing::Values(
        Refusal{"NotAnObject", json::array(), "must be an object"},
        Refusal{"UnknownLayer", {{"conv_1", {{"kernel_quantizer", "binary"}}}}, "'conv'"},
        Refusal{"UnknownClass", {{"QConv3D", {{"kernel_quantizer", "binary"}}}}, "QConv2D"},
        Refusal{"DefaultEntry", {{"default", {{"kernel_quantizer", "binary"}}}}, "'default'"},
        Refusal{"UnknownKey", {{"QConv2D", {{"kernel_quantiser", "binary"}}}}, "kernel_quantizer"},
        Refusal{"KernelOfDepthwise", {{"QDepthwiseConv2D", {{"kernel_quantizer", "binary"}}}}, "depthwise_quantizer"},
        Refusal{"TextForAConvolution", {{"QConv2D", "binary"}}, "must be an object"},
        Refusal{"UnknownQuantizer", {{"QConv2D", {{"kernel_quantizer", "quantised_bits(4)"}}}}, "quantized_bits"},
        Refusal{"BadArguments", {{"QConv2D", {{"kernel_quantizer", "quantized_bits(4"}}}}, "quantized_bits(4"},
        Refusal{"NumberAsQuantizer", {{"QConv2D", {{"kernel_quantizer", 4}}}}, "4"},
        Refusal{"InverseBesideGamma",
                {{"bn", {{"gamma_quantizer", "quantized_bits(4)"}, {"inverse_quantizer", "quantized_bits(4)"}}}},
                "inverse_quantizer"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::transform
