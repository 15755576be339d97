#include "nibble/formats/keras/weight_layout.h"

#include <algorithm>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/builder.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::formats::keras {
namespace {

using graph::Layer;
using graph::Model;

// The stored path of each expected weight: by name where the names are ours, else by position.
std::vector<std::string> match_names(const std::vector<std::string>& stored, const Expected& expected) {
  std::vector<std::string> matched;
  for (const auto& [name, shape] : expected) {
    const auto found = std::find_if(stored.begin(), stored.end(), [&](const auto& s) { return last_part(s) == name; });
    if (found == stored.end()) return stored;
    matched.push_back(*found);
  }
  return matched;
}

void check_layer_names(const Model& model, const std::map<std::string, Expected>& expected,
                       const std::vector<std::string>& stored, const Hdf5Reader& file, const std::string& root) {
  std::vector<std::string> known;
  for (const Layer& layer : model.layers) known.push_back(layer.name);
  const std::set<std::string> in_file(stored.begin(), stored.end());
  for (const std::string& name : stored) {
    if (model.find_layer(name)) continue;
    const auto weights = file.texts(child_group(root, name), "weight_names");
    if (weights && weights->empty()) continue;
    throw InvalidArgument("[keras] the file holds weights of a layer '{}', which the model does not have. {}", name,
                          suggest(name, known));
  }
  for (const Layer& layer : model.layers) {
    if (expected.at(layer.name).empty() || in_file.contains(layer.name)) continue;
    throw InvalidArgument("[keras] the file holds no weights of {}. {}", graph::described(layer),
                          suggest(layer.name, stored));
  }
}

void check_built(const Model& model) {
  const std::map<std::string, Expected> expected = expected_weights(model);
  for (const Layer& layer : model.layers) {
    if (layer.weights.size() == expected.at(layer.name).size()) continue;
    throw InvalidArgument("[keras] {} has no weights yet; call initialize_weights() or load some before saving.",
                          graph::described(layer));
  }
  graph::validate(model);
}

// Where the archive keeps a layer's weights, below its own group: one place for each, in order. Layers that hold others
// nest (spec/interop.md section 4): lstm/cell/vars/0, bidirectional/forward_layer/cell/vars/0.
std::vector<std::string> variable_paths(const Layer& layer, size_t count) {
  const graph::LayerSchema* schema = graph::find_schema(layer.class_name);
  const bool is_recurrent = schema != nullptr && schema->find("return_sequences") != nullptr;
  const bool has_two = layer.class_name.ends_with("Bidirectional");
  std::vector<std::string> paths;
  for (size_t i = 0; i < count; ++i) {
    const size_t half = count / 2;
    if (has_two) {
      paths.push_back(fmt::format("{}_layer/cell/vars/{}", i < half ? "forward" : "backward", i % half));
    } else {
      paths.push_back(fmt::format("{}vars/{}", is_recurrent ? "cell/" : "", i));
    }
  }
  return paths;
}

}  // namespace

std::string child_group(const std::string& root, const std::string& name) {
  return root == "/" ? "/" + name : root + "/" + name;
}

std::string last_part(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return name.substr(0, name.rfind(':'));
}

std::map<std::string, Expected> expected_weights(const Model& model) {
  const std::map<std::string, Shape> shapes = graph::infer_shapes(model);
  std::map<std::string, Expected> expected;
  for (const Layer& layer : model.layers) {
    expected[layer.name] = graph::weight_shapes(layer, graph::input_shapes(layer, shapes));
  }
  return expected;
}

void read_legacy_layer(Layer& layer, const Expected& expected, const Hdf5Reader& file, const std::string& group) {
  const auto names = file.texts(group, "weight_names");
  if (!names) throw CorruptFile("[keras] {}: the file lists no weight_names.", graph::described(layer));
  if (names->size() != expected.size()) {
    throw InvalidArgument("[keras] {} has {} weights, but the file holds {} for it.", graph::described(layer),
                          expected.size(), names->size());
  }
  const std::vector<std::string> matched = match_names(*names, expected);
  std::vector<graph::Weight> weights;
  for (size_t i = 0; i < expected.size(); ++i) {
    weights.push_back({expected[i].first, file.tensor(child_group(group, matched[i]), expected[i].second)});
  }
  layer.weights = std::move(weights);
}

