#include "nibble/transform/ptq/post_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/transform/ptq/activation_points.h"
#include "nibble/transform/ptq/kernel_layout.h"
#include "nibble/transform/ptq/layer_quantizer.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// conv -> bn -> relu -> pool -> conv -> bn -> relu -> flatten -> logits -> softmax, statistics of the samples.
graph::Model network() {
  const Node in = Input({.shape = {10, 10, 2}, .name = "input"});
  Node x = Conv2D({.filters = 6, .kernel_size = {3, 3}, .name = "conv_0"})(in);
  x = BatchNormalization({.name = "bn_0"})(x);
  x = Activation({.activation = "relu", .name = "relu_0"})(x);
  x = MaxPooling2D({.name = "pool"})(x);
  x = Conv2D({.filters = 8, .kernel_size = {3, 3}, .name = "conv_1"})(x);
  x = BatchNormalization({.name = "bn_1"})(x);
  x = Activation({.activation = "relu", .name = "relu_1"})(x);
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 5, .name = "logits"})(x);
  x = Activation({.activation = "softmax", .name = "softmax"})(x);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 11);
  for (const char* name : {"bn_0", "bn_1"}) {
    // Channels of very different size, as training makes them.
    Tensor& variance = model.layer(name).find_weight("moving_variance")->value;
    for (int64_t c = 0; c < variance.size(); ++c) variance[c] = std::ldexp(0.05f, static_cast<int>(c));
    model.layer(name).find_weight("gamma")->value = variance;
    Tensor& beta = model.layer(name).find_weight("beta")->value;
    beta = random_samples(beta.shape(), 4);
  }
  return model;
}

Tensor samples(int64_t count = 64, uint64_t seed = 3) {
  Tensor x = random_samples({count, 10, 10, 2}, seed);
  // Neighbouring pixels are alike, so that rounding errors do not average out by themselves.
  for (int64_t i = 2; i < x.size(); ++i) x[i] = 0.8f * x[i - 2] + 0.4f * x[i];
  return x;
}

PostTrainingResult quantized(const PostTrainingOptions& options, const graph::Model& model = network()) {
  return quantize_after_training(model, samples(), options, plain_layer);
}

const QuantizedLayer& row_of(const PostTrainingResult& result, const std::string& name) {
  for (const QuantizedLayer& row : result.layers) {
    if (row.layer == name) return row;
  }
  throw InvalidArgument("no row {}", name);
}

double logits_sqnr(const PostTrainingOptions& options) { return row_of(quantized(options), "logits").output_sqnr_db; }

TEST(ActivationPoints, StandBehindActivationsAndBeforeSoftmax) {
  const graph::Model folded = fold_batch_norms(network()).model;
  EXPECT_THAT(
      activation_points(folded),
      ElementsAre(ActivationPoint{"input", "output", false}, ActivationPoint{"relu_0", "output", false},
                  ActivationPoint{"relu_1", "output", false}, ActivationPoint{"logits", "post_activation", true}));
}

TEST(ActivationPoints, OfFusedActivationsAndBranches) {
  const Node in = Input({.shape = {4, 4, 2}, .name = "input"});
  const Node a = Conv2D({.filters = 2, .kernel_size = {1, 1}, .activation = "relu", .name = "a"})(in);
  const Node b = Conv2D({.filters = 2, .kernel_size = {1, 1}, .name = "b"})(a);
  const Node sum = Add({.name = "sum"})({a, b});
  const Node relu = ReLU({.name = "relu"})(sum);
  const Node flat = Flatten({.name = "flat"})(relu);
  const Node probabilities = Dense({.units = 3, .activation = "softmax", .name = "dense"})(flat);
  EXPECT_THAT(activation_points(build_model({in}, {probabilities})),
              ElementsAre(ActivationPoint{"input", "output", false}, ActivationPoint{"a", "post_activation", false},
                          ActivationPoint{"b", "post_activation", false}, ActivationPoint{"relu", "output", false},
                          ActivationPoint{"dense", "pre_activation", true}));
}

