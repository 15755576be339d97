#include "nibble/graph/config_read.h"

#include <nlohmann/json.hpp>
#include <queue>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

constexpr int kDeepestArguments = 8;  // nested lists of tensors in a call

std::string producer_of(const json& triple, const Layer& layer) {
  const bool valid = triple.is_array() && triple.size() >= 3 && triple[0].is_string() &&
                     triple[1].is_number_integer() && triple[2].is_number_integer();
  if (!valid) {
    throw InvalidArgument("[from_config] {}: an input is not [layer, node, tensor].", described(layer));
  }
  if (triple[1] != 0 || triple[2] != 0) {
    throw Unsupported(
        "[from_config] {}: its input '{}' is call {} (tensor {}) of a layer that is used several times; "
        "nibble can read graphs without shared layers only.",
        described(layer), triple[0].get<std::string>(), triple[1].get<int64_t>(), triple[2].get<int64_t>());
  }
  return triple[0].get<std::string>();
}

void check_keywords(const json& keywords, const Layer& layer) {
  for (const auto& [key, value] : keywords.items()) {
    if (value.is_null()) continue;
    throw Unsupported(
        "[from_config] {} is called with the argument '{}', which nibble cannot do; it can do plain calls "
        "on tensors.",
        described(layer), key);
  }
}

// Keras 3: tensors may stand in nested lists.
void collect_tensors(const json& argument, const Layer& layer, int depth, std::vector<std::string>& names) {
  if (argument.is_array() && depth < kDeepestArguments) {
    for (const json& item : argument) collect_tensors(item, layer, depth + 1, names);
    return;
  }
  if (argument.is_object() && argument.value("class_name", json()) == "__keras_tensor__") {
    const json history = argument.value("config", json::object()).value("keras_history", json());
    names.push_back(producer_of(history, layer));
    return;
  }
  throw Unsupported("[from_config] {} is called with something that is no tensor of the graph.", described(layer));
}

// Keras 2: one list per call, of [producer, node, tensor, {keywords}].
std::vector<std::string> producers_keras2(const json& node, const Layer& layer) {
  std::vector<std::string> names;
  const bool single = !node.empty() && node[0].is_string();
  const json inputs = single ? json::array({node}) : node;
  for (const json& input : inputs) {
    names.push_back(producer_of(input, layer));
    if (input.size() > 3) check_keywords(input[3], layer);
  }
  return names;
}

std::string name_of(const json& config, const char* otherwise) {
  const json name = config.is_object() ? config.value("name", json()) : json();
  return name.is_string() ? name.get<std::string>() : otherwise;
}

const json& list_of(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_array()) return *found;
  throw InvalidArgument("[from_config] the model's config needs a list '{}'.", key);
}

// The shape that a Sequential without InputLayer carries: in its first layer, or as build shape of the whole.
json first_batch_shape(const json& document, const json& first_config) {
  for (const char* key : {"batch_input_shape", "batch_shape"}) {
    if (first_config.contains(key)) return first_config[key];
  }
  const json& config = document.at("config");
  if (config.is_object() && config.contains("build_input_shape")) return config["build_input_shape"];
  const json build = document.value("build_config", json());
  return build.is_object() ? build.value("input_shape", json()) : json();
}

Layer first_input(const json& document, const json& first_entry, const Layer& first) {
  const json config = first_entry.value("config", json::object());
  const json batch_shape = first_batch_shape(document, config);
  if (batch_shape.is_null()) {
    throw InvalidArgument(
        "[from_config] the Sequential model has no input shape: its first {} has no "
        "batch_input_shape. Build the model before saving it.",
        described(first));
  }
  return make_layer("InputLayer", first.name + "_input", {{"shape", without_batch(batch_shape, first)}});
}

Model from_sequential(const json& document) {
  const json& config = document.at("config");
  const json& entries = config.is_array() ? config : list_of(config, "layers");
  Model model;
  model.name = name_of(config, "sequential");
  for (const json& entry : entries) {
    Layer layer = layer_from_config(entry);
    if (model.layers.empty() && layer.class_name != "InputLayer") {
      model.layers.push_back(first_input(document, entry, layer));
    }
    if (!model.layers.empty()) layer.inputs = {model.layers.back().name};
    model.layers.push_back(std::move(layer));
  }
  if (model.layers.empty()) throw InvalidArgument("[from_config] the Sequential model has no layers.");
  model.inputs = {model.layers.front().name};
  model.outputs = {model.layers.back().name};
  return model;
}

