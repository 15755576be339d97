// Peaks added up by hand.
#include "nibble/cost/memory_footprint.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using Ints = std::vector<int64_t>;

LayerCall conv(const std::string& name, int64_t filters) {
  return layer("QConv2D", name,
               {{"filters", filters},
                {"kernel_size", Ints{3, 3}},
                {"padding", std::string("same")},
                {"kernel_quantizer", std::string("quantized_bits(4,0,1,alpha=1.0)")},
                {"bias_quantizer", std::string("quantized_bits(4,0,1)")}});
}

LayerCall relu(const std::string& name, const std::string& quantizer) {
  return layer("QActivation", name, {{"activation", quantizer}});
}

// 8x8x1 at 8 bits, then 2 and 4 channels at 4 and 2 bits.
graph::Model chain() {
  const Node input = Input({.shape = {8, 8, 1}, .name = "in"});
  const Node a = relu("act_a", "quantized_relu(4)")(layer("BatchNormalization", "bn", {})(conv("a", 2)(input)));
  const Node b = relu("act_b", "quantized_relu(2)")(conv("b", 4)(a));
  return build_model({input}, {layer("Flatten", "flatten", {})(b)});
}

TEST(MemoryFootprint, AnActivationThatAloneReadsALayerRunsInsideIt) {
  const MemoryFootprint got = memory_footprint(chain());
  ASSERT_EQ(got.steps.size(), 2u);
  EXPECT_EQ(got.steps[0].layer, "act_a");
  EXPECT_EQ(got.steps[0].living_bits, 64 * 1 * 8 + 64 * 2 * 4);
  EXPECT_EQ(got.steps[1].layer, "act_b");
  EXPECT_EQ(got.steps[1].living_bits, 64 * 2 * 4 + 64 * 4 * 2);  // the input is gone
  EXPECT_EQ(got.peak_bits, 1024);
  EXPECT_EQ(got.peak_layer, "act_a");
  // Kernels and biases at 4 bits, the batch normalization's scale and offset at 8.
  EXPECT_EQ(got.weight_bits, (9 * 2 + 2 + 9 * 2 * 4 + 4) * 4 + 2 * 2 * 8);
}

// A shortcut keeps act_a alive over both convolutions of the branch.
TEST(MemoryFootprint, AShortcutStaysAliveUntilItIsAdded) {
  const Node input = Input({.shape = {8, 8, 1}, .name = "in"});
  const Node a = relu("act_a", "quantized_relu(4)")(conv("a", 2)(input));
  const Node b = relu("act_b", "quantized_relu(2)")(conv("b", 2)(a));
  const Node c = relu("act_c", "quantized_relu(4)")(conv("c", 2)(b));
  const Node sum = layer("Add", "add", {})(std::vector<Node>{a, c});
  const Node out = relu("act_d", "quantized_relu(2)")(sum);
  const MemoryFootprint got = memory_footprint(build_model({input}, {out}));
  ASSERT_EQ(got.steps.size(), 4u);
  const int64_t a_bits = 64 * 2 * 4, b_bits = 64 * 2 * 2, c_bits = 64 * 2 * 4, out_bits = 64 * 2 * 2;
  EXPECT_EQ(got.steps[1].living_bits, a_bits + b_bits);
  EXPECT_EQ(got.steps[2].living_bits, a_bits + b_bits + c_bits);
  EXPECT_EQ(got.steps[3].living_bits, a_bits + c_bits + out_bits);
  EXPECT_EQ(got.peak_layer, "act_c");
}

TEST(MemoryFootprint, APlainActivationHandsOutValuesNotAccumulators) {
  const Node input = Input({.shape = {8, 8, 1}, .name = "in"});
  const graph::Model model = build_model({input}, {layer("ReLU", "act", {})(conv("a", 2)(input))});
  EXPECT_EQ(memory_footprint(model, {.keras_accumulator = type_from_text("int32")}).peak_bits, 64 * 8 + 64 * 2 * 8);
  EXPECT_EQ(memory_footprint(model, {.keras_quantizer = type_from_text("fp16")}).peak_bits, 64 * 8 + 64 * 2 * 16);
}

