#include "nibble/train/activation_compression.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"

namespace nibble::train {
namespace {

using namespace graph::build;

// Two activations of different ranges.
graph::Model network() {
  const auto in = Input({.shape = {4}, .name = "in"});
  auto x = QActivation({.activation = "quantized_bits(5,1,0,alpha=1.0)", .name = "signed"})(in);
  x = QActivation({.activation = "quantized_relu(4,2)", .name = "unsigned"})(Dense({.units = 6})(x));
  graph::Model model = build_model({in}, {Dense({.units = 2, .name = "last"})(x)});
  graph::initialize_weights(model, 3);
  return model;
}

Tensor samples() {
  Tensor x({50, 4});
  RandomStream random({8, RandomPurpose::kTest, 1, 0});
  for (float& value : x.data()) value = 1.5f * random.normal();
  return x;
}

TEST(ActivationCompression, EachLayerHasATableOfItsOwn) {
  const auto tables = activation_compression(network(), {"signed", "unsigned"}, samples());
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].layer, "signed");
  EXPECT_EQ(tables[0].table.in.size(), 8u);
  EXPECT_EQ(tables[0].table.out.size(), 32u);
  EXPECT_LT(tables[0].table.in.front(), -1.0f);
  EXPECT_EQ(tables[1].table.out.size(), 16u);
  EXPECT_GE(tables[1].table.in.front(), 0.0f);
  // The table maps each value to its nearest centroid.
  const auto range = quant::get_quantizer("quantized_relu(4,2)")->range();
  for (size_t v = 0; v < range.size(); ++v) {
    const float chosen = tables[1].table.in[static_cast<size_t>(tables[1].table.out[v])];
    for (const float other : tables[1].table.in) EXPECT_LE(std::abs(range[v] - chosen), std::abs(range[v] - other));
  }
}

TEST(ActivationCompression, ManyCentroidsAreTheValuesThemselves) {
  const auto tables = activation_compression(network(), {"signed"}, samples(), {.bits = 6});
  const auto quantizer = quant::get_quantizer("quantized_bits(5,1,0,alpha=1.0)");
  for (const float centroid : tables[0].table.in) {
    EXPECT_EQ(quantizer->quantize(Tensor({1}, {centroid})).real[0], centroid);
  }
}

TEST(ActivationCompression, AShareOfTheValuesIsDrawnAndRepeats) {
  const ActivationCompressionOptions half{.sample_size = 0.5, .seed = 4};
  const auto a = activation_compression(network(), {"signed"}, samples(), half);
  EXPECT_EQ(a[0].table.in, activation_compression(network(), {"signed"}, samples(), half)[0].table.in);
  EXPECT_NE(a[0].table.in, activation_compression(network(), {"signed"}, samples(), {.seed = 4})[0].table.in);
}

TEST(ActivationCompression, RefusesWhatIsNoActivation) {
  EXPECT_THROW(activation_compression(network(), {"last"}, samples()), InvalidArgument);
  EXPECT_THROW(activation_compression(network(), {"lost"}, samples()), InvalidArgument);
  EXPECT_THROW(activation_compression(network(), {"signed"}, samples(), {.bits = 9}), InvalidArgument);
  EXPECT_THROW(activation_compression(network(), {"signed"}, samples(), {.sample_size = 0}), InvalidArgument);
}

}  // namespace
}  // namespace nibble::train
