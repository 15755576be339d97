#include "nibble/cost/bias_quantizers.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder_convolution.h"

namespace nibble::cost {
namespace {

using namespace graph::build;

graph::Model network(const std::string& bias_quantizer = "",
                     const std::string& kernel = "quantized_bits(4,0,1,alpha=1.0)") {
  const auto in = Input({.shape = {8, 8, 2}});
  auto x = QConv2DBatchnorm({.filters = 3,
                             .kernel_size = {3, 3},
                             .kernel_quantizer = kernel,
                             .bias_quantizer = bias_quantizer,
                             .name = "folded"})(in);
  x = QActivation({.activation = "quantized_relu(4,2)"})(x);
  x = QDepthwiseConv2DBatchnorm(
      {.kernel_size = {2, 2}, .depthwise_quantizer = "quantized_bits(3,0,1,alpha=1.0)", .name = "depthwise"})(x);
  x = QConv2D(
      {.filters = 1, .kernel_size = {1, 1}, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)", .name = "p"})(x);
  return build_model({in}, {x});
}

TEST(BiasQuantizers, HaveTheAccumulatorsType) {
  const graph::Model model =
      populate_bias_quantizer_from_accumulator(network(), {type_from_text("quantized_bits(8,0,1)")});
  // 4 + 8 bits and ceil(log2(18 products)) = 5 more; the sum with the bias has one more.
  EXPECT_EQ(*model.layer("folded").get_quantizer("bias_quantizer"), *quant::get_quantizer("quantized_bits(17,6,1)"));
  // 3 bits times 4 unsigned ones: 7; ceil(log2 4) = 2 more, and one.
  EXPECT_EQ(*model.layer("depthwise").get_quantizer("bias_quantizer"), *quant::get_quantizer("quantized_bits(10,5,1)"));
  EXPECT_FALSE(model.layer("p").has("bias_quantizer"));
}

TEST(BiasQuantizers, ExistingOnesAndFloatSumsStay) {
  const std::vector<QuantizerType> sources = {type_from_text("quantized_bits(8,0,1)")};
  const graph::Model kept = populate_bias_quantizer_from_accumulator(network("quantized_bits(5,1,1)"), sources);
  EXPECT_EQ(*kept.layer("folded").get_quantizer("bias_quantizer"), *quant::get_quantizer("quantized_bits(5,1,1)"));
  const graph::Model real = populate_bias_quantizer_from_accumulator(network(), {type_from_text("fp32")});
  EXPECT_FALSE(real.layer("folded").has("bias_quantizer"));
}

}  // namespace
}  // namespace nibble::cost
