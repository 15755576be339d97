// The layers of QKeras against recorded rows: values, gradients, and the quantizers that they really use.
// One network of an input and the layer, by the fast path and by plain torch operations.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "nibble/graph/model.h"
#include "nibble/train/golden_layer.h"
#include "nibble/train/network.h"
#include "support/golden.h"

namespace nibble::train {
namespace {

using nlohmann::json;
using testing::golden_json;

struct Row {
  json data;
  bool fused;
};

std::vector<Row> rows(const std::string& file) {
  std::vector<Row> result;
  const json document = golden_json(file);
  if (document.is_null()) return result;
  for (const json& row : document.at("cases")) {
    for (const bool fused : {true, false}) result.push_back({row, fused});
  }
  return result;
}

std::string name_of(const Row& row) {
  std::string name = row.data.at("id").get<std::string>() + (row.fused ? "_fused" : "_plain");
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

class LayersGolden : public ::testing::TestWithParam<Row> {};

TEST_P(LayersGolden, ValuesAndGradients) {
  const json& row = GetParam().data;
  graph::Model model = golden_model(row);
  if (row.contains("weights")) set_golden_weights(model, row.at("weights"));
  Network network(model, GetParam().fused, 1);
  const at::Tensor x = golden_torch(row.at("x"));
  x.set_requires_grad(true);
  const at::Tensor y = network.forward(x, Pass::kInference, 0, false);
  expect_golden(y, row.at("y"), "y");
  if (!row.contains("g")) return;
  y.backward(golden_torch(row.at("g")));
  // The fast path gives no gradient to the network's input: nobody asks for it in training.
  if (!GetParam().fused) expect_golden(x.grad(), row.at("dx"), "dx");
  const graph::Layer& layer = model.layers.back();
  for (const Parameter& parameter : network.parameters()) {
    const std::string& name = layer.weights[static_cast<size_t>(parameter.weight)].name;
    if (!row.at("grads").contains(name)) continue;
    expect_golden(parameter.value.grad(), row.at("grads").at(name), "gradient of " + name);
  }
}

// The attribute of each entry of get_quantizers(), by class.
std::vector<std::string> quantizer_attributes(const std::string& class_name) {
  if (class_name.starts_with("QSeparable")) return {"depthwise_quantizer", "pointwise_quantizer", "bias_quantizer"};
  if (class_name == "QDepthwiseConv2D") return {"depthwise_quantizer", "bias_quantizer"};
  if (class_name == "QScaleShift") return {"weight_quantizer", "bias_quantizer"};
  return {"kernel_quantizer", "bias_quantizer"};
}

TEST_P(LayersGolden, QuantizersAsTheLayerUsesThem) {
  const json& row = GetParam().data;
  if (!row.contains("quantizer_strings")) return;
  const graph::Layer layer = golden_model(row).layers.back();
  const auto attributes = quantizer_attributes(layer.class_name);
  ASSERT_EQ(row.at("quantizer_strings").size(), attributes.size());
  for (size_t i = 0; i < attributes.size(); ++i) {
    const auto quantizer = graph::effective_quantizer(layer, attributes[i]);
    const json expected = row.at("quantizer_strings")[i];
    if (expected.is_null()) {
      EXPECT_EQ(quantizer, nullptr) << attributes[i];
    } else {
      ASSERT_NE(quantizer, nullptr) << attributes[i];
      EXPECT_EQ(quantizer->qkeras_str(), expected.get<std::string>()) << attributes[i];
    }
  }
}

// What a mean is multiplied by: 1 / area, and its quantized value. Global pools average over the input.
TEST_P(LayersGolden, FactorsOfMeans) {
  const json& row = GetParam().data;
  if (!row.contains("mult_factor")) return;
  const graph::Layer layer = golden_model(row).layers.back();
  int64_t area = 1;
  if (layer.attributes.contains("pool_size")) {
    for (const int64_t extent : layer.get_ints("pool_size")) area *= extent;
  } else {
    area = row.at("x").at("shape")[1].get<int64_t>() * row.at("x").at("shape")[2].get<int64_t>();
  }
  const float factor = 1.0f / static_cast<float>(area);
  EXPECT_EQ(factor, row.at("mult_factor").get<float>());
  const auto quantizer = layer.get_quantizer("average_quantizer");
  ASSERT_NE(quantizer, nullptr);
  EXPECT_EQ(quantizer->quantize(Tensor::scalar(factor)).real[0], row.at("quantized_mult_factor").get<float>());
}

INSTANTIATE_TEST_SUITE_P(Layers, LayersGolden, ::testing::ValuesIn(rows("layers/layers")),
                         [](const auto& info) { return name_of(info.param); });
INSTANTIATE_TEST_SUITE_P(Pooling, LayersGolden, ::testing::ValuesIn(rows("layers/pooling")),
                         [](const auto& info) { return name_of(info.param); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LayersGolden);

}  // namespace
}  // namespace nibble::train
