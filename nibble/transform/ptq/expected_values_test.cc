// Means that batch norms imply against means of drawn numbers.
#include "nibble/transform/ptq/expected_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/transform/ptq/equalize_layers.h"
#include "nibble/transform/ptq/kernel_layout.h"
#include "nibble/transform/ptq/plain_layers.h"
#include "nibble/transform/ptq/post_training.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct ClipCase {
  const char* name;
  double mean, deviation, low, high;
};
class ClippedMean : public ::testing::TestWithParam<ClipCase> {};

// The integral of clip(x) times the density, in small steps.
TEST_P(ClippedMean, IsTheIntegral) {
  const ClipCase& c = GetParam();
  constexpr int kSteps = 400000;
  double sum = 0.0;
  for (int i = 0; i < kSteps; ++i) {
    const double z = -10.0 + 20.0 * (i + 0.5) / kSteps;
    sum += std::clamp(c.mean + c.deviation * z, c.low, c.high) * std::exp(-0.5 * z * z);
  }
  sum *= 20.0 / kSteps / std::sqrt(2.0 * M_PI);
  EXPECT_NEAR(clipped_mean(c.mean, c.deviation, c.low, c.high), sum, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, ClippedMean,
    ::testing::Values(ClipCase{"Relu", 0.3, 1.2, 0, kInfinity}, ClipCase{"ReluBelow", -2.5, 0.7, 0, kInfinity},
                      ClipCase{"Relu6", 4.0, 3.0, 0, 6}, ClipCase{"Below", 0.3, 1.2, -kInfinity, 0},
                      ClipCase{"Whole", -1.5, 2.0, -kInfinity, kInfinity}, ClipCase{"Narrow", 0.1, 5.0, -0.2, 0.4}),
    [](const auto& row) { return row.param.name; });

TEST(ClippedMean, WithoutDeviation) {
  EXPECT_EQ(clipped_mean(-3.0, 0.0, 0.0, kInfinity), 0.0);
  EXPECT_EQ(clipped_mean(7.0, 0.0, 0.0, 6.0), 6.0);
}

void set(graph::Model& model, const char* layer, const char* weight, std::vector<float> values) {
  Tensor& value = model.layer(layer).find_weight(weight)->value;
  value = Tensor(value.shape(), std::move(values));
}

TEST(ExpectedValues, GoAsFarAsTheyAreKnown) {
  const Node in = Input({.shape = {6, 6, 2}, .name = "input"});
  const Node bn = BatchNormalization({.name = "bn"})(in);
  const Node relu = Activation({.activation = "relu", .name = "relu"})(bn);
  const Node leaky = layer("LeakyReLU", "leaky", {{"negative_slope", 0.5}})(bn);
  const Node both = Concatenate({.name = "both"})({relu, leaky});
  const Node sum = Add({.name = "sum"})({relu, leaky});
  const Node mean = AveragePooling2D({.name = "mean"})(both);
  const Node flat = Flatten({.name = "flat"})(mean);
  const Node pool = MaxPooling2D({.name = "pool"})(sum);
  const Node out = Dense({.units = 2, .name = "dense"})(Concatenate({.name = "end"})({flat, Flatten()(pool)}));
  graph::Model model = build_model({in}, {out});
  graph::initialize_weights(model, 1);
  set(model, "bn", "gamma", {2.0f, -0.5f});
  set(model, "bn", "beta", {0.25f, -1.0f});
  const ExpectedValues expected(model, {});
  const double deviation = std::sqrt(1.0 / (1.0 + model.layer("bn").get_float("epsilon")));
  const double first = clipped_mean(0.25, 2.0 * deviation, 0, kInfinity);
  const double second = clipped_mean(-1.0, 0.5 * deviation, 0, kInfinity);
  const double leaky_first = first + 0.5 * (0.25 - first), leaky_second = second + 0.5 * (-1.0 - second);
  const auto near = [](double v) { return ::testing::DoubleNear(v, 1e-9); };
  using ::testing::ElementsAre;
  ASSERT_NE(expected.mean_of("relu"), nullptr);
  EXPECT_THAT(*expected.mean_of("bn"), ElementsAre(near(0.25), near(-1.0)));
  EXPECT_THAT(*expected.mean_of("relu"), ElementsAre(near(first), near(second)));
  EXPECT_THAT(*expected.mean_of("sum"), ElementsAre(near(first + leaky_first), near(second + leaky_second)));
  ASSERT_EQ(expected.mean_of("flat")->size(), 3u * 3u * 4u);
  EXPECT_THAT((*expected.mean_of("flat"))[4 + 2], near(leaky_first));
  for (const char* unknown : {"input", "pool", "end", "dense"}) EXPECT_EQ(expected.mean_of(unknown), nullptr);
}

// conv -> batch norm with the statistics of standard normal inputs -> relu -> `last`: what enters `last` is as
// expected.
graph::Model normalized(const LayerCall& last) {
  const Node in = Input({.shape = {4, 4, 6}, .name = "input"});
  Node x = Conv2D({.filters = 8, .kernel_size = {1, 1}, .name = "conv"})(in);
  x = Activation({.activation = "relu", .name = "relu"})(BatchNormalization({.name = "bn"})(x));
  graph::Model model = build_model({in}, {last(x)});
  graph::initialize_weights(model, 5);
  const Tensor& kernel = kernel_of(model.layer("conv"));
  for (int64_t o = 0; o < 8; ++o) {
    float variance = 0.0f;  // of inputs that are standard normal
    for (int64_t i = 0; i < 6; ++i) variance += kernel[i * 8 + o] * kernel[i * 8 + o];
    model.layer("bn").find_weight("moving_variance")->value[o] = variance;
    model.layer("bn").find_weight("gamma")->value[o] = 0.3f + 0.4f * static_cast<float>(o);
    model.layer("bn").find_weight("beta")->value[o] = 0.5f - 0.2f * static_cast<float>(o);
  }
  return model;
}

// Largest distance of the means of `last`, whose weights have 3 bits, on the float network's values.
double distance_of_means(const graph::Model& model, PostTrainingOptions options) {
  options.bit_width = 3, options.least_result_bits = 8, options.bias_bits = 0;
  const PostTrainingResult result =
      quantize_after_training(model, random_samples({32, 4, 4, 6}, 1), options, plain_layer);
  const Tensor x = random_samples({2000, 4, 4, 6}, 2);
  graph::Model real = fold_batch_norms(model).model;
  if (options.equalize) real = equalize_layers(real).model;
  const auto values = plain_values(real, x);
  const graph::Layer& last = result.model.layer("last");
  const Tensor given = plain_layer(last, {&values.at(last.inputs[0]), 1}), &wanted = values.at("last");
  const auto channels = static_cast<size_t>(wanted.shape()[-1]);
  std::vector<double> difference(channels);
  for (int64_t i = 0; i < wanted.size(); ++i) {
    difference[static_cast<size_t>(i) % channels] += static_cast<double>(given[i]) - static_cast<double>(wanted[i]);
  }
  double largest = 0.0;
  for (const double d : difference) largest = std::max(largest, std::abs(d) * static_cast<double>(channels));
  return largest / static_cast<double>(wanted.size());
}

struct LayerCase {
  const char* name;
  LayerCall last;
  bool equalize = false;
};
class AnalyticCorrection : public ::testing::TestWithParam<LayerCase> {};

TEST_P(AnalyticCorrection, GivesTheFloatMeans) {
  const graph::Model model = normalized(GetParam().last);
  PostTrainingOptions options{.equalize = GetParam().equalize};
  const double without = distance_of_means(model, options);
  options.bias_correction = BiasCorrection::kAnalytic;
  const double corrected = distance_of_means(model, options);
  EXPECT_LT(corrected, 0.1 * without) << without;  // of 2000 images of 16 positions
}

INSTANTIATE_TEST_SUITE_P(
    Rows, AnalyticCorrection,
    ::testing::Values(LayerCase{"Conv", Conv2D({.filters = 5, .kernel_size = {3, 3}, .name = "last"})},
                      LayerCase{"Equalized", Conv2D({.filters = 5, .kernel_size = {3, 3}, .name = "last"}), true},
                      LayerCase{"Groups", Conv2D({.filters = 6, .kernel_size = {2, 2}, .groups = 2, .name = "last"})},
                      LayerCase{"Depthwise",
                                DepthwiseConv2D({.kernel_size = {3, 3}, .depth_multiplier = 2, .name = "last"})},
                      LayerCase{"Dense", Dense({.units = 4, .name = "last"})}),
    [](const auto& row) { return row.param.name; });

TEST(AnalyticCorrection, SaysWhereNothingIsKnown) {
  const PostTrainingResult result =
      quantize_after_training(normalized(Dense({.units = 4, .name = "last"})), random_samples({8, 4, 4, 6}, 1),
                              {.bias_correction = BiasCorrection::kAnalytic}, plain_layer);
  for (const QuantizedLayer& row : result.layers) {
    if (row.layer == "conv") {
      EXPECT_THAT(row.note, ::testing::HasSubstr("no batch norm tells the mean of its input"));
    } else {
      EXPECT_EQ(row.note, "") << row.layer;
    }
  }
}

}  // namespace
}  // namespace nibble::ptq
