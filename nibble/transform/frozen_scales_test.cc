#include "nibble/transform/frozen_scales.h"

#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_recurrent.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/transform/batch_norm_folding.h"

namespace nibble::transform {
namespace {

using namespace graph::build;

constexpr const char* kFitted = "quantized_bits(4,0,1,alpha='auto_po2')";

graph::Model with_weights(graph::Model model) {
  graph::initialize_weights(model, 7);
  return model;
}

const quant::QuantizedBits& bits_of(const graph::Layer& layer, const char* attribute) {
  return dynamic_cast<const quant::QuantizedBits&>(*layer.get_quantizer(attribute));
}

TEST(FreezeScales, TheKernelsPresentScaleBecomesAConstant) {
  const auto in = Input({.shape = {8, 8, 2}});
  // alpha None of a kernel quantizer means auto_po2.
  auto x = QConv2D({.filters = 3, .kernel_size = {3, 3}, .kernel_quantizer = "quantized_bits(4,0,1)", .name = "a"})(in);
  x = QDepthwiseConv2D({.kernel_size = {3, 3}, .depthwise_quantizer = kFitted, .name = "b"})(x);
  x = QDense({.units = 2, .kernel_quantizer = kFitted, .bias_quantizer = kFitted, .name = "c"})(x);
  const graph::Model model = with_weights(build_model({in}, {x}));
  const graph::Model frozen = clone_model_and_freeze_auto_po2_scale(model);
  for (const auto& [name, attribute, weight] :
       {std::tuple("a", "kernel_quantizer", "kernel"), std::tuple("b", "depthwise_quantizer", "depthwise_kernel"),
        std::tuple("c", "kernel_quantizer", "kernel"), std::tuple("c", "bias_quantizer", "bias")}) {
    SCOPED_TRACE(name);
    const quant::QuantizedBits& quantizer = bits_of(frozen.layer(name), attribute);
    const Tensor& value = model.layer(name).find_weight(weight)->value;
    const auto expected = quant::get_quantizer(kFitted)->quantize(value);
    ASSERT_TRUE(quantizer.params().post_training_scale);
    EXPECT_EQ(*quantizer.params().post_training_scale, expected.scale);
    EXPECT_EQ(quantizer.quantize(value).real, expected.real);
    // Later weights keep it.
    Tensor larger = value;
    for (float& element : larger.data()) element *= 8;
    EXPECT_EQ(quantizer.quantize(larger).scale, expected.scale);
  }
  EXPECT_EQ(frozen.layer("a").weights, model.layer("a").weights);
  EXPECT_EQ(clone_model_and_freeze_auto_po2_scale(frozen), frozen);
}

TEST(FreezeScales, OthersStayAsTheyAre) {
  const auto in = Input({.shape = {4}});
  auto x = QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1,alpha=1.0)", .name = "fixed"})(in);
  x = QDense({.units = 3, .kernel_quantizer = "quantized_bits(4,0,1,alpha='auto')", .name = "real"})(x);
  x = QDense({.units = 3, .use_bias = false, .kernel_quantizer = "ternary", .bias_quantizer = kFitted, .name = "t"})(x);
  x = QBatchNormalization({.name = "norm"})(Dense({.units = 3})(x));
  const graph::Model model = with_weights(build_model({in}, {x}));
  EXPECT_EQ(clone_model_and_freeze_auto_po2_scale(model), model);
}

TEST(FreezeScales, FoldedKernelsAndLayersInsideOthers) {
  const auto in = Input({.shape = {6, 3}});
  auto x = Bidirectional({.layer = QGRU({.units = 2, .kernel_quantizer = kFitted}), .name = "both"})(in);
  x = QDenseBatchnorm({.units = 3, .kernel_quantizer = kFitted, .name = "folded"})(x);
  graph::Model model = with_weights(build_model({in}, {x}));
  for (float& value : model.layer("folded").find_weight("moving_variance")->value.data()) value = 40.0f;
  const graph::Model frozen = clone_model_and_freeze_auto_po2_scale(model);
  const auto scale_of = [](const Tensor& value) { return quant::get_quantizer(kFitted)->quantize(value).scale; };
  EXPECT_EQ(*bits_of(frozen.layer("folded"), "kernel_quantizer").params().post_training_scale,
            scale_of(folded_weights(model.layer("folded")).kernel));
  for (const auto& [attribute, weight] :
       {std::pair("layer", "forward_kernel"), std::pair("backward_layer", "backward_kernel")}) {
    const graph::Layer inner = graph::inner_layer(frozen.layer("both"), attribute);
    EXPECT_EQ(*bits_of(inner, "kernel_quantizer").params().post_training_scale,
              scale_of(model.layer("both").find_weight(weight)->value));
    EXPECT_EQ(inner.get_bool("go_backwards"), attribute == std::string("backward_layer"));
  }
}

TEST(FreezeScales, WeightsAreQuantizedWhereAskedFor) {
  const auto in = Input({.shape = {4}});
  const auto x =
      QDense({.units = 3, .kernel_quantizer = kFitted, .bias_quantizer = "quantized_bits(3,0,1)", .name = "d"})(in);
  graph::Model model = with_weights(build_model({in}, {x}));
  model.layer("d").find_weight("bias")->value = Tensor({3}, {0.1f, 0.3f, -0.2f});
  const graph::Model frozen = clone_model_and_freeze_auto_po2_scale(model, {.quantize_model_weights = true});
  EXPECT_EQ(frozen.layer("d").find_weight("kernel")->value,
            quant::get_quantizer(kFitted)->quantize(model.layer("d").find_weight("kernel")->value).real);
  EXPECT_EQ(frozen.layer("d").find_weight("bias")->value, Tensor({3}, {0.0f, 0.25f, -0.25f}));
}

TEST(FreezeScales, NeedWeights) {
  const auto in = Input({.shape = {4}});
  const graph::Model model = build_model({in}, {QDense({.units = 3, .kernel_quantizer = kFitted, .name = "d"})(in)});
  EXPECT_THROW(clone_model_and_freeze_auto_po2_scale(model), InvalidArgument);
}

}  // namespace
}  // namespace nibble::transform
