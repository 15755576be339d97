// What QTools gives where no recorded row looks; numbers from running it (QKeras git of 2025-06).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/model_bits.h"
#include "nibble/cost/roofline.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using nlohmann::json;
using Attributes = std::map<std::string, graph::Attribute>;

constexpr const char* kWeights = "quantized_bits(4,0,1,alpha=1.0)";

graph::Attribute text(const char* value) { return std::string(value); }

LayerCall activation(const char* quantizer, const char* name) {
  return layer("QActivation", name, {{"activation", text(quantizer)}});
}

// 4 x 4 x 3, quantized_relu(4,2), and one layer more.
graph::Model after_activation(const LayerCall& call) {
  const Node in = Input({.shape = {4, 4, 3}, .name = "in"});
  return build_model({in}, {call(activation("quantized_relu(4,2)", "act")(in))});
}

graph::Model first_layer(const LayerCall& call) {
  const Node in = Input({.shape = {4, 4, 3}, .name = "in"});
  return build_model({in}, {call(in)});
}

DataTypeOptions options(Compat compat, bool for_reference = false) {
  return energy_query(for_reference ? Reference::kInt8 : Reference::kNone, compat).types;
}

LayerTypes types_of(const graph::Model& model, const char* name, const DataTypeOptions& given) {
  return *data_type_map(model, given).find(name);
}

LayerCall norm(bool scale, bool center) {
  return layer("QBatchNormalization", "norm",
               {{"scale", scale},
                {"center", center},
                {"gamma_quantizer", text("quantized_relu_po2(6,2048)")},
                {"beta_quantizer", text("quantized_po2(5)")},
                {"mean_quantizer", text("quantized_po2(5)")},
                {"variance_quantizer", text("quantized_relu_po2(6,8)")}});
}

TEST(QtoolsCompat, NormsReportAndReadGammaAndBetaThatAreSwitchedOff) {
  const graph::Model model = after_activation(norm(false, false));
  for (const Compat compat : {Compat::kQkeras, Compat::kNone}) {
    const DataTypeMap map = data_type_map(model, options(compat));
    const json report = report_of(map)["norm"];
    EXPECT_EQ(report.contains("gamma_quantizer"), compat != Compat::kNone);
    EXPECT_EQ(report.contains("beta_quantizer"), compat != Compat::kNone);
  }
  const graph::Model whole = after_activation(norm(true, true));
  const auto parameters = [&](const graph::Model& network, Compat compat) {
    return estimate(network, energy_query(Reference::kNone, compat)).layers.at(1).parameters_pj;
  };
  EXPECT_EQ(parameters(model, Compat::kQkeras), parameters(whole, Compat::kQkeras));
  EXPECT_LT(parameters(model, Compat::kNone), parameters(whole, Compat::kNone));
}

TEST(QtoolsCompat, QuantizedPoolingLayersCountDifferently) {
  const Attributes average = {{"average_quantizer", text("quantized_bits(6,0,1)")}};
  Attributes window = average;
  window["pool_size"] = std::vector<int64_t>{2, 2};
  const auto global = after_activation(layer("QGlobalAveragePooling2D", "pool", average));
  const auto local = after_activation(layer("QAveragePooling2D", "pool", window));
  EXPECT_EQ(types_of(global, "pool", options(Compat::kQkeras)).operation_count, 4 * 4 * 3);
  EXPECT_EQ(types_of(local, "pool", options(Compat::kQkeras)).operation_count, 0);
  EXPECT_EQ(types_of(local, "pool", options(Compat::kNone)).operation_count, 4 * 2 * 2 * 3);
}

TEST(QtoolsCompat, AveragesKeepTheirQuantizerInReferenceMode) {
  const auto model = after_activation(
      layer("QGlobalAveragePooling2D", "pool", {{"average_quantizer", text("quantized_bits(6,0,1)")}}));
  EXPECT_EQ(types_of(model, "pool", options(Compat::kQkeras, true)).pool->average->bit_width, 6);
  EXPECT_EQ(types_of(model, "pool", options(Compat::kNone, true)).pool->average->bit_width, 8);
}

