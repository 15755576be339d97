// What counts by layer class. Recorded rows: models_golden_test.
#include "nibble/cost/model_bits.h"

#include <gtest/gtest.h>

#include "nibble/graph/builder.h"

namespace nibble::cost {
namespace {

using namespace graph::build;

// 4 inputs, 2 outputs: kernel and bias at 8 bits each where the layer is plain, at 4 where it is a QDense.
graph::Model dense(const std::string& class_name) {
  std::map<std::string, graph::Attribute> attributes = {{"units", int64_t{2}}};
  if (class_name == "QDense") {
    for (const char* name : {"kernel_quantizer", "bias_quantizer"}) {
      attributes[name] = std::string("quantized_bits(4,0,1)");
    }
  }
  const Node input = Input({.shape = {4}, .name = "in"});
  return build_model({input}, {layer(class_name, "dense", attributes)(input)});
}

struct Case {
  const char* name;
  const char* class_name;
  std::map<std::string, BitsParts> config;
  Compat compat;
  int64_t bits;
};
class BitsByClass : public ::testing::TestWithParam<Case> {};
TEST_P(BitsByClass, CountWhatTheEntrySays) {
  const Case& c = GetParam();
  EXPECT_EQ(count_bits(dense(c.class_name), {.compat = c.compat, .config = c.config}).total(), c.bits);
}
constexpr BitsParts kNothing = {}, kParameters = {.parameters = true, .activations = false};
INSTANTIATE_TEST_SUITE_P(
    Rows, BitsByClass,
    ::testing::Values(
        Case{"PlainByItsEntry", "Dense", {{"Dense", kParameters}}, Compat::kNone, 80},
        Case{"QuantizedByThePlainOnes", "QDense", {{"Dense", kParameters}}, Compat::kNone, 40},
        Case{"QuantizedByThePlainOnesBeforeDefault",
             "QDense",
             {{"Dense", kParameters}, {"default", kNothing}},
             Compat::kNone,
             40},
        Case{"QuantizedByItsOwn", "QDense", {{"Dense", kParameters}, {"QDense", kNothing}}, Compat::kNone, 0},
        Case{"QuantizedByDefault", "QDense", {{"Conv2D", kNothing}, {"default", kParameters}}, Compat::kNone, 40},
        Case{"PlainNotByTheQuantizedOnes", "Dense", {{"QDense", kParameters}}, Compat::kNone, 0},
        Case{"AsInTheReference", "QDense", {{"Dense", kParameters}}, Compat::kQkeras, 0}),
    [](const auto& row) { return std::string(row.param.name); });

// 10 values of 6 bits, or of 5 behind a softmax, whether the function is a layer's argument or a class of its own.
TEST(BitsOfActivations, AClassOfItsOwnCountsAsTheFunction) {
  const auto bits = [](const LayerCall& call, Compat compat) {
    const Node input = Input({.shape = {10}, .name = "in"});
    const BitsOptions options = {.compat = compat, .ref_bits = 6, .output_bits = 5};
    return count_bits(build_model({input}, {call(input)}), options).layers.at(1).activations;
  };
  EXPECT_EQ(bits(layer("Activation", "act", {{"activation", std::string("relu")}}), Compat::kNone), 60);
  EXPECT_EQ(bits(layer("Activation", "act", {{"activation", std::string("softmax")}}), Compat::kNone), 50);
  for (const char* name : {"ReLU", "LeakyReLU", "ELU"}) {
    EXPECT_EQ(bits(layer(name, "act", {}), Compat::kNone), 60) << name;
    EXPECT_EQ(bits(layer(name, "act", {}), Compat::kQkeras), 0) << name;
  }
  EXPECT_EQ(bits(layer("Softmax", "act", {}), Compat::kNone), 50);
}

}  // namespace
}  // namespace nibble::cost
