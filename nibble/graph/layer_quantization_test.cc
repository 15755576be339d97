// What set_quantization makes of a layer, and refuses. As JSON: layer_quantization_json_test; ranges and steps:
// quantization_variables_test.
#include "nibble/graph/layer_quantization.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/small_quantized.h"

namespace nibble::graph {
namespace {

// Classes that have fewer points.
Model pooled() {
  using namespace build;
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Node x = layer("ELU", "elu")(BatchNormalization({.name = "norm"})(in));
  return build_model({in}, {MaxPooling2D({.name = "pool"})(x)}, "pooled");
}

std::string variables_text(const Layer& layer, size_t own) {
  std::string text;
  for (size_t i = own; i < layer.weights.size(); ++i) {
    const Weight& weight = layer.weights[i];
    text += fmt::format("{} {} {}; ", weight.name, weight.value.shape().str(), weight.value.data()[0]);
  }
  return text;
}

struct VariablesCase {
  const char* name;
  const char* layer;
  LayerQuantization quantization;
  size_t own;
  const char* variables;
};

class Variables : public testing::TestWithParam<VariablesCase> {};

TEST_P(Variables, HaveShapeAndStart) {
  const VariablesCase& c = GetParam();
  Model built = small();
  initialize_weights(built, 1);
  set_quantization(built, c.layer, c.quantization);
  EXPECT_EQ(variables_text(built.layer(c.layer), c.own), c.variables);
  const Layer& layer = built.layer(c.layer);
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    EXPECT_EQ(is_quantization_variable(layer, layer.weights[i].name), i >= c.own) << layer.weights[i].name;
  }
  validate(built);

