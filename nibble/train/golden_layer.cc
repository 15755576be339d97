#include "nibble/train/golden_layer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/golden.h"

namespace nibble::train {

using nlohmann::json;

namespace {

// A recorded matrix as a list of lists.
json nested(const json& tensor) {
  json rows = json::array();
  const auto width = tensor.at("shape").at(1).get<size_t>();
  for (size_t i = 0; i < tensor.at("data").size(); ++i) {
    if (i % width == 0) rows.push_back(json::array());
    rows.back().push_back(tensor.at("data")[i]);
  }
  return rows;
}

}  // namespace

graph::Attribute golden_attribute(const json& value) {
  if (value.is_null()) return graph::None{};
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) return value.get<std::string>();
  const bool integers = value.is_array() && std::all_of(value.begin(), value.end(),
                                                        [](const json& item) { return item.is_number_integer(); });
  if (integers) return value.get<std::vector<int64_t>>();
  return graph::OpaqueJson{(value.is_object() && value.contains("data") ? nested(value) : value).dump()};
}

graph::Model golden_model(const json& row) {
  const json& x = row.contains("x") ? row.at("x") : row.at("steps").at(0).at("x");
  auto shape = x.at("shape").get<std::vector<int64_t>>();
  shape.erase(shape.begin());
  graph::Model model;
  model.layers.push_back(graph::make_layer("InputLayer", "input", {{"shape", shape}}));
  std::map<std::string, graph::Attribute> attributes;
  for (const auto& [key, value] : row.at("params").items()) attributes[key] = golden_attribute(value);
  graph::Layer layer = graph::make_layer(row.at("layer").get<std::string>(), "layer", std::move(attributes));
  layer.inputs = {"input"};
  model.layers.push_back(std::move(layer));
  model.inputs = {"input"};
  model.outputs = {"layer"};
  graph::initialize_weights(model, 1);
  return model;
}

void set_golden_weights(graph::Model& model, const json& weights) {
  const auto set = [&](const std::string& name, const json& value) {
    graph::Weight* weight = model.layers.back().find_weight(name);
    ASSERT_NE(weight, nullptr) << name;
    const Tensor tensor = testing::golden_tensor(value);
    ASSERT_EQ(tensor.shape().elements(), weight->value.size()) << name;
    weight->value = tensor.reshaped(weight->value.shape());
  };
  if (weights.is_object()) {
    for (const auto& [name, value] : weights.items()) set(name, value);
  } else {
    for (const json& weight : weights) {
      if (weight.is_array()) {
        set(weight.at(0).get<std::string>(), weight.at(1));
      } else {
        set(weight.at("name").get<std::string>(), weight.at("value"));
      }
    }
  }
}

at::Tensor golden_torch(const json& value) {
  const Tensor tensor = testing::golden_tensor(value);
  at::Tensor result = at::empty(tensor.shape().extents(), at::kFloat);
  std::copy(tensor.data().begin(), tensor.data().end(), result.data_ptr<float>());
  return result;
}

void expect_golden(const at::Tensor& found, const json& expected, const std::string& what, double tolerance) {
  ASSERT_TRUE(found.defined()) << what;
  const Tensor tensor = testing::golden_tensor(expected);
  ASSERT_EQ(found.numel(), tensor.size()) << what;
  const at::Tensor values = found.detach().to(at::kFloat).contiguous();
  const auto* data = values.data_ptr<float>();
  for (int64_t i = 0; i < tensor.size(); ++i) {
    ASSERT_TRUE(testing::close(data[i], tensor[i], tolerance, tolerance))
        << what << "[" << i << "]: " << data[i] << " instead of " << tensor[i];
  }
}

}  // namespace nibble::train