// A program compares codes of one grid, so that a ReLU behind a maximum does not take its quantizer's place.
TEST(ActivationPoints, OfAMaximum) {
  const Node in = Input({.shape = {4}, .name = "input"});
  const Node a = Dense({.units = 3, .name = "a"})(in), b = Dense({.units = 3, .name = "b"})(in);
  const Node largest = layer("Maximum", "largest")(std::vector<Node>{a, b});
  EXPECT_THAT(activation_points(build_model({in}, {Dense({.units = 2, .name = "c"})(ReLU({.name = "relu"})(largest))})),
              ElementsAre(ActivationPoint{"input", "output", false}, ActivationPoint{"a", "post_activation", false},
                          ActivationPoint{"b", "post_activation", false}, ActivationPoint{"largest", "output", false},
                          ActivationPoint{"relu", "output", false}, ActivationPoint{"c", "post_activation", true}));
}

// Between pixels there are new values, unless the nearest pixel is taken.
TEST(ActivationPoints, OfUpsampling) {
  for (const bool is_bilinear : {false, true}) {
    const Node in = Input({.shape = {4, 4, 2}, .name = "input"});
    Node x = UpSampling2D({.interpolation = is_bilinear ? "bilinear" : "nearest", .name = "up"})(in);
    x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flat"})(x));
    const graph::Model model = build_model({in}, {x});
    EXPECT_EQ(moves_values(model.layer("up")), !is_bilinear);
    std::vector<ActivationPoint> expected = {{"input", "output", false}};
    if (is_bilinear) expected.push_back({"up", "output", false});
    expected.push_back({"dense", "post_activation", true});
    EXPECT_EQ(activation_points(model), expected);
  }
}

// Rounded token ids would be other tokens.
TEST(ActivationPoints, AreNotBeforeAnEmbedding) {
  for (const bool is_moved : {false, true}) {
    const Node in = Input({.shape = {5}, .name = "input"});
    const Node ids = is_moved ? Flatten({.name = "moved"})(in) : in;
    const Node words = layer("Embedding", "words", {{"input_dim", int64_t{1000}}, {"output_dim", int64_t{3}}})(ids);
    const graph::Model model =
        build_model({in}, {Dense({.units = 3, .name = "dense"})(Flatten({.name = "flat"})(words))});
    EXPECT_THAT(activation_points(model), ElementsAre(ActivationPoint{"words", "output", false},
                                                      ActivationPoint{"dense", "post_activation", true}));
  }
}

// Its range is its own: of the mean of two pixels, not of the pixels.
TEST(PostTraining, BilinearUpsamplingHasARange) {
  const Node in = Input({.shape = {10, 10, 2}, .name = "input"});
  Node x = UpSampling2D({.interpolation = "bilinear", .name = "up"})(in);
  x = Dense({.units = 3, .name = "dense"})(Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 2);
  // A stand-in for interpolation: every value halved, four times over.
  const auto compute = [](const graph::Layer& layer, std::span<const Tensor> inputs) {
    if (layer.class_name != "UpSampling2D") return plain_layer(layer, inputs);
    const Tensor& from = inputs[0];
    Tensor y(Shape{from.shape()[0], 20, 20, 2});
    for (int64_t i = 0; i < y.size(); ++i) y[i] = from[i / (20 * 20 * 2) * (10 * 10 * 2) + i % (10 * 10 * 2)] / 2;
    return y;
  };
  const PostTrainingOptions options{.calibration = {.method = affine::CalibrationMethod::kMinMax}};
  const graph::Model result = quantize_after_training(model, samples(), options, compute).model;
  const affine::Range input = graph::stored_ranges(result.layer("input"), "output")[0],
                      up = graph::stored_ranges(result.layer("up"), "output")[0];
  EXPECT_FLOAT_EQ(up.max, input.max / 2);
  EXPECT_FLOAT_EQ(up.min, input.min / 2);
}

TEST(PostTraining, GivesACalibratedModelWithRangesOfTheData) {
  const PostTrainingResult result = quantized({.per_axis = true});
  EXPECT_THAT(result.folded, ElementsAre("conv_0", "conv_1"));
  EXPECT_NO_THROW(graph::validate(result.model));
  EXPECT_NO_THROW(graph::require_calibrated(result.model, "test"));
  const graph::Layer& conv = result.model.layer("conv_0");
  EXPECT_EQ(graph::stored_ranges(conv, "kernel").size(), 6u);
  EXPECT_EQ(conv.quantization->bias_bits, 32);
  const affine::Range relu = graph::stored_ranges(result.model.layer("relu_0"), "output")[0];
  EXPECT_EQ(relu.min, 0.0f);
  EXPECT_GT(relu.max, 0.0f);
  EXPECT_EQ(graph::quantized_point(result.model.layer("logits"), "post_activation")->quantizer.num_bits, 8);
  EXPECT_TRUE(graph::quantized_points(result.model.layer("softmax")).empty());
}