  Model fresh = small();
  set_quantization(fresh, c.layer, c.quantization);
  initialize_weights(fresh, 1);
  EXPECT_EQ(fresh, built) << "the variables do not depend on when the quantization was set";
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Variables,
    testing::Values(
        // TFMOT's answer to seed 2 was a scalar.
        VariablesCase{"AllValuesPerAxisHasOneRangeAFilter", "conv", on_weight("kernel", of(kAll, true)), 2,
                      "kernel_min (32,) 0; kernel_max (32,) 0; "},
        VariablesCase{"AllValuesPerTensor", "conv", on_weight("kernel", of(kAll, false)), 2,
                      "kernel_min () 0; kernel_max () 0; "},
        VariablesCase{"MovingAveragePerAxis", "dense", on_weight("kernel", of(kAverage, true)), 2,
                      "kernel_min (10,) -6; kernel_max (10,) 6; "},
        VariablesCase{"DepthwiseHasOneAnOutputChannel", "depthwise", on_weight("depthwise_kernel", of(kLast, true)), 2,
                      "depthwise_kernel_min (64,) -6; depthwise_kernel_max (64,) 6; "},
        VariablesCase{"DepthwiseByInputChannel", "depthwise", on_weight("depthwise_kernel", of(kLast, true, 2)), 2,
                      "depthwise_kernel_min (32,) -6; depthwise_kernel_max (32,) 6; "},
        VariablesCase{"TransposedKernelsEndInInputChannels", "transposed", on_weight("kernel", of(kLast, true, -2)), 2,
                      "kernel_min (5,) -6; kernel_max (5,) 6; "},
        VariablesCase{"FixedHasNone", "conv", on_weight("kernel", of(AffineKind::kFixed, true)), 2, ""},
        VariablesCase{"DorefaHasNone", "conv", on_weight("kernel", of(AffineKind::kDorefa, false, -1, 1)), 2, ""},
        VariablesCase{"LearnedStepOfWeights", "conv", on_weight("kernel", of(AffineKind::kLsq, true)), 2,
                      "kernel_step (32,) 0; "},
        VariablesCase{"LearnedOffsetOnActivationsOnly",
                      "conv",
                      {.weights = {{"kernel", of(AffineKind::kLsqPlus, false)}},
                       .post_activation = of(AffineKind::kLsqPlus, false)},
                      2,
                      "kernel_step () 0; post_activation_step () 0; post_activation_offset () 0; "},
        VariablesCase{"PactClips", "relu", {.output = of(AffineKind::kPact, false)}, 0, "output_alpha () 0; "},
        VariablesCase{"InputPerChannel", "in", {.output = of(kAll, true)}, 0, "output_min (3,) 0; output_max (3,) 0; "},
        VariablesCase{"OrderIsWeightsBeforeAfterOutput",
                      "conv",
                      {.weights = {{"bias", of(kLast, false)}, {"kernel", of(kLast, false)}},
                       .pre_activation = of(kAverage, true),
                       .post_activation = of(kAverage, false),
                       .output = of(kAverage, false)},
                      2,
                      "bias_min () -6; bias_max () 6; kernel_min () -6; kernel_max () 6; "
                      "pre_activation_min (32,) -6; pre_activation_max (32,) 6; post_activation_min () -6; "
                      "post_activation_max () 6; output_min () -6; output_max () 6; "}),
    [](const auto& row) { return row.param.name; });

struct RefusalCase {
  const char* name;
  const char* layer;
  LayerQuantization quantization;
  const char* message;  // part of it
};

class Refusals : public testing::TestWithParam<RefusalCase> {};

TEST_P(Refusals, NameLayerAndCause) {
  const RefusalCase& c = GetParam();
  Model model = small().find_layer(c.layer) != nullptr ? small() : pooled();
  initialize_weights(model, 1);
  const Model before = model;
  try {
    set_quantization(model, c.layer, c.quantization);
    FAIL() << "was taken";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(c.message), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(c.layer), std::string::npos) << error.what();
  }
  EXPECT_EQ(model, before);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Refusals,
    testing::Values(
        RefusalCase{"OneBit", "conv", on_weight("kernel", of(kLast, false, -1, 1)), "num_bits is 1"},
        RefusalCase{"SeventeenBits", "conv", on_weight("kernel", of(AffineKind::kLsq, false, -1, 17)),
                    "between 2 and 16"},
        RefusalCase{"AxisBeyondTheRank", "conv", on_weight("kernel", of(kLast, true, 4)), "Pick one of -4 .. 3"},
        RefusalCase{"OtherAxisOfAnActivation", "conv", {.post_activation = of(kLast, true, 1)}, "axis is 1"},
        RefusalCase{"UnknownWeight", "dense", on_weight("kernle", of(kLast, false)), "Did you mean 'kernel'?"},
        RefusalCase{"WeightOfALayerWithoutAny", "relu", on_weight("kernel", of(kLast, false)), "no weights at all"},
        RefusalCase{"EmptyFixedRange", "relu", {.output = fixed(1, 1)}, "min must be below max"},
        RefusalCase{"PactOnWeights", "conv", on_weight("kernel", of(AffineKind::kPact, false)), "for activations"},
        RefusalCase{"PactPerAxis", "conv", {.output = of(AffineKind::kPact, true)}, "one range"},
        RefusalCase{"TwoOfAWeight",
                    "conv",
                    {.weights = {{"kernel", of(kLast, false)}, {"kernel", of(kAll, false)}}},
                    "two quantizers"},
        RefusalCase{"NarrowBias", "conv", {.bias_bits = 1}, "bias_bits is 1"},
        RefusalCase{"NegativePenalty", "conv", {.output = {.kind = AffineKind::kPact, .penalty = -1}}, "penalty is -1"},
        RefusalCase{"GradientBitsOfAWeight",
                    "conv",
                    {.weights = {{"kernel", {.kind = AffineKind::kDorefa, .gradient_bits = 6}}}},
                    "for activations"},
        RefusalCase{"WideGradient",
                    "conv",
                    {.output = {.kind = AffineKind::kDorefa, .gradient_bits = 17}},
                    "gradient_bits is 17"},
        RefusalCase{"WeightOfABatchNorm", "norm", on_weight("gamma", of(kLast, false)),
                    "cannot be quantized at 'gamma'. Its points are: output."},
        RefusalCase{"StatisticsOfABatchNorm", "norm", on_weight("moving_mean", of(kLast, false)),
                    "cannot be quantized at 'moving_mean'"},
        RefusalCase{"BeforeAPool",
                    "pool",
                    {.pre_activation = of(kAverage, false)},
                    "(MaxPooling2D): a layer of this class cannot be quantized at 'pre_activation'. Its points are: "
                    "output."},
        RefusalCase{
            "BehindAnElu", "elu", {.post_activation = of(kAverage, false)}, "cannot be quantized at 'post_activation'"},
        RefusalCase{
            "BehindTheActivationOfAnInput", "in", {.post_activation = of(kAverage, false)}, "Its points are: output."},
        RefusalCase{"DecayOfOne", "conv", {.output = {.kind = kAverage, .ema_decay = 1.0}}, "decay is 1"}),
    [](const auto& row) { return row.param.name; });

