#include "nibble/models/conv_block_network.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/models/builtin.h"
#include "support/golden.h"

namespace nibble::models {
namespace {

std::vector<std::string> names_of(const graph::Model& model) {
  std::vector<std::string> names;
  for (const graph::Layer& layer : model.layers) names.push_back(layer.name);
  return names;
}

struct Row {
  const char* claim;
  ConvBlockNetworkOptions options;
  std::vector<std::string> names;
};

class LayerNames : public ::testing::TestWithParam<Row> {};
TEST_P(LayerNames, AreTheTutorials) { EXPECT_EQ(names_of(conv_block_network(GetParam().options)), GetParam().names); }

INSTANTIATE_TEST_SUITE_P(
    Rows, LayerNames,
    ::testing::Values(
        Row{"OneBlockHasAnEmptySuffix",
            {.shape = {8, 8, 1}, .filters = {4}},
            {"input", "conv2d_", "bn_", "act_", "mp_", "flatten", "dense", "softmax"}},
        Row{"BlockOfTwoIsNumbered",
            {.shape = {8, 8, 1}, .filters = {std::vector<int64_t>{4, 5}}},
            {"input", "conv2d_0", "bn_0", "act_0", "conv2d_1", "bn_1", "act_1", "mp_1", "flatten", "dense", "softmax"}},
        Row{"DspSplitsTheKernel",
            {.shape = {8, 8, 1}, .filters = {4, 8}, .with_batchnorm = false, .use_separable = Separable::kDsp},
            {"input", "conv2d_13_0", "act_13_0", "conv2d_31_0", "act_31_0", "mp_0", "conv2d_13_1", "act_13_1",
             "conv2d_31_1", "act_31_1", "mp_1", "flatten", "dense", "softmax"}},
        Row{"MobileNetWithTrickMovesTheActivation",
            {.shape = {8, 8, 1},
             .filters = {4, std::vector<int64_t>{6, 6}},
             .dropout_rate = 0.1,
             .use_separable = Separable::kMobileNet,
             .use_xnornet_trick = true},
            {"input",
             "conv2d_dw_33_0",
             "conv2d_dw_bn_33_0",
             "conv2d_dw_act_33_0",
             "conv2d_11_0",
             "mp_0",
             "mp_bn_0",
             "mp_act_0",
             "drop_0",
             "conv2d_dw_33_1_0",
             "conv2d_dw_bn_33_1_0",
             "conv2d_dw_act_33_1_0",
             "conv2d_11_1_0",
             "bn_11_1_0",
             "act_11_1_0",
             "conv2d_dw_33_1_1",
             "conv2d_dw_bn_33_1_1",
             "conv2d_dw_act_33_1_1",
             "conv2d_11_1_1",
             "mp_1_1",
             "mp_bn_1_1",
             "mp_act_1_1",
             "drop_1_1",
             "flatten",
             "dense",
             "softmax"}},
        Row{"AllConvFlattensLast",
            {.shape = {8, 8, 1}, .filters = {4, 8}, .with_maxpooling = false, .all_conv = true},
            {"input", "conv2d_0", "bn_0", "act_0", "conv2d_1", "bn_1", "act_1", "dense", "softmax", "flatten"}}),
    [](const auto& row) { return row.param.claim; });

TEST(ConvBlockNetwork, RefusesOptionsWithASentence) {
  EXPECT_THROW(conv_block_network({.shape = {8, 8}, .filters = {4}}), InvalidArgument);
  EXPECT_THROW(conv_block_network({.shape = {8, 8, 1}}), InvalidArgument);
  EXPECT_THROW(conv_block_network({.shape = {8, 8, 1}, .filters = {0}}), InvalidArgument);
  // Four halvings of 8 leave nothing to pool.
  EXPECT_THROW(conv_block_network({.shape = {8, 8, 1}, .filters = {4, 4, 4, 4}}), InvalidArgument);
}

TEST(Builtin, UnknownNamesGetTheNearest) {
  try {
    make_builtin("minst");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("'mnist'"), std::string::npos) << error.what();
  }
}

// "QConv2D" -> "Conv2D": the quantized networks of the golden files have the same layers.
std::string plain(std::string class_name) { return class_name.starts_with('Q') ? class_name.substr(1) : class_name; }

Shape golden_shape(const nlohmann::json& extents, bool batched) {
  std::vector<int64_t> result = extents.get<std::vector<int64_t>>();
  if (batched) result.erase(result.begin());
  return Shape(std::move(result));
}

void expect_layer(const nlohmann::json& row, const graph::Layer& layer, const std::map<std::string, Shape>& shapes,
                  bool quantized) {
  SCOPED_TRACE(layer.name);
  EXPECT_EQ(layer.name, row.at("name"));
  EXPECT_EQ(layer.class_name, quantized ? plain(row.at("class")) : row.at("class").get<std::string>());
  EXPECT_EQ(layer.inputs, row.value("inputs", std::vector<std::string>{}));
  EXPECT_EQ(shapes.at(layer.name), golden_shape(row.contains("shape") ? row["shape"] : row["output_shape"], true));
  if (row.contains("kernel_size")) {
    EXPECT_EQ(layer.get_ints("kernel_size"), row["kernel_size"]);
  }
  if (row.contains("strides")) {
    EXPECT_EQ(layer.get_ints("strides"), row["strides"]);
  }
  if (row.contains("padding")) {
    EXPECT_EQ(layer.get_string("padding"), row["padding"]);
  }
  if (row.contains("use_bias")) {
    EXPECT_EQ(layer.get_bool("use_bias"), row["use_bias"] == 1);
  }
  if (!quantized && row.contains("activation")) {
    EXPECT_EQ(layer.get_string("activation"), row["activation"]);
  }
  std::vector<Shape> weights, expected;
  for (const auto& [name, shape] : graph::weight_shapes(layer, graph::input_shapes(layer, shapes))) {
    weights.push_back(shape);
  }
  for (const auto& shape : row.value("weight_shapes", nlohmann::json::array())) {
    expected.push_back(golden_shape(shape, false));
  }
  EXPECT_EQ(weights, expected);
}

TEST(Builtin, EqualsTheTutorialsNetworks) {
  int networks = 0, layers = 0;
  for (const std::string& file : testing::golden_files("qtools", "model_")) {
    const nlohmann::json golden = testing::golden_json("qtools/" + file);
    const graph::Model model = make_builtin(golden.at("dataset").get<std::string>());
    const auto shapes = graph::infer_shapes(model);
    const nlohmann::json& expected = golden.at("model");
    SCOPED_TRACE(file);
    EXPECT_EQ(model.inputs, expected.at("inputs"));
    EXPECT_EQ(model.outputs, expected.at("outputs"));
    ASSERT_EQ(model.layers.size(), expected.at("layers").size());
    const bool quantized = file.find("reference") == std::string::npos;
    for (size_t i = 0; i < model.layers.size(); ++i) {
      expect_layer(expected["layers"][i], model.layers[i], shapes, quantized);
      ++layers;
    }
    ++networks;
  }
  RecordProperty("rows", layers);
  std::printf("compared %d layers of %d networks\n", layers, networks);
  if (networks == 0) GTEST_SKIP() << "no golden/qtools/model_* files";
}

}  // namespace
}  // namespace nibble::models
