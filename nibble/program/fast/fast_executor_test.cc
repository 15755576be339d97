// The fast executor against the reference, integer for integer: outputs with everything merged, and every operation's
// result with nothing merged.
#include "nibble/program/fast/fast_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/lowering.h"

namespace nibble::program {
namespace {

using namespace graph::build;

// Weights and statistics that make every layer work for its codes: batch norms fall for some channels.
Program program_of(const Node& in, const Node& out, const LoweringOptions& options = {}) {
  graph::Model model = build_model({in}, {out}, "network");
  graph::initialize_weights(model, 3);
  RandomStream random({4, RandomPurpose::kTest, 0, 0});
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      const bool variance = weight.name == "moving_variance", gamma = weight.name == "gamma";
      const bool statistics =
          variance || gamma || weight.name == "moving_mean" || weight.name == "beta" || weight.name == "bias";
      if (!statistics) continue;
      for (float& value : weight.value.data()) {
        value = variance ? 0.1f + random.uniform() : (random.uniform() * 2 - 1) * (gamma ? 2.0f : 0.5f);
      }
    }
  }
  return lower(model, options);
}

struct Case {
  const char* name;
  std::vector<int64_t> shape;
  std::function<Node(const Node&)> network;
};

const std::string kWeights4 = "quantized_bits(4,0,1,alpha=1.0)", kWeights8 = "quantized_bits(8,0,1,alpha=1.0)";

Node act(const Node& x, const std::string& quantizer) { return QActivation({.activation = quantizer})(x); }

Node conv(const Node& x, int64_t filters, const std::string& weights, QConv2DOptions more = {}) {
  more.filters = filters, more.kernel_quantizer = weights;
  if (more.kernel_size.empty()) more.kernel_size = {3, 3};
  return QConv2D(more)(x);
}

Node dense(const Node& x, int64_t units, const std::string& weights = kWeights4) {
  return QDense({.units = units, .kernel_quantizer = weights, .bias_quantizer = "quantized_bits(8,2,1)"})(x);
}

// conv - batch norm - activation, and a classifier.
Node classifier(const Node& in, const std::string& weights, const std::string& activation, int64_t filters = 20) {
  Node x =
      act(BatchNormalization()(conv(in, filters, weights, {.strides = {2, 2}, .padding = "same", .use_bias = false})),
          activation);
  return dense(Flatten()(x), 10, weights);
}

class Networks : public testing::TestWithParam<Case> {};

std::vector<float> samples_of(const Program& program, int64_t count) {
  std::vector<float> x(static_cast<size_t>(count * program.input_shape.elements()));
  RandomStream random({5, RandomPurpose::kTest, 0, 0});
  for (float& value : x)
    value = random.below(8) == 0 ? (random.below(2) == 0 ? -9.0f : 9.0f) : random.uniform() * 2.2f - 1.1f;
  return x;
}

void expect_the_same(const Program& program, int64_t count) {
  const std::vector<float> x = samples_of(program, count);
  std::vector<float> expected(static_cast<size_t>(count * program.output_shape().elements())), found(expected);
  Executor reference(program);
  FastExecutor fast(program);
  static_cast<Runner&>(reference).run(x, count, expected);
  fast.run(x, count, found);
  EXPECT_EQ(found, expected) << testing::PrintToString(fast.steps());
}

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

void expect_the_same_integers(const Program& program) {
  Executor reference(program);
  FastExecutor fast(program, {.keep_results = true});
  const std::vector<float> x = samples_of(program, 3);
  std::vector<float> output(static_cast<size_t>(3 * program.output_shape().elements()));
  static_cast<Runner&>(reference).run(x, 3, output);
  fast.run(x, 3, output);
  for (size_t i = 0; i < program.operations.size(); ++i) {
    EXPECT_EQ(fast.result(static_cast<int>(i)), reference.result(static_cast<int>(i))) << program.operations[i].layer;
  }
}

TEST_P(Networks, HaveTheReferencesIntegersOfEveryOperation) {
  const Node in = Input({.shape = GetParam().shape, .name = "input"});
  expect_the_same_integers(program_of(in, GetParam().network(in)));
}