void read_archive_layer(Layer& layer, const Expected& expected, const Hdf5Reader& file, const std::string& group) {
  if (file.has_dataset(fmt::format("{}/vars/{}", group, expected.size()))) {
    throw InvalidArgument("[keras] {} has {} weights, but the file holds more of them in '{}/vars'.",
                          graph::described(layer), expected.size(), group);
  }
  layer.weights.clear();
  const std::vector<std::string> variables = variable_paths(layer, expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    layer.weights.push_back({expected[i].first, file.tensor(group + "/" + variables[i], expected[i].second)});
  }
}

std::string archive_container(const Hdf5Reader& file) {
  for (const char* container : {"/layers", "/_layer_checkpoint_dependencies"}) {
    if (file.has_group(container)) return container;
  }
  throw CorruptFile("[keras] the weights have no group 'layers'.");
}

bool is_legacy(const Hdf5Reader& file, const std::string& root) { return file.texts(root, "layer_names").has_value(); }

void read_legacy(Model& model, const Hdf5Reader& file, const std::string& root) {
  const auto stored = file.texts(root, "layer_names");
  if (!stored) throw CorruptFile("[keras] the file lists no layer_names; it holds no Keras weights.");
  const std::map<std::string, Expected> expected = expected_weights(model);
  check_layer_names(model, expected, *stored, file, root);
  Model loaded = model;  // all or nothing
  for (Layer& layer : loaded.layers) {
    if (!expected.at(layer.name).empty())
      read_legacy_layer(layer, expected.at(layer.name), file, child_group(root, layer.name));
  }
  model = std::move(loaded);
}

void read_archive(Model& model, const Hdf5Reader& file, const std::map<std::string, std::string>& paths) {
  const std::string container = archive_container(file);
  const std::map<std::string, Expected> expected = expected_weights(model);
  Model loaded = model;
  for (Layer& layer : loaded.layers) {
    read_archive_layer(layer, expected.at(layer.name), file, container + "/" + paths.at(layer.name));
  }
  model = std::move(loaded);
}

std::string write_legacy(const Model& model, const std::string& config, const std::string& keras_version) {
  check_built(model);
  Hdf5Writer file;
  const std::string root = config.empty() ? "/" : "/model_weights";
  std::vector<std::string> names;
  for (const Layer& layer : model.layers) names.push_back(layer.name);
  file.group(root);
  file.texts(root, "layer_names", names);
  for (const std::string& group : config.empty() ? std::set<std::string>{"/"} : std::set<std::string>{"/", root}) {
    file.text(group, "backend", "tensorflow");
    file.text(group, "keras_version", keras_version);
  }
  if (!config.empty()) file.text("/", "model_config", config);
  for (const Layer& layer : model.layers) {
    const std::string group = child_group(root, layer.name);
    file.group(group);
    std::vector<std::string> weight_names;
    for (const graph::Weight& weight : layer.weights) weight_names.push_back(layer.name + "/" + weight.name + ":0");
    file.texts(group, "weight_names", weight_names);
    for (size_t i = 0; i < weight_names.size(); ++i)
      file.tensor(child_group(group, weight_names[i]), layer.weights[i].value);
  }
  return file.finish();
}

std::string write_archive(const Model& model) {
  check_built(model);
  const std::map<std::string, std::string> paths = archive_paths(model);
  Hdf5Writer file;
  for (const Layer& layer : model.layers) {
    const std::string group = "/layers/" + paths.at(layer.name) + "/";
    file.group(group + "vars");
    file.text(group + "vars", "name", layer.name);
    const std::vector<std::string> variables = variable_paths(layer, layer.weights.size());
    for (size_t i = 0; i < layer.weights.size(); ++i) file.tensor(group + variables[i], layer.weights[i].value);
  }
  file.group("/vars");
  file.text("/vars", "name", model.name);
  return file.finish();
}

std::map<std::string, std::string> archive_paths(const std::vector<std::pair<std::string, std::string>>& layers) {
  std::map<std::string, std::string> paths;
  std::map<std::string, int> seen;
  for (const auto& [name, class_name] : layers) {
    const std::string stem = graph::build::snake_case(class_name);
    const int number = seen[stem]++;
    paths[name] = number == 0 ? stem : fmt::format("{}_{}", stem, number);
  }
  return paths;
}

std::map<std::string, std::string> archive_paths(const Model& model) {
  std::vector<std::pair<std::string, std::string>> layers;
  for (const Layer& layer : model.layers) layers.emplace_back(layer.name, layer.class_name);
  return archive_paths(layers);
}

}  // namespace nibble::formats::keras
