// What cannot be an integer program, and what is said then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/lowering.h"

namespace nibble::program {
namespace {

using namespace graph::build;

struct RefusedCase {
  const char* name;
  std::function<graph::Model()> build;
  const char* message;
};

class Refused : public testing::TestWithParam<RefusedCase> {};

TEST_P(Refused, InASentence) {
  graph::Model model = GetParam().build();
  graph::initialize_weights(model, 1);
  try {
    lower(model);
    FAIL() << "nothing was refused";
  } catch (const Unsupported& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(GetParam().message));
  }
}

Node dense_after(const Node& in, const std::string& quantizer = "quantized_bits(4,0,1)") {
  return QDense({.units = 2, .kernel_quantizer = quantizer, .name = "dense"})(in);
}

// Its input has an affine quantizer, so that advice is of those, not of QKeras'.
graph::Model affine_model(const Node& in, const Node& out) {
  graph::Model model = build_model({in}, {out});
  graph::set_quantization(model, model.inputs.at(0),
                          graph::LayerQuantization{.output = {.kind = graph::AffineKind::kFixed, .fixed = {-1, 1}}});
  return model;
}

INSTANTIATE_TEST_SUITE_P(
    AffineModels, Refused,
    testing::Values(RefusedCase{"Convolution",
                                [] {
                                  const Node in = Input({.shape = {8, 2}});
                                  return affine_model(in, Conv1D({.filters = 2, .kernel_size = 3, .name = "conv"})(in));
                                },
                                "has no integer form here. A Conv2D over [1, length, channels] is the same. Known: "},
                    RefusedCase{
                        "Average",
                        [] {
                          const Node in = Input({.shape = {4}});
                          return affine_model(in, layer("Average", "mean")(std::vector<Node>{in, in}));
                        },
                        "An Add with a point 'output' does, its factor taken into the weights behind it. Known: "},
                    RefusedCase{"Product",
                                [] {
                                  const Node in = Input({.shape = {4}});
                                  return affine_model(in, layer("Multiply", "product")(std::vector<Node>{in, in}));
                                },
                                "; a DepthwiseConv2D of 1 x 1 has fixed factors. Known: "},
                    RefusedCase{"WhatIsTheSameForBoth",
                                [] {
                                  const Node in = Input({.shape = {8, 2}});
                                  return affine_model(in, layer("MaxPooling1D", "pool")(in));
                                },
                                "A MaxPooling2D over [1, length, channels] is the same. Known: "},
                    RefusedCase{"Function",
                                [] {
                                  const Node in = Input({.shape = {4}});
                                  return affine_model(in, Activation({.activation = "log_softmax", .name = "act"})(in));
                                },
                                "log_softmax is not known here. Use one of single numbers, such as relu or sigmoid."}),
    [](const auto& row) { return row.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Table, Refused,
    testing::Values(
        RefusedCase{"FloatLayer",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {Dense({.units = 2, .name = "fc"})(in)});
                    },
                    "layer 'fc' is a Dense, whose weights are real numbers; a QDense has integers"},
        RefusedCase{"NoQuantizerBetween",
                    [] {
                      auto in = Input({.shape = {4}});
                      auto x = QDense({.units = 4, .kernel_quantizer = "ternary", .name = "first"})(in);
                      return build_model({in}, {dense_after(BatchNormalization({.name = "bn"})(x))});
                    },
                    "reads 'bn', whose values are real numbers. Put a quantizer between them"},
        RefusedCase{"NoKernelQuantizer",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {dense_after(in, "")});
                    },
                    "has no kernel_quantizer"},
        RefusedCase{"ScaleFromTheData",
                    [] {
                      auto in = Input({.shape = {4}});
                      auto x = dense_after(in);
                      return build_model(
                          {in}, {QActivation({.activation = "quantized_bits(4,0,1,alpha='auto')", .name = "act"})(x)});
                    },
                    "has no fixed grid"},
        RefusedCase{"MaximumOfACurveThatTurns",
                    [] {
                      auto in = Input({.shape = {4, 4, 1}});
                      auto x = QConv2D({.filters = 2, .kernel_size = {3, 3}, .kernel_quantizer = "ternary"})(in);
                      x = Activation({.activation = "swish", .name = "act"})(x);
                      return build_model({in}, {MaxPooling2D({.name = "pool"})(x)});
                    },
                    "Put a quantizer between 'act' and the pool"},
        RefusedCase{"MaximumOfASlopeThatTurns",
                    [] {
                      auto in = Input({.shape = {4, 4, 1}});
                      auto x = QConv2D({.filters = 8, .kernel_size = {3, 3}, .kernel_quantizer = "ternary"})(in);
                      x = PReLU({.alpha_initializer = "random_normal", .shared_axes = {1, 2}, .name = "act"})(x);
                      return build_model({in}, {MaxPooling2D({.name = "pool"})(x)});
                    },
                    "a PReLU with a slope below 0"},
        RefusedCase{"SlopesOfSinglePixels",
                    [] {
                      auto in = Input({.shape = {4, 4, 1}});
                      auto x = QConv2D({.filters = 2, .kernel_size = {3, 3}, .kernel_quantizer = "ternary"})(in);
                      return build_model({in}, {PReLU({.name = "act"})(x)});
                    },
                    "Share it over height and width: shared_axes=[1, 2]"},
        RefusedCase{"EluThatFalls",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {ELU({.alpha = -0.5, .name = "act"})(dense_after(in))});
                    },
                    "one of 0 or more rises everywhere"},
        RefusedCase{"RectifierThatFalls",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {ReLU({.threshold = -1.0, .name = "act"})(dense_after(in))});
                    },
                    "its negative_slope is 0 and its threshold -1. With both 0 or more it does; a PReLU may"},
        RefusedCase{"LeakThatFalls",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {LeakyReLU({.negative_slope = -0.5, .name = "act"})(dense_after(in))});
                    },
                    "its negative_slope is -0.5 and its threshold 0."},
        RefusedCase{"SoftmaxInTheMiddle",
                    [] {
                      auto in = Input({.shape = {4}});
                      auto x = QDense({.units = 4, .kernel_quantizer = "ternary", .name = "first"})(in);
                      return build_model({in}, {dense_after(layer("Softmax", "shares")(x))});
                    },
                    "layer 'shares': softmax is known at the end of the network only. Nearest is a sigmoid"},
        RefusedCase{"ConvolutionOfOneAxis",
                    [] {
                      auto in = Input({.shape = {8, 2}});
                      return build_model({in}, {Conv1D({.filters = 2, .kernel_size = 3, .name = "conv"})(in)});
                    },
                    "A QConv2D over [1, length, channels] is the same. Known: "},
        RefusedCase{"ValuesBetweenPixels",
                    [] {
                      auto in = Input({.shape = {4, 4, 1}});
                      return build_model({in}, {UpSampling2D({.interpolation = "bilinear", .name = "up"})(in)});
                    },
                    "'nearest' repeats the pixels"},
        RefusedCase{"MaximumOfOddScales",
                    [] {
                      auto in = Input({.shape = {4}});
                      const auto a = QActivation({.activation = "quantized_bits(4,0,1,alpha=1.0)"})(in);
                      const auto sums = dense_after(a);
                      const auto b = QActivation({.activation = "quantized_bits(4,0,1,alpha=0.3)"})(sums);
                      const auto c = QActivation({.activation = "quantized_bits(4,0,1,alpha=1.0)"})(sums);
                      return build_model({in}, {layer("Maximum", "largest")(std::vector<Node>{b, c})});
                    },
                    "layer 'largest' (Maximum) compares values of the scales"},
        RefusedCase{"QuantizedAverageAtTheBorder",
                    [] {
                      auto in = Input({.shape = {5, 5, 1}});
                      return build_model({in}, {QAveragePooling2D({.pool_size = {2, 2},
                                                                   .padding = "same",
                                                                   .average_quantizer = "quantized_bits(8,0,1)",
                                                                   .name = "mean"})(in)});
                    },
                    "one quantized factor does not fit all"},
        RefusedCase{"AverageOfManyNumbersOfCells",
                    [] {
                      auto in = Input({.shape = {40, 40, 1}});
                      return build_model({in}, {AveragePooling2D({.pool_size = {23, 23},
                                                                  .strides = std::vector<int64_t>{1, 1},
                                                                  .padding = "same",
                                                                  .name = "mean"})(in)});
                    },
                    "no integers of 24 bits hold them"},
        RefusedCase{"FloatFunction",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in},
                                         {Activation({.activation = "log_softmax", .name = "act"})(dense_after(in))});
                    },
                    "the float function log_softmax is not known here"},
        RefusedCase{"BeyondTheIntegers",
                    [] {
                      auto in = Input({.shape = {4}});
                      const auto wide = QActivation(
                          {.activation = "quantized_bits(18,0,1,alpha=32768.0)", .name = "wide"})(dense_after(in));
                      const auto fine =
                          QActivation({.activation = "quantized_bits(18,0,1,alpha=1.0)", .name = "fine"})(in);
                      const auto same = QDense({.units = 4, .kernel_quantizer = "ternary"})(wide);
                      const auto coarse =
                          QActivation({.activation = "quantized_bits(18,0,1,alpha=32768.0)", .name = "coarse"})(same);
                      return build_model({in}, {layer("Add", "sum")(std::vector<Node>{coarse, fine})});
                    },
                    "layer 'sum' gives integers of"},
        RefusedCase{"NearestIsNamed",
                    [] {
                      auto in = Input({.shape = {8, 2}});
                      return build_model({in}, {layer("MaxPooling1D", "pool")(in)});
                    },
                    "A MaxPooling2D over [1, length, channels] is the same. Known: "},
        RefusedCase{"SumsOfWideSums",
                    [] {
                      auto in = Input({.shape = {512}});
                      auto x = QActivation({.activation = "quantized_bits(16,0,1,alpha=1.0)"})(in);
                      x = QDense({.units = 4,
                                  .use_bias = false,
                                  .kernel_quantizer = "quantized_bits(16,0,1,alpha=1.0)",
                                  .name = "wide"})(x);
                      return build_model({in}, {dense_after(x)});
                    },
                    "from 'wide'; it takes integers of 32 bits at most. Put a quantizer between them"},
        RefusedCase{"TooWide",
                    [] {
                      auto in = Input({.shape = {1024}});
                      auto x = QActivation({.activation = "quantized_bits(31,0,1,alpha=1.0)"})(in);
                      return build_model({in}, {dense_after(x, "quantized_bits(31,0,1,alpha=1.0)")});
                    },
                    "layer 'dense' (QDense) needs an accumulator of 64 bits or more; 63 are there"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble::program
