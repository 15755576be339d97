#include "nibble/transform/ptq/fold_batch_norms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

graph::Model initialized(graph::Model model) {
  graph::initialize_weights(model, 5);
  uint64_t seed = 0;
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      const bool positive = weight.name == "moving_variance" || weight.name == "gamma";
      if (!positive && weight.name != "moving_mean" && weight.name != "beta") continue;
      weight.value = random_samples(weight.value.shape(), ++seed);
      for (float& v : weight.value.data()) v = positive ? 0.2f + v * v : v;
    }
  }
  return model;
}

graph::Model network() {
  const Node in = Input({.shape = {6, 6, 2}, .name = "input"});
  Node x = Conv2D({.filters = 3, .kernel_size = {3, 3}, .use_bias = false, .name = "conv"})(in);
  x = BatchNormalization({.epsilon = 0.01, .name = "bn"})(x);
  x = Activation({.activation = "relu", .name = "relu"})(x);
  x = DepthwiseConv2D({.kernel_size = {2, 2}, .padding = "same", .depth_multiplier = 2, .name = "dw"})(x);
  x = BatchNormalization({.name = "dw_bn"})(x);
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 4, .name = "dense"})(x);
  x = BatchNormalization({.name = "dense_bn"})(x);
  return initialized(build_model({in}, {x}));
}

TEST(FoldBatchNorms, KeepsTheFunction) {
  const graph::Model model = network();
  const FoldedBatchNorms folded = fold_batch_norms(model);
  EXPECT_THAT(folded.folded, ElementsAre("conv", "dw", "dense"));
  EXPECT_TRUE(folded.left.empty());
  EXPECT_NO_THROW(graph::validate(folded.model));
  EXPECT_TRUE(folded.model.layer("conv").get_bool("use_bias"));
  EXPECT_THAT(folded.model.outputs, ElementsAre("dense"));
  const Tensor x = random_samples({3, 6, 6, 2}, 1);
  const Tensor a = plain_output(model, x), b = plain_output(folded.model, x);
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4) << i;  // sums of 100 products near 1
}

TEST(FoldBatchNorms, ATransposedKernelIsScaledByItsOutputChannels) {
  const Node in = Input({.shape = {4, 4, 2}, .name = "input"});
  Node x = Conv2DTranspose({.filters = 3, .kernel_size = {3, 3}, .strides = {2, 2}, .name = "up"})(in);
  x = Flatten({.name = "flatten"})(BatchNormalization({.name = "bn"})(x));
  const graph::Model model = initialized(build_model({in}, {x}));
  const FoldedBatchNorms folded = fold_batch_norms(model);
  EXPECT_THAT(folded.folded, ElementsAre("up"));
  const Tensor samples = random_samples({3, 4, 4, 2}, 1);
  const Tensor a = plain_output(model, samples), b = plain_output(folded.model, samples);
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4) << i;  // sums of some products near 1
}

TEST(FoldBatchNorms, OfTwoInARowTheSecondTellsWhatTheLayerGives) {
  const Node in = Input({.shape = {4, 4, 2}, .name = "input"});
  Node x = Conv2D({.filters = 3, .kernel_size = {3, 3}, .name = "conv"})(in);
  x = BatchNormalization({.name = "second"})(BatchNormalization({.name = "first"})(x));
  const graph::Model model = initialized(build_model({in}, {Flatten({.name = "flatten"})(x)}));
  const FoldedBatchNorms folded = fold_batch_norms(model);
  EXPECT_THAT(folded.folded, ElementsAre("conv"));
  EXPECT_TRUE(folded.left.empty());
  const ChannelMoments last = output_moments(model.layer("second")), given = folded.moments.at("conv");
  EXPECT_EQ(given.mean, last.mean);
  EXPECT_EQ(given.deviation, last.deviation);
  const Tensor samples = random_samples({3, 4, 4, 2}, 1);
  const Tensor a = plain_output(model, samples), b = plain_output(folded.model, samples);
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4) << i;  // sums of some products near 1
}

TEST(FoldBatchNorms, DividingByTheVarianceScalesEveryChannelByItsSigma) {
  const graph::Model model = network();
  const graph::Model right = fold_batch_norms(model).model;
  const graph::Model wrong = fold_batch_norms(model, FoldDivisor::kVariance).model;
  const Tensor &a = right.layer("conv").find_weight("kernel")->value,
               &b = wrong.layer("conv").find_weight("kernel")->value;
  const Tensor& variance = model.layer("bn").find_weight("moving_variance")->value;
  for (int64_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(b[i] * std::sqrt(variance[i % 3] + 0.01f), a[i], 1e-5) << i;
  }
}

TEST(FoldBatchNorms, LeavesWhatWouldChangeTheFunction) {
  const Node in = Input({.shape = {6, 6, 2}, .name = "input"});
  const Node a = Conv2D({.filters = 2, .kernel_size = {3, 3}, .activation = "relu", .name = "a"})(in);
  const Node a_bn = BatchNormalization({.name = "a_bn"})(a);  // behind an activation
  const Node b = Conv2D({.filters = 2, .kernel_size = {1, 1}, .name = "b"})(a_bn);
  const Node b_bn = BatchNormalization({.name = "b_bn"})(b);  // b has two readers
  const Node sum = Add({.name = "sum"})({b, b_bn});
  const Node pooled = MaxPooling2D({.name = "pool"})(sum);
  const graph::Model model = initialized(build_model({in}, {BatchNormalization({.name = "pool_bn"})(pooled)}));
  const FoldedBatchNorms folded = fold_batch_norms(model);
  EXPECT_TRUE(folded.folded.empty());
  EXPECT_THAT(folded.left, ElementsAre("a_bn", "b_bn", "pool_bn"));
  EXPECT_EQ(folded.model, model);
}

TEST(FoldBatchNorms, RefusesWithASentence) {
  graph::Model model = network();
  model.layer("bn").weights.clear();
  try {
    fold_batch_norms(model);
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), HasSubstr("'bn' has no 'moving_mean'"));
  }
  model = network();
  model.layer("conv").weights.clear();
  EXPECT_THROW(fold_batch_norms(model), InvalidArgument);
  model = network();
  model.layer("bn").find_weight("moving_variance")->value[1] = -1.0f;
  EXPECT_THROW(fold_batch_norms(model), InvalidArgument);
}

}  // namespace
}  // namespace nibble::ptq
