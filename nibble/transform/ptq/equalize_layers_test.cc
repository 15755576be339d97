#include "nibble/transform/ptq/equalize_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/transform/ptq/kernel_layout.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;
using ::testing::ElementsAre;

// conv -> relu -> pool -> depthwise -> pointwise (relu inside) -> flatten -> dense -> dense
graph::Model chain() {
  const Node in = Input({.shape = {8, 8, 2}, .name = "input"});
  Node x = Conv2D({.filters = 3, .kernel_size = {3, 3}, .padding = "same", .name = "conv"})(in);
  x = Activation({.activation = "relu", .name = "relu"})(x);
  x = MaxPooling2D({.name = "pool"})(x);
  x = DepthwiseConv2D({.kernel_size = {2, 2}, .depth_multiplier = 2, .name = "dw"})(x);
  x = Conv2D({.filters = 4, .kernel_size = {1, 1}, .activation = "relu", .name = "pw"})(x);
  x = Flatten({.name = "flatten"})(x);
  x = Dense({.units = 5, .name = "dense"})(x);
  x = Activation({.activation = "sigmoid", .name = "sigmoid"})(x);
  x = Dense({.units = 3, .name = "logits"})(x);
  graph::Model model = build_model({in}, {x});
  graph::initialize_weights(model, 2);
  Tensor& kernel = kernel_of(model.layer("conv"));
  for (int64_t i = 0; i < kernel.size(); i += 3) kernel[i] *= 50.0f;  // channel 0 towers over the others
  return model;
}

std::vector<double> magnitudes(std::span<const float> w, const affine::ChannelLayout& layout) {
  std::vector<double> largest(static_cast<size_t>(layout.channels));
  affine::for_each_element(
      layout, [&](size_t i, size_t c) { largest[c] = std::max(largest[c], std::abs(static_cast<double>(w[i]))); });
  return largest;
}

TEST(EqualizeLayers, FindsPairsThroughReluPoolingAndFlattenButNotSigmoid) {
  EXPECT_THAT(equalizable_pairs(chain()),
              ElementsAre(EqualizablePair{"conv", "dw"}, EqualizablePair{"dw", "pw"}, EqualizablePair{"pw", "dense"}));
}

TEST(EqualizeLayers, KeepsTheFunctionAndEvensOutTheRanges) {
  const graph::Model model = chain();
  const Equalization equalized = equalize_layers(model);
  EXPECT_GT(equalized.largest_factor, 3.0);
  EXPECT_GT(equalized.sweeps, 1);
  for (const EqualizablePair& pair : equalized.pairs) {
    const graph::Layer &first = equalized.model.layer(pair.first), &second = equalized.model.layer(pair.second);
    const auto a = magnitudes(kernel_of(first).data(), scale_layout(first, true));
    const auto b = magnitudes(kernel_of(second).data(), input_layout(second, output_channels(first)));
    for (size_t c = 0; c < a.size(); ++c) EXPECT_NEAR(a[c] / b[c], 1.0, 0.01) << pair.first << " " << c;
  }
  graph::Model plain = model, even = equalized.model;
  for (graph::Model* m : {&plain, &even}) {  // the plain loops know no sigmoid
    m->layers.resize(8);
    m->outputs = {"dense"};
  }
  const Tensor x = random_samples({2, 8, 8, 2}, 3);
  const Tensor a = plain_output(plain, x), b = plain_output(even, x);
  for (int64_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-3 * (1.0 + std::abs(a[i]))) << i;
}

TEST(EqualizeLayers, BranchesAndOutputsAreLeftAlone) {
  const Node in = Input({.shape = {4, 4, 2}, .name = "input"});
  const Node a = Conv2D({.filters = 2, .kernel_size = {1, 1}, .name = "a"})(in);
  const Node b = Conv2D({.filters = 2, .kernel_size = {1, 1}, .name = "b"})(a);
  const Node c = Conv2D({.filters = 2, .kernel_size = {1, 1}, .name = "c"})(Add({.name = "sum"})({a, b}));
  EXPECT_TRUE(equalizable_pairs(build_model({in}, {c})).empty());
  EXPECT_TRUE(equalizable_pairs(build_model({in}, {b, a})).empty());
}

TEST(EqualizeLayers, DeadChannelsStayAndNaNIsRefused) {
  graph::Model model = chain();
  Tensor& kernel = kernel_of(model.layer("conv"));
  for (int64_t i = 1; i < kernel.size(); i += 3) kernel[i] = 0.0f;
  const Equalization equalized = equalize_layers(model);
  for (const float v : kernel_of(equalized.model.layer("dw")).data()) EXPECT_TRUE(std::isfinite(v));
  kernel[0] = std::nanf("");
  EXPECT_THROW(equalize_layers(model), InvalidArgument);
}

}  // namespace
}  // namespace nibble::ptq