// What has no kernel of its own: borders, bytes and words around it all the same.
TEST(FastExecutor, TakesMovesAndExtremaFromTheReference) {
  const Node in = Input({.shape = {6, 8, 3}, .name = "input"});
  Node x = UpSampling2D({.size = {2, 1}})(conv(Cropping2D({.cropping = {1, 0, 0, 2}})(in), 20, kWeights8));
  x = act(BatchNormalization()(x), "quantized_relu(8,2)");
  Node y = act(conv(graph::build::Permute({.dims = {2, 1, 3}})(x), 20, kWeights4, {.padding = "same"}),
               "quantized_relu(4,2)");
  y = graph::build::Permute({.dims = {2, 1, 3}})(y);
  x = graph::build::layer("Maximum", "largest")(std::vector<Node>{x, y});
  x = graph::build::layer("Minimum", "smallest")(std::vector<Node>{x, y});
  x = act(conv(graph::build::Permute({.dims = {3, 1, 2}})(x), 8, kWeights8, {.padding = "same"}),
          "quantized_bits(10,2,1,alpha=1.0)");
  const Program program = program_of(in, dense(Flatten()(UpSampling2D({})(x)), 10));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
}

// Transposed convolutions before and behind kernels with borders, one that is merged with nothing and one that is none
// of the kind: strides of 1.
TEST(FastExecutor, TakesTransposedConvolutionsFromTheReference) {
  const Node in = Input({.shape = {5, 6, 3}, .name = "input"});
  const auto up = [](const Node& x, QConv2DTransposeOptions o) {
    o.kernel_quantizer = kWeights4;
    return QConv2DTranspose(o)(x);
  };
  Node x = act(conv(in, 20, kWeights4, {.padding = "same"}), "quantized_relu(4,2)");
  x = up(x, {.filters = 18, .kernel_size = {3, 3}, .strides = {2, 2}, .padding = "same", .name = "up0"});
  x = act(BatchNormalization()(MaxPooling2D()(x)), "quantized_relu(8,2)");
  x = act(conv(x, 20, kWeights4, {.padding = "same"}), "quantized_relu(4,2)");
  x = up(x, {.filters = 17, .kernel_size = {3, 2}, .name = "up1"});
  x = act(x, "quantized_bits(6,2,1,alpha=1.0)");
  x = act(up(x, {.filters = 4, .kernel_size = {1, 2}, .strides = {2, 3}, .name = "up2"}), "quantized_relu(4,2)");
  const Program program = program_of(in, dense(Flatten()(x), 10));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
}

// An input of bits, and sums of all its channels as a file may describe them.
Program sums_of(const Shape& input, int count, const Accumulate& sums, const Interval& interval) {
  Program program;
  program.input_shape = input;
  program.operations.push_back(
      {"in", {}, QuantizeInput{quant::get_quantizer("quantized_bits(1,1,0)")}, Value{input, {1.0f}, {{0, 1}}}});
  for (int i = 0; i < count; ++i) {
    const Shape out{sums.out_height, sums.out_width, sums.out_channels};
    program.operations.push_back({"sums", {i}, sums, Value{out, {1.0f}, {interval}}});
  }
  program.output = count;
  return program;
}

// 4 million elements each, where a value is one.
TEST(FastExecutor, BordersOfAllOperationsTogetherAreBounded) {
  Accumulate one;
  one.window.pad_top = one.window.pad_left = 2000;
  one.weights = {1}, one.weight_bits = 2, one.partial_sums = {0, 1};
  const Program program = sums_of(Shape{1, 1, 1}, 10, one, {0, 1});
  EXPECT_NO_THROW(validate(program));
  EXPECT_LE(FastExecutor(program).activation_bytes(), (int64_t{1} << 24) + 100);
  expect_the_same(program, 1);
}

