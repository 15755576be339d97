#include "nibble/formats/keras/tfmot_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/formats/keras/tfmot_quantization.h"

namespace nibble::formats::keras {
namespace {

using nlohmann::json;

constexpr const char* kQuantizeConfig = "quantize_config";
constexpr int kLongestChain = 100;  // of QuantizeLayers that read one another; a damaged file may lead in a circle

std::string class_of(const json& entry) {
  const json name = entry.is_object() ? entry.value("class_name", json()) : json();
  return name.is_string() ? without_package(name.get<std::string>()) : "";
}

std::string name_of(const json& entry) {
  const auto config = entry.is_object() ? entry.find("config") : entry.end();
  if (config != entry.end() && config->is_object()) {
    const json& holder = config->contains("name") ? *config : entry;
    const auto name = holder.find("name");
    if (name != holder.end() && name->is_string()) return name->get<std::string>();
  }
  throw InvalidArgument("[keras] a layer of class '{}' needs a config and a name.", class_of(entry));
}

bool is_wrapper(const std::string& class_name) {
  return class_name == "QuantizeWrapper" || class_name == "QuantizeWrapperV2";
}

bool is_of_tfmot(const std::string& class_name) {
  return is_wrapper(class_name) || class_name == "QuantizeLayer" || class_name == "QuantizeAnnotate";
}

std::string described(const json& entry) {
  return fmt::format("[keras] layer '{}' ({})", name_of(entry), class_of(entry));
}

// [layer, node, tensor, ...], as all versions of Keras say whose tensor is meant.
bool is_reference(const json& value) {
  return value.is_array() && value.size() >= 3 && value[0].is_string() && value[1].is_number_integer() &&
         value[2].is_number_integer();
}

template <class Json, class Visit>
void visit_references(Json& node, const Visit& visit) {
  if (is_reference(node)) {
    visit(node[0]);
  } else if (node.is_structured()) {
    for (auto& child : node) visit_references(child, visit);
  }
}

// What a wrapper may say besides: `trainable` is the inner layer's.
void check_keys(const json& entry, std::initializer_list<const char*> own) {
  static const char* const kAlways[] = {"name", "trainable", "dtype", "batch_input_shape", "batch_shape"};
  for (const auto& [key, value] : entry.at("config").items()) {
    const auto is = [&, key = key](const char* known) { return key == known; };
    if (value.is_null() || std::any_of(std::begin(kAlways), std::end(kAlways), is)) continue;
    if (std::any_of(own.begin(), own.end(), is)) continue;
    throw Unsupported("{}: nibble does not know its attribute '{}'.", described(entry), key);
  }
}

void carry_shape(const json& from, json& to) {
  for (const char* key : {"batch_input_shape", "batch_shape"}) {
    if (from.contains(key) && !to.contains(key)) to[key] = from[key];
  }
}

class Translation {
 public:
  Translation(const json& document, std::vector<TfmotLayer>& layers) : document_(document), layers_(layers) {}

  json run() {
    is_sequential_ = document_.at("class_name") == "Sequential";
    json& config = document_.at("config");
    const json entries = config.is_array() ? config : config.at("layers");
    if (!entries.is_array()) throw InvalidArgument("[keras] the model's config needs a list 'layers'.");
    count_readers(entries);
    for (const json& entry : entries) translate(entry);
    resolve_references();
    (config.is_array() ? config : config.at("layers")) = std::move(translated_);
    return std::move(document_);
  }

 private:
  void count_readers(const json& entries) {
    const auto count = [&](const json& name) { ++readers_[name.get<std::string>()]; };
    for (const json& entry : entries) {
      if (entry.is_object() && entry.contains("inbound_nodes")) visit_references(entry["inbound_nodes"], count);
    }
    // A result of the model has a reader outside.
    const json& config = document_.at("config");
    if (config.is_object() && config.contains("output_layers")) visit_references(config["output_layers"], count);
  }

  void translate(const json& entry) {
    const std::string class_name = class_of(entry);
    if (is_wrapper(class_name) || class_name == "QuantizeAnnotate") {
      unwrap(entry, class_name);
    } else if (class_name == "QuantizeLayer") {
      place_quantizer(entry);
    } else {
      json plain = entry;
      const std::string name = name_of(entry);
      make_activation_plain(plain.at("config"));
      // A float input gets numbers only by a QuantizeLayer.
      const bool is_input = class_name == "InputLayer" && !plain["config"].contains(kQuantizeConfig);
      layers_.push_back({name, class_name, is_input ? TfmotStorage::kNothing : TfmotStorage::kPlain, name});
      if (class_name == "InputLayer") inputs_[name] = translated_.size();
      translated_.push_back(std::move(plain));
    }
  }