// The same function, in a layer of its own and inside the one before it, must need the same memory.
TEST(MemoryFootprint, AnActivationInsideALayerCountsAsOneBehindIt) {
  const auto dense = [](const std::string& name, const std::string& function) {
    return layer("Dense", name, {{"units", int64_t{16}}, {"activation", function}});
  };
  const auto relu_layer = layer("Activation", "act", {{"activation", std::string("relu")}});
  const Node input = Input({.shape = {8}, .name = "in"});
  const graph::Model fused = build_model({input}, {dense("b", "linear")(dense("a", "relu")(input))});
  const graph::Model split = build_model({input}, {dense("b", "linear")(relu_layer(dense("a", "linear")(input)))});
  const DataTypeOptions options = {.keras_accumulator = type_from_text("int32")};
  const MemoryFootprint got = memory_footprint(fused, options), expected = memory_footprint(split, options);
  ASSERT_EQ(got.steps.size(), 2u);
  EXPECT_EQ(got.steps[0].living_bits, (8 + 16) * 8);
  EXPECT_EQ(got.steps[1].living_bits, 16 * 8 + 16 * 32) << "without an activation its sums are handed out";
  ASSERT_EQ(expected.steps.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(got.steps[i].living_bits, expected.steps[i].living_bits) << i;
}

// 8 values in, 16 of 8 bits or what a quantizer says out of each layer.
struct Inside {
  const char* name;
  const char* class_name;
  std::map<std::string, graph::Attribute> attributes;
  int64_t bits_each;
};
class ActivationInside : public ::testing::TestWithParam<Inside> {};
TEST_P(ActivationInside, IsStoredWith) {
  auto attributes = GetParam().attributes;
  attributes["units"] = int64_t{16};
  const Node input = Input({.shape = {1, 8}, .name = "in"});
  const graph::Model model = build_model({input}, {layer(GetParam().class_name, "inside", attributes)(input)});
  EXPECT_EQ(memory_footprint(model, {.keras_accumulator = type_from_text("int32")}).peak_bits,
            8 * 8 + 16 * GetParam().bits_each);
}
INSTANTIATE_TEST_SUITE_P(
    Rows, ActivationInside,
    ::testing::Values(Inside{"Relu", "Dense", {{"activation", std::string("relu")}}, 8},
                      Inside{"Softmax", "Dense", {{"activation", std::string("softmax")}}, 8},
                      Inside{"NoneAtAll", "Dense", {}, 32}, Inside{"StatesOfALstm", "LSTM", {}, 8},
                      Inside{"AQuantizer", "Dense", {{"activation", std::string("quantized_relu(4)")}}, 4},
                      Inside{"AQuantizerOfAQLayer", "QDense", {{"activation", std::string("quantized_relu(3)")}}, 3}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(MemoryFootprint, WhatIsPickedFromValuesIsValues) {
  const Node input = Input({.shape = {8, 8, 1}, .name = "in"});
  const Node a = layer("ReLU", "act", {})(conv("a", 2)(input));
  const Node pooled = layer("MaxPooling2D", "pool", {{"pool_size", Ints{2, 2}}})(a);
  const Node dropped = layer("Dropout", "drop", {{"rate", 0.5}})(pooled);
  const Node large = layer("UpSampling2D", "up", {{"size", Ints{2, 2}}})(dropped);
  const Node both = layer("Concatenate", "both", {})(std::vector<Node>{large, input});
  const MemoryFootprint got =
      memory_footprint(build_model({input}, {both}), {.keras_accumulator = type_from_text("int32")});
  ASSERT_EQ(got.steps.size(), 4u);
  const int64_t input_bits = 64 * 8, act = 64 * 2 * 8, pool = 16 * 2 * 8, up = 64 * 2 * 8, joined = 64 * 3 * 8;
  EXPECT_EQ(got.steps[0].living_bits, input_bits + act);
  EXPECT_EQ(got.steps[1].living_bits, input_bits + act + pool);
  EXPECT_EQ(got.steps[2].living_bits, input_bits + pool + up);
  EXPECT_EQ(got.steps[3].living_bits, input_bits + up + joined);
}

TEST(MemoryFootprint, ATensorThatTwoLayersReadIsStored) {
  const Node input = Input({.shape = {8, 8, 1}, .name = "in"});
  const Node a = conv("a", 2)(input);
  const Node sum = layer("Add", "add", {})(std::vector<Node>{a, relu("act", "quantized_relu(2)")(a)});
  const MemoryFootprint got = memory_footprint(build_model({input}, {sum}));
  ASSERT_EQ(got.steps.size(), 3u);
  EXPECT_EQ(got.steps[0].layer, "a");
  EXPECT_EQ(got.steps[1].living_bits - got.steps[0].living_bits, 64 * 2 * 2 - 64 * 1 * 8);
}

}  // namespace
}  // namespace nibble::cost
