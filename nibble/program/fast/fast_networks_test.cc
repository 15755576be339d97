// A table of networks on the fast executor against the reference, integer for integer: outputs with everything merged,
// and every operation's result with nothing merged. None of them needs the reference's own steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "nibble/graph/builder_shape.h"
#include "nibble/program/fast/compared_programs.h"
#include "nibble/program/fast/fast_executor.h"

namespace nibble::program {
namespace {

using namespace graph::build;

struct Case {
  const char* name;
  std::vector<int64_t> shape;
  std::function<Node(const Node&)> network;
};

class Networks : public testing::TestWithParam<Case> {};

TEST_P(Networks, HaveTheReferencesOutputs) {
  const Node in = Input({.shape = GetParam().shape, .name = "input"});
  const Program program = program_of(in, GetParam().network(in));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
}

// Multipliers and shifts have steps that lie otherwise.
TEST_P(Networks, HaveTheReferencesOutputsWithEachRounding) {
  const Node in = Input({.shape = GetParam().shape, .name = "input"});
  using affine::Rounding;
  for (const Rounding rounding :
       {Rounding::kGemmlowpDouble, Rounding::kSingle, Rounding::kHalfEven, Rounding::kFloor}) {
    LoweringOptions options;
    options.rounding = rounding;
    expect_the_same(program_of(in, GetParam().network(in), options), 3);
  }
}

TEST_P(Networks, HaveTheReferencesIntegersOfEveryOperation) {
  const Node in = Input({.shape = GetParam().shape, .name = "input"});
  expect_the_same_integers(program_of(in, GetParam().network(in)));
}

// None of them has an operation that runs as in the reference.
TEST_P(Networks, AreFastThroughout) {
  const Node in = Input({.shape = GetParam().shape, .name = "input"});
  const Program program = program_of(in, GetParam().network(in));
  EXPECT_THAT(FastExecutor(program).steps(), testing::Each(testing::Not(testing::HasSubstr("reference"))));
}

Node residual(const Node& in) {
  Node x = act(conv(in, 16, kWeights8, {.padding = "same"}), "quantized_relu(8,2)");
  Node y = act(conv(x, 16, kWeights8, {.padding = "same"}), "quantized_relu(8,2)");
  y = act(conv(y, 16, kWeights8, {.padding = "same"}), "quantized_bits(8,1,1,alpha=1.0)");
  x = act(graph::build::Add()(std::vector<Node>{x, y}), "quantized_relu(8,3)");
  Node shortcut = act(conv(x, 24, kWeights8, {.kernel_size = {1, 1}, .strides = {2, 2}, .padding = "same"}),
                      "quantized_bits(8,3,1,alpha=1.0)");
  y = act(conv(x, 24, kWeights8, {.strides = {2, 2}, .padding = "same"}), "quantized_bits(8,2,1,alpha=1.0)");
  x = act(graph::build::Add()(std::vector<Node>{shortcut, y}), "quantized_relu(8,3)");
  return dense(act(GlobalAveragePooling2D()(x), "quantized_relu(8,3)"), 10, kWeights8);
}

Node separable(const Node& in) {
  Node x = act(conv(in, 8, kWeights8, {.strides = {2, 2}, .padding = "same"}), "quantized_relu(8,1)");
  for (const int64_t filters : {16, 40}) {
    x = QDepthwiseConv2D({.kernel_size = {3, 3},
                          .strides = {filters == 40 ? 2 : 1, filters == 40 ? 2 : 1},
                          .padding = "same",
                          .use_bias = false,
                          .depthwise_quantizer = kWeights8})(x);
    x = act(BatchNormalization()(x), "quantized_relu(8,1)");
    x = act(BatchNormalization()(conv(x, filters, kWeights8, {.kernel_size = {1, 1}, .use_bias = false})),
            "quantized_relu(8,1)");
  }
  return dense(act(GlobalAveragePooling2D()(x), "quantized_relu(8,1)"), 5, kWeights8);
}

Node pooled(const Node& in) {
  Node x = MaxPooling2D()(conv(in, 18, kWeights4, {.padding = "same", .use_bias = false}));
  x = act(BatchNormalization()(x), "quantized_relu(4,2)");
  x = act(MaxPooling2D({.pool_size = {3, 3}, .strides = {2, 2}, .padding = "same"})(x), "quantized_relu(3,2)");
  x = act(AveragePooling2D()(x), "quantized_relu(6,2)");
  return dense(Flatten()(x), 7);
}

// Windows with 4, 6 and 9 cells inside, then 2 and 4.
Node averaged_at_borders(const Node& in) {
  Node x = act(conv(in, 18, kWeights4, {.padding = "same", .use_bias = false}), "quantized_relu(4,2)");
  x = act(AveragePooling2D({.pool_size = {3, 3}, .strides = {1, 1}, .padding = "same"})(x), "quantized_relu(6,2)");
  x = act(AveragePooling2D({.pool_size = {2, 2}, .strides = {2, 2}, .padding = "same"})(x), "quantized_relu(8,2)");
  return dense(Flatten()(x), 7);
}

// Maxima are taken of sums, before comparisons that fall and rise.
Node pooled_before_turning(const Node& in) {
  Node x = MaxPooling2D()(conv(in, 18, kWeights4, {.padding = "same", .use_bias = false}));
  x = act(x, "quantized_hswish(8,2,1)");
  x = MaxPooling2D()(conv(x, 18, kWeights4, {.padding = "same", .use_bias = false}));
  x = act(Activation({.activation = "swish"})(BatchNormalization()(x)), "quantized_bits(8,2,1,alpha=1.0)");
  return dense(Flatten()(x), 7);
}

Node global_maximum(const Node& in) {
  Node x = layer("GlobalMaxPooling2D", "")(conv(in, 18, kWeights4, {.padding = "same", .use_bias = false}));
  return dense(act(BatchNormalization()(x), "quantized_relu(4,2)"), 7);
}

Node moved(const Node& in) {
  Node a = act(conv(in, 6, kWeights4), "quantized_relu(4,2)"),
       b = act(conv(in, 5, kWeights4), "quantized_bits(5,2,1,alpha=1.0)");
  Node x = layer("ZeroPadding2D", "")(graph::build::Concatenate()(std::vector<Node>{a, b}));
  x = act(conv(x, 9, kWeights4), "quantized_relu(4,2)");
  const int64_t elements = output_shape(x).elements();
  Node flat = layer("Reshape", "", {{"target_shape", std::vector<int64_t>{elements / 3, 3}}})(x);
  return Flatten()(act(dense(flat, 4), "quantized_relu(5,2)"));
}

INSTANTIATE_TEST_SUITE_P(
    Table, Networks,
    testing::Values(
        Case{"FourBits", {9, 10, 1}, [](const Node& in) { return classifier(in, kWeights4, "quantized_relu(4,2)"); }},
        Case{"EightBits", {9, 10, 3}, [](const Node& in) { return classifier(in, kWeights8, "quantized_relu(8,2)"); }},
        Case{"SignedEightBits",
             {8, 8, 5},
             [](const Node& in) { return classifier(in, kWeights8, "quantized_bits(8,2,1,alpha=1.0)"); }},
        Case{"ManyFilters",
             {8, 8, 4},
             [](const Node& in) { return classifier(in, kWeights4, "quantized_relu(4,2)", 150); }},
        Case{
            "ScalesFromWeights",
            {8, 8, 2},
            [](const Node& in) { return classifier(in, "quantized_bits(4,0,1,alpha='auto')", "quantized_relu(4,2)"); }},
        Case{"Binary", {8, 8, 3}, [](const Node& in) { return classifier(in, "binary(alpha=1)", "binary(alpha=1)"); }},
        Case{"Ternary",
             {8, 8, 3},
             [](const Node& in) { return classifier(in, "ternary(alpha=1)", "ternary(alpha=1)"); }},
        Case{"PowersOfTwo",
             {8, 8, 3},
             [](const Node& in) { return classifier(in, "quantized_po2(4,1)", "quantized_relu_po2(4,4)"); }},
        Case{"Tanh", {8, 8, 3}, [](const Node& in) { return classifier(in, kWeights4, "quantized_tanh(8)"); }},
        Case{"Hswish", {8, 8, 3}, [](const Node& in) { return classifier(in, kWeights4, "quantized_hswish(8,2,1)"); }},
        Case{"NarrowHswish",
             {8, 8, 3},
             [](const Node& in) { return classifier(in, kWeights8, "quantized_hswish(3,1,1)"); }},
        Case{"Curves",
             {8, 8, 3},
             [](const Node& in) {
               Node x = conv(in, 18, kWeights4, {.padding = "same"});
               x = act(Activation({.activation = "swish"})(x), "quantized_bits(8,2,1,alpha=1.0)");
               x = Activation({.activation = "tanh"})(BatchNormalization()(conv(MaxPooling2D()(x), 18, kWeights8)));
               x = dense(Flatten()(act(x, "quantized_bits(6,0,1,alpha=1.0)")), 3);
               return Activation({.activation = "sigmoid"})(x);
             }},
        Case{"SixteenBitWeights",
             {6, 6, 2},
             [](const Node& in) { return classifier(in, "quantized_bits(14,0,1,alpha=1.0)", "quantized_relu(6,2)"); }},
        Case{"TwelveBitActivations",
             {6, 6, 2},
             [](const Node& in) { return classifier(in, kWeights8, "quantized_relu(12,2)"); }},
        Case{"TwentyBitActivations",
             {6, 6, 2},
             [](const Node& in) { return classifier(in, kWeights4, "quantized_bits(20,2,1,alpha=1.0)"); }},
        Case{"Dilated",
             {11, 12, 3},
             [](const Node& in) {
               return act(conv(in, 17, kWeights4, {.padding = "same", .dilation_rate = {2, 3}}), "quantized_relu(4,2)");
             }},
        Case{"Grouped",
             {8, 8, 6},
             [](const Node& in) {
               return act(conv(in, 9, kWeights4, {.padding = "same", .groups = 3}), "quantized_relu(4,2)");
             }},
        Case{"GroupsThatMissTheLine",
             {8, 8, 6},
             [](const Node& in) {
               Node x = conv(in, 51, "quantized_bits(8,0,1,alpha='auto')", {.padding = "same", .groups = 3});
               return act(BatchNormalization()(x), "quantized_relu(8,2)");
             }},
        Case{"DepthMultiplier",
             {8, 8, 6},
             [](const Node& in) {
               return act(QDepthwiseConv2D({.kernel_size = {3, 3},
                                            .padding = "same",
                                            .depth_multiplier = 2,
                                            .depthwise_quantizer = kWeights4})(in),
                          "quantized_relu(4,2)");
             }},
        Case{"WideDepthwise",
             {8, 8, 18},
             [](const Node& in) {
               Node x = act(in, "quantized_bits(12,0,1,alpha=1.0)");
               return act(QDepthwiseConv2D({.kernel_size = {3, 3},
                                            .padding = "same",
                                            .depthwise_quantizer = "quantized_bits(12,0,1,alpha=1.0)"})(x),
                          "quantized_relu(8,2)");
             }},
        Case{"Dense", {37}, [](const Node& in) { return dense(act(dense(in, 70), "quantized_relu(4,2)"), 3); }},
        Case{"Residual", {16, 16, 3}, residual}, Case{"Separable", {24, 24, 3}, separable},
        Case{"Pooled", {20, 20, 2}, pooled}, Case{"GlobalMaximum", {7, 6, 2}, global_maximum},
        Case{"PooledBeforeTurning", {12, 12, 2}, pooled_before_turning},
        Case{"AveragedAtBorders", {7, 6, 2}, averaged_at_borders}, Case{"Moved", {8, 8, 2}, moved}),
    [](const auto& row) { return row.param.name; });

// Two hidden layers of -1 and 1, the second with a border; weights of -1 and 1, or 0 too.
Node signs(const Node& in, const std::string& weights) {
  Node x = act(conv(in, 40, weights, {.padding = "same"}), "binary(alpha=1)");
  x = act(BatchNormalization()(conv(x, 70, weights, {.strides = {2, 2}, .padding = "same"})), "binary(alpha=1)");
  x = act(conv(MaxPooling2D()(x), 33, weights, {.kernel_size = {2, 2}}), "binary(alpha=1)");
  return dense(Flatten()(x), 10, weights);
}

INSTANTIATE_TEST_SUITE_P(
    Signs, Networks,
    testing::Values(Case{"BinaryWeights", {12, 14, 3}, [](const Node& in) { return signs(in, "binary(alpha=1)"); }},
                    Case{"TernaryWeights", {12, 14, 3}, [](const Node& in) { return signs(in, "ternary(alpha=1)"); }}),
    [](const auto& row) { return row.param.name; });

std::vector<std::string> steps_of(const Case& row) {
  const Node in = Input({.shape = row.shape, .name = "input"});
  return FastExecutor(program_of(in, row.network(in))).steps();
}

TEST(Steps, BatchNormAndActivationAreOneMultiplication) {
  const auto steps =
      steps_of({"", {9, 10, 3}, [](const Node& in) { return classifier(in, kWeights4, "quantized_relu(4,2)"); }});
  EXPECT_THAT(steps, testing::Contains(testing::HasSubstr("sums of bytes, linear")));
}

TEST(Steps, SignsAreCountedAsBits) {
  const auto binary = steps_of({"", {12, 14, 3}, [](const Node& in) { return signs(in, "binary(alpha=1)"); }});
  EXPECT_THAT(binary, testing::Contains(testing::HasSubstr(": sums of bits, few comparisons")).Times(2));
  const auto ternary = steps_of({"", {12, 14, 3}, [](const Node& in) { return signs(in, "ternary(alpha=1)"); }});
  EXPECT_THAT(ternary, testing::Contains(testing::HasSubstr(": sums of ternary bits, few comparisons")).Times(2));
}

TEST(Steps, APoolBeforeTheBatchNormSeesBytes) {
  const auto steps = steps_of({"", {20, 20, 2}, pooled});
  EXPECT_THAT(steps, testing::Contains(testing::HasSubstr("extrema of windows, as they are")));
}

}  // namespace
}  // namespace nibble::program
