#include "nibble/formats/keras/keras2_config.h"

#include <nlohmann/json.hpp>

namespace nibble::formats::keras {
namespace {

using nlohmann::json;

// Objects lose what only Keras 3 has: module, registered_name, build_config; a dtype is a name.
json plain(const json& value) {
  if (value.is_array()) {
    json list = json::array();
    for (const json& item : value) list.push_back(plain(item));
    return list;
  }
  if (!value.is_object()) return value;
  if (value.value("class_name", json()) == "DTypePolicy") return value.at("config").at("name");
  const bool is_serialized = value.contains("class_name") && value.contains("config");
  json object = json::object();
  for (const auto& [key, item] : value.items()) {
    const bool of_keras3 = key == "module" || key == "registered_name" || key == "build_config";
    if (!is_serialized || !of_keras3) object[key] = plain(item);
  }
  return object;
}

// Attributes by the names they had (spec/interop.md section 2.2).
void rename_attributes(const std::string& class_name, json& config) {
  const auto rename = [&](const char* from, const char* to) {
    if (!config.contains(from)) return;
    config[to] = config[from];
    config.erase(from);
  };
  if (class_name == "InputLayer") {
    rename("batch_shape", "batch_input_shape");
    config["ragged"] = false;
  }
  if (class_name == "LeakyReLU") rename("negative_slope", "alpha");
}

// {"args": [tensors]} -> [[[producer, node, tensor, {}], ...]]
void collect_history(const json& argument, json& inputs) {
  if (argument.is_array()) {
    for (const json& item : argument) collect_history(item, inputs);
    return;
  }
  json input = argument.at("config").at("keras_history");
  input.push_back(json::object());
  inputs.push_back(std::move(input));
}

json nodes_of(const json& nodes) {
  json result = json::array();
  for (const json& node : nodes) {
    json inputs = json::array();
    collect_history(node.at("args"), inputs);
    result.push_back(std::move(inputs));
  }
  return result;
}

json layer_of(const json& layer) {
  const std::string class_name = layer.at("class_name");
  json config = plain(layer.at("config"));
  rename_attributes(class_name, config);
  return {{"class_name", class_name},
          {"name", layer.at("name")},
          {"config", std::move(config)},
          {"inbound_nodes", nodes_of(layer.at("inbound_nodes"))}};
}

}  // namespace

json to_keras2(const json& config) {
  json inner = config.at("config");
  json layers = json::array();
  for (const json& layer : inner.at("layers")) layers.push_back(layer_of(layer));
  inner["layers"] = std::move(layers);
  return {{"class_name", "Functional"},
          {"config", std::move(inner)},
          {"keras_version", "2.4.0"},
          {"backend", "tensorflow"}};
}

}  // namespace nibble::formats::keras
