#include "nibble/transform/folded_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/model_quantize.h"

namespace nibble::transform {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

graph::Layer make(const std::string& class_name, const std::string& name, const std::string& input,
                  std::map<std::string, graph::Attribute> attributes = {}) {
  graph::Layer layer = graph::make_layer(class_name, name, std::move(attributes));
  if (!input.empty()) layer.inputs = {input};
  return layer;
}

// conv -> bn (folds), relu_conv -> bn2 (has an activation of its own), dw -> bn3 (folds), dense.
graph::Model make_model() {
  const std::vector<int64_t> kernel = {3, 3};
  graph::Model model;
  model.layers = {
      make("InputLayer", "input", "", {{"shape", std::vector<int64_t>{8, 8, 2}}}),
      make("Conv2D", "conv", "input", {{"filters", int64_t{3}}, {"kernel_size", kernel}, {"use_bias", false}}),
      make("BatchNormalization", "bn", "conv", {{"epsilon", 0.01}, {"momentum", 0.5}}),
      make("Conv2D", "relu_conv", "bn", {{"filters", int64_t{3}}, {"kernel_size", kernel}, {"activation", "relu"}}),
      make("BatchNormalization", "bn2", "relu_conv"),
      make("DepthwiseConv2D", "dw", "bn2", {{"kernel_size", kernel}}),
      make("BatchNormalization", "bn3", "dw"),
      make("Flatten", "flatten", "bn3"),
      make("Dense", "dense", "flatten", {{"units", int64_t{2}}}),
  };
  model.inputs = {"input"};
  model.outputs = {"dense"};
  graph::initialize_weights(model, 3);
  Tensor& mean = model.layer("bn").find_weight("moving_mean")->value;
  for (int64_t i = 0; i < mean.size(); ++i) mean[i] = 0.25f * static_cast<float>(i + 1);
  return model;
}

json config() {
  return {{"QConv2D", {{"kernel_quantizer", "quantized_bits(4,0,1)"}, {"bias_quantizer", "quantized_bits(8,2,1)"}}},
          {"QConv2DBatchnorm", {{"folding_mode", "batch_stats_folding"}, {"ema_freeze_delay", 7}}}};
}

TEST(FoldedModel, PairsWithoutAnActivationBetweenFold) {
  const FoldedModel folded = convert_to_folded_model(make_model());
  EXPECT_THAT(folded.folded, ElementsAre("conv", "dw"));
  EXPECT_EQ(folded.model.find_layer("bn"), nullptr);
  EXPECT_EQ(folded.model.find_layer("bn3"), nullptr);
  EXPECT_THAT(folded.model.layer("relu_conv").inputs, ElementsAre("conv"));
  EXPECT_THAT(folded.model.layer("flatten").inputs, ElementsAre("dw"));
  EXPECT_NO_THROW(graph::validate(folded.model));
}

TEST(FoldedModel, AnOutputOrTwoReadersKeepTheirBatchNorm) {
  graph::Model model = make_model();
  model.outputs = {"dense", "conv"};
  EXPECT_THAT(convert_to_folded_model(model).folded, ElementsAre("dw"));
}

TEST(FoldedModel, ModelQuantizeTakesInBatchNormWithItsNumbers) {
  const graph::Model source = make_model();
  const graph::Model model = model_quantize(source, config(), {.transfer_weights = true, .enable_bn_folding = true});
  const graph::Layer& conv = model.layer("conv");
  EXPECT_EQ(conv.class_name, "QConv2DBatchnorm");
  EXPECT_TRUE(conv.get_bool("use_bias"));
  EXPECT_EQ(conv.get_string("folding_mode"), "batch_stats_folding");
  EXPECT_EQ(conv.get_int("ema_freeze_delay"), 7);
  EXPECT_DOUBLE_EQ(conv.get_float("epsilon"), 0.01);
  EXPECT_DOUBLE_EQ(conv.get_float("momentum"), 0.5);
  EXPECT_EQ(conv.get_quantizer("bias_quantizer")->class_name(), "quantized_bits");
  EXPECT_EQ(conv.find_weight("moving_mean")->value, source.layer("bn").find_weight("moving_mean")->value);
  EXPECT_EQ(model.layer("relu_conv").class_name, "QConv2D");
  EXPECT_EQ(model.find_layer("bn"), nullptr);
  // No quantizer for the depthwise kernel: it stays, and so does what follows it.
  EXPECT_EQ(model.layer("dw").class_name, "DepthwiseConv2D");
  EXPECT_NE(model.find_layer("bn3"), nullptr);
  EXPECT_NO_THROW(graph::validate(model));
}

TEST(FoldedModel, UnfoldingGivesTheFoldedKernelAndBias) {
  const graph::Model model =
      model_quantize(make_model(), config(), {.transfer_weights = true, .enable_bn_folding = true});
  const graph::Model plain = unfold_model(model);
  const graph::Layer& conv = plain.layer("conv");
  EXPECT_EQ(conv.class_name, "QConv2D");
  const FoldedWeights expected = folded_weights(model.layer("conv"));
  EXPECT_EQ(conv.find_weight("kernel")->value, expected.kernel);
  EXPECT_EQ(conv.find_weight("bias")->value, expected.bias);
  EXPECT_NO_THROW(graph::validate(plain));
}

TEST(FoldedModel, RefusesKeysAndDelaysThatMeanNothing) {
  const auto error_of = [](json entry) -> std::string {
    try {
      model_quantize(make_model(), {{"QConv2DBatchnorm", std::move(entry)}}, {.enable_bn_folding = true});
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_of({{"foldin_mode", "ema_stats_folding"}}), HasSubstr("folding_mode"));
  EXPECT_THAT(error_of({{"ema_freeze_delay", "soon"}}), HasSubstr("training steps"));
}

}  // namespace
}  // namespace nibble::transform
