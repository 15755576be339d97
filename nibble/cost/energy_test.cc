// Energy outside the recorded rows: formulas by hand, what the default mode fixes, and bad input.
#include "nibble/cost/energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/affine_type.h"
#include "nibble/cost/bit_operations.h"
#include "nibble/cost/memory_footprint.h"
#include "nibble/cost/merge.h"
#include "nibble/cost/model_bits.h"
#include "nibble/cost/multiplier.h"
#include "nibble/cost/roofline.h"
#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using ::testing::HasSubstr;

constexpr const char* kWeights = "quantized_bits(4,0,1,alpha=1.0)";

template <class F>
std::string message_of(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

graph::Model one_layer(const std::vector<int64_t>& shape, const LayerCall& call) {
  const Node input = Input({.shape = shape, .name = "in"});
  return build_model({input}, {call(input)});
}

double op_cost(const graph::Model& model, Compat compat, size_t layer = 0) {
  return estimate(model, energy_query(Reference::kNone, compat)).layers.at(layer).op_cost_pj;
}

LayerCall conv(const std::string& class_name, std::map<std::string, graph::Attribute> attributes) {
  if (class_name.find("Depthwise") != std::string::npos || class_name.find("Separable") != std::string::npos)
    attributes["depthwise_quantizer"] = std::string(kWeights);
  else
    attributes["kernel_quantizer"] = std::string(kWeights);
  attributes["bias_quantizer"] = std::string("quantized_bits(8,3,1)");
  return layer(class_name, "layer", attributes);
}

using Ints = std::vector<int64_t>;

// 3 x 2 dense, 4-bit weights, 8-bit inputs, 16-bit bias: everything by hand.
TEST(Energy, DenseByHand) {
  const auto model = one_layer({3}, layer("QDense", "layer",
                                          {{"units", int64_t{2}},
                                           {"kernel_quantizer", std::string(kWeights)},
                                           {"bias_quantizer", std::string("quantized_bits(16,4)")}}));
  const EnergyEstimate got = estimate(model, energy_query(Reference::kNone));
  const auto sram = [](double bits) {
    const double x = std::log2(bits);
    return std::max(0.0, 9.02427321e-4 * x * x * x - 2.68847858e-2 * x * x + 2.08900804e-1 * x);
  };
  // product: 8 + 4 - 1 = 11 bits, 0 integer; 3 terms: 13 bits, 2 integer; plus a bias with 4 integer and 11 fractional
  // bits: 5 integer, 11 fractional, sign: 17 bits
  const double multiplication = 0.002994791667 * 32 + 0.001041666667 * std::sqrt(32.0);
  ASSERT_EQ(got.layers.size(), 1u);
  EXPECT_NEAR(got.layers[0].inputs_pj, sram(24), 0.005);
  EXPECT_NEAR(got.layers[0].outputs_pj, sram(2 * 17), 0.005);
  EXPECT_NEAR(got.layers[0].parameters_pj, sram(24) + sram(32), 0.005);
  EXPECT_NEAR(got.layers[0].op_cost_pj, 6 * (multiplication + 0.003125 * 17), 0.005);
  EXPECT_EQ(got.total_pj, int64_t(got.layers[0].inputs_pj + got.layers[0].parameters_pj + got.layers[0].op_cost_pj));
}

double sram_pj(double bits) {
  const double x = std::log2(bits);
  return std::max(0.0, 9.02427321e-4 * x * x * x - 2.68847858e-2 * x * x + 2.08900804e-1 * x);
}

// The plain 3 x 2 dense layer of 'nibble qat' and 'nibble ptq': 4-bit weights and input, 6-bit output, 32-bit bias.
graph::Model affine_dense(graph::AffineKind weights = graph::AffineKind::kLastValue) {
  auto model = one_layer({3}, layer("Dense", "layer", {{"units", int64_t{2}}}));
  const graph::AffineQuantizer activation{.kind = graph::AffineKind::kMovingAverage, .num_bits = 4};
  graph::AffineQuantizer output = activation;
  output.num_bits = 6;
  graph::set_quantization(model, "in", graph::LayerQuantization{.output = activation});
  graph::set_quantization(
      model, "layer",
      graph::LayerQuantization{
          .weights = {{"kernel", {.kind = weights, .num_bits = 4, .symmetric = true, .narrow_range = true}}},
          .post_activation = output,
          .bias_bits = 32});
  return model;
}

TEST(Energy, AffineLayersCountWithTheirBits) {
  const auto model = affine_dense();
  const EnergyEstimate got = estimate(model, energy_query(Reference::kNone));
  // product: 8 bits; 3 terms and the bias: 10 bits
  const double multiplication = 0.002994791667 * 16 + 0.001041666667 * 4;
  ASSERT_EQ(got.layers.size(), 1u);
  EXPECT_NEAR(got.layers[0].inputs_pj, sram_pj(3 * 4), 0.005);
  EXPECT_NEAR(got.layers[0].outputs_pj, sram_pj(2 * 6), 0.005);
  EXPECT_NEAR(got.layers[0].parameters_pj, sram_pj(6 * 4) + sram_pj(2 * 32), 0.005);
  EXPECT_NEAR(got.layers[0].op_cost_pj, 6 * (multiplication + 0.003125 * 10), 0.005);
  EXPECT_EQ(count_bits(model).parameters, 6 * 4 + 2 * 32) << "ranges are no parameters of the device";
  EXPECT_EQ(memory_footprint(model, energy_query(Reference::kNone).types).peak_bits, 3 * 4 + 2 * 6);
}

TEST(Energy, ReferencesDoNotSeeAffineQuantizers) {
  auto model = affine_dense();
  auto plain = model;
  for (const char* name : {"in", "layer"}) graph::set_quantization(plain, name, std::nullopt);
  for (const Reference reference : {Reference::kFp32, Reference::kInt8}) {
    EXPECT_EQ(estimate(model, energy_query(reference)).total_cost_pj,
              estimate(plain, energy_query(reference)).total_cost_pj);
  }
  EXPECT_EQ(estimate(model, energy_query(Reference::kNone, Compat::kQkeras)).total_cost_pj,
            estimate(plain, energy_query(Reference::kNone, Compat::kQkeras)).total_cost_pj);
  EXPECT_LT(estimate(model, energy_query(Reference::kNone)).total_cost_pj,
            estimate(plain, energy_query(Reference::kNone)).total_cost_pj);
}

TEST(Energy, AffineTypes) {
  const auto kernel = [](const graph::Model& model) { return *affine_type(model.layer("layer"), "kernel"); };
  EXPECT_EQ(kernel(affine_dense()), fixed_point_type(4, 3));
  EXPECT_EQ(kernel(affine_dense(graph::AffineKind::kDorefa)), fixed_point_type(5, 4)) << "odd codes -15 .. 15";
  auto model = affine_dense(graph::AffineKind::kDorefa);
  graph::LayerQuantization quantization = *model.layer("layer").quantization;
  quantization.weights[0].quantizer.num_bits = 1;
  quantization.post_activation = {.kind = graph::AffineKind::kLsq, .num_bits = 5, .symmetric = true};
  quantization.bias_bits = 0;
  graph::set_quantization(model, "layer", quantization);
  EXPECT_EQ(kernel(model).mode, TypeMode::kBinary);
  EXPECT_EQ(*affine_output_type(model.layer("layer")), fixed_point_type(5, 4));
  EXPECT_TRUE(affine_bias_type(model.layer("layer")).is_float());
  EXPECT_EQ(*affine_output_type(model.layer("in")), fixed_point_type(4, 4, false));
  EXPECT_TRUE(is_affine_variable(model.layer("layer"), "post_activation_step"));
  EXPECT_FALSE(is_affine_variable(model.layer("layer"), "kernel"));
}

TEST(Energy, FixedMemoryIsFreeAndDramIsPerBit) {
  const auto model = one_layer({3}, layer("QDense", "layer", {{"units", int64_t{2}}, {"use_bias", false}}));
  const DataTypeMap map = data_type_map(model);
  EXPECT_EQ(estimate(map, {.weights_on_memory = Memory::kFixed}).layers[0].parameters_pj, 0);
  EXPECT_DOUBLE_EQ(estimate(map, {.weights_on_memory = Memory::kDram}).layers[0].parameters_pj, 20.3125 * 6 * 8);
  // The input layer reads from DRAM, through SRAM, although activations are on SRAM.
  EXPECT_GT(estimate(map, {.rd_wr_on_io = true}).layers[0].inputs_pj, 20.3125 * 3 * 8);
}

TEST(Energy, AveragePoolingCostsItsAdditions) {
  const auto model = one_layer({16, 16, 3}, AveragePooling2D({.pool_size = {2, 2}, .name = "layer"}));
  // 8 x 8 x 3 outputs of 4 values each; the sum of four 8-bit values has 10 bits.
  EXPECT_NEAR(op_cost(model, Compat::kNone), 8 * 8 * 3 * 4 * 0.003125 * 10, 0.005);
  EXPECT_THAT(message_of([&] { op_cost(model, Compat::kQkeras); }), HasSubstr("'layer'"));
}

TEST(Energy, TransposedConvolutionCostsItsProducts) {
  const auto model = one_layer(
      {16, 16, 6},
      conv("QConv2DTranspose", {{"filters", int64_t{4}}, {"kernel_size", Ints{2, 2}}, {"strides", Ints{2, 2}}}));
  EXPECT_EQ(op_cost(model, Compat::kQkeras), 0);
  const LayerTypes fixed = data_type_map(model).layers[0];
  EXPECT_EQ(fixed.macs[0].operation_count, 16 * 16 * 6 * 4 * 2 * 2);
  EXPECT_EQ(fixed.macs[0].charged_biases, 4);
  // 2 x 2 taps at stride 2: one tap meets each output, over 6 channels: 11 + ceil(log2(6)) bits, then the bias.
  EXPECT_EQ(fixed.macs[0].accumulator.int_bits, 4);
  EXPECT_GT(op_cost(model, Compat::kNone), 0);
}

TEST(Energy, SeparableConvolutionHasTwoKernels) {
  const auto model = one_layer({8, 8, 4}, conv("QSeparableConv2D", {{"filters", int64_t{8}},
                                                                    {"kernel_size", Ints{3, 3}},
                                                                    {"pointwise_quantizer", std::string(kWeights)}}));
  EXPECT_EQ(op_cost(model, Compat::kQkeras), 0);
  const LayerTypes types = data_type_map(model).layers[0];
  ASSERT_EQ(types.macs.size(), 2u);
  EXPECT_EQ(types.macs[0].operation_count, 6 * 6 * 9 * 4);
  EXPECT_EQ(types.macs[1].operation_count, 6 * 6 * 4 * 8);
  EXPECT_FALSE(types.macs[0].bias.has_value());
  EXPECT_EQ(types.macs[1].charged_biases, 8);
  EXPECT_GT(op_cost(model, Compat::kNone), 0);
}

TEST(Energy, FoldedConvolutionCostsWhatAConvolutionCosts) {
  const std::map<std::string, graph::Attribute> attributes = {{"filters", int64_t{4}}, {"kernel_size", Ints{3, 3}}};
  const auto folded = one_layer({8, 8, 4}, conv("QConv2DBatchnorm", attributes));
  EXPECT_EQ(op_cost(folded, Compat::kQkeras), 0);
  EXPECT_GT(op_cost(folded, Compat::kNone), 0);
}

TEST(Energy, DepthwiseBiasHasOneElementPerChannel) {
  const auto model = one_layer({8, 8, 4}, conv("QDepthwiseConv2D", {{"kernel_size", Ints{3, 3}}}));
  EXPECT_EQ(data_type_map(model, {.compat = Compat::kQkeras}).layers[0].macs[0].charged_biases, 1);
  EXPECT_EQ(data_type_map(model).layers[0].macs[0].charged_biases, 4);
}

TEST(Energy, Conv1DHasATypeInDefaultMode) {
  const auto model = one_layer({16, 4}, conv("QConv1D", {{"filters", int64_t{8}}, {"kernel_size", Ints{3}}}));
  EXPECT_EQ(data_type_map(model).layers[0].operation_count, 14 * 3 * 4 * 8);
  EXPECT_THAT(message_of([&] { data_type_map(model, {.compat = Compat::kQkeras}); }), HasSubstr("(3, 4, 8)"));
}

TEST(Energy, DropoutAfterInputChangesNothingInDefaultMode) {
  const Node input = Input({.shape = {4}, .name = "in"});
  const Node dropped = layer("Dropout", "drop", {{"rate", 0.5}})(input);
  const auto model = build_model({input}, {layer("QDense", "d", {{"units", int64_t{2}}})(dropped)});
  const DataTypeMap map = data_type_map(model, {.sources = {fixed_point_type(5, 1)}});
  ASSERT_EQ(map.layers.size(), 1u);
  EXPECT_TRUE(map.layers[0].reads_model_input);
  EXPECT_EQ(map.layers[0].inputs[0].bit_width, 5);
  EXPECT_THAT(message_of([&] { data_type_map(model, {.compat = Compat::kQkeras}); }), HasSubstr("'drop'"));
}

graph::Model merged(const std::string& class_name, const std::vector<Ints>& shapes,
                    const std::map<std::string, graph::Attribute>& attributes) {
  const Node a = Input({.shape = shapes[0], .name = "a"}), b = Input({.shape = shapes[1], .name = "b"});
  return build_model({a, b}, {layer(class_name, "layer", attributes)(std::vector<Node>{a, b})});
}

// A product of 8 by 8 bits has 15; 3 of them have 2 more.
TEST(Energy, DotMultipliesItsInputsAndSums) {
  const auto vectors = merged("Dot", {{3}, {3}}, {{"axes", Ints{1}}});
  const LayerTypes types = data_type_map(vectors).layers.at(0);
  ASSERT_EQ(types.macs.size(), 1u);
  EXPECT_EQ(types.operation_count, 3);
  EXPECT_EQ(types.macs[0].multiplier.gate, Gate::kMul);
  EXPECT_EQ(types.macs[0].accumulator, fixed_point_type(17, 2));
  EXPECT_EQ(types.output, types.macs[0].accumulator);
  const LayerEnergy energy = estimate(vectors, energy_query(Reference::kNone)).layers.at(0);
  EXPECT_EQ(energy.parameters_pj, 0);
  EXPECT_NEAR(energy.op_cost_pj, 3 * (0.002994791667 * 64 + 0.001041666667 * 8 + 0.003125 * 17), 0.005);
  EXPECT_EQ(count_operations(data_type_map(vectors)).bit_operations, 3 * 8 * 8);
  // (2, 3) and (4, 3) over their last axes, whichever way those are named: 2 x 4 sums of 3.
  for (const Ints& axes : {Ints{2}, Ints{-1}, Ints{2, 2}}) {
    EXPECT_EQ(data_type_map(merged("Dot", {{2, 3}, {4, 3}}, {{"axes", axes}})).layers[0].operation_count, 2 * 4 * 3);
  }
  EXPECT_EQ(data_type_map(merged("Dot", {{3, 2}, {4, 3}}, {{"axes", Ints{1, 2}}})).layers[0].operation_count,
            2 * 4 * 3);
}

TEST(Energy, MergesWithoutARuleAreRefusedByName) {
  const auto dot = merged("Dot", {{3}, {3}}, {{"axes", Ints{1}}});
  const auto subtract = merged("Subtract", {{3}, {3}}, {});
  EXPECT_THAT(message_of([&] { data_type_map(dot, {.compat = Compat::kQkeras}); }), HasSubstr("Dot layer 'layer'"));
  EXPECT_THAT(message_of([&] { data_type_map(subtract, {.compat = Compat::kQkeras}); }),
              HasSubstr("Subtract layer 'layer'"));
  EXPECT_THAT(message_of([&] { data_type_map(subtract); }), HasSubstr("no error"));
  const auto cosine = merged("Dot", {{3}, {3}}, {{"axes", Ints{1}}, {"normalize", true}});
  EXPECT_THAT(message_of([&] { data_type_map(cosine); }), HasSubstr("layer 'layer' is a Dot with normalize"));
}

TEST(Energy, AClassThatIsAFunctionCountsAsActivation) {
  const auto as_function = one_layer({8}, Activation({.activation = "relu", .name = "act"}));
  for (const char* name : {"ReLU", "LeakyReLU", "ELU", "Softmax"}) {
    const auto as_layer = one_layer({8}, layer(name, "act"));
    for (const Reference reference : {Reference::kNone, Reference::kInt8, Reference::kFp32}) {
      const LayerEnergy got = estimate(as_layer, energy_query(reference)).layers[0];
      const LayerEnergy expected = estimate(as_function, energy_query(reference)).layers[0];
      EXPECT_GT(got.outputs_pj, 0) << name;
      EXPECT_EQ(got.included_pj, expected.included_pj) << name;
      EXPECT_EQ(got.outputs_pj, expected.outputs_pj) << name;
      EXPECT_EQ(got.op_cost_pj, 0) << name;
    }
    EXPECT_TRUE(data_type_map(as_layer).layers[0].has_activation) << name;
    EXPECT_EQ(layer_kind(name, Compat::kQkeras), LayerKind::kOther) << name;
  }
}

// Whole picojoules of 64 bits end at 9 MJ; beyond, an estimate is no number.
TEST(Energy, BeyondWhatCanBeCountedIsRefused) {
  const auto model = one_layer({3}, layer("QDense", "d", {{"units", int64_t{2}}}));
  EnergyOptions options;
  for (const double pj : {1e19, 1e300}) {
    options.process = horowitz_45nm();
    options.process.name = "absurd";
    options.process.sram = Polynomial{{pj}};
    const std::string message = message_of([&] { estimate(data_type_map(model), options); });
    for (const char* part : {"layer 'd'", "'absurd'"}) EXPECT_THAT(message, HasSubstr(part));
  }
  options.process.sram = Polynomial{{1e9}};
  EXPECT_GE(estimate(data_type_map(model), options).total_pj, 1'000'000'000);
}

TEST(Energy, BadInputIsAnswered) {
  const auto model = one_layer({3}, layer("QDense", "d", {{"units", int64_t{2}}}));
  EXPECT_THAT(message_of([&] {
                data_type_map(model, {.sources = {default_type(), default_type()}});
              }),
              HasSubstr("2 source quantizers are given for 1 model inputs"));
  EXPECT_THAT(message_of([&] { estimate(data_type_map(model), {.min_sram_bits = -1}); }), HasSubstr("min_sram_bits"));
  const int64_t most = kLargestMemoryBits;
  EXPECT_THAT(message_of([&] { estimate(data_type_map(model), {.min_sram_bits = most + 1}); }), HasSubstr("128 TiB"));
  EXPECT_THAT(message_of([&] { estimate(data_type_map(model), {.min_sram_bits = most}); }), HasSubstr("no error"));
  EXPECT_THAT(message_of([&] { data_type_map(model, {.use_weights = true}); }), HasSubstr("no error"));
  EXPECT_THAT(message_of([] { memory_from_string("flash"); }), HasSubstr("sram, dram, fixed"));
  EXPECT_THAT(message_of([] { reference_from_string("fp31"); }), HasSubstr("fp32"));
  EXPECT_THAT(message_of([] { type_from_text("quantized_bit(4)"); }), HasSubstr("quantized_bits"));
  const auto free =
      one_layer({-1, 8, 1}, layer("QConv2D", "c", {{"filters", int64_t{2}}, {"kernel_size", Ints{3, 3}}}));
  EXPECT_THAT(message_of([&] { estimate(free, energy_query(Reference::kNone)); }), HasSubstr("not fixed"));
  EXPECT_THAT(message_of([&] { count_bits(model, {.ref_bits = -8}); }), HasSubstr("-8 bits"));
}

// A text is a quantizer's: what that would refuse is no type either.
TEST(TypesFromText, MalformedQuantizersAreRefused) {
  struct Row {
    const char* text;
    const char* complaint;
  };
  for (const Row& row : {Row{"quantized_bits(99,0,1)", "bits is 99"}, Row{"quantized_bits(-4,0,1)", "bits is -4"},
                         Row{"quantized_bits(4,0,1,colour=3)", "colour"}, Row{"quantized_bits('four')", "four"},
                         Row{"quantized_relu(4,negative_slope=0.3)", "negative_slope"},
                         Row{"quantized_po2(4,-2)", "max_value is -2"}, Row{"quantized_po2(40,0)", "bits is 40"}}) {
    for (const Compat compat : {Compat::kNone, Compat::kQkeras}) {
      EXPECT_THAT(message_of([&] { type_from_text(row.text, compat); }), HasSubstr(row.complaint)) << row.text;
    }
  }
}

// QTools reads a cap of 0 as none.
TEST(TypesFromText, AMaximumOfZeroIsNone) {
  for (const char* text : {"quantized_po2(5,0)", "quantized_po2(5,max_value=0)", "quantized_po2(5)"}) {
    EXPECT_EQ(type_from_text(text), po2_type(5, true)) << text;
  }
}

TEST(Energy, KnownWeightsMustBeThere) {
  const auto model = one_layer(
      {3}, layer("QDense", "d", {{"units", int64_t{2}}, {"kernel_quantizer", std::string("quantized_po2(4)")}}));
  EXPECT_THAT(message_of([&] { data_type_map(model, {.use_weights = true}); }), HasSubstr("no weight 'kernel'"));
}

TEST(Operators, ThreeInputsOfAnAdditionGrowByTwoBits) {
  const std::vector<QuantizerType> inputs(3, fixed_point_type(8, 0));
  EXPECT_EQ(merge("Add", inputs).output.bit_width, 10);
  EXPECT_EQ(merge("Add", inputs, Compat::kQkeras).output.bit_width, 9);
  EXPECT_EQ(merge("Subtract", {inputs.data(), 2}).output.bit_width, 9);
}

// 2^30 places to shift by: more bits than an int holds are as many as a type may have.
TEST(Operators, WidePowersOfTwoDoNotTurnOver) {
  for (const char* text :
       {"quantized_po2(31)", "quantized_po2(32)", "quantized_relu_po2(31)", "quantized_relu_po2(32)"}) {
    const QuantizerType po2 = type_from_text(text);
    const ShiftRange range = shift_range(po2);
    EXPECT_GE(range.right, range.left) << text;
    EXPECT_GT(range.left, 0) << text;
    const QuantizerType fixed = as_fixed_point(po2);
    EXPECT_GE(fixed.bit_width, kWidestBits - 1) << text;
    const QuantizerType product = multiply(po2, fixed).output;
    EXPECT_EQ(product.bit_width, kWidestBits) << text;
    EXPECT_EQ(add(accumulate(product, 1000), fixed).bit_width, kWidestBits) << text;
    EXPECT_EQ(merge("Add", std::vector<QuantizerType>{product, fixed}).output.bit_width, kWidestBits) << text;
    EXPECT_EQ(multiply(product, product).output.bit_width, kWidestBits) << text;
  }
}

// A signed 4-bit fraction and an unsigned 6-bit integer: no bit of either may be lost.
TEST(Operators, MaximumKeepsFractionAndSign) {
  const std::vector<QuantizerType> inputs = {fixed_point_type(4, 0), fixed_point_type(6, 6, false)};
  const QuantizerType got = merge("Maximum", inputs).output;
  EXPECT_EQ(got.int_bits, 6);
  EXPECT_EQ(got.fractional_bits(), 3);
  EXPECT_TRUE(got.is_signed);
}

}  // namespace
}  // namespace nibble::cost
