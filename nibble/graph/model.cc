#include "nibble/graph/model.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

const Attribute& attribute_of(const Layer& layer, std::string_view name) {
  const auto found = layer.attributes.find(std::string(name));
  if (found != layer.attributes.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [key, value] : layer.attributes) known.push_back(key);
  throw InvalidArgument("[graph] {} has no attribute '{}'. {}", described(layer), name, suggest(name, known));
}

template <class T>
const T& get_as(const Layer& layer, std::string_view name, const char* kind) {
  const Attribute& value = attribute_of(layer, name);
  if (const T* typed = std::get_if<T>(&value)) return *typed;
  throw InvalidArgument("[graph] {}: attribute '{}' is {}, not {}.", described(layer), name, to_string(value), kind);
}

}  // namespace

bool Layer::has(std::string_view attribute) const {
  const auto found = attributes.find(std::string(attribute));
  if (found == attributes.end() || std::holds_alternative<None>(found->second)) return false;
  const auto* quantizer = std::get_if<quant::QuantizerPtr>(&found->second);
  return !quantizer || *quantizer != nullptr;
}

bool Layer::get_bool(std::string_view attribute) const { return get_as<bool>(*this, attribute, "true or false"); }

int64_t Layer::get_int(std::string_view attribute) const { return get_as<int64_t>(*this, attribute, "an integer"); }

double Layer::get_float(std::string_view attribute) const {
  if (const auto* integer = std::get_if<int64_t>(&attribute_of(*this, attribute))) return static_cast<double>(*integer);
  return get_as<double>(*this, attribute, "a number");
}

const std::string& Layer::get_string(std::string_view attribute) const {
  return get_as<std::string>(*this, attribute, "a text");
}

const std::vector<int64_t>& Layer::get_ints(std::string_view attribute) const {
  return get_as<std::vector<int64_t>>(*this, attribute, "a list of integers");
}

quant::QuantizerPtr Layer::get_quantizer(std::string_view attribute) const {
  const Attribute& value = attribute_of(*this, attribute);
  if (std::holds_alternative<None>(value) || std::holds_alternative<std::string>(value)) return nullptr;
  return get_as<quant::QuantizerPtr>(*this, attribute, "a quantizer");
}

std::string Layer::activation_function(std::string_view attribute) const {
  const auto found = attributes.find(std::string(attribute));
  if (found == attributes.end() || !has(attribute)) return "linear";
  const auto* name = std::get_if<std::string>(&found->second);
  return name ? *name : "";
}

std::string plain_function_name(const Layer& layer, const std::string& name) {
  return name == "hard_sigmoid" && layer.class_name.starts_with('Q') ? "qkeras.hard_sigmoid" : name;
}

const Weight* Layer::find_weight(std::string_view wanted) const {
  const auto found = std::find_if(weights.begin(), weights.end(), [&](const Weight& w) { return w.name == wanted; });
  return found == weights.end() ? nullptr : &*found;
}

Weight* Layer::find_weight(std::string_view wanted) {
  return const_cast<Weight*>(std::as_const(*this).find_weight(wanted));
}

const Layer* Model::find_layer(std::string_view wanted) const {
  const int index = index_of(wanted);
  return index < 0 ? nullptr : &layers[static_cast<size_t>(index)];
}

int Model::index_of(std::string_view wanted) const {
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].name == wanted) return static_cast<int>(i);
  }
  return -1;
}

const Layer& Model::layer(std::string_view wanted) const {
  if (const Layer* found = find_layer(wanted)) return *found;
  std::vector<std::string> names;
  for (const Layer& layer : layers) names.push_back(layer.name);
  throw InvalidArgument("[graph] model '{}' has no layer '{}'. {}", name, wanted, suggest(wanted, names));
}

Layer& Model::layer(std::string_view wanted) { return const_cast<Layer&>(std::as_const(*this).layer(wanted)); }

std::vector<std::string> Model::consumers(std::string_view producer) const {
  std::vector<std::string> names;
  for (const Layer& layer : layers) {
    if (std::find(layer.inputs.begin(), layer.inputs.end(), producer) != layer.inputs.end())
      names.push_back(layer.name);
  }
  return names;
}

bool operator==(const Layer& a, const Layer& b) {
  const auto same_attribute = [](const auto& x, const auto& y) {
    return x.first == y.first && equal(x.second, y.second);
  };
  return a.name == b.name && a.class_name == b.class_name && a.inputs == b.inputs && a.trainable == b.trainable &&
         a.weights == b.weights && a.quantization == b.quantization &&
         std::equal(a.attributes.begin(), a.attributes.end(), b.attributes.begin(), b.attributes.end(), same_attribute);
}

bool operator==(const Model& a, const Model& b) {
  return a.name == b.name && a.inputs == b.inputs && a.outputs == b.outputs && a.layers == b.layers;
}

Layer make_layer(std::string class_name, std::string name, std::map<std::string, Attribute> given) {
  const LayerSchema* schema = find_schema(class_name);
  Layer layer;
  layer.name = std::move(name);
  layer.class_name = std::move(class_name);
  if (!schema) {
    throw InvalidArgument("[make_layer] {}: unknown layer class. {}", described(layer),
                          suggest(layer.class_name, known_layers()));
  }
  std::map<std::string, Attribute> by_name;
  for (auto& [key, value] : given) {
    const AttributeSpec* spec = schema->find(key);
    if (!spec) {
      std::vector<std::string> known;
      for (const AttributeSpec& each : schema->attributes) known.push_back(each.name);
      throw InvalidArgument("[make_layer] {} has no attribute '{}'. {}", described(layer), key, suggest(key, known));
    }
    by_name[spec->name] = std::move(value);
  }
  for (const AttributeSpec& spec : schema->attributes) {
    const auto found = by_name.find(spec.name);
    if (found == by_name.end() && spec.required) {
      throw InvalidArgument("[make_layer] {} needs the attribute '{}'.", described(layer), spec.name);
    }
    layer.attributes[spec.name] = coerce(spec, found == by_name.end() ? spec.default_value : found->second, layer);
  }
  if (schema->complete) schema->complete(layer);
  return layer;
}

quant::QuantizerPtr effective_quantizer(const Layer& layer, std::string_view attribute) {
  const quant::QuantizerPtr quantizer = layer.get_quantizer(attribute);
  if (!quantizer) return nullptr;
  const LayerSchema* schema = find_schema(layer.class_name);
  const AttributeSpec* spec = schema ? schema->find(attribute) : nullptr;
  return spec && spec->weight_quantizer ? quantizer->as_weight_quantizer() : quantizer;
}

}  // namespace nibble::graph