// The shape of an input is a list of one there: a pool over all of it sums one value, and a normalization writes one.
TEST(QtoolsCompat, LayersThatUseTheShapeOfAnInputSeeNone) {
  const auto pool = first_layer(layer("GlobalAveragePooling2D", "pool", {}));
  EXPECT_EQ(types_of(pool, "pool", options(Compat::kQkeras)).output.bit_width, 8);
  EXPECT_EQ(types_of(pool, "pool", options(Compat::kNone)).output.bit_width, 8 + 4);
  const auto first = first_layer(norm(true, true));
  const json shape = report_of(data_type_map(first, options(Compat::kQkeras)))["norm"]["output_quantizer"]["shape"];
  EXPECT_EQ(shape, json::parse("[[null, 4, 4, 3]]"));
  const auto outputs = [&](Compat compat) {
    return estimate(first, energy_query(Reference::kNone, compat)).layers.at(0).outputs_pj;
  };
  EXPECT_LT(outputs(Compat::kQkeras), outputs(Compat::kNone));
}

TEST(QtoolsCompat, FoldedDepthwiseLayersHaveNoOperations) {
  const auto model =
      after_activation(layer("QDepthwiseConv2DBatchnorm", "folded",
                             {{"kernel_size", std::vector<int64_t>{3, 3}}, {"depthwise_quantizer", text(kWeights)}}));
  EXPECT_EQ(types_of(model, "folded", options(Compat::kQkeras)).operation_count, 0);
  EXPECT_EQ(types_of(model, "folded", options(Compat::kNone)).operation_count, 2 * 2 * 3 * 3 * 3);
  EXPECT_EQ(roofline(data_type_map(model, options(Compat::kQkeras))).quantized.ace, 0);
}

TEST(QtoolsCompat, AnOutputThatIsReadIsNone) {
  const Node in = Input({.shape = {6}, .name = "in"});
  const Node inner = activation("quantized_relu(4,2)", "inner")(in);
  const Node last = layer("QDense", "last", {{"units", int64_t{2}}, {"kernel_quantizer", text(kWeights)}})(inner);
  const graph::Model model = build_model({in}, {inner, last});
  EXPECT_FALSE(types_of(model, "inner", options(Compat::kQkeras)).writes_model_output);
  EXPECT_TRUE(types_of(model, "last", options(Compat::kQkeras)).writes_model_output);
  EXPECT_TRUE(types_of(model, "inner", options(Compat::kNone)).writes_model_output);
}

// A ternary times a binary has one bit, but is printed with two, which the roofline reads.
TEST(QtoolsCompat, TheRooflineReadsTernariesAsPrinted) {
  const Node a = Input({.shape = {6}, .name = "a"}), b = Input({.shape = {6}, .name = "b"});
  const Node product = Multiply({})({activation("ternary", "left")(a), activation("binary", "right")(b)});
  const graph::Model model = build_model(
      {a, b}, {layer("QDense", "dense", {{"units", int64_t{2}}, {"kernel_quantizer", text(kWeights)}})(product)});
  EXPECT_EQ(roofline(data_type_map(model, options(Compat::kQkeras))).quantized.ace, 6 * 2 * 2 * 4);
  EXPECT_EQ(roofline(data_type_map(model, options(Compat::kNone))).quantized.ace, 6 * 2 * 1 * 4);
}

// As many quotients as there are pairs of values, and the multiplier is one over their shifts.
TEST(QtoolsCompat, QuotientsOfKnownValuesAreKnown) {
  BatchNormTypes types = {.gamma = type_from_text("quantized_relu_po2(6,2048)"),
                          .beta = type_from_text("quantized_po2(5)"),
                          .mean = type_from_text("quantized_po2(5)"),
                          .variance = type_from_text("quantized_relu_po2(6,8)")};
  const QuantizerType input = type_from_text("quantized_relu(4,2)");
  types.gamma.value_count = 3;
  EXPECT_EQ(normalize(types, input, Compat::kQkeras).multiply->gate_factor, 1.0);
  types.variance.value_count = 2;
  const BatchNormOperators known = normalize(types, input, Compat::kQkeras);
  EXPECT_DOUBLE_EQ(known.multiply->gate_factor, 0.3 * 6);
  EXPECT_EQ(known.multiply->gate_bits, 4.0);
}