TEST(PostTraining, WeightsAndBiasesLieOnTheirGrids) {
  const PostTrainingResult result = quantized({.bit_width = 4, .per_axis = true});
  const graph::Layer& conv = result.model.layer("conv_1");
  const auto params = graph::point_params(conv, "kernel");
  const Tensor& kernel = kernel_of(conv);
  for (int64_t i = 0; i < kernel.size(); ++i) {
    const float code = kernel[i] / params[static_cast<size_t>(i % 8)].scale;
    EXPECT_NEAR(code, std::round(code), 1e-4);
    EXPECT_LE(std::abs(code), 7.001f);
  }
  const float input_scale = graph::point_params(result.model.layer("relu_0"), "output")[0].scale;
  const Tensor& bias = conv.find_weight("bias")->value;
  for (int64_t c = 0; c < bias.size(); ++c) {
    const double code = static_cast<double>(bias[c]) / (input_scale * params[static_cast<size_t>(c)].scale);
    EXPECT_NEAR(code, std::round(code), 1e-3) << c;  // through the max pool, which keeps relu_0's scale
  }
}

TEST(PostTraining, MoreBitsMoreSignal) {
  double last = 0;
  for (const int bits : {2, 4, 6, 8, 12, 16}) {
    const double db = logits_sqnr({.bit_width = bits, .least_result_bits = 16, .per_axis = true});
    EXPECT_GT(db, last) << bits;
    last = db;
  }
  EXPECT_GT(last, 60.0);
}

TEST(PostTraining, EveryCalibrationMethodWorksAtEightBits) {
  using affine::CalibrationMethod;
  for (const auto method : {CalibrationMethod::kMinMax, CalibrationMethod::kMovingAverage,
                            CalibrationMethod::kPercentile, CalibrationMethod::kMse, CalibrationMethod::kEntropy}) {
    EXPECT_GT(logits_sqnr({.calibration = {.method = method}, .batch_size = 16, .per_axis = true}), 15.0)
        << static_cast<int>(method);
  }
}

TEST(PostTraining, FoldingByTheVarianceCollapses) {
  const PostTrainingOptions right{.per_axis = true};
  PostTrainingOptions wrong = right;
  wrong.fold_divisor = FoldDivisor::kVariance;
  EXPECT_GT(logits_sqnr(right), 30.0);
  EXPECT_LT(logits_sqnr(wrong), logits_sqnr(right) - 10.0);
  wrong.equalize = true;
  EXPECT_THROW(quantized(wrong), InvalidArgument);
}

TEST(PostTraining, EachHelpHelps) {
  const PostTrainingOptions plain{.bit_width = 4};
  PostTrainingOptions per_axis = plain, rounded = plain, before_relu = plain;
  per_axis.per_axis = true;
  rounded.adaptive_rounding = true;
  rounded.rounding = {.steps = 300, .batch_rows = 32};
  before_relu.range_before_activation = true;
  const double base = logits_sqnr(plain);
  EXPECT_GT(logits_sqnr(per_axis), base);
  EXPECT_GT(logits_sqnr(rounded), base);
  EXPECT_LT(logits_sqnr(before_relu), base);
}

// The same function, but channel c of conv_0 is 4^c times as large, which conv_1 takes back.
graph::Model uneven() {
  graph::Model model = fold_batch_norms(network()).model;
  graph::Layer& conv = model.layer("conv_0");
  Tensor &first = kernel_of(conv), &second = kernel_of(model.layer("conv_1")), &bias = conv.find_weight("bias")->value;
  const auto factor = [](int64_t c) { return std::ldexp(1.0f, 2 * static_cast<int>(c)); };
  for (int64_t i = 0; i < first.size(); ++i) first[i] *= factor(i % 6);
  for (int64_t i = 0; i < bias.size(); ++i) bias[i] *= factor(i);
  for (int64_t i = 0; i < second.size(); ++i) second[i] /= factor(i / 8 % 6);
  return model;
}

TEST(PostTraining, EqualizationRescuesUnevenChannels) {
  const PostTrainingResult even = quantized({.equalize = true}, uneven());
  const double without = row_of(quantized({}, uneven()), "logits").output_sqnr_db;
  EXPECT_GT(row_of(even, "logits").output_sqnr_db, without + 6.0);
  EXPECT_EQ(even.equalized_pairs, 2);
  EXPECT_GT(even.largest_equalization, 4.0);
}

