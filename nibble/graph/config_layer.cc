// Reads the config of one layer.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/config_read.h"
#include "nibble/graph/initializer.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

// Not an attribute of the class: the layer's quantization.
constexpr const char* kQuantizeConfig = "quantize_config";

// "qkeras>QDense" -> "QDense": the package that custom classes are registered under.
std::string without_package(const std::string& class_name) {
  const size_t package = class_name.rfind('>');
  return package == std::string::npos ? class_name : class_name.substr(package + 1);
}

// For messages: a value that may be a whole network.
std::string excerpt(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

[[noreturn]] void refuse(const Layer& layer, const std::string& key, const json& value, const char* wanted) {
  throw InvalidArgument("[from_config] {}: attribute '{}' is {}, but must be {}.", described(layer), key,
                        excerpt(value), wanted);
}

int64_t integer(const Layer& layer, const std::string& key, const json& value) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)) {
    refuse(layer, key, value, "an integer");
  }
  return value.get<int64_t>();
}

// Lists of integers; [[1, 1], [2, 2]] is flattened, null is a free extent.
std::vector<int64_t> integers(const Layer& layer, const std::string& key, const json& list, int depth = 0) {
  std::vector<int64_t> values;
  for (const json& item : list) {
    if (item.is_array() && depth == 0) {
      for (int64_t value : integers(layer, key, item, 1)) values.push_back(value);
    } else {
      values.push_back(item.is_null() ? Shape::kFree : integer(layer, key, item));
    }
  }
  return values;
}

Attribute quantizer_from_object(const Layer& layer, const std::string& key, const json& object) {
  const auto class_name = object.find("class_name");
  const auto config = object.find("config");
  if (class_name == object.end() || !class_name->is_string() || config == object.end()) {
    refuse(layer, key, object, "a quantizer: an object with class_name and config");
  }
  // Keras 3 writes plain functions as {"class_name": "function", "config": "relu"}.
  if (*class_name == "function" && config->is_string()) return config->get<std::string>();
  try {
    return quant::quantizer_from_config(without_package(class_name->get<std::string>()), *config);
  } catch (const InvalidArgument& error) {
    throw InvalidArgument("[from_config] {}: attribute '{}': {}", described(layer), key, error.what());
  } catch (const json::exception& error) {
    throw InvalidArgument("[from_config] {}: attribute '{}' is {}: {}", described(layer), key, excerpt(object),
                          error.what());
  }
}

Attribute from_object(const AttributeSpec& spec, const json& value, const Layer& layer) {
  switch (spec.kind) {
    case AttributeKind::kActivation:
    case AttributeKind::kQuantizer:
      return quantizer_from_object(layer, spec.name, value);
    case AttributeKind::kInitializer: {
      const std::string name = initializer_name(value);
      return name.empty() ? Attribute(OpaqueJson{value.dump()}) : Attribute(name);
    }
    case AttributeKind::kOpaque:
      return OpaqueJson{value.dump()};
    default:
      refuse(layer, spec.name, value, "a plain value");
  }
}

// The attribute as the JSON says it; coerce() then judges it.
Attribute from_json(const AttributeSpec& spec, const json& value, const Layer& layer) {
  if (value.is_null()) return None{};
  if (spec.kind == AttributeKind::kOpaque) return OpaqueJson{value.dump()};
  if (value.is_object()) return from_object(spec, value, layer);
  if (value.is_array()) return integers(layer, spec.name, value);
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_float()) return value.get<double>();
  if (value.is_number()) return integer(layer, spec.name, value);
  return value.get<std::string>();
}

// Keys without effect that some versions write: ranges that QKeras ignores, and what DepthwiseConv2D inherits from
// Conv2D.
bool is_harmless(const LayerSchema& schema, const std::string& key, const json& value) {
  static const char* const kAlways[] = {
      "name",       "trainable",       "dtype",      "batch_input_shape", "batch_shape",        "kernel_range",
      "bias_range", "depthwise_range", "beta_range", "gamma_range",       "quantization_config"};
  if (value.is_null() || std::find(std::begin(kAlways), std::end(kAlways), key) != std::end(kAlways)) return true;
  if (key == "groups") return value == 1;
  const bool inherited = key == "kernel_initializer" || key == "kernel_regularizer" || key == "kernel_constraint";
  return inherited && schema.find("depthwise_initializer");
}