TEST(QtoolsCompat, AFloatInverseIsRefused) {
  const QuantizerType fixed = type_from_text("int8");
  for (const Compat compat : {Compat::kQkeras, Compat::kNone}) {
    const FusedBatchNormTypes types = {
        .product = fixed, .inverse = float_type(32), .mean = fixed, .beta = {}, .bias = {}};
    EXPECT_THROW(fused_accumulator(types, compat), InvalidArgument);
  }
}

TEST(QtoolsCompat, KnownValuesOfNormsWithoutScaleNeedNoGamma) {
  graph::Model model = after_activation(norm(false, true));
  model.layer("norm").weights = {{"beta", Tensor({3}, {1, 1, 1})},
                                 {"moving_mean", Tensor({3}, {0, 0, 0})},
                                 {"moving_variance", Tensor({3}, {1, 2, 1})}};
  DataTypeOptions given = options(Compat::kQkeras);
  given.use_weights = true;
  EXPECT_EQ(types_of(model, "norm", given).norm->parameters.variance.value_count, 2);
}

TEST(BitsCompat, QuantizersWithoutATypeHaveAWidth) {
  const auto model = after_activation(
      layer("QDense", "dense", {{"units", int64_t{2}}, {"kernel_quantizer", text("quantized_linear(3,0,1)")}}));
  EXPECT_EQ(count_bits(model, {.compat = Compat::kQkeras}).layers.back().parameters, 3 * 2 * 3 + 8 * 2);
}

// ---- QAdaptiveActivation -----------------------------------------------------------

graph::Model adaptive(const char* quantizer, double slope = 0) {
  return first_layer(layer("QAdaptiveActivation", "act",
                           {{"activation", text(quantizer)}, {"total_bits", int64_t{6}}, {"relu_neg_slope", slope}}));
}

TEST(AdaptiveActivation, HasItsTotalBits) {
  for (const Compat compat : {Compat::kQkeras, Compat::kNone}) {
    const auto output = [&](const graph::Model& model) { return types_of(model, "act", options(compat)).output; };
    EXPECT_EQ(short_text(output(adaptive("quantized_relu"))), "ufixed(6,0)");
    EXPECT_EQ(short_text(output(adaptive("quantized_relu", 0.25))), "fixed(6,0)");
    EXPECT_EQ(short_text(output(adaptive("quantized_bits"))), "fixed(6,0)");
  }
  EXPECT_EQ(count_bits(adaptive("quantized_relu")).layers.back().activations, 4 * 4 * 3 * 6);
  EXPECT_EQ(count_bits(adaptive("quantized_relu"), {.compat = Compat::kQkeras}).layers.back().activations, 0);
}

TEST(AdaptiveActivation, HasTheIntegerBitsOfTheRangesItSaw) {
  graph::Model model = adaptive("quantized_bits");
  model.layer("act").weights = {{"ema_min", Tensor({1}, {-3.0f})}, {"ema_max", Tensor({1}, {5.5f})}};
  EXPECT_EQ(short_text(types_of(model, "act", options(Compat::kNone)).output), "fixed(6,3)");
  // One channel of 3 and one of 0 integer bits need the fractions of the other.
  model.layer("act").weights = {{"ema_min", Tensor({2}, {-3.0f, 0.0f})}, {"ema_max", Tensor({2}, {5.5f, 0.5f})}};
  EXPECT_EQ(short_text(types_of(model, "act", options(Compat::kNone)).output), "fixed(9,3)");
}

}  // namespace
}  // namespace nibble::cost
