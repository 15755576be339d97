#include "nibble/graph/layer_quantization.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

// Every kind of tensor that can be quantized: (8, 8, 3) -> 32 filters -> 2 per channel -> transposed to 5 -> 10.
Model small() {
  using namespace build;
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  Node x = Conv2D({.filters = 32, .kernel_size = {3, 3}, .activation = "relu", .name = "conv"})(in);
  x = DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .name = "depthwise"})(x);
  x = layer("Conv2DTranspose", "transposed", {{"filters", int64_t{5}}, {"kernel_size", std::vector<int64_t>{2, 2}}})(x);
  x = Dense({.units = 10, .name = "dense"})(Flatten({.name = "flatten"})(ReLU({.name = "relu"})(x)));
  return build_model({in}, {x}, "small");
}

// Classes that have fewer points.
Model pooled() {
  using namespace build;
  const Node in = Input({.shape = {8, 8, 3}, .name = "in"});
  const Node x = layer("ELU", "elu")(BatchNormalization({.name = "norm"})(in));
  return build_model({in}, {MaxPooling2D({.name = "pool"})(x)}, "pooled");
}

AffineQuantizer of(AffineKind kind, bool per_axis, int axis = -1, int num_bits = 4) {
  return {.kind = kind, .num_bits = num_bits, .per_axis = per_axis, .symmetric = true, .axis = axis};
}

