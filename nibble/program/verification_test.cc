// Counting differences, and telling the first.
#include "nibble/program/verification.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "nibble/graph/builder.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/program/lowering.h"

namespace nibble::program {
namespace {

using namespace graph::build;

Program small_program() {
  const Node in = Input({.shape = {3, 4, 2}, .name = "input"});
  Node x = QConv2D({.filters = 2,
                    .kernel_size = {1, 1},
                    .use_bias = false,
                    .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                    .name = "conv"})(in);
  x = QActivation({.activation = "quantized_relu(4,2)", .name = "act"})(x);
  x = QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)", .name = "dense"})(
      Flatten({.name = "flatten"})(x));
  graph::Model model = build_model({in}, {x}, "small");
  graph::initialize_weights(model, 5);
  return lower(model);
}

Tensor samples() {
  Tensor x(Shape{4, 3, 4, 2});
  RandomStream random({13, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = 2 * random.uniform() - 1;
  return x;
}

// The program's own values as the network's, one of them changed by so many steps.
struct Changed {
  const Program& program;
  std::string layer;
  int64_t sample, element;
  float steps;

  Tensor operator()(const std::string& name, const Tensor& x) const {
    if (name.empty()) return run(program, x);
    Executor executor(program);
    std::vector<float> output(3), values;
    Shape shape;
    for (int64_t n = 0; n < x.shape()[0]; ++n) {
      executor.run(x.data().subspan(static_cast<size_t>(n) * 24, 24), output);
      for (size_t i = 0; i < program.operations.size(); ++i) {
        const Operation& operation = program.operations[i];
        if (operation.layer != name || !operation.is_layer_output) continue;
        shape = operation.result.shape;
        const float scale = operation.result.scale[0];
        const Integers integers = executor.result(static_cast<int>(i));
        for (size_t e = 0; e < integers.size(); ++e) {
          const bool is_changed = name == layer && n == sample && static_cast<int64_t>(e) == element;
          values.push_back((static_cast<float>(integers[e]) + (is_changed ? steps : 0.0f)) * scale);
        }
      }
    }
    const auto count = static_cast<int64_t>(values.size());
    return Tensor(Shape{count}, std::move(values));
  }
};

Verification verified(const Program& program, const Changed& changed) {
  Verifier verifier(program);
  verifier.add(samples(), changed);
  return verifier.result();
}

TEST(Verification, EqualNumbersHaveNoDifference) {
  const Program program = small_program();
  const Verification result = verified(program, {program, "", 0, 0, 0});
  EXPECT_EQ(result.differing(), 0);
  EXPECT_EQ(result.first_difference(), nullptr);
  EXPECT_EQ(result.same_class, 4);
}

TEST(Verification, TheFirstDifferenceHasPlaceAndCodes) {
  const Program program = small_program();
  const Verification result = verified(program, {program, "act", 2, 13, 3.0f});
  EXPECT_EQ(result.differing(), 1);
  const LayerComparison* layer = result.first_difference();
  ASSERT_NE(layer, nullptr);
  EXPECT_EQ(layer->layer, "act");
  EXPECT_EQ(layer->operation, "compare");
  const Difference& first = *layer->first;
  EXPECT_EQ(first.sample, 2);
  EXPECT_EQ(first.element, 13);
  EXPECT_EQ(first.index, (std::vector<int64_t>{1, 2, 1}));  // of (3, 4, 2)
  EXPECT_EQ(first.expected_code, static_cast<double>(first.found_code) + 3.0);
  EXPECT_EQ(first.expected, first.found + 3.0f * 0.25f);
}

// What a softmax is given is compared; the class alone would not tell a wrong code.
TEST(Verification, ALayerThatEndsInASoftmaxIsCompared) {
  const Node in = Input({.shape = {3, 4, 2}, .name = "input"});
  const Node x = QDense({.units = 3,
                         .activation = "softmax",
                         .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                         .bias_quantizer = "quantized_bits(4,0,1)",
                         .name = "dense"})(Flatten({.name = "flatten"})(in));
  graph::Model model = build_model({in}, {x}, "only");
  graph::initialize_weights(model, 5);
  const Program program = lower(model);
  EXPECT_TRUE(program.softmax);
  EXPECT_EQ(Verifier(program).layers(), std::vector<std::string>{"dense"});
  EXPECT_EQ(verified(program, {program, "", 0, 0, 0}).differing(), 0);
  const Verification result = verified(program, {program, "dense", 1, 2, 1.0f});
  EXPECT_EQ(result.differing(), 1);
  EXPECT_EQ(result.values(), 12);
  EXPECT_FALSE(result.is_equal());
}

// What a quantizer gives before it is a step on the way, which the network does not tell.
TEST(Verification, TheLastPointOfALayerIsItsValue) {
  for (const bool is_post_activation : {true, false}) {
    const Node in = Input({.shape = {4}, .name = "input"});
    const Node x = QDense({.units = 3,
                           .activation = "quantized_relu(4,2)",
                           .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)",
                           .name = "dense"})(in);
    graph::Model model = build_model({in}, {x}, "two");
    graph::initialize_weights(model, 5);
    const graph::AffineQuantizer point = {.kind = graph::AffineKind::kDorefa};
    model.layer("dense").quantization = is_post_activation ? graph::LayerQuantization{.post_activation = point}
                                                           : graph::LayerQuantization{.output = point};
    const Program program = lower(model);
    std::vector<bool> is_value;
    for (const Operation& operation : program.operations) {
      if (operation.layer == "dense") is_value.push_back(operation.is_layer_output);
    }
    EXPECT_EQ(is_value, (std::vector<bool>{false, false, true})) << is_post_activation;
  }
}

TEST(Verification, OtherClassesAreADifference) {
  EXPECT_TRUE((Verification{.layers = {}, .samples = 3, .same_class = 3}.is_equal()));
  EXPECT_FALSE((Verification{.layers = {}, .samples = 3, .same_class = 2}.is_equal()));
}

struct CutCase {
  const char* name;
  const char* class_name;
  const char* activation;  // "": the class has no such attribute
  bool has_output_point;
  const char* expected_class;
  const char* expected;
};

class Cut : public testing::TestWithParam<CutCase> {};

TEST_P(Cut, EndsBeforeASoftmax) {
  const CutCase& row = GetParam();
  graph::Model model;
  model.layers = {graph::make_layer("InputLayer", "input", {{"shape", std::vector<int64_t>{4}}})};
  std::map<std::string, graph::Attribute> attributes;
  if (*row.activation != '\0') attributes["activation"] = std::string(row.activation);
  if (std::string(row.class_name) == "Dense") attributes["units"] = int64_t{3};
  model.layers.push_back(graph::make_layer(row.class_name, "last", attributes));
  model.layers[1].inputs = {"input"};
  if (row.has_output_point) {
    model.layers[1].quantization = graph::LayerQuantization{.output = {.kind = graph::AffineKind::kDorefa}};
  }
  model.inputs = {"input"}, model.outputs = {"elsewhere"};
  const graph::Model part = network_up_to(model, "last");
  EXPECT_EQ(part.outputs, std::vector<std::string>{"last"});
  EXPECT_EQ(part.layers[1].class_name, row.expected_class);
  EXPECT_EQ(part.layers[1].activation_function(), row.expected);
  EXPECT_EQ(part.layers[1].inputs, model.layers[1].inputs);
  EXPECT_EQ(part.layers[1].quantization, model.layers[1].quantization);
}

INSTANTIATE_TEST_SUITE_P(Layers, Cut,
                         testing::Values(CutCase{"Dense", "Dense", "softmax", false, "Dense", "linear"},
                                         CutCase{"Activation", "Activation", "softmax", false, "Activation", "linear"},
                                         CutCase{"Softmax", "Softmax", "", false, "Activation", "linear"},
                                         CutCase{"Relu", "Dense", "relu", false, "Dense", "relu"},
                                         CutCase{"PointBehind", "Dense", "softmax", true, "Dense", "softmax"}),
                         [](const auto& row) { return row.param.name; });

TEST(Verification, ANumberBesideTheGridHasNoWholeCode) {
  const Program program = small_program();
  const Verification result = verified(program, {program, "act", 0, 0, 0.5f});
  ASSERT_NE(result.first_difference(), nullptr);
  const Difference& first = *result.first_difference()->first;
  EXPECT_EQ(first.expected_code, static_cast<double>(first.found_code) + 0.5);
}

}  // namespace
}  // namespace nibble::program