graph::Model initialized(graph::Model model) {
  graph::initialize_weights(model, 6);
  for (graph::Layer& layer : model.layers) {
    if (graph::Weight* bias = layer.find_weight("bias")) bias->value = random_samples(bias->value.shape(), 7);
  }
  return model;
}

TEST(PostTraining, SeparableConvolutionsAreTakenApart) {
  const Node in = Input({.shape = {10, 10, 2}, .name = "input"});
  Node x = SeparableConv2D(
      {.filters = 6, .kernel_size = {3, 3}, .depth_multiplier = 2, .activation = "relu", .name = "sep"})(in);
  x = Dense({.units = 5, .name = "logits"})(Flatten({.name = "flatten"})(x));
  const graph::Model model = initialized(build_model({in}, {x}));
  const PostTrainingResult result = quantized({.per_axis = true}, model);
  EXPECT_NO_THROW(graph::validate(result.model));
  EXPECT_NO_THROW(graph::require_calibrated(result.model, "test"));
  const graph::Layer &each = result.model.layer("sep_depthwise"), &across = result.model.layer("sep");
  EXPECT_EQ(each.class_name, "DepthwiseConv2D");
  EXPECT_EQ(across.class_name, "Conv2D");
  EXPECT_EQ(graph::stored_ranges(each, "depthwise_kernel").size(), 4u);
  EXPECT_EQ(graph::stored_ranges(across, "kernel").size(), 6u);
  EXPECT_TRUE(graph::quantized_point(each, "post_activation").has_value()) << "its values are what the second reads";
  EXPECT_TRUE(graph::quantized_point(across, "post_activation").has_value());
  for (const QuantizedLayer& row : result.layers) EXPECT_EQ(row.note, "") << row.layer;
  EXPECT_EQ(across.quantization->bias_bits, 32);
  EXPECT_GT(row_of(result, "logits").output_sqnr_db, 25.0);
  EXPECT_LT(row_of(result, "logits").output_sqnr_db, kLosslessDb);
}

graph::Model upsampled_by_a_kernel() {
  const Node in = Input({.shape = {10, 10, 2}, .name = "input"});
  Node x =
      Conv2DTranspose({.filters = 3, .kernel_size = {3, 2}, .strides = {2, 2}, .activation = "relu", .name = "up"})(in);
  x = Dense({.units = 5, .name = "logits"})(Flatten({.name = "flatten"})(x));
  graph::Model model = initialized(build_model({in}, {x}));
  // Channel 2 of the output is small: one scale for all leaves little of it.
  Tensor& kernel = kernel_of(model.layer("up"));
  for (int64_t i = 0; i < kernel.size(); ++i) {
    if (i / 2 % 3 == 2) kernel[i] /= 64;
  }
  return model;
}

TEST(PostTraining, TransposedKernelsHaveRangesOfTheirOutputChannels) {
  const graph::Model model = upsampled_by_a_kernel();
  const PostTrainingResult result = quantized({.per_axis = true}, model);
  EXPECT_NO_THROW(graph::validate(result.model));
  EXPECT_NO_THROW(graph::require_calibrated(result.model, "test"));
  const graph::Layer& up = result.model.layer("up");
  EXPECT_EQ(row_of(result, "up").note, "");
  EXPECT_EQ(up.quantization->bias_bits, 32);
  const auto ranges = graph::stored_ranges(up, "kernel");
  ASSERT_EQ(ranges.size(), 3u);
  const Tensor &real = kernel_of(model.layer("up")), &coded = kernel_of(up);
  std::vector<float> largest(3, 0.0f);
  for (int64_t i = 0; i < real.size(); ++i) {
    float& of_channel = largest[static_cast<size_t>(i / 2 % 3)];  // (3, 2, 3, 2)
    of_channel = std::max(of_channel, std::abs(real[i]));
  }
  for (size_t c = 0; c < 3; ++c) EXPECT_EQ(ranges[c].max, largest[c]) << c;
  for (int64_t i = 0; i < real.size(); ++i) {
    const float step = largest[static_cast<size_t>(i / 2 % 3)] / 127;
    EXPECT_LE(std::abs(coded[i] - real[i]), 0.501f * step) << i;
    EXPECT_NEAR(coded[i] / step, std::round(coded[i] / step), 1e-3) << i;
  }
  EXPECT_GT(row_of(result, "logits").output_sqnr_db, 25.0);
  EXPECT_GT(row_of(result, "up").weight_sqnr_db, row_of(quantized({}, model), "up").weight_sqnr_db - 1.0);
}