Model from_functional(const json& document) {
  const json& config = document.at("config");
  if (!config.is_object()) throw InvalidArgument("[from_config] the model's config must be an object.");
  Model model;
  model.name = name_of(config, "model");
  for (const json& entry : list_of(config, "layers")) {
    Layer layer = layer_from_config(entry);
    layer.inputs = producers(entry.value("inbound_nodes", json::array()), layer);
    model.layers.push_back(std::move(layer));
  }
  model.inputs = end_names(config.value("input_layers", json()), "input_layers");
  model.outputs = end_names(config.value("output_layers", json()), "output_layers");
  sort_layers(model);
  return model;
}

Model read_document(const json& document) {
  const json class_name = document.is_object() ? document.value("class_name", json()) : json();
  if (!class_name.is_string() || !document.contains("config")) {
    throw InvalidArgument("[from_config] the document is no Keras model: it needs class_name and config.");
  }
  const std::string kind = class_name.get<std::string>();
  if (kind == "Sequential") return from_sequential(document);
  if (kind == "Functional" || kind == "Model") return from_functional(document);
  throw Unsupported("[from_config] the model is a '{}'; nibble can read Sequential and Functional models.", kind);
}

}  // namespace

std::vector<std::string> producers(const json& inbound_nodes, const Layer& layer) {
  if (!inbound_nodes.is_array()) {
    throw InvalidArgument("[from_config] {}: inbound_nodes must be a list.", described(layer));
  }
  if (inbound_nodes.empty()) return {};
  if (inbound_nodes.size() > 1) {
    throw Unsupported("[from_config] {} is used {} times; nibble can read graphs without shared layers only.",
                      described(layer), inbound_nodes.size());
  }
  const json& node = inbound_nodes[0];
  if (node.is_array()) return producers_keras2(node, layer);
  if (!node.is_object()) throw InvalidArgument("[from_config] {}: its inbound node cannot be read.", described(layer));
  std::vector<std::string> names;
  collect_tensors(node.value("args", json::array()), layer, 0, names);
  check_keywords(node.value("kwargs", json::object()), layer);
  return names;
}

std::vector<std::string> end_names(const json& triples, const char* key) {
  const bool bare = triples.is_array() && !triples.empty() && triples[0].is_string();
  const json list = bare ? json::array({triples}) : triples;
  if (!list.is_array()) throw InvalidArgument("[from_config] '{}' must be a list of [layer, node, tensor].", key);
  std::vector<std::string> names;
  for (const json& triple : list) {
    if (!triple.is_array() || triple.empty() || !triple[0].is_string()) {
      throw InvalidArgument("[from_config] '{}' must be a list of [layer, node, tensor].", key);
    }
    if (triple.size() > 2 && (triple[1] != 0 || triple[2] != 0)) {
      throw Unsupported(
          "[from_config] '{}' names a later call of '{}'; nibble can read graphs without shared layers "
          "only.",
          key, triple[0].get<std::string>());
    }
    names.push_back(triple[0].get<std::string>());
  }
  return names;
}

void sort_layers(Model& model) {
  std::map<std::string, size_t> index;
  for (size_t i = 0; i < model.layers.size(); ++i) index.emplace(model.layers[i].name, i);
  std::vector<size_t> missing(model.layers.size(), 0);
  std::vector<std::vector<size_t>> feeds(model.layers.size());
  for (size_t i = 0; i < model.layers.size(); ++i) {
    for (const std::string& input : model.layers[i].inputs) {
      const auto found = index.find(input);
      if (found == index.end()) continue;  // validate() names it
      feeds[found->second].push_back(i);
      ++missing[i];
    }
  }
  std::priority_queue<size_t, std::vector<size_t>, std::greater<>> ready;  // the earliest first
  for (size_t i = 0; i < missing.size(); ++i) {
    if (missing[i] == 0) ready.push(i);
  }
  std::vector<Layer> sorted;
  while (!ready.empty()) {
    const size_t i = ready.top();
    ready.pop();
    sorted.push_back(std::move(model.layers[i]));
    for (size_t fed : feeds[i]) {
      if (--missing[fed] == 0) ready.push(fed);
    }
  }
  if (sorted.size() != model.layers.size()) {
    throw InvalidArgument("[from_config] the layers of model '{}' form a cycle.", model.name);
  }
  model.layers = std::move(sorted);
}

Model from_config(const json& config) {
  try {
    Model model = read_document(config);
    validate(model);
    return model;
  } catch (const json::exception& error) {
    throw InvalidArgument("[from_config] the document is not as Keras writes it: {}", error.what());
  }
}

}  // namespace nibble::graph