// 2^21 rows of 2^21 pixels of 2^22 channels are 2^64 elements, or none.
TEST(FastExecutor, BordersThatWrapAroundAreNotTaken) {
  constexpr int64_t kChannels = int64_t{1} << 22;
  Accumulate all;
  all.window.pad_top = all.window.pad_left = (1 << 20) - 1;
  all.window.stride_height = all.window.stride_width = 299593;  // (2^21 - 1) / 7
  all.in_channels = kChannels, all.out_height = all.out_width = 8;
  all.weights.assign(static_cast<size_t>(kChannels), 1);
  all.weight_bits = 2, all.partial_sums = {0, kChannels};
  const Program program = sums_of(Shape{1, 1, kChannels}, 1, all, {0, kChannels});
  EXPECT_NO_THROW(validate(program));
  const FastExecutor executor(program);
  EXPECT_GE(executor.activation_bytes(), kChannels);
  EXPECT_THAT(executor.steps().back(), testing::HasSubstr("reference"));
}

// As above, of bits: 2^33 rows of 2^31 pixels.
TEST(FastExecutor, BordersOfBitsThatWrapAroundAreNotTaken) {
  Accumulate all;
  constexpr int64_t kFar = int64_t{1} << 20;
  all.window = {2, 2, kFar, kFar, kFar - 1, kFar - 1};
  all.in_channels = 32, all.out_height = 1 << 13, all.out_width = 1 << 11;
  all.weights.assign(4 * 32, 1);
  all.weight_bits = 2, all.partial_sums = {-128, 128};
  Program program = sums_of(Shape{1, 1, 32}, 1, all, {-128, 128});
  Operation sums = program.operations.back();
  program.operations.back() = {
      "signs", {0}, Compare{{1}, {-1, 1}, {0, 1}, "signs"}, Value{program.input_shape, {1.0f}, {{-1, 1}}}};
  sums.inputs = {1};
  program.operations.push_back(sums);
  program.output = 2;
  EXPECT_NO_THROW(validate(program));
  EXPECT_THAT(FastExecutor(program).steps().back(), testing::HasSubstr("reference"));
}

