#include "nibble/graph/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(MakeLayer, FillsInDefaults) {
  const Layer layer = make_layer("QConv2D", "c", {{"filters", 8}, {"kernel_size", 3}, {"padding", "SAME"}});
  EXPECT_EQ(layer.get_int("filters"), 8);
  EXPECT_EQ(layer.get_ints("kernel_size"), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(layer.get_ints("strides"), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(layer.get_string("padding"), "same");
  EXPECT_EQ(layer.get_string("kernel_initializer"), "he_normal");
  EXPECT_EQ(layer.activation_function(), "linear");
  EXPECT_TRUE(layer.get_bool("use_bias"));
  EXPECT_FALSE(layer.has("kernel_quantizer"));
  EXPECT_EQ(layer.get_quantizer("kernel_quantizer"), nullptr);
}

TEST(MakeLayer, ParsesQuantizers) {
  const Layer layer =
      make_layer("QDense", "d",
                 {{"units", 2}, {"kernel_quantizer", "quantized_bits(4,0,1)"}, {"activation", "quantized_relu(4)"}});
  EXPECT_EQ(layer.get_quantizer("kernel_quantizer")->class_name(), "quantized_bits");
  EXPECT_EQ(layer.get_quantizer("activation")->bit_width(), 4);
  EXPECT_EQ(layer.activation_function(), "");
}

TEST(MakeLayer, PoolStridesDefaultToThePool) {
  EXPECT_EQ(make_layer("MaxPooling2D", "p", {{"pool_size", 3}}).get_ints("strides"), (std::vector<int64_t>{3, 3}));
}

TEST(MakeLayer, KnowsOldNamesOfAttributes) {
  EXPECT_EQ(make_layer("LeakyReLU", "l", {{"alpha", 0.1}}).get_float("negative_slope"), 0.1);
}

struct Refusal {
  std::string claim, class_name;
  std::map<std::string, Attribute> attributes;
  std::vector<std::string> says;
};
class MakeLayerRefuses : public ::testing::TestWithParam<Refusal> {};
TEST_P(MakeLayerRefuses, WithASentence) {
  const Refusal& row = GetParam();
  const std::string message = message_of([&] { make_layer(row.class_name, "x", row.attributes); });
  for (const std::string& part : row.says) EXPECT_NE(message.find(part), std::string::npos) << message;
}
INSTANTIATE_TEST_SUITE_P(
    Rows, MakeLayerRefuses,
    ::testing::Values(
        Refusal{"UnknownClass", "Conv2d", {}, {"'x' (Conv2d)", "'Conv2D'"}},
        Refusal{"UnknownAttribute", "Dense", {{"units", 2}, {"use_bais", true}}, {"'x' (Dense)", "'use_bias'"}},
        Refusal{"MissingAttribute", "Dense", {}, {"'units'"}},
        Refusal{"WrongType", "Dense", {{"units", "many"}}, {"'units' is 'many'", "an integer"}},
        Refusal{"ZeroUnits", "Dense", {{"units", 0}}, {"'units' is 0"}},
        Refusal{"HugeKernel", "Conv2D", {{"filters", 1}, {"kernel_size", int64_t{1} << 40}}, {"kernel_size"}},
        Refusal{"WrongLength", "Conv2D", {{"filters", 1}, {"kernel_size", std::vector<int64_t>{3}}}, {"2 numbers"}},
        Refusal{"BadPadding", "Conv2D", {{"filters", 1}, {"kernel_size", 3}, {"padding", "sane"}}, {"'sane'", "same"}},
        Refusal{"ChannelsMiddle", "Flatten", {{"data_format", "channels_middle"}}, {"channels_first", "channels_last"}},
        Refusal{"UnknownQuantizer",
                "QDense",
                {{"units", 1}, {"kernel_quantizer", "quantised_bits(4)"}},
                {"kernel_quantizer", "quantised_bits"}},
        Refusal{"UnknownInitializer", "Dense", {{"units", 1}, {"kernel_initializer", "he_uniforn"}}, {"'he_uniform'"}},
        Refusal{"StridesWithDilation",
                "Conv2D",
                {{"filters", 1}, {"kernel_size", 3}, {"strides", 2}, {"dilation_rate", 2}},
                {"strides", "dilation_rate"}},
        Refusal{"DropoutOfAll", "Dropout", {{"rate", 1.0}}, {"rate is 1"}},
        Refusal{"NegativeEpsilon", "BatchNormalization", {{"epsilon", -1.0}}, {"epsilon is -1"}},
        Refusal{"InverseWithGamma",
                "QBatchNormalization",
                {{"inverse_quantizer", "quantized_bits(8,0,1)"}},
                {"inverse_quantizer"}}),
    [](const auto& row) { return row.param.claim; });

TEST(Layer, WrongAccessNamesLayerAndAttribute) {
  const Layer layer = make_layer("Dense", "d", {{"units", 3}});
  EXPECT_NE(message_of([&] { layer.get_string("units"); }).find("'units' is 3, not a text"), std::string::npos);
  EXPECT_NE(message_of([&] { layer.get_int("unit"); }).find("'units'"), std::string::npos);
}

TEST(Layer, CopiesAreEqualAndChangesAreNot) {
  const Layer a = make_layer("QDense", "d", {{"units", 3}, {"kernel_quantizer", "binary"}});
  Layer b = make_layer("QDense", "d", {{"units", 3}, {"kernel_quantizer", "binary()"}});
  EXPECT_TRUE(a == b) << "quantizers compare by value";
  b.attributes["kernel_quantizer"] =
      make_layer("QDense", "d", {{"units", 3}, {"kernel_quantizer", "ternary"}}).attributes["kernel_quantizer"];
  EXPECT_FALSE(a == b);
}

TEST(EffectiveQuantizer, WeightsWithoutAlphaScaleThemselves) {
  const Layer layer = make_layer(
      "QDense", "d",
      {{"units", 3}, {"kernel_quantizer", "quantized_bits(4,0,1)"}, {"bias_quantizer", "quantized_bits(4,0,1)"}});
  EXPECT_EQ(effective_quantizer(layer, "kernel_quantizer")->str(),
            layer.get_quantizer("kernel_quantizer")->as_weight_quantizer()->str());
  EXPECT_NE(effective_quantizer(layer, "kernel_quantizer")->str(), layer.get_quantizer("kernel_quantizer")->str());
  EXPECT_EQ(effective_quantizer(layer, "bias_quantizer")->str(), layer.get_quantizer("bias_quantizer")->str());
  EXPECT_EQ(effective_quantizer(make_layer("QDense", "d", {{"units", 3}}), "kernel_quantizer"), nullptr);
}

TEST(Model, FindsLayersAndConsumers) {
  using namespace build;
  const Node in = Input({.shape = {4}, .name = "in"});
  const Node a = Dense({.units = 4, .name = "first"})(in);
  const Model model = build_model({in}, {Add()({in, a})});
  EXPECT_EQ(model.index_of("first"), 1);
  EXPECT_EQ(model.find_layer("b"), nullptr);
  EXPECT_EQ(model.consumers("in"), (std::vector<std::string>{"first", "add"}));
  EXPECT_NE(message_of([&] { model.layer("frist"); }).find("'first'"), std::string::npos);
}

TEST(KnownLayers, AreSortedAndMakeable) {
  const std::vector<std::string> names = known_layers();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_GE(names.size(), 50u);
}

}  // namespace
}  // namespace nibble::graph
