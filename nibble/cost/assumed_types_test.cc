#include "nibble/cost/assumed_types.h"

#include <gtest/gtest.h>

#include "nibble/cost/energy.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/builder_recurrent.h"

namespace nibble::cost {
namespace {

using namespace graph::build;
using Names = std::vector<std::string>;

AssumedTypes of(const graph::Model& model, Reference reference = Reference::kNone) {
  return assumed_types(model, energy_query(reference).types);
}

LayerCall dense(const std::string& class_name, std::map<std::string, graph::Attribute> attributes = {}) {
  attributes["units"] = int64_t{4};
  return layer(class_name, "dense", attributes);
}

graph::Model chain(const LayerCall& first, const LayerCall& second) {
  const Node input = Input({.shape = {8}, .name = "in"});
  return build_model({input}, {second(first(input))});
}

const graph::Attribute kFourBits = std::string("quantized_bits(4,0,1)");

TEST(AssumedTypes, AFloatNetworkIsAssumedThroughout) {
  const auto model = chain(dense("Dense"), layer("Activation", "act", {{"activation", std::string("relu")}}));
  EXPECT_EQ(of(model).weights, Names{"dense"});
  EXPECT_EQ(of(model).activations, Names{"act"});
}

TEST(AssumedTypes, AnActivationInsideALayerIsAssumedToo) {
  const auto act = layer("QActivation", "act", {{"activation", std::string("quantized_relu(4)")}});
  struct Row {
    const char* class_name;
    const char* activation;
    Names assumed;
  };
  for (const Row& row :
       {Row{"Dense", "relu", {"dense"}}, Row{"Dense", "softmax", {"dense"}}, Row{"Dense", "linear", {}},
        Row{"Dense", "quantized_relu(4)", {}}, Row{"QDense", "relu", {}}}) {  // whose accumulator is known
    const auto model = chain(dense(row.class_name, {{"activation", std::string(row.activation)}}), act);
    EXPECT_EQ(of(model).activations, row.assumed) << row.class_name << ' ' << row.activation;
  }
}

TEST(AssumedTypes, AReferenceAssumesNothing) {
  const auto model = chain(dense("Dense"), layer("Activation", "act", {{"activation", std::string("relu")}}));
  EXPECT_TRUE(of(model, Reference::kFp32).weights.empty());
  EXPECT_TRUE(of(model, Reference::kInt8).activations.empty());
}

TEST(AssumedTypes, QuantizersAssumeNothing) {
  const auto model = chain(dense("QDense", {{"kernel_quantizer", kFourBits}, {"bias_quantizer", kFourBits}}),
                           layer("QActivation", "act", {{"activation", std::string("quantized_relu(4)")}}));
  EXPECT_TRUE(of(model).weights.empty());
  EXPECT_TRUE(of(model).activations.empty());
}

TEST(AssumedTypes, ABiasAloneCounts) {
  const auto act = layer("QActivation", "act", {{"activation", std::string("quantized_relu(4)")}});
  EXPECT_EQ(of(chain(dense("QDense", {{"kernel_quantizer", kFourBits}}), act)).weights, Names{"dense"});
  EXPECT_TRUE(of(chain(dense("QDense", {{"kernel_quantizer", kFourBits}, {"use_bias", false}}), act)).weights.empty());
}

TEST(AssumedTypes, BatchNormalization) {
  const auto quantized = dense("QDense", {{"kernel_quantizer", kFourBits}, {"bias_quantizer", kFourBits}});
  EXPECT_EQ(of(chain(quantized, layer("BatchNormalization", "bn", {}))).weights, Names{"bn"});
  EXPECT_TRUE(of(chain(quantized, layer("QBatchNormalization", "bn", {}))).weights.empty());
}

TEST(AssumedTypes, AffineQuantizersCountUnlessCompatForgetsThem) {
  auto model = chain(dense("Dense"), layer("Activation", "act", {{"activation", std::string("relu")}}));
  const graph::AffineQuantizer four{.kind = graph::AffineKind::kMovingAverage, .num_bits = 4};
  graph::set_quantization(
      model, "dense",
      graph::LayerQuantization{
          .weights = {{"kernel", {.kind = graph::AffineKind::kLastValue, .num_bits = 4, .symmetric = true}}},
          .bias_bits = 32});
  graph::set_quantization(model, "act", graph::LayerQuantization{.output = four});
  EXPECT_TRUE(of(model).weights.empty());
  EXPECT_TRUE(of(model).activations.empty());
  const AssumedTypes compat = assumed_types(model, energy_query(Reference::kNone, Compat::kQkeras).types);
  EXPECT_EQ(compat.weights, Names{"dense"});
  EXPECT_EQ(compat.activations, Names{"act"});
}

// The sums of affine weights are known, so an activation behind them inside the layer assumes nothing.
TEST(AssumedTypes, AnActivationInsideAnAffineLayer) {
  const auto act = layer("QActivation", "act", {{"activation", std::string("quantized_relu(4)")}});
  auto model = chain(dense("Dense", {{"activation", std::string("relu")}}), act);
  graph::set_quantization(
      model, "dense",
      graph::LayerQuantization{
          .weights = {{"kernel", {.kind = graph::AffineKind::kLastValue, .num_bits = 4, .symmetric = true}}},
          .bias_bits = 32});
  EXPECT_TRUE(of(model).activations.empty());
}

TEST(AssumedTypes, RecurrentLayers) {
  const Node input = Input({.shape = {4, 8}, .name = "in"});
  const auto with = [&](const std::string& class_name, std::map<std::string, graph::Attribute> attributes) {
    attributes["units"] = int64_t{4};
    return of(build_model({input}, {layer(class_name, "rnn", attributes)(input)})).weights;
  };
  EXPECT_EQ(with("LSTM", {}), Names{"rnn"});
  EXPECT_EQ(with("QLSTM", {{"kernel_quantizer", kFourBits}, {"bias_quantizer", kFourBits}}), Names{"rnn"})
      << "its recurrent kernel has none";
  EXPECT_TRUE(with("QLSTM",
                   {{"kernel_quantizer", kFourBits}, {"recurrent_quantizer", kFourBits}, {"bias_quantizer", kFourBits}})
                  .empty());
}

}  // namespace
}  // namespace nibble::cost
