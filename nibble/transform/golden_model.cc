#include "nibble/transform/golden_model.h"

#include <map>

#include "nibble/transform/weight_roles.h"
#include "support/golden.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

// Attributes of a recorded layer; `activation` stands in for what the rows do not say of a QActivation.
std::map<std::string, graph::Attribute> attributes_of(const json& layer, const std::string& activation) {
  std::map<std::string, graph::Attribute> attributes;
  for (const auto& [key, value] : layer.at("config").items()) {
    if (value.is_boolean()) attributes[key] = value.get<bool>();
    if (value.is_number_integer()) attributes[key] = value.get<int64_t>();
    if (value.is_string()) attributes[key] = value.get<std::string>();
    if (value.is_array()) attributes[key] = value.get<std::vector<int64_t>>();
  }
  const std::string class_name = layer.at("class").get<std::string>();
  if (class_name == "QActivation") attributes["activation"] = activation;
  if (layer.at("activation").is_string()) attributes["activation"] = layer.at("activation").get<std::string>();
  std::vector<std::string> names;
  for (const WeightRole& role : weight_roles(class_name)) names.emplace_back(role.quantizer);
  if (names.empty()) names = {"average_quantizer"};
  for (size_t i = 0; layer.at("quantizers").is_array() && i < layer.at("quantizers").size(); ++i) {
    if (layer.at("quantizers")[i].is_string()) attributes[names[i]] = layer.at("quantizers")[i].get<std::string>();
  }
  return attributes;
}

}  // namespace

std::string activation_of(const json& row) {
  static const std::map<std::string, std::string> kByNote = {{"depthwise, po2 chain", "quantized_po2(4)"},
                                                             {"separable + pooling", "ternary"}};
  const auto found = kByNote.find(row.at("note").get<std::string>());
  return found == kByNote.end() ? "no QActivation" : found->second;
}

graph::Model model_of(const json& row, const std::string& activation) {
  graph::Model model;
  for (const json& described : row.at("layers")) {
    const std::string class_name = described.at("class").get<std::string>(),
                      name = described.at("name").get<std::string>();
    if (class_name == "InputLayer") {
      model.layers.push_back(
          graph::make_layer(class_name, name, {{"shape", row.at("input_shape").get<std::vector<int64_t>>()}}));
      continue;
    }
    graph::Layer layer = graph::make_layer(class_name, name, attributes_of(described, activation));
    layer.inputs = {model.layers.back().name};
    if (row.at("weights").contains(name)) {
      for (const json& weight : row.at("weights").at(name)) {
        layer.weights.push_back({weight.at("name").get<std::string>(), testing::golden_tensor(weight.at("value"))});
      }
    }
    model.layers.push_back(std::move(layer));
  }
  model.inputs = {model.layers.front().name};
  model.outputs = {model.layers.back().name};
  return model;
}

}  // namespace nibble::transform
