// Layers that QTools does not know: recurrent ones, Embedding, PReLU, QScaleShift, transposed convolutions of channels
// on their own. Counts and types by hand.
#include <gtest/gtest.h>

#include "nibble/core/error.h"
#include "nibble/cost/energy.h"
#include "nibble/cost/model_bits.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_convolution.h"
#include "nibble/graph/builder_recurrent.h"

namespace nibble::cost {
namespace {

using namespace graph::build;

constexpr const char* kFour = "quantized_bits(4,0,1,alpha=1.0)";

graph::Model one_layer(const std::vector<int64_t>& shape, const LayerCall& call) {
  const Node input = Input({.shape = shape, .name = "in"});
  return build_model({input}, {call(input)});
}

LayerTypes types_of(const graph::Model& model) { return data_type_map(model).layers.at(0); }

LayerEnergy energy_of(const graph::Model& model, Compat compat = Compat::kNone) {
  return estimate(model, energy_query(Reference::kNone, compat)).layers.at(0);
}

QLSTMOptions lstm() {
  return {.units = 5,
          .activation = "quantized_tanh(4)",
          .recurrent_activation = "quantized_sigmoid(4)",
          .kernel_quantizer = kFour,
          .recurrent_quantizer = "quantized_bits(3,0,1,alpha=1.0)",
          .bias_quantizer = "quantized_bits(4,0,1)"};
}

TEST(RecurrentEnergy, LstmHasTwoKernelsAndProductsOfGates) {
  const LayerTypes types = types_of(one_layer({7, 3}, QLSTM(lstm())));
  ASSERT_EQ(types.macs.size(), 2u);
  EXPECT_EQ(types.macs[0].operation_count, 7 * 3 * 20);
  EXPECT_EQ(types.macs[0].charged_biases, 20);
  EXPECT_EQ(types.macs[1].operation_count, 7 * 5 * 20);
  EXPECT_EQ(types.macs[1].charged_biases, 0);
  EXPECT_EQ(types.operation_count, 7 * 8 * 20);
  // 3 bits times states of 4: 6 bits; ceil(log2 5) more.
  EXPECT_EQ(types.macs[1].accumulator.bit_width, 9);
  ASSERT_TRUE(types.gates);
  EXPECT_EQ(types.gates->products, 3 * 7 * 5);
  // An unsigned gate of 4 bits times a signed activation of 4: 4 + 3 + the sign.
  EXPECT_EQ(types.output.bit_width, 8);
  EXPECT_GT(energy_of(one_layer({7, 3}, QLSTM(lstm()))).op_cost_pj, 0);
}

TEST(RecurrentEnergy, AStateQuantizerIsWhatTheRecurrentKernelMeets) {
  QLSTMOptions options = lstm();
  options.state_quantizer = "quantized_bits(2,0,1)";
  EXPECT_EQ(types_of(one_layer({7, 3}, QLSTM(options))).macs[1].accumulator.bit_width, 7);
}

TEST(RecurrentEnergy, SimpleRnnAndGru) {
  const LayerTypes simple = types_of(one_layer({7, 3}, QSimpleRNN({.units = 5,
                                                                   .activation = "quantized_tanh(4)",
                                                                   .kernel_quantizer = kFour,
                                                                   .recurrent_quantizer = kFour,
                                                                   .return_sequences = true})));
  EXPECT_EQ(simple.operation_count, 7 * 8 * 5);
  EXPECT_FALSE(simple.gates);
  EXPECT_EQ(simple.output.bit_width, 4);
  const LayerTypes gru = types_of(one_layer({7, 3}, GRU({.units = 5})));
  EXPECT_EQ(gru.operation_count, 7 * 8 * 15);
  EXPECT_EQ(gru.macs[0].charged_biases, 30);  // two rows, reset_after
  EXPECT_EQ(gru.gates->products, 3 * 7 * 5);
}

TEST(RecurrentEnergy, BidirectionalIsTwoLayersAndRnnIsItsCell) {
  const LayerTypes one = types_of(one_layer({7, 3}, QLSTM(lstm())));
  const LayerTypes both = types_of(one_layer({7, 3}, Bidirectional({.layer = QLSTM(lstm())})));
  ASSERT_EQ(both.macs.size(), 4u);
  EXPECT_EQ(both.operation_count, 2 * one.operation_count);
  EXPECT_EQ(both.gates->products, 2 * one.gates->products);
  EXPECT_EQ(both.macs[3].prefix, "backward_recurrent_");
  EXPECT_EQ(both.macs[3].accumulator, one.macs[1].accumulator);
  EXPECT_EQ(both.output, one.output);
  const LayerTypes cell = types_of(one_layer({7, 3}, RNN({.cell = QLSTM(lstm())})));
  EXPECT_EQ(cell.operation_count, one.operation_count);
  EXPECT_EQ(cell.output, one.output);
}

TEST(RecurrentEnergy, SequencesOfAFreeLengthAreRefused) {
  EXPECT_THROW(data_type_map(one_layer({-1, 3}, LSTM({.units = 5}))), InvalidArgument);
}

TEST(LookupEnergy, OnlyTheRowsThatAreReadCost) {
  const graph::Model model = one_layer({6}, Embedding({.input_dim = 1000, .output_dim = 4}));
  const LayerTypes types = types_of(model);
  EXPECT_EQ(types.lookup->elements, 24);
  EXPECT_EQ(types.operation_count, 0);
  const LayerEnergy energy = energy_of(model);
  EXPECT_GT(energy.parameters_pj, 0);
  EXPECT_EQ(energy.op_cost_pj, 0);
  EXPECT_EQ(energy_of(one_layer({6}, Embedding({.input_dim = 9, .output_dim = 4}))).parameters_pj,
            energy.parameters_pj);
}

TEST(ScalingEnergy, OneProductAValue) {
  const graph::Model prelu = one_layer({4, 4, 3}, PReLU({.shared_axes = {1, 2}}));
  const LayerTypes types = types_of(prelu);
  EXPECT_EQ(types.operation_count, 48);
  EXPECT_EQ(types.macs.at(0).kernel.elements(), 3);
  EXPECT_FALSE(types.macs[0].adds);
  const LayerTypes shift = types_of(one_layer(
      {4, 4, 3}, QScaleShift({.weight_quantizer = kFour, .bias_quantizer = "quantized_bits(4,0,1,alpha=1.0)"})));
  EXPECT_EQ(shift.operation_count, 48);
  EXPECT_EQ(shift.macs.at(0).charged_biases, 1);
  // 4 times 8 bits: 11; plus a bias of fewer: one more.
  EXPECT_EQ(shift.output.bit_width, 12);
}

TEST(TransposedEnergy, ChannelsOnTheirOwn) {
  const LayerTypes depthwise =
      types_of(one_layer({8, 8, 4}, QDepthwiseConv2DTranspose({.filters = 4,
                                                               .kernel_size = {3, 3},
                                                               .group_size = 2,
                                                               .strides = {2, 2},
                                                               .depthwise_kernel_quantizer = kFour})));
  EXPECT_EQ(depthwise.operation_count, 8 * 8 * 9 * 4 * 2);
  EXPECT_EQ(depthwise.macs.at(0).charged_biases, 4);
  // 11 bits a product; ceil(3 / 2) squared taps by 2 channels: 3 bits more, and one for the bias.
  EXPECT_EQ(depthwise.output.bit_width, 15);
  const LayerTypes separable =
      types_of(one_layer({8, 8, 4}, QSeparableConv2DTranspose({.filters = 6,
                                                               .kernel_size = {3, 3},
                                                               .strides = {2, 2},
                                                               .padding = "same",
                                                               .depthwise_activation = "quantized_bits(5,1,1)",
                                                               .depthwise_kernel_quantizer = kFour,
                                                               .pointwise_kernel_quantizer = kFour})));
  ASSERT_EQ(separable.macs.size(), 2u);
  EXPECT_EQ(separable.macs[0].operation_count, 8 * 8 * 9 * 4);
  EXPECT_EQ(separable.macs[1].operation_count, 16 * 16 * 4 * 6);
  EXPECT_EQ(separable.macs[1].charged_biases, 6);
  // The activation's 5 bits, not the sum's: 4 + 5 - 1 and 2 for four channels.
  EXPECT_EQ(separable.macs[1].multiplier.output.bit_width, 8);
}

TEST(ReferenceEnergy, StaysTheReferences) {
  for (const auto& model :
       {one_layer({7, 3}, QLSTM(lstm())), one_layer({6}, Embedding({.input_dim = 9, .output_dim = 4}))}) {
    const LayerEnergy energy = energy_of(model, Compat::kQkeras);
    EXPECT_EQ(energy.op_cost_pj, 0);
    EXPECT_EQ(energy.parameters_pj, 0);
  }
}

TEST(ModelBits, CountsTheseLayersToo) {
  const auto bits = [](const graph::Model& model) { return count_bits(model, {}).parameters; };
  EXPECT_EQ(bits(one_layer({7, 3}, QLSTM(lstm()))), 60 * 4 + 100 * 3 + 20 * 4);
  EXPECT_EQ(bits(one_layer({7, 3}, Bidirectional({.layer = QLSTM(lstm())}))), 2 * (60 * 4 + 100 * 3 + 20 * 4));
}

}  // namespace
}  // namespace nibble::cost
