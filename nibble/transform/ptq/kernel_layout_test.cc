#include "nibble/transform/ptq/kernel_layout.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/transform/ptq/plain_layers.h"

namespace nibble::ptq {
namespace {

using namespace graph::build;

// One layer with the kernel 1, 2, 3, ... and no bias, on the input 1, 2, 3, ...
struct Row {
  const char* name;
  LayerCall call;
  Shape input;
  std::vector<float> first;  // the first outputs, by hand
};

class Products : public ::testing::TestWithParam<Row> {};

TEST_P(Products, AreTheLayersOutputs) {
  const Row& row = GetParam();
  const Node in = Input({.shape = row.input.extents(), .name = "input"});
  graph::Model model = build_model({in}, {row.call(in)});
  graph::initialize_weights(model, 0);
  Tensor& kernel = kernel_of(model.layers[1]);
  for (int64_t i = 0; i < kernel.size(); ++i) kernel[i] = static_cast<float>(i + 1);
  std::vector<int64_t> extents = {1};
  extents.insert(extents.end(), row.input.begin(), row.input.end());
  Tensor x{Shape(extents)};
  for (int64_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1);
  const Tensor y = plain_output(model, x);
  for (size_t i = 0; i < row.first.size(); ++i) EXPECT_EQ(y[static_cast<int64_t>(i)], row.first[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, Products,
    ::testing::Values(
        Row{"Dense", Dense({.units = 2, .use_bias = false}), {3}, {22, 28}},
        Row{"DenseOnEveryRow", Dense({.units = 1, .use_bias = false}), {2, 2}, {5, 11}},
        // 1*1 + 2*2 + 4*3 + 5*4
        Row{"ValidConvolution", Conv2D({.filters = 1, .kernel_size = {2, 2}, .use_bias = false}), {3, 3, 1}, {37, 47}},
        // "same" with a 2x2 window pads below and on the right only: the last output is x[8] * 1
        Row{"SamePadsAtTheEnd",
            Conv2D({.filters = 1, .kernel_size = {2, 2}, .padding = "same", .use_bias = false}),
            {3, 3, 1},
            {37, 47, 21, 67, 77, 33, 23, 26, 9}},
        Row{"StridesOfTwo",
            Conv2D({.filters = 1, .kernel_size = {1, 1}, .strides = {2, 2}, .use_bias = false}),
            {3, 3, 1},
            {1, 3, 7, 9}},
        // channel 0 reads kernel 1, 3; channel 1 reads 2, 4
        Row{"DepthwiseChannelsStayApart",
            DepthwiseConv2D({.kernel_size = {1, 2}, .use_bias = false}),
            {1, 2, 2},
            {1 * 1 + 3 * 3, 2 * 2 + 4 * 4}},
        Row{"TwoGroups",
            layer("Conv2D", "",
                  {{"filters", int64_t{2}},
                   {"kernel_size", std::vector<int64_t>{1, 1}},
                   {"groups", int64_t{2}},
                   {"use_bias", false}}),
            {1, 1, 4},
            {1 * 1 + 2 * 3, 3 * 2 + 4 * 4}},
        Row{"CausalSteps",
            layer("Conv1D", "",
                  {{"filters", int64_t{1}},
                   {"kernel_size", std::vector<int64_t>{2}},
                   {"padding", std::string("causal")},
                   {"use_bias", false}}),
            {3, 1},
            {2, 5, 8}}),
    [](const auto& row) { return row.param.name; });

TEST(KernelLayout, DepthwiseScalesAreThoseOfOutputChannels) {
  const Node in = Input({.shape = {4, 4, 3}, .name = "input"});
  graph::Model model =
      build_model({in}, {DepthwiseConv2D({.kernel_size = {2, 2}, .depth_multiplier = 2, .name = "dw"})(in)});
  graph::initialize_weights(model, 0);
  EXPECT_EQ(scale_layout(model.layer("dw"), true), (affine::ChannelLayout{4, 6, 1}));
  EXPECT_EQ(scale_layout(model.layer("dw"), false).channels, 1);
  EXPECT_EQ(input_layout(model.layer("dw"), 3), (affine::ChannelLayout{4, 3, 2}));
  EXPECT_THROW(input_layout(model.layer("dw"), 6), InvalidArgument);
}

// (h, w, out, in): the channel of the output is not the last axis, and the kernel no matrix of patches.
TEST(KernelLayout, TransposedScalesAreThoseOfOutputChannels) {
  const Node in = Input({.shape = {4, 4, 3}, .name = "input"});
  graph::Model model = build_model({in}, {Conv2DTranspose({.filters = 5, .kernel_size = {2, 2}, .name = "up"})(in)});
  graph::initialize_weights(model, 0);
  const graph::Layer& layer = model.layer("up");
  EXPECT_TRUE(has_kernel(layer));
  EXPECT_FALSE(has_plain_kernel(layer));
  EXPECT_EQ(kernel_of(layer).shape(), (Shape{2, 2, 5, 3}));
  EXPECT_EQ(output_channels(layer), 5);
  EXPECT_EQ(scale_layout(layer, true), (affine::ChannelLayout{4, 5, 3}));
  EXPECT_EQ(scale_layout(layer, false).channels, 1);
}

TEST(KernelLayout, SampledPositionsRepeatAndCoverAllWhereTheyFit) {
  EXPECT_EQ(sampled_positions(3, 8, 1), (std::vector<int64_t>{0, 1, 2}));
  const auto some = sampled_positions(1000000, 50, 1);
  EXPECT_EQ(some.size(), 50u);
  EXPECT_EQ(some, sampled_positions(1000000, 50, 1));
  EXPECT_NE(some, sampled_positions(1000000, 50, 2));
  EXPECT_LT(some.back(), 1000000);
}

TEST(KernelLayout, ALayerWithoutWeightsSaysSo) {
  const graph::Layer layer = graph::make_layer("Dense", "d", {{"units", int64_t{2}}});
  EXPECT_THROW(kernel_of(layer), InvalidArgument);
}

}  // namespace
}  // namespace nibble::ptq