// What is trained on finds its ranges as they are usual for its width.
TEST(PostTraining, StoresTheRuleOfRanges) {
  using affine::RangeRule;
  struct RuleCase {
    int bits;
    WeightRule rule;
    RangeRule weights, activations;
  };
  for (const RuleCase& c : {RuleCase{4, WeightRule::kAutomatic, RangeRule::kMse, RangeRule::kMse},
                            {4, WeightRule::kLargest, RangeRule::kExtremes, RangeRule::kMse},
                            {8, WeightRule::kAutomatic, RangeRule::kExtremes, RangeRule::kExtremes},
                            {8, WeightRule::kSquaredError, RangeRule::kMse, RangeRule::kExtremes}}) {
    const graph::Model model = quantized({.bit_width = c.bits, .weight_rule = c.rule}).model;
    EXPECT_EQ(model.layer("conv_0").quantization->weights[0].quantizer.range, c.weights) << c.bits;
    EXPECT_EQ(model.layer("relu_0").quantization->output.range, c.activations) << c.bits;
    EXPECT_EQ(model.layer("logits").quantization->post_activation.range, RangeRule::kExtremes) << "8 bits";
  }
}

TEST(PostTraining, RefusesAFreeNumberOfSteps) {
  const Node in = Input({.shape = {Shape::kFree, 2}, .name = "steps"});
  graph::Model model = build_model({in}, {Dense({.units = 3, .name = "dense"})(in)});
  graph::initialize_weights(model, 1);
  try {
    quantize_after_training(model, random_samples({4, 6, 2}, 1), {}, plain_layer);
    FAIL();
  } catch (const Unsupported& error) {
    EXPECT_THAT(error.what(), ::testing::AllOf(HasSubstr("'steps'"), HasSubstr("(None, 2)")));
  }
}

TEST(PostTraining, WhatIsNotKnownOfTransposedKernelsIsTold) {
  const PostTrainingOptions options{.bit_width = 4,
                                    .bias_correction = BiasCorrection::kEmpirical,
                                    .adaptive_rounding = true,
                                    .rounding = {.steps = 20, .batch_rows = 16}};
  const PostTrainingResult result = quantized(options, upsampled_by_a_kernel());
  EXPECT_THAT(row_of(result, "up").note, HasSubstr("rounded to nearest"));
  EXPECT_EQ(row_of(result, "logits").note, "");
}

TEST(PostTraining, ABiasBeyond32BitsStaysFloatAndIsTold) {
  const PostTrainingResult result = quantized({.bit_width = 16, .least_result_bits = 16});
  EXPECT_THAT(row_of(result, "conv_0").note, HasSubstr("stays float"));
  EXPECT_EQ(row_of(result, "conv_0").saturated_biases, 0) << "nothing is clipped";
  EXPECT_EQ(result.model.layer("conv_0").quantization->bias_bits, 0);
}

std::vector<double> means_of(const Tensor& y) {
  std::vector<double> mean(static_cast<size_t>(y.shape()[-1]));
  const double rows = static_cast<double>(y.size()) / static_cast<double>(mean.size());
  for (int64_t i = 0; i < y.size(); ++i) mean[static_cast<size_t>(i) % mean.size()] += y[i] / rows;
  return mean;
}

// Largest difference of the means of conv_0's outputs between the float network and one of 3 bits.
double distance_of_means(BiasCorrection correction) {
  const PostTrainingResult result =
      quantized({.bit_width = 3, .bias_bits = 0, .bias_correction = correction, .sampled_positions = 1 << 20});
  const graph::Layer& input = result.model.layer("input");
  Tensor x = samples();
  fake_quantize(input.quantization->output, graph::stored_ranges(input, "output")[0], x);
  const auto given = means_of(plain_layer(result.model.layer("conv_0"), {&x, 1}));
  const auto wanted = means_of(plain_values(fold_batch_norms(network()).model, samples()).at("conv_0"));
  double largest = 0;
  for (size_t c = 0; c < wanted.size(); ++c) largest = std::max(largest, std::abs(wanted[c] - given[c]));
  return largest;
}

TEST(PostTraining, CorrectedBiasesGiveTheFloatMeans) {
  EXPECT_GT(distance_of_means(BiasCorrection::kNone), 1e-3);
  EXPECT_LT(distance_of_means(BiasCorrection::kEmpirical), 1e-5);  // float sums of 4096 outputs near 1
}