  void unwrap(const json& entry, const std::string& class_name) {
    check_keys(entry, {"layer", kQuantizeConfig});
    const json& config = entry.at("config");
    json inner = config.value("layer", json());
    const std::string inner_class = class_of(inner);
    if (inner_class.empty() || !inner.contains("config")) {
      throw InvalidArgument("{}: its 'layer' must be an object with class_name and config.", described(entry));
    }
    if (is_of_tfmot(inner_class)) {
      throw Unsupported("{} wraps a {}; nibble reads one wrapper around a layer.", described(entry), inner_class);
    }
    const std::string name = name_of(inner);
    json& inner_config = inner["config"];
    const std::string function = make_activation_plain(inner_config);
    const bool is_applied = is_wrapper(class_name);
    if (is_applied) {
      const json quantize_config = config.value(kQuantizeConfig, json());
      const auto quantization = tfmot_quantization(quantize_config, inner_class, function, described(entry));
      if (!graph::quantized_points(quantization).empty()) inner_config[kQuantizeConfig] = to_json(quantization);
    }
    carry_shape(config, inner_config);
    inner["name"] = name;
    if (entry.contains("inbound_nodes")) inner["inbound_nodes"] = entry["inbound_nodes"];
    renamed_[name_of(entry)] = name;
    layers_.push_back(
        {name_of(entry), class_name, is_applied ? TfmotStorage::kWrapper : TfmotStorage::kAnnotation, name});
    translated_.push_back(std::move(inner));
  }

  // The one layer before a QuantizeLayer.
  std::string producer_of(const json& entry) const {
    if (is_sequential_) return translated_.empty() ? "" : name_of(translated_.back());
    std::vector<std::string> names;
    if (entry.contains("inbound_nodes")) {
      visit_references(entry["inbound_nodes"], [&](const json& name) { names.push_back(name.get<std::string>()); });
    }
    if (names.size() == 1) return names[0];
    throw Unsupported("{} has {} inputs; nibble reads a QuantizeLayer of one.", described(entry), names.size());
  }

  // The input that nothing else reads; null if it is none.
  json* input_of(const std::string& producer) {
    const auto found = inputs_.find(producer);
    if (found == inputs_.end()) return nullptr;
    return is_sequential_ || readers_[producer] == 1 ? &translated_[found->second] : nullptr;
  }

  void place_quantizer(const json& entry) {
    check_keys(entry, {"quantizer"});
    const std::string name = name_of(entry), producer = producer_of(entry);
    const json& config = entry.at("config");
    const graph::LayerQuantization quantization = {
        .output = tfmot_input_quantizer(config.value("quantizer", json()), described(entry))};
    TfmotLayer stored{name, "QuantizeLayer", TfmotStorage::kNothing, ""};
    // The first layer of a Sequential model may be what tells the input's shape, and is kept.
    const bool is_first = producer.empty();
    json* input = input_of(producer);
    const bool is_none = quantization.output.is_none();
    if (input != nullptr && !is_none && !(*input)["config"].contains(kQuantizeConfig)) {
      (*input)["config"][kQuantizeConfig] = to_json(quantization);
      stored = {name, "QuantizeLayer", TfmotStorage::kQuantizer, producer};
      replaced_[name] = producer;
    } else if (is_none && !is_first) {
      replaced_[name] = producer;
    } else {
      translated_.push_back(as_activation(entry, quantization));
      if (!is_none) stored = {name, "QuantizeLayer", TfmotStorage::kQuantizer, name};
    }
    layers_.push_back(std::move(stored));
  }

  static json as_activation(const json& entry, const graph::LayerQuantization& quantization) {
    json config = entry.at("config");
    config.erase("quantizer");
    config["activation"] = "linear";
    if (!quantization.output.is_none()) config[kQuantizeConfig] = to_json(quantization);
    json activation = entry;
    activation["class_name"] = "Activation";
    activation["config"] = std::move(config);
    return activation;
  }

  std::string resolved(std::string name) const {
    for (int i = 0; i < kLongestChain; ++i) {
      const auto found = replaced_.find(name);
      if (found == replaced_.end()) break;
      name = found->second;
    }
    const auto found = renamed_.find(name);
    return found == renamed_.end() ? name : found->second;
  }

  void resolve_references() {
    const auto resolve = [&](json& name) { name = resolved(name.get<std::string>()); };
    for (json& entry : translated_) {
      if (entry.contains("inbound_nodes")) visit_references(entry["inbound_nodes"], resolve);
    }
    json& config = document_.at("config");
    for (const char* key : {"input_layers", "output_layers"}) {
      if (config.is_object() && config.contains(key)) visit_references(config[key], resolve);
    }
  }

  json document_;
  std::vector<TfmotLayer>& layers_;
  bool is_sequential_ = false;
  json translated_ = json::array();
  std::map<std::string, size_t> inputs_;  // where they stand in translated_
  std::map<std::string, int> readers_;
  std::map<std::string, std::string> replaced_;  // QuantizeLayers that are gone, by what they read
  std::map<std::string, std::string> renamed_;   // wrappers, by the layer inside
};

}  // namespace

bool is_tfmot(const json& document) {
  const json config = document.is_object() ? document.value("config", json()) : json();
  const json entries = config.is_object() ? config.value("layers", json()) : config;
  if (!entries.is_array()) return false;
  return std::any_of(entries.begin(), entries.end(), [](const json& entry) { return is_of_tfmot(class_of(entry)); });
}

json from_tfmot(const json& document, std::vector<TfmotLayer>& layers) {
  layers.clear();
  return Translation(document, layers).run();
}

}  // namespace nibble::formats::keras
