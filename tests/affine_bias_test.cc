// Biases, and other weights that are no codes, beside affine codes: the program has the network's numbers. All scales
// are powers of two and all biases have few bits, so that float32 rounds nowhere and every code has to be the same.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "nibble/core/philox.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_activation.h"
#include "nibble/graph/builder_shape.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/program/lowering.h"
#include "nibble/program/verification.h"
#include "nibble/train/trainer.h"

namespace nibble {
namespace {

using namespace graph::build;
using graph::AffineKind;
using graph::AffineQuantizer;
using graph::LayerQuantization;

Node image() { return Input({.shape = {6, 6, 2}, .name = "input"}); }

Node conv(const Node& x, const std::string& name, const std::string& activation = "linear") {
  return Conv2D({.filters = 4, .kernel_size = {3, 3}, .padding = "same", .activation = activation, .name = name})(x);
}

graph::Model ending_in(const Node& in, const Node& x) {
  return build_model({in}, {ReLU({.name = "relu"})(conv(x, "last"))}, "biases");
}

// Codes that no point gave: both inputs have the same scale.
graph::Model concatenated() {
  const Node in = image();
  return ending_in(in, Concatenate({.name = "both"})({conv(in, "a", "relu"), conv(in, "b", "relu")}));
}
graph::Model added() {
  const Node in = image();
  return ending_in(in, layer("Add", "both")(std::vector<Node>{conv(in, "a", "relu"), conv(in, "b", "relu")}));
}
graph::Model behind_a_qkeras_quantizer() {
  const Node in = image();
  return ending_in(in, QActivation({.activation = "quantized_bits(4,1,1,alpha=1.0)", .name = "codes"})(in));
}
graph::Model plain() {
  const Node in = image();
  return ending_in(in, conv(in, "a", "relu"));
}
graph::Model slopes() {
  const Node in = image();
  return build_model({in}, {PReLU({.shared_axes = {1, 2}, .name = "prelu"})(conv(in, "last"))}, "slopes");
}

AffineQuantizer fixed(int bits, float min, float max, bool narrow_range = false) {
  return {.kind = AffineKind::kFixed, .num_bits = bits, .narrow_range = narrow_range, .fixed = {min, max}};
}
const AffineQuantizer kCodes = fixed(4, 0.0f, 3.75f), kWeights = fixed(4, -0.875f, 0.875f, true);

LayerQuantization on_kernel(const AffineQuantizer& kernel = kWeights, int bias_bits = 32) {
  return {.weights = {{"kernel", kernel}}, .bias_bits = bias_bits};
}

struct BiasCase {
  std::string name;
  std::function<graph::Model()> build;
  LayerQuantization last;  // of the layer of that name
  bool has_bias_codes = false;
};

LayerQuantization quantization_of(const graph::Model& model, const graph::Layer& layer, const BiasCase& c) {
  if (layer.name == "last") return c.last;
  if (layer.class_name == "Conv2D") {
    LayerQuantization result = on_kernel();
    result.post_activation = kCodes;
    return result;
  }
  if (layer.class_name == "ReLU") return {.output = fixed(8, 0.0f, 255.0f / 64.0f)};
  if (layer.class_name == "PReLU") {
    return {.weights = {{"alpha", fixed(2, -0.5f, 0.5f, true)}}, .output = fixed(8, -2.0f, 127.0f / 64.0f)};
  }
  const bool is_read_as_codes = layer.class_name == "InputLayer" && model.find_layer("codes") == nullptr;
  return is_read_as_codes ? LayerQuantization{.output = kCodes} : LayerQuantization{};
}

graph::Model quantized(const BiasCase& c) {
  graph::Model model = c.build();
  graph::initialize_weights(model, 7);
  for (graph::Layer& layer : model.layers) {
    for (graph::Weight& weight : layer.weights) {
      for (int64_t i = 0; i < weight.value.size(); ++i) {
        float& value = weight.value[i];
        // Odd multiples of 2^-9: on no accumulator's grid, which are coarser.
        if (weight.name == "bias") value = static_cast<float>((2 * i + 1) * 23 - 128) / 512.0f;
        if (weight.name == "alpha") value = 0.11f * static_cast<float>(i + 1);
        const bool is_of_one_bit = layer.name == "last" && c.last.weights[0].quantizer.kind == AffineKind::kDorefa;
        if (weight.name == "kernel" && is_of_one_bit) value = value < 0.0f ? -0.25f : 0.25f;
      }
    }
  }
  std::map<std::string, LayerQuantization> all;
  for (const graph::Layer& layer : model.layers) all[layer.name] = quantization_of(model, layer, c);
  for (auto& [name, quantization] : all) {
    if (!graph::quantized_points(quantization).empty()) graph::set_quantization(model, name, quantization);
  }
  return model;
}

class AffineBias : public testing::TestWithParam<BiasCase> {};

TEST_P(AffineBias, IsTheNetworks) {
  const graph::Model model = quantized(GetParam());
  const program::Program program = program::lower(model);
  for (const program::Operation& operation : program.operations) {
    const auto* sum = std::get_if<program::Accumulate>(&operation.action);
    if (sum == nullptr || operation.layer != "last") continue;
    EXPECT_EQ(!sum->bias.empty(), GetParam().has_bias_codes);
  }
  program::Verifier verifier(program);
  std::map<std::string, train::Trainer> networks;
  networks.emplace("", train::Trainer(model, {}));
  for (const std::string& layer : verifier.layers()) {
    networks.emplace(layer, train::Trainer(program::network_up_to(model, layer), {}));
  }
  Tensor x(Shape{60, 6, 6, 2});
  RandomStream random({12, RandomPurpose::kTest, 0, 0});
  for (float& value : x.data()) value = 4.0f * random.uniform() - 0.5f;
  verifier.add(x, [&](const std::string& layer, const Tensor& batch) { return networks.at(layer).predict(batch); });
  EXPECT_FALSE(verifier.result().layers.empty());
  for (const program::LayerComparison& layer : verifier.result().layers) {
    EXPECT_EQ(layer.differing, 0) << layer.layer << ", of " << layer.values;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, AffineBias,
    testing::Values(
        BiasCase{"OnItsGrid", plain, on_kernel(), true},
        // The network knows no codes of its input here, or none of its kernel: the bias stays a real number.
        BiasCase{"BehindAConcatenate", concatenated, on_kernel()}, BiasCase{"BehindAnAdd", added, on_kernel()},
        BiasCase{"BehindAQkerasQuantizer", behind_a_qkeras_quantizer, on_kernel()},
        BiasCase{"OfWeightsOfOneBit", plain, on_kernel({.kind = AffineKind::kDorefa, .num_bits = 1})},
        BiasCase{
            "PointOfTheBias", plain, {.weights = {{"kernel", kWeights}, {"bias", kWeights}}, .bias_bits = 32}, true},
        BiasCase{"PointOfAFloatBias", plain, {.weights = {{"kernel", kWeights}, {"bias", kWeights}}}},
        BiasCase{"PointOfTheSlopes", slopes, on_kernel(), true}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace nibble
