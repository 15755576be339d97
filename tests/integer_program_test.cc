// The promise of the project: the integers of a program are the numbers of the network, bit for bit. Networks of every
// kind of layer and quantizer that a program knows, with weights and statistics at random.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "network_codes.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/program/lowering.h"
#include "nibble/program/verification.h"

namespace nibble {
namespace {

using namespace graph::build;

std::vector<int64_t> ints(std::initializer_list<int64_t> values) { return values; }

Node conv(const Node& in, int filters, const std::string& kernel, const std::string& name, int stride = 1) {
  return QConv2D({.filters = filters,
                  .kernel_size = {3, 3},
                  .strides = {stride, stride},
                  .padding = "same",
                  .kernel_quantizer = kernel,
                  .bias_quantizer = "quantized_bits(6,1,1)",
                  .name = name})(in);
}

Node act(const Node& in, const std::string& quantizer, const std::string& name) {
  return QActivation({.activation = quantizer, .name = name})(in);
}

Node bn(const Node& in, const std::string& name) { return BatchNormalization({.name = name})(in); }

Node classifier(const Node& in) {
  auto x = QDense({.units = 4,
                   .kernel_quantizer = "quantized_bits(4,0,1,alpha=1)",
                   .bias_quantizer = "quantized_bits(4,1,1)",
                   .name = "dense"})(Flatten({.name = "flatten"})(in));
  return Activation({.activation = "softmax", .name = "softmax"})(x);
}

Node image() { return Input({.shape = {8, 8, 3}, .name = "input"}); }

// conv -> batch norm -> activation, twice.
graph::Model chain(const std::string& kernel, const std::string& activation) {
  const Node in = image();
  auto x = act(bn(conv(in, 6, kernel, "conv0", 2), "bn0"), activation, "act0");
  x = act(bn(conv(x, 5, kernel, "conv1"), "bn1"), activation, "act1");
  return build_model({in}, {classifier(x)}, "chain");
}

graph::Model residual() {
  const Node in = image();
  auto a = act(bn(conv(in, 4, "quantized_bits(4,0,1,alpha=1)", "conv0"), "bn0"), "quantized_relu(4,2)", "a");
  auto b = act(bn(conv(a, 4, "ternary(alpha=1)", "conv1"), "bn1"), "quantized_bits(6,1,1,alpha=1)", "b");
  auto sum = act(layer("Add", "sum")(std::vector<Node>{a, b}), "quantized_relu(5,2)", "c");
  return build_model({in}, {classifier(sum)}, "residual");
}

graph::Model pools() {
  const Node in = image();
  auto x = bn(conv(in, 6, "quantized_bits(4,0,1,alpha=1)", "conv0"), "bn0");
  x = MaxPooling2D({.pool_size = {3, 3}, .strides = std::vector<int64_t>{2, 2}, .padding = "same", .name = "max"})(x);
  x = act(x, "quantized_relu(6,3)", "a");
  x = act(layer("AveragePooling2D", "mean", {{"pool_size", ints({2, 2})}})(x), "quantized_relu(4,2)", "b");
  x = act(layer("GlobalAveragePooling2D", "global")(x), "quantized_bits(8,2,1,alpha=1)", "c");
  return build_model({in}, {classifier(x)}, "pools");
}

// 4, 6 and 9 cells of a window are inside.
graph::Model averages_at_borders() {
  const Node in = image();
  Node x = act(conv(in, 6, "quantized_bits(4,0,1,alpha=1)", "conv0"), "quantized_relu(6,3)", "a");
  x = AveragePooling2D({.pool_size = {3, 3}, .strides = std::vector<int64_t>{1, 1}, .padding = "same"})(x);
  x = act(x, "quantized_relu(8,3)", "b");
  x = QAveragePooling2D({.pool_size = {3, 3}, .strides = std::vector<int64_t>{2, 2}, .padding = "same"})(x);
  return build_model({in}, {classifier(act(x, "quantized_relu(8,3)", "c"))}, "averages_at_borders");
}

graph::Model branches() {
  const Node in = image();
  auto a = act(conv(in, 4, "quantized_po2(3,1)", "conv0"), "quantized_relu(4,2)", "a");
  auto b = act(conv(in, 3, "binary(alpha=1)", "conv1"), "quantized_bits(3,2,1,alpha=1)", "b");
  auto both = layer("Concatenate", "both")(std::vector<Node>{a, b});
  both = layer("ZeroPadding2D", "pad")(both);
  auto x = QDepthwiseConv2D(
      {.kernel_size = {3, 3}, .depthwise_quantizer = "quantized_bits(4,0,1,alpha=1)", .name = "depthwise"})(both);
  x = Dropout({.rate = 0.5, .name = "dropout"})(x);
  x = act(layer("LeakyReLU", "leaky", {{"negative_slope", 0.25}})(x), "quantized_bits(6,2,1,alpha=1)", "c");
  return build_model({in}, {classifier(x)}, "branches");
}

graph::Model quantized_batch_norm() {
  const Node in = image();
  auto x = conv(in, 6, "quantized_bits(4,0,1,alpha=1)", "conv0", 2);
  x = layer("QBatchNormalization", "qbn")(x);
  x = act(x, "quantized_relu(4,2)", "a");
  return build_model({in}, {classifier(x)}, "quantized_batch_norm");
}

graph::Model own_input_quantizer() {
  const Node in = image();
  auto x = act(in, "quantized_bits(5,0,1,alpha=1)", "first");
  x = act(bn(conv(x, 6, "ternary(alpha=1)", "conv0"), "bn0"), "binary(alpha=1)", "a");
  return build_model({in}, {classifier(x)}, "own_input_quantizer");
}

// Its lowest code is neither that of the largest nor that of the smallest input.
graph::Model own_turning_input_quantizer() {
  const Node in = image();
  Node x = act(in, "quantized_hswish(6,1,1)", "first");
  x = act(bn(conv(x, 6, "ternary(alpha=1)", "conv0"), "bn0"), "quantized_relu(4,2)", "a");
  return build_model({in}, {classifier(x)}, "own_turning_input_quantizer");
}

// Batch norms folded into the kernel.
graph::Model folded() {
  const Node in = image();
  auto x = layer("QConv2DBatchnorm", "conv",
                 {{"filters", int64_t{5}},
                  {"kernel_size", ints({3, 3})},
                  {"kernel_quantizer", "quantized_bits(6,1,1,alpha=1)"},
                  {"bias_quantizer", "quantized_bits(8,2,1)"},
                  {"activation", "quantized_relu(4,2)"}})(in);
  x = layer("QDepthwiseConv2DBatchnorm", "depthwise",
            {{"kernel_size", ints({3, 3})},
             {"use_bias", false},
             {"depthwise_quantizer", "quantized_bits(6,1,1,alpha=1)"},
             {"bias_quantizer", "quantized_bits(8,2,1)"},
             {"activation", "quantized_bits(5,1,1,alpha=1)"}})(x);
  return build_model({in}, {classifier(x)}, "folded");
}

// Plain functions before quantizers, and at the end.
graph::Model curves() {
  const Node in = image();
  Node x = in;
  for (const char* name : {"sigmoid", "swish", "tanh", "gelu", "softplus", "elu", "mish", "hard_sigmoid", "selu"}) {
    x = QConv2D({.filters = 4,
                 .kernel_size = {3, 3},
                 .padding = "same",
                 .kernel_quantizer = "quantized_bits(6,1,1,alpha=1)",
                 .bias_quantizer = "quantized_bits(8,2,1)"})(x);
    x = Activation({.activation = name})(BatchNormalization()(x));
    x = QActivation({.activation = "quantized_bits(7,1,1,alpha=1)"})(x);
  }
  x = QDense({.units = 3, .activation = "sigmoid", .kernel_quantizer = "quantized_bits(4,0,1)"})(Flatten()(x));
  return build_model({in}, {x}, "curves");
}

// Activation layers with parameters: one slope a channel, of either sign, and one for all.
graph::Model slopes() {
  const Node in = image();
  const std::string kernel = "quantized_bits(4,0,1,alpha=1)", codes = "quantized_bits(7,2,1,alpha=1)";
  Node x = act(ELU({.alpha = 0.7, .name = "elu"})(bn(conv(in, 6, kernel, "conv0"), "bn0")), codes, "a");
  x = act(PReLU({.shared_axes = {1, 2}, .name = "prelu"})(bn(conv(x, 5, kernel, "conv1"), "bn1")), codes, "b");
  x = act(PReLU({.shared_axes = {1, 2, 3}, .name = "leak"})(conv(x, 4, kernel, "conv2")), codes, "c");
  x = QDense({.units = 3, .kernel_quantizer = kernel, .name = "last"})(Flatten()(x));
  return build_model({in}, {PReLU({.name = "end"})(x)}, "slopes");
}

// Before a quantizer and after it; the last permutation moves channels.
graph::Model moves() {
  const Node in = image();
  const std::string kernel = "quantized_bits(4,0,1,alpha=1)";
  Node x = UpSampling2D({.size = {2, 3}, .name = "up"})(bn(conv(in, 6, kernel, "conv0", 2), "bn0"));
  x = act(x, "quantized_relu(4,2)", "a");
  x = conv(Cropping2D({.cropping = {1, 2, 0, 3}, .name = "crop"})(x), 5, kernel, "conv1");
  x = act(Permute({.dims = {2, 1, 3}, .name = "turn"})(bn(x, "bn1")), "quantized_relu(4,2)", "b");
  x = conv(Permute({.dims = {3, 1, 2}, .name = "channels"})(x), 4, kernel, "conv2");
  x = UpSampling2D({.size = {1, 2}, .name = "codes"})(act(x, "quantized_bits(5,2,1,alpha=1)", "c"));
  return build_model({in}, {classifier(x)}, "moves");
}

graph::Model extremes() {
  const Node in = image();
  const std::string kernel = "quantized_bits(4,0,1,alpha=1)";
  const Node a = act(bn(conv(in, 4, kernel, "conv0"), "bn0"), "quantized_relu(4,2)", "a");
  const Node b = act(bn(conv(a, 4, kernel, "conv1"), "bn1"), "quantized_bits(6,1,1,alpha=1)", "b");
  const Node largest = layer("Maximum", "largest")(std::vector<Node>{a, b});
  const Node c = act(conv(largest, 4, kernel, "conv2"), "quantized_bits(5,2,1,alpha=1)", "c");
  const Node smallest = layer("Minimum", "smallest")(std::vector<Node>{a, c, b});
  return build_model({in}, {classifier(smallest)}, "extremes");
}

// Twice as large, cut as "same" does; a kernel of two steps over a stride of three, which leaves pixels out; and one of
// padding 'valid' whose last rows are the bias alone.
graph::Model transposed() {
  const Node in = image();
  const auto up = [](const Node& x, const std::string& name, QConv2DTransposeOptions o) {
    o.kernel_quantizer = "quantized_bits(4,0,1,alpha=1)", o.bias_quantizer = "quantized_bits(6,1,1)", o.name = name;
    return QConv2DTranspose(o)(x);
  };
  Node x = act(conv(in, 6, "quantized_bits(4,0,1,alpha=1)", "conv0", 2), "quantized_relu(4,2)", "a");
  x = up(x, "up0", {.filters = 5, .kernel_size = {3, 4}, .strides = {2, 2}, .padding = "same"});
  x = act(bn(x, "bn0"), "quantized_bits(5,2,1,alpha=1)", "b");
  x = up(x, "up1", {.filters = 4, .kernel_size = {2, 3}, .strides = {3, 1}, .activation = "quantized_relu(4,2)"});
  x = up(x, "up2", {.filters = 3, .kernel_size = {3, 3}, .strides = {2, 2}, .output_padding = {1, 0}});
  x = act(x, "quantized_relu(4,3)", "c");
  x = up(x, "up3", {.filters = 2, .kernel_size = {2, 2}, .dilation_rate = {2, 1}});
  return build_model({in}, {classifier(act(x, "quantized_relu(4,3)", "d"))}, "transposed");
}

// The last layer's sums enter its softmax, and are compared too.
graph::Model ends_in_softmax() {
  const Node in = image();
  Node x = act(conv(in, 6, "quantized_bits(4,0,1,alpha=1)", "conv0", 2), "quantized_relu(4,2)", "a");
  x = QDense({.units = 4,
              .activation = "softmax",
              .kernel_quantizer = "quantized_bits(4,0,1,alpha=1)",
              .bias_quantizer = "quantized_bits(4,1,1)",
              .name = "dense"})(Flatten({.name = "flatten"})(x));
  return build_model({in}, {x}, "ends_in_softmax");
}

// Jumps at the threshold, but rises everywhere.
graph::Model rectifiers() {
  const Node in = image();
  const std::string kernel = "quantized_bits(4,0,1,alpha=1)", codes = "quantized_bits(7,2,1,alpha=1)";
  Node x = ReLU({.negative_slope = 0.5, .threshold = 0.7, .name = "leak"})(bn(conv(in, 6, kernel, "conv0"), "bn0"));
  x = ReLU({.max_value = 1.9, .threshold = 0.3, .name = "step"})(conv(act(x, codes, "a"), 5, kernel, "conv1"));
  return build_model({in}, {classifier(act(x, codes, "b"))}, "rectifiers");
}

struct Case {
  std::string name;
  std::function<graph::Model()> build;
};

std::vector<Case> cases() {
  std::vector<Case> rows = {{"Residual", residual},
                            {"Pools", pools},
                            {"AveragesAtBorders", averages_at_borders},
                            {"Branches", branches},
                            {"QuantizedBatchNorm", quantized_batch_norm},
                            {"OwnInputQuantizer", own_input_quantizer},
                            {"OwnTurningInputQuantizer", own_turning_input_quantizer},
                            {"FoldedBatchNorm", folded},
                            {"Curves", curves},
                            {"Slopes", slopes},
                            {"Rectifiers", rectifiers},
                            {"EndsInSoftmax", ends_in_softmax},
                            {"Moves", moves},
                            {"Extremes", extremes},
                            {"Transposed", transposed}};
  const std::map<std::string, const char*> kernels = {{"Bits4", "quantized_bits(4,0,1,alpha=1.0)"},
                                                      {"Bits8Po2Scales", "quantized_bits(8,0,1,alpha='auto_po2')"},
                                                      {"Ternary", "ternary(alpha=1)"},
                                                      {"Binary", "binary(alpha=1)"},
                                                      {"Po2", "quantized_po2(4,1)"}};
  const std::map<std::string, const char*> activations = {
      {"Relu4", "quantized_relu(4,2)"},       {"Bits6", "quantized_bits(6,2,1,alpha=1)"},
      {"Binary", "binary(alpha=1)"},          {"Ternary", "ternary(alpha=1)"},
      {"Tanh", "quantized_tanh(6)"},          {"Sigmoid", "quantized_sigmoid(6)"},
      {"ReluPo2", "quantized_relu_po2(4,4)"}, {"Hswish", "quantized_hswish(6,1,1)"}};
  for (const auto& [kernel_name, kernel] : kernels) {
    for (const auto& [activation_name, activation] : activations) {
      rows.push_back({"Weights" + kernel_name + "Activations" + activation_name,
                      [kernel = kernel, activation = activation] { return chain(kernel, activation); }});
    }
  }
  return rows;
}

// Gamma of both signs: a batch norm that falls turns thresholds round.
void randomize(graph::Model& model) {
  graph::initialize_weights(model, 11);
  for (size_t l = 0; l < model.layers.size(); ++l) {
    RandomStream random({11, RandomPurpose::kTest, static_cast<uint32_t>(l), 0});
    for (graph::Weight& weight : model.layers[l].weights) {
      for (float& value : weight.value.data()) {
        if (weight.name == "moving_variance") value = 0.2f + random.uniform();
        const bool is_signed = weight.name == "gamma" || weight.name == "beta" || weight.name == "moving_mean" ||
                               weight.name == "bias" || weight.name == "alpha";
        if (is_signed) {
          value = 2 * random.uniform() - 1;
        }
      }
    }
  }
}

Tensor samples(int64_t count, const Shape& shape) {
  std::vector<int64_t> extents = {count};
  extents.insert(extents.end(), shape.begin(), shape.end());
  Tensor x{Shape(extents)};
  RandomStream random({12, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = 2 * random.uniform() - 1;
  return x;
}

class IntegerProgram : public testing::TestWithParam<Case> {};

TEST_P(IntegerProgram, HasTheNetworksNumbers) {
  graph::Model model = GetParam().build();
  randomize(model);
  const program::Program program = program::lower(model);
  program::validate(program);
  Tensor x = samples(100, program.input_shape);
  if (const auto quantizer = program::input_quantizer(program, model)) x = quantizer->quantize(x).real;
  expect_the_networks_codes(program, model, x, 3);
}

INSTANTIATE_TEST_SUITE_P(Networks, IntegerProgram, testing::ValuesIn(cases()),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble
