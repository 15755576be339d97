// Every recorded row of the reference's model_save_quantized_weights.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/transform/finalize.h"
#include "nibble/transform/weight_roles.h"
#include "support/golden.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

// The rows tell classes, quantizers and weights, not whole configurations, so layers are put
// together as plain data.
graph::Layer make_row_layer(const json& row, const json& description) {
  graph::Layer layer;
  layer.name = description.at("name");
  layer.class_name = description.at("class");
  const auto roles = weight_roles(layer.class_name);
  const json& quantizers = description.at("quantizers");
  for (size_t i = 0; i < quantizers.size(); ++i) {
    if (quantizers[i].is_null()) continue;
    const std::string attribute = roles.empty() ? "average_quantizer" : std::string(roles[i].quantizer);
    layer.attributes[attribute] = quant::get_quantizer(quantizers[i].get<std::string>());
  }
  if (!description.at("epsilon").is_null()) layer.attributes["epsilon"] = description.at("epsilon").get<double>();
  for (const json& weight : row.at("weights_before").at(layer.name)) {
    layer.weights.push_back({weight.at("name"), testing::golden_tensor(weight.at("value"))});
  }
  return layer;
}

// Rows of pooling layers record the area alone: any shape of that area serves.
void add_area(const json& row, graph::Model& model, graph::Layer& layer) {
  const json& returned = row.at("returned").at(layer.name);
  if (!returned.contains("pool_area")) return;
  const int64_t area = static_cast<int64_t>(returned.at("pool_area").get<double>());
  std::map<std::string, graph::Attribute> attributes = {
      {"average_quantizer", layer.get_quantizer("average_quantizer")}};
  if (layer.class_name == "QAveragePooling2D") attributes["pool_size"] = std::vector<int64_t>{area, 1};
  layer = graph::make_layer(layer.class_name, layer.name, std::move(attributes));
  graph::Layer input = graph::make_layer("InputLayer", "input", {{"shape", std::vector<int64_t>{area, 1, 2}}});
  layer.inputs = {"input"};
  model.inputs = {"input"};
  model.layers.push_back(std::move(input));
}

graph::Model make_row_model(const json& row) {
  graph::Model model;
  std::string previous;
  for (const json& description : row.at("layers")) {
    graph::Layer layer = make_row_layer(row, description);
    if (!previous.empty()) layer.inputs = {previous};
    add_area(row, model, layer);
    previous = layer.name;
    model.layers.push_back(std::move(layer));
  }
  model.outputs = {previous};
  return model;
}

// 1e-6: scales are means in float32, whose order of summation is free; all else is exact. Fused
// biases are sums of three terms of size 1 to 4 after cancellation.
void expect_close(const json& actual, const json& expected, const std::string& where) {
  if (expected.is_array()) {
    ASSERT_TRUE(actual.is_array()) << where;
    ASSERT_EQ(actual.size(), expected.size()) << where;
    for (size_t i = 0; i < expected.size(); ++i) expect_close(actual[i], expected[i], where + "/" + std::to_string(i));
    return;
  }
  if (expected.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      ASSERT_TRUE(actual.contains(key)) << where << "/" << key;
      expect_close(actual.at(key), value, where + "/" + key);
    }
    EXPECT_EQ(actual.size(), expected.size()) << where << ": " << actual.dump().substr(0, 400);
    return;
  }
  if (expected.is_number()) {
    ASSERT_TRUE(actual.is_number()) << where;
    EXPECT_TRUE(testing::close(actual.get<double>(), expected.get<double>(), 1e-6, 3e-7))
        << where << ": " << actual << " instead of " << expected;
    return;
  }
  EXPECT_EQ(actual, expected) << where;
}

void expect_weights_after(const graph::Model& model, const json& row) {
  for (const auto& [name, weights] : row.at("weights_after").items()) {
    const graph::Layer& layer = model.layer(name);
    ASSERT_EQ(layer.weights.size(), weights.size()) << name;
    for (size_t i = 0; i < weights.size(); ++i) {
      const Tensor expected = testing::golden_tensor(weights[i].at("value"));
      EXPECT_EQ(layer.weights[i].name, weights[i].at("name"));
      ASSERT_EQ(layer.weights[i].value.size(), expected.size());
      for (int64_t e = 0; e < expected.size(); ++e) {
        EXPECT_TRUE(testing::close(layer.weights[i].value[e], expected[e], 1e-6, 0)) << name << "/" << i << "/" << e;
      }
    }
  }
}

// Which batch normalization went into which layer.
json fused_pairs(const json& returned) {
  json pairs = json::object();
  for (const auto& [layer, entry] : returned.items()) {
    if (entry.contains("fused_bn_layer_name")) pairs[layer] = entry.at("fused_bn_layer_name");
  }
  return pairs;
}

// Decoding the codes of a weight gives its values.
void expect_codes_decode(const FinalizedWeight& weight) {
  if (!weight.encoded) return;
  const quant::Encoded& encoded = *weight.encoded;
  const Shape& shape = weight.value.shape();
  ASSERT_EQ(static_cast<int64_t>(encoded.codes.size()), weight.value.size());
  for (int64_t i = 0; i < weight.value.size(); ++i) {
    int64_t at = 0, rest = i, stride = 1;
    for (int axis = shape.rank() - 1; axis >= 0 && encoded.scale.shape().rank() > 0; --axis) {
      const int64_t extent = encoded.scale.shape()[axis];
      if (extent > 1) at += (rest % shape[axis]) * stride;
      stride *= extent;
      rest /= shape[axis];
    }
    const float scale = encoded.scale[at];
    const float real = encoded.kind == quant::Encoded::Kind::kAffine
                           ? scale * static_cast<float>(encoded.codes[static_cast<size_t>(i)] - encoded.zero_point)
                           : static_cast<float>(encoded.signs[static_cast<size_t>(i)]) * scale *
                                 std::ldexp(1.0f, encoded.codes[static_cast<size_t>(i)]);
    EXPECT_TRUE(testing::close(real, weight.value[i], 1e-6, 0)) << weight.name << "[" << i << "]: " << real;
  }
}

TEST(FinalizeGolden, ReturnsAndWritesBackWhatTheReferenceDoes) {
  const json file = testing::golden_json("utils/model_save_quantized_weights");
  if (file.is_null()) GTEST_SKIP() << "no rows in " << testing::golden_dir();
  int compared = 0;
  std::map<std::string, int> unknown;
  for (const json& row : file.at("cases")) {
    SCOPED_TRACE(row.at("id").get<std::string>() + " " + row.value("note", ""));
    graph::Model model;
    try {
      model = make_row_model(row);
    } catch (const Error& error) {
      ++unknown[error.what()];
      continue;
    }
    const Finalized finalized = finalize(model, Compatibility::kQkeras);
    const json returned = qkeras_weights(finalized, Compatibility::kQkeras);
    expect_close(returned, row.at("returned"), "returned");
    EXPECT_EQ(fused_pairs(returned), row.at("fused_pairs"));
    expect_weights_after(finalized.model, row);
    for (const FinalizedLayer& layer : finalized.layers) {
      for (const FinalizedWeight& weight : layer.weights) expect_codes_decode(weight);
    }
    ++compared;
  }
  for (const auto& [reason, count] : unknown) ADD_FAILURE() << count << " rows are not known: " << reason;
  std::printf("model_save_quantized_weights: %d of %zu rows compared\n", compared, file.at("cases").size());
}

}  // namespace
}  // namespace nibble::transform