LayerQuantization on_weight(const char* weight, const AffineQuantizer& quantizer) {
  return {.weights = {{weight, quantizer}}};
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

constexpr auto kLast = AffineKind::kLastValue;
constexpr auto kAverage = AffineKind::kMovingAverage;
constexpr auto kAll = AffineKind::kAllValues;

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

AffineQuantizer fixed(float min, float max) { return {.kind = AffineKind::kFixed, .fixed = {min, max}}; }

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

Model quantized() {
  Model model = small();
  initialize_weights(model, 3);
  set_quantization(model, "in", LayerQuantization{.output = {.kind = kAll}});
  set_quantization(model, "conv",
                   LayerQuantization{.weights = {{"kernel", of(kLast, true)}},
                                     .post_activation = {.kind = kAverage,
                                                         .num_bits = 4,
                                                         .ema_decay = 0.9,
                                                         .average_start = affine::AverageStart::kFirstBatch,
                                                         .range = affine::RangeRule::kMse},
                                     .bias_bits = 16});
  set_quantization(model, "transposed", on_weight("kernel", of(AffineKind::kLsq, true, -2)));
  set_quantization(model, "relu", LayerQuantization{.output = fixed(0, 6)});
  set_quantization(model, "dense", LayerQuantization{.pre_activation = of(AffineKind::kLsqPlus, false)});
  return model;
}

TEST(LayerQuantization, ConfigRoundTripIsExact) {
  Model model = quantized();
  const json config = to_config(model);
  Model again = from_config(json::parse(config.dump()));
  for (size_t i = 0; i < model.layers.size(); ++i) {
    EXPECT_EQ(again.layers[i].quantization, model.layers[i].quantization) << model.layers[i].name;
  }
  EXPECT_EQ(to_config(again).dump(), config.dump());
  EXPECT_EQ(config["config"]["layers"][1]["config"]["quantize_config"]["weights"][0]["quantizer"].dump(),
            R"({"class_name":"LastValueQuantizer","config":{"narrow_range":false,"num_bits":4,"per_axis":true,)"
            R"("symmetric":true}})");
}

TEST(LayerQuantization, PenaltyIsKept) {
  const AffineQuantizer pact{.kind = AffineKind::kPact, .num_bits = 4, .penalty = 1e-4};
  EXPECT_EQ(to_json(pact)["config"]["penalty"], 1e-4);
  EXPECT_EQ(affine_quantizer_from_json(to_json(pact), "here"), pact);
  EXPECT_EQ(to_string(pact), "PACT(4,penalty=0.0001)");
}

TEST(LayerQuantization, RulesOfRangesAreWrittenWhereTheyDifferFromTheDefault) {
  for (const AffineKind kind : {kLast, kAverage, kAll}) {
    AffineQuantizer q{.kind = kind, .num_bits = 4};
    EXPECT_FALSE(to_json(q)["config"].contains("range"));
    EXPECT_EQ(tracker_config(q).range, affine::RangeRule::kExtremes);
    q.range = affine::RangeRule::kMse;
    EXPECT_EQ(to_json(q)["config"]["range"], "mse");
    EXPECT_EQ(affine_quantizer_from_json(to_json(q), "here"), q);
    EXPECT_EQ(tracker_config(q).range, affine::RangeRule::kMse);
  }
  EXPECT_EQ(to_string({.kind = kLast, .num_bits = 4, .range = affine::RangeRule::kMse}), "LastValue(4,range=mse)");
  const json extremes = {{"class_name", "LastValueQuantizer"}, {"config", {{"range", "extremes"}}}};
  EXPECT_EQ(affine_quantizer_from_json(extremes, "here"), AffineQuantizer{.kind = kLast});
}

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

TEST(LayerQuantization, GradientElementsAreWrittenWhereTheyDifferFromTheDefault) {
  AffineQuantizer lsq{.kind = AffineKind::kLsq, .num_bits = 4};
  EXPECT_FALSE(to_json(lsq)["config"].contains("gradient_elements"));
  lsq.gradient_elements = affine::GradientElements::kTensor;
  EXPECT_EQ(to_json(lsq)["config"]["gradient_elements"], "tensor");
  EXPECT_EQ(affine_quantizer_from_json(to_json(lsq), "here"), lsq);
  EXPECT_EQ(to_string(lsq), "LSQ(4,gradient_elements=tensor)");
}

TEST(LayerQuantization, GradientBitsAreKept) {
  const AffineQuantizer dorefa{.kind = AffineKind::kDorefa, .num_bits = 4, .gradient_bits = 6};
  EXPECT_EQ(to_json(dorefa)["config"]["gradient_bits"], 6);
  EXPECT_EQ(affine_quantizer_from_json(to_json(dorefa), "here"), dorefa);
  EXPECT_EQ(to_string(dorefa), "DoReFa(4,gradient_bits=6)");
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

TEST(LayerQuantization, ConfigRefuses) {
  const std::vector<std::pair<const char*, const char*>> rows = {
      {R"(3)", "must be an object"},
      {R"({"weight": []})", "Did you mean 'weights'?"},
      {R"({"weights": {}})", "must be a list"},
      {R"({"weights": [{"weight": "kernel"}]})", "'weight' and 'quantizer'"},
      {R"({"output": {"class_name": "LastValue", "config": {}}})", "Did you mean 'LastValueQuantizer'?"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": "8"}}})", "must be an integer"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 1e99}}})", "must be an integer"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 18446744073709551615}}})", "small"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"per_axes": true}}})", "Did you mean 'per_axis'?"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": []}})", "must be an object"},
      {R"({"output": {"class_name": "LastValueQuantizer", "cfg": {"num_bits": 4}}})",
       "has no 'cfg'. Known: class_name"},
      {R"({"output": {"class_name": "LastValueQuantizer", "confg": {}}})", "Did you mean 'config'?"},
      {R"({"weights": [{"weight": "kernel", "quantizer": null, "num_bits": 4}]})", "has no 'num_bits'"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"range": "min"}}})", "\"extremes\" or \"mse\""},
      {R"({"output": {"class_name": "LSQQuantizer", "config": {"gradient_elements": 3}}})", "\"shared\" or"},
      {R"({"output": {"class_name": "LastValueQuantizer", "config": {"num_bits": 99}}})", "num_bits is 99"}};
  for (const auto& [text, message] : rows) {
    json config = to_config(small());
    config["config"]["layers"][1]["config"]["quantize_config"] = json::parse(text);
    try {
      from_config(config);
      FAIL() << text;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << text << "\n" << error.what();
      EXPECT_NE(std::string(error.what()).find("conv"), std::string::npos) << error.what();
    }
  }
}