// What a rule has found is a range for any other to go on from.
TEST(LayerQuantization, AnotherRuleKeepsTheRange) {
  Model model = small();
  initialize_weights(model, 1);
  LayerQuantization q{.output = {.kind = kAverage, .num_bits = 4}};
  set_quantization(model, "relu", q);
  store_ranges(model.layer("relu"), "output", std::vector<affine::Range>{{0.0f, 3.0f}});
  q.output.range = affine::RangeRule::kMse;
  set_quantization(model, "relu", q);
  EXPECT_EQ(model.layer("relu").quantization->output.range, affine::RangeRule::kMse);
  EXPECT_EQ(stored_ranges(model.layer("relu"), "output"), (std::vector<affine::Range>{{0.0f, 3.0f}}));
}

// The scale of the gradients is no part of the values.
TEST(LayerQuantization, OtherGradientElementsKeepTheStep) {
  Model model = small();
  initialize_weights(model, 1);
  LayerQuantization q = on_weight("kernel", of(AffineKind::kLsq, false));
  set_quantization(model, "conv", q);
  model.layer("conv").find_weight("kernel_step")->value[0] = 0.25f;
  q.weights[0].quantizer.gradient_elements = affine::GradientElements::kTensor;
  set_quantization(model, "conv", q);
  EXPECT_EQ(variables_text(model.layer("conv"), 2), "kernel_step () 0.25; ");
}

TEST(LayerQuantization, WhatAKindDoesNotUseIsForgotten) {
  Model model = small();
  set_quantization(model, "relu",
                   LayerQuantization{.pre_activation = {.num_bits = 3},
                                     .output = {.kind = kLast,
                                                .fixed = {0, 1},
                                                .ema_decay = 0.5,
                                                .penalty = 1,
                                                .gradient_elements = affine::GradientElements::kTensor}});
  EXPECT_EQ(model.layer("relu").quantization, LayerQuantization{.output = {.kind = kLast}});
  set_quantization(model, "dense",
                   LayerQuantization{.output = {.kind = AffineKind::kLsq, .range = affine::RangeRule::kMse}});
  EXPECT_EQ(model.layer("dense").quantization, LayerQuantization{.output = {.kind = AffineKind::kLsq}});
}

TEST(LayerQuantization, SettingItAnewReplacesTheVariables) {
  Model model = quantized();
  set_quantization(model, "conv", on_weight("kernel", of(AffineKind::kLsq, false)));
  EXPECT_EQ(variables_text(model.layer("conv"), 2), "kernel_step () 0; ");
  model.layer("conv").find_weight("kernel_step")->value[0] = 0.25f;
  set_quantization(model, "conv",
                   LayerQuantization{.weights = {{"kernel", of(AffineKind::kLsq, false)}}, .output = of(kLast, false)});
  EXPECT_EQ(variables_text(model.layer("conv"), 2), "kernel_step () 0.25; output_min () -6; output_max () 6; ");
  set_quantization(model, "conv", on_weight("kernel", of(AffineKind::kLsq, false, -1, 8)));
  EXPECT_EQ(variables_text(model.layer("conv"), 2), "kernel_step () 0; ") << "a step belongs to its width";
  set_quantization(model, "conv", std::nullopt);
  EXPECT_EQ(model.layer("conv").weights.size(), 2u);
  EXPECT_FALSE(model.layer("conv").quantization);
  validate(model);
}

}  // namespace
}  // namespace nibble::graph
