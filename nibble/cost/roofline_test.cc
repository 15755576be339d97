// Bit operations and rooflines by hand; QTools' own figures are in models_golden_test.
#include "nibble/cost/roofline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/cost/bit_operations.h"
#include "nibble/cost/energy.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using ::testing::HasSubstr;

// 8 inputs of 8 bits, a 4-bit kernel 8 x 16 without bias, an activation of 2 bits.
graph::Model network() {
  const Node input = Input({.shape = {8}, .name = "in"});
  const Node dense = layer(
      "QDense", "dense",
      {{"units", int64_t{16}}, {"use_bias", false}, {"kernel_quantizer", std::string("quantized_bits(4,0,1)")}})(input);
  return build_model({input}, {layer("QActivation", "act", {{"activation", std::string("quantized_relu(2)")}})(dense)});
}

TEST(BitOperations, AreMultiplicationsTimesBothWidths) {
  const Operations got = count_operations(data_type_map(network()));
  EXPECT_EQ(got.multiplications, 8 * 16);
  EXPECT_EQ(got.bit_operations, 8 * 16 * 8 * 4);
  ASSERT_EQ(got.layers.size(), 2u);
  EXPECT_EQ(got.layers[0].name, "dense");
  EXPECT_EQ(got.layers[0].bit_operations, got.bit_operations);
  EXPECT_EQ(got.layers[1].bit_operations, 0);
}

// The second kernel of a separable convolution meets the first one's sums, not the layer's input.
TEST(BitOperations, OfTheSecondKernelAreThoseOfWhatItMeets) {
  const Node input = Input({.shape = {4, 4, 2}, .name = "in"});
  const std::string four = "quantized_bits(4,0,1)";
  const graph::Model model = build_model({input}, {layer("QSeparableConv2D", "layer",
                                                         {{"filters", int64_t{3}},
                                                          {"kernel_size", std::vector<int64_t>{1, 1}},
                                                          {"use_bias", false},
                                                          {"depthwise_quantizer", four},
                                                          {"pointwise_quantizer", four}})(input)});
  // depthwise: 8 x 4 bits, one product of 11 bits each, no sum; pointwise: 11 x 4 bits
  EXPECT_EQ(count_operations(data_type_map(model)).bit_operations, 16 * (2 * 8 * 4 + 2 * 3 * 11 * 4));
}

TEST(Roofline, ByHand) {
  const RooflinePair got = roofline(data_type_map(network()));
  EXPECT_EQ(got.quantized, (Roofline{.operations = 256, .ace = 4096, .weight_bytes = 64, .activation_bytes = 8 + 4}));
  EXPECT_EQ(got.float32,
            (Roofline{.operations = 256, .ace = 128 * 1024, .weight_bytes = 512, .activation_bytes = 32 + 64}));
  EXPECT_DOUBLE_EQ(got.quantized.intensity(), 256.0 / 76);
}

// 4 tensors of 16 channels at 8 bits; 2 without scale and center. QTools does not count them.
TEST(Roofline, ParametersOfANormAreRead) {
  const Node input = Input({.shape = {16}, .name = "in"});
  const auto weights = [&](const LayerCall& norm, Compat compat) {
    return roofline(data_type_map(build_model({input}, {norm(input)}), {.compat = compat}));
  };
  const LayerCall whole = layer("BatchNormalization", "bn");
  EXPECT_EQ(weights(whole, Compat::kNone).quantized.weight_bytes, 4 * 16);
  EXPECT_EQ(weights(whole, Compat::kNone).float32.weight_bytes, 4 * 16 * 4);
  EXPECT_EQ(weights(whole, Compat::kQkeras).quantized.weight_bytes, 0);
  const LayerCall bare = layer("BatchNormalization", "bn", {{"scale", false}, {"center", false}});
  EXPECT_EQ(weights(bare, Compat::kNone).quantized.weight_bytes, 2 * 16);
}

// 6 rows of 4 values of 8 bits, of a table of 1000.
TEST(Roofline, RowsOfATableAreRead) {
  const Node input = Input({.shape = {6}, .name = "in"});
  const LayerCall table = layer("Embedding", "table", {{"input_dim", int64_t{1000}}, {"output_dim", int64_t{4}}});
  const graph::Model model = build_model({input}, {table(input)});
  const RooflinePair got = roofline(data_type_map(model));
  EXPECT_EQ(got.quantized.weight_bytes, 24);
  EXPECT_EQ(got.float32.weight_bytes, 4 * 24);
  EXPECT_EQ(roofline(data_type_map(model, {.compat = Compat::kQkeras})).quantized.weight_bytes, 0);
}

// QTools counts QActivation layers alone.
TEST(Roofline, EveryActivationIsTraffic) {
  const Node input = Input({.shape = {8}, .name = "in"});
  const Node dense = layer("QDense", "dense",
                           {{"units", int64_t{16}},
                            {"use_bias", false},
                            {"kernel_quantizer", std::string("quantized_bits(4,0,1)")},
                            {"activation", std::string("quantized_relu(2)")}})(input);
  const graph::Model model = build_model({input}, {dense});
  EXPECT_EQ(roofline(data_type_map(model)).quantized.activation_bytes, 8 + 4);
  EXPECT_EQ(roofline(data_type_map(model, {.compat = Compat::kQkeras})).quantized.activation_bytes, 8);
}

TEST(Roofline, TheRoofIsTheLowerOne) {
  const Roofline network = {.operations = 1000, .weight_bytes = 400, .activation_bytes = 100};  // 2 a byte
  const RooflinePoint memory = place(network, {.operations_per_s = 1e6, .bytes_per_s = 1e5});
  EXPECT_DOUBLE_EQ(memory.ridge, 10);
  EXPECT_TRUE(memory.is_memory_bound);
  EXPECT_DOUBLE_EQ(memory.attainable_operations_per_s, 2e5);
  EXPECT_DOUBLE_EQ(memory.least_s, 5e-3);
  const RooflinePoint compute = place(network, {.operations_per_s = 1e5, .bytes_per_s = 1e6});
  EXPECT_FALSE(compute.is_memory_bound);
  EXPECT_DOUBLE_EQ(compute.attainable_operations_per_s, 1e5);
  EXPECT_DOUBLE_EQ(compute.least_s, 1e-2);
}

TEST(Roofline, AMachineHasRates) {
  for (const Machine& machine : {Machine{0, 1}, Machine{1, 0}, Machine{-1, 1}}) {
    try {
      place({}, machine);
      ADD_FAILURE() << "no error";
    } catch (const InvalidArgument& error) {
      EXPECT_THAT(error.what(), HasSubstr("above 0"));
    }
  }
}

}  // namespace
}  // namespace nibble::cost