TEST(LayerQuantization, WhatKerasWritesBesideIsPassedOver) {
  const json quantizer = json::parse(R"({"module": "tfmot", "class_name": "LastValueQuantizer", "registered_name": null,
    "build_config": {}, "shared_object_id": 3, "config": {"num_bits": 4}})");
  EXPECT_EQ(affine_quantizer_from_json(quantizer, "here"), (AffineQuantizer{.kind = kLast, .num_bits = 4}));
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

TEST(LayerQuantization, RangesAreKeptAndSayWhetherTheyFit) {
  Model model = quantized();
  Layer& conv = model.layer("conv");
  EXPECT_EQ(uncalibrated_point(conv), "kernel");
  EXPECT_EQ(uncalibrated_point(model.layer("relu")), "");
  EXPECT_EQ(uncalibrated_point(model.layer("dense")), "pre_activation");
  std::vector<affine::Range> ranges(32, {-0.5f, 0.5f});
  ranges[7] = {-1.0f, 1.0f};
  store_ranges(conv, "kernel", ranges);
  EXPECT_EQ(stored_ranges(conv, "kernel"), ranges);
  EXPECT_EQ(conv.find_weight("kernel_max")->value[7], 1.0f);
  EXPECT_EQ(uncalibrated_point(conv), "post_activation");
  EXPECT_THROW(require_calibrated(model, "compile"), InvalidArgument);
  EXPECT_THROW(store_ranges(conv, "kernel", std::span(ranges).first(31)), InvalidArgument);
  EXPECT_THROW(store_ranges(conv, "kernel", std::vector<affine::Range>(32, {1.0f, -1.0f})), InvalidArgument);
  EXPECT_THROW(stored_ranges(conv, "output"), InvalidArgument);
  EXPECT_THROW(stored_ranges(model.layer("dense"), "pre_activation"), InvalidArgument);
}

// AllValues starts at [0, 0], as TFMOT's does; having seen zeros is something else.
TEST(LayerQuantization, ZerosThatWereSeenAreCalibrated) {
  Model model = quantized();
  Layer& in = model.layer("in");
  EXPECT_EQ(uncalibrated_point(in), "output");
  const std::vector<affine::Range> zeros(1);
  store_ranges(in, "output", zeros);
  EXPECT_EQ(uncalibrated_point(in), "");
  EXPECT_EQ(stored_ranges(in, "output"), zeros);
  EXPECT_FALSE(std::signbit(stored_ranges(in, "output")[0].min)) << "the mark is seen by no one";
  EXPECT_EQ(in.find_weight("output_min")->value[0], 0.0f);
  EXPECT_EQ(in.find_weight("output_max")->value[0], 0.0f);
  EXPECT_EQ(point_params(in, "output")[0].scale, 1.0f);
  store_ranges(in, "output", std::vector<affine::Range>{{0.0f, 2.0f}});
  EXPECT_EQ(uncalibrated_point(in), "");

  set_quantization(model, "conv", on_weight("kernel", of(kAll, true)));
  Layer& conv = model.layer("conv");
  EXPECT_EQ(uncalibrated_point(conv), "kernel");
  store_ranges(conv, "kernel", std::vector<affine::Range>(32));
  EXPECT_EQ(uncalibrated_point(conv), "");
}

// The points of the model below that moved from where they started, and the one that is then refused.
struct StartCase {
  const char* name;
  std::vector<std::pair<const char*, const char*>> moved;
  const char* refused;  // "": none
  AffineKind relu = kAverage;
};

class Start : public testing::TestWithParam<StartCase> {};