// Sums that need 64 bits run as in the reference, and what reads them too; the rest stays fast.
TEST(FastExecutor, TakesWideSumsFromTheReference) {
  const std::string sixteen = "quantized_bits(16,0,1,alpha=1.0)";
  const Node in = Input({.shape = {6, 6, 32}, .name = "input"});
  Node x = conv(act(in, sixteen), 20, sixteen, {.padding = "same", .use_bias = false, .name = "wide"});
  x = act(BatchNormalization()(MaxPooling2D({.name = "pool"})(x)), "quantized_relu(8,2)");
  x = act(conv(x, 8, kWeights8, {.padding = "same", .name = "narrow"}), "quantized_relu(4,2)");
  // Nothing is between the last sums and the output.
  x = conv(act(x, sixteen), 4, "quantized_bits(28,0,1,alpha=1.0)", {.use_bias = false, .name = "last"});
  const Program program = program_of(in, x);
  EXPECT_TRUE(is_wide(program.operations.at(1).result));
  EXPECT_TRUE(is_wide(program.operations.back().result));
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
  expect_the_same_integers(program);
  const std::vector<std::string> steps = FastExecutor(program).steps();
  EXPECT_THAT(steps, testing::Contains("wide: reference"));
  EXPECT_THAT(steps, testing::Contains("pool: reference"));
  EXPECT_THAT(steps, testing::Contains(testing::StartsWith("narrow: sums of bytes")));
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

TEST(FastExecutor, BatchNormAndActivationAreOneMultiplication) {
  const auto steps =
      steps_of({"", {9, 10, 3}, [](const Node& in) { return classifier(in, kWeights4, "quantized_relu(4,2)"); }});
  EXPECT_THAT(steps, testing::Contains(testing::HasSubstr("sums of bytes, linear")));
}

// Floats around every step of input quantizers: the next ones up and down, ties, infinities.
TEST(FastExecutor, InputsGetTheQuantizersCodes) {
  for (const char* quantizer :
       {"quantized_bits(8,0,1,alpha=1.0)", "quantized_bits(6,1,1,alpha=0.3)", "quantized_relu(5,1)",
        "quantized_bits(4,0,0,alpha=1.7)", "quantized_linear(7,0,alpha=0.123)"}) {
    const Node in = Input({.shape = {2000}, .name = "input"});
    const Program program = program_of(in, dense(act(in, quantizer), 1));
    FastExecutor fast(program, {.keep_results = true});
    Executor reference(program);
    std::vector<float> x(2000), y(1);
    const float step = program.operations[0].result.scale[0];
    for (size_t i = 0; i < x.size(); ++i) {
      const float near = (static_cast<float>(i / 5) - 200.0f) * 0.5f * step;
      const float towards[] = {-HUGE_VALF, -HUGE_VALF, near, HUGE_VALF, HUGE_VALF};
      x[i] = std::nextafter(near, towards[i % 5]);
      if (i % 5 == 0 || i % 5 == 4) x[i] = std::nextafter(x[i], towards[i % 5]);
    }
    x[0] = HUGE_VALF, x[1] = -HUGE_VALF;
    fast.run(x, 1, y);
    reference.run(x, y);
    EXPECT_EQ(fast.result(0), reference.result(0)) << quantizer << ": " << fast.steps()[0];
    EXPECT_THAT(fast.steps()[0], testing::Not(testing::HasSubstr("reference")));
  }
}

TEST(FastExecutor, HasTheReferencesProbabilities) {
  const Node in = Input({.shape = {9, 10, 1}, .name = "input"});
  const Node out = Activation({.activation = "softmax"})(classifier(in, kWeights4, "quantized_relu(4,2)"));
  const Program program = program_of(in, out, {.softmax = SoftmaxForm::kInteger});
  for (const int64_t count : {1, 3, 21}) expect_the_same(program, count);
}

TEST(FastExecutor, SignsAreCountedAsBits) {
  const auto binary = steps_of({"", {12, 14, 3}, [](const Node& in) { return signs(in, "binary(alpha=1)"); }});
  EXPECT_THAT(binary, testing::Contains(testing::HasSubstr(": sums of bits, few comparisons")).Times(2));
  const auto ternary = steps_of({"", {12, 14, 3}, [](const Node& in) { return signs(in, "ternary(alpha=1)"); }});
  EXPECT_THAT(ternary, testing::Contains(testing::HasSubstr(": sums of ternary bits, few comparisons")).Times(2));
}

TEST(FastExecutor, APoolBeforeTheBatchNormSeesBytes) {
  const auto steps = steps_of({"", {20, 20, 2}, pooled});
  EXPECT_THAT(steps, testing::Contains(testing::HasSubstr("extrema of windows, as they are")));
}

// Whichever group of samples it is in. The second program's input is quantized as in the reference.
TEST(Executors, NameTheSampleAndTheElementThatAreNoNumber) {
  const Node in = Input({.shape = {37}, .name = "input"});
  const Node wide = act(in, "quantized_bits(16,0,1,alpha=1.0)");
  for (const Program& program : {program_of(in, dense(in, 3)), program_of(in, dense(wide, 3))}) {
    for (const int64_t sample : {0, 1, 69}) {
      std::vector<float> x(size_t{70} * 37, 0.5f), y(size_t{70} * 3);
      x[static_cast<size_t>(sample) * 37 + 5] = std::numeric_limits<float>::quiet_NaN();
      FastExecutor fast(program);
      Executor reference(program);
      for (Runner* runner : {static_cast<Runner*>(&fast), static_cast<Runner*>(&reference)}) {
        try {
          runner->run(x, 70, y);
          FAIL() << "nothing was refused";
        } catch (const NanInput& nan) {
          EXPECT_EQ(nan.sample(), sample);
          EXPECT_EQ(nan.element(), 5);
          EXPECT_THAT(nan.what(),
                      testing::HasSubstr(fmt::format("sample {}: element 5 of the input is NaN, which", sample)));
        }
      }
    }
  }
}

}  // namespace
}  // namespace nibble::program