void check_dtype(const Layer& layer, const json& config) {
  const auto dtype = config.find("dtype");
  if (dtype == config.end() || dtype->is_null() || layer.class_name == "InputLayer") return;
  json name = *dtype;
  if (dtype->is_object() && dtype->contains("config") && dtype->at("config").is_object()) {
    name = dtype->at("config").value("name", json());
  }
  if (name == "float32") return;
  throw Unsupported("[from_config] {}: attribute 'dtype' is {}, which nibble cannot do; it computes in float32.",
                    described(layer), excerpt(*dtype));
}

void read_input_shape(const Layer& layer, const json& config, std::map<std::string, Attribute>& given) {
  for (const char* key : {"batch_shape", "batch_input_shape"}) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) continue;
    given["shape"] = without_batch(*found, layer);
    if (!found->at(0).is_null()) given["batch_size"] = integer(layer, key, found->at(0));
    return;
  }
  throw InvalidArgument("[from_config] {} has neither batch_shape nor batch_input_shape.", described(layer));
}

std::map<std::string, Attribute> read_attributes(const Layer& layer, const LayerSchema& schema, const json& config) {
  std::map<std::string, Attribute> given;
  for (const auto& [key, value] : config.items()) {
    if (key == kQuantizeConfig) continue;
    const AttributeSpec* spec = schema.find(key);
    if (spec) {
      given[spec->name] = from_json(*spec, value, layer);
    } else if (!is_harmless(schema, key, value)) {
      std::vector<std::string> known;
      for (const AttributeSpec& each : schema.attributes) known.push_back(each.name);
      throw Unsupported("[from_config] {}: nibble does not know the attribute '{}' = {}. {}", described(layer), key,
                        excerpt(value), suggest(key, known));
    }
  }
  if (layer.class_name == "InputLayer") read_input_shape(layer, config, given);
  return given;
}

}  // namespace

std::vector<int64_t> without_batch(const json& batch_shape, const Layer& layer) {
  if (!batch_shape.is_array() || batch_shape.empty()) {
    refuse(layer, "batch_shape", batch_shape, "a list that begins with the batch size or null");
  }
  std::vector<int64_t> extents = integers(layer, "batch_shape", batch_shape);
  extents.erase(extents.begin());
  return extents;
}

Layer layer_from_config(const json& entry) {
  if (!entry.is_object()) throw InvalidArgument("[from_config] a layer is {}, but must be an object.", excerpt(entry));
  const json config = entry.value("config", json::object());
  Layer probe;  // what messages name while the layer is not made yet
  const json class_name = entry.value("class_name", json());
  const json name = config.is_object() && config.contains("name") ? config.at("name") : entry.value("name", json());
  if (!class_name.is_string() || !name.is_string() || !config.is_object()) {
    throw InvalidArgument("[from_config] a layer needs class_name, config and a name, but is {}.", excerpt(entry));
  }
  probe.class_name = without_package(class_name.get<std::string>());
  probe.name = name.get<std::string>();
  const LayerSchema& schema = schema_of(probe);
  check_dtype(probe, config);
  Layer layer = make_layer(probe.class_name, probe.name, read_attributes(probe, schema, config));
  const json trainable = config.value("trainable", json(true));
  if (!trainable.is_boolean()) refuse(layer, "trainable", trainable, "true or false");
  layer.trainable = trainable.get<bool>();
  if (config.contains(kQuantizeConfig)) {
    layer.quantization =
        layer_quantization_from_json(config.at(kQuantizeConfig), fmt::format("[from_config] {}", described(layer)));
  }
  return layer;
}

}  // namespace nibble::graph