TEST_P(Start, IsARangeThatWasSeenWhereOthersMoved) {
  const StartCase& c = GetParam();
  Model model = small();
  initialize_weights(model, 1);
  LayerQuantization conv = on_weight("kernel", of(kLast, true));
  conv.post_activation = of(kAverage, false);
  set_quantization(model, "conv", conv);
  set_quantization(model, "dense", on_weight("kernel", of(kLast, false)));
  set_quantization(model, "relu", LayerQuantization{.output = of(c.relu, false)});
  for (const auto& [layer, point] : c.moved) {
    Layer& changed = model.layer(layer);
    store_ranges(changed, point,
                 std::vector<affine::Range>(stored_ranges(changed, point).size(), affine::Range{-1.0f, 1.0f}));
  }
  std::string refused;
  try {
    require_calibrated(model, "test");
  } catch (const InvalidArgument& error) {
    refused = error.what();
  }
  if (std::string_view(c.refused).empty()) {
    EXPECT_EQ(refused, "");
  } else {
    EXPECT_NE(refused.find(c.refused), std::string::npos) << refused;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Start,
    testing::Values(
        StartCase{"NothingMoved", {}, "the range of 'kernel' is still"},
        StartCase{"WeightsSayNothingOfActivations", {{"conv", "kernel"}}, "the range of 'post_activation' is still"},
        StartCase{"ActivationsSayNothingOfWeights", {{"conv", "post_activation"}}, "the range of 'kernel' is still"},
        // relu's output and dense's kernel stand at [-6, 6].
        StartCase{"OneOfEachMoved", {{"conv", "kernel"}, {"conv", "post_activation"}}, ""},
        StartCase{"AllValuesStartWhereNoRangeIs",
                  {{"conv", "kernel"}, {"conv", "post_activation"}},
                  "the range of 'output' is still",
                  kAll},
        StartCase{"NoStepIsZero",
                  {{"conv", "kernel"}, {"conv", "post_activation"}},
                  "the range of 'output' is still",
                  AffineKind::kLsq}),
    [](const auto& row) { return row.param.name; });

TEST(LayerQuantization, ParamsAreThoseOfTheCodes) {
  Model model = quantized();
  set_quantization(
      model, "conv",
      LayerQuantization{
          .weights = {{"kernel", {.kind = kLast, .per_axis = true, .symmetric = true, .narrow_range = true}}},
          .post_activation = {.kind = kAll, .num_bits = 4}});
  Layer& conv = model.layer("conv");
  store_ranges(conv, "kernel", std::vector<affine::Range>(32, {-1.27f, 1.27f}));
  const auto kernel = point_params(conv, "kernel");
  ASSERT_EQ(kernel.size(), 32u);
  EXPECT_EQ(kernel[0].zero_point, 0);
  EXPECT_EQ(kernel[0].lowest(), -127);
  EXPECT_FLOAT_EQ(kernel[0].scale, 0.01f);
  store_ranges(conv, "post_activation", std::vector<affine::Range>{{0.0f, 3.0f}});
  const auto activation = point_params(conv, "post_activation");
  EXPECT_FLOAT_EQ(activation[0].scale, 0.2f);
  EXPECT_EQ(activation[0].zero_point, -8);
  EXPECT_EQ(activation[0].highest(), 7);

  Layer& dense = model.layer("dense");
  dense.find_weight("pre_activation_step")->value[0] = 0.5f;
  dense.find_weight("pre_activation_offset")->value[0] = -1.5f;
  EXPECT_EQ(point_params(dense, "pre_activation")[0].zero_point, 3);
  dense.find_weight("pre_activation_offset")->value[0] = -1.4f;
  EXPECT_THROW(point_params(dense, "pre_activation"), Unsupported);
}

TEST(LayerQuantization, SummaryNamesQuantizers) {
  const std::string text = summary(quantized());
  for (const char* part :
       {"kernel LastValue(4,per_axis,symmetric)", "post_activation MovingAverage(4,decay=0.9,range=mse)",
        "output Fixed(8,[0, 6])", "kernel LSQ(4,per_axis=-2,symmetric)"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace nibble::graph
