// What cannot be an integer program, and what is said then.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/graph/layer_quantization.h"
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

// A model with an affine point, its input's, whose values a layer of that class reads.
graph::Model affine_before(const std::vector<int64_t>& shape, const std::string& class_name,
                           graph::build::Attributes more, size_t inputs = 1) {
  const Node in = Input({.shape = shape, .name = "input"});
  const Node x = layer(class_name, "last", std::move(more))(std::vector<Node>(inputs, in));
  graph::Model model = build_model({in}, {x});
  model.layer("input").quantization = graph::LayerQuantization{.output = {.kind = graph::AffineKind::kDorefa}};
  return model;
}

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
        RefusedCase{"DrawsAtInference",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in},
                                         {QActivation({.activation = "bernoulli", .name = "act"})(dense_after(in))});
                    },
                    "draws its values anew at each inference"},
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
        RefusedCase{"RectifierThatFalls",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {ReLU({.threshold = -1.0, .name = "act"})(dense_after(in))});
                    },
                    "the threshold -1, with which it does not rise everywhere"},
        RefusedCase{"EluThatFalls",
                    [] {
                      auto in = Input({.shape = {4}});
                      return build_model({in}, {ELU({.alpha = -0.5, .name = "act"})(dense_after(in))});
                    },
                    "one of 0 or more rises everywhere"},
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
        RefusedCase{"NearestOfQKeras",
                    [] {
                      auto in = Input({.shape = {8, 2}});
                      return build_model({in}, {layer("QConv1D", "conv",
                                                      {{"filters", int64_t{2}},
                                                       {"kernel_size", std::vector<int64_t>{3}},
                                                       {"kernel_quantizer", "ternary"}})(in)});
                    },
                    "A QConv2D over [1, length, channels] is the same. Known: "},
        RefusedCase{"NearestOfAffinePoints",
                    [] {
                      return affine_before({8, 2}, "Conv1D",
                                           {{"filters", int64_t{2}}, {"kernel_size", std::vector<int64_t>{3}}});
                    },
                    "no integer form here. A Conv2D over [1, length, channels] is the same. Known: "},
        RefusedCase{"NearestOfAnAffineAverage",
                    [] {
                      return affine_before({8, 2}, "Average", {}, 2);
                    },
                    "An Add and the point 'output' do, the divisor"},
        RefusedCase{"SoftmaxInTheMiddle",
                    [] {
                      auto in = Input({.shape = {4}});
                      auto x = Activation({.activation = "softmax", .name = "weights"})(dense_after(in));
                      return build_model({in}, {QActivation({.activation = "quantized_relu(4,2)"})(x)});
                    },
                    "at the end of the network only. A QActivation of quantized_sigmoid(8) in its place"},
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