TEST(PostTraining, NarrowBiasesSaturateOnTheAccumulatorsGridButNotOnTheirOwn) {
  const PostTrainingResult narrow = quantized({.bias_bits = 4});
  EXPECT_GT(row_of(narrow, "conv_1").saturated_biases, 0);
  EXPECT_EQ(row_of(quantized({.bias_bits = 32}), "conv_1").saturated_biases, 0);
  EXPECT_EQ(row_of(quantized({.bias_bits = 4, .bias_scale = BiasScale::kOwn}), "conv_1").saturated_biases, 0);
}

TEST(PostTraining, FloatWeightsCanBeKept) {
  const PostTrainingResult result = quantized({.bit_width = 4, .keep_float_weights = true});
  EXPECT_EQ(kernel_of(result.model.layer("conv_1")), kernel_of(fold_batch_norms(network()).model.layer("conv_1")));
  EXPECT_NO_THROW(graph::require_calibrated(result.model, "test"));
}

TEST(PostTraining, ConstantAndZeroTensorsHaveRanges) {
  const Tensor zeros(Shape{4, 10, 10, 2});
  const PostTrainingResult result = quantize_after_training(network(), zeros, {}, plain_layer);
  EXPECT_EQ(row_of(result, "input").output_range, (affine::Range{0, 0}));
  graph::Model dead = network();
  for (float& v : kernel_of(dead.layer("conv_1")).data()) v = 0.0f;
  EXPECT_NO_THROW(quantized({.bit_width = 4, .adaptive_rounding = true, .rounding = {.steps = 5}}, dead));
}

struct Refusal {
  const char* name;
  void (*spoil)(graph::Model& model, Tensor& x, PostTrainingOptions& options);
  const char* part;
};
class Refusals : public ::testing::TestWithParam<Refusal> {};

TEST_P(Refusals, AreSentences) {
  graph::Model model = network();
  Tensor x = samples(4);
  PostTrainingOptions options;
  GetParam().spoil(model, x, options);
  try {
    quantize_after_training(model, x, options, plain_layer);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr(GetParam().part));
  }
}

using M = graph::Model;
using O = PostTrainingOptions;
INSTANTIATE_TEST_SUITE_P(
    Rows, Refusals,
    ::testing::Values(
        Refusal{"NaNInTheSamples", [](M&, Tensor& x, O&) { x[5] = std::nanf(""); }, "'input'"},
        Refusal{"InfiniteActivation",
                [](M& m, Tensor& x, O&) {
                  for (float& v : x.data()) v = 3e38f;
                  for (float& v : kernel_of(m.layer("conv_0")).data()) v = 1.0f;
                },
                "'relu_0'"},
        Refusal{"InfiniteWeight", [](M& m, Tensor&, O&) { m.layer("bn_0").find_weight("beta")->value[0] = HUGE_VALF; },
                "layer 'bn_0' (BatchNormalization): its weight 'beta' holds inf at 0"},
        Refusal{"NaNInTheWeights", [](M& m, Tensor&, O&) { kernel_of(m.layer("logits"))[0] = std::nanf(""); },
                "diverged"},
        Refusal{"NoSamples",
                [](M&, Tensor& x, O&) {
                  x = Tensor(Shape{0, 10, 10, 2});
                },
                "at least one"},
        Refusal{"OtherSamples",
                [](M&, Tensor& x, O&) {
                  x = Tensor(Shape{4, 9, 9, 2});
                },
                "(10, 10, 2)"},
        Refusal{"NoWeights", [](M& m, Tensor&, O&) { m.layer("logits").weights.clear(); }, "no weights yet"},
        Refusal{"OneBit", [](M&, Tensor&, O& o) { o.bit_width = 1; }, "2"},
        Refusal{"SeventeenBits", [](M&, Tensor&, O& o) { o.bit_width = 17; }, "16"},
        Refusal{"OneBitBias", [](M&, Tensor&, O& o) { o.bias_bits = 1; }, "bias_bits"},
        Refusal{"NoBatch", [](M&, Tensor&, O& o) { o.batch_size = 0; }, "batch_size"},
        Refusal{"QuantizedModel",
                [](M& m, Tensor&, O&) { m = quantize_after_training(m, samples(4), {}, plain_layer).model; },
                "already has quantizers"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::ptq
