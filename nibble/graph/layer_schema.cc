#include "nibble/graph/layer_schema.h"

#include <algorithm>
#include <map>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::graph {
namespace {

std::map<std::string, LayerSchema, std::less<>> all_schemas() {
  std::map<std::string, LayerSchema, std::less<>> schemas;
  for (auto family :
       {input_and_shape_layers, dense_layers, convolution_layers, transposed_layers, folded_layers,
        normalization_layers, activation_layers, pooling_layers, recurrent_layers, dropout_layers, merge_layers}) {
    for (LayerSchema& schema : family()) {
      if (schema.module.empty()) {
        // Q classes come from QKeras; all others are Keras' own.
        const bool is_qkeras = schema.class_name.starts_with('Q');
        schema.module = is_qkeras ? "qkeras.qlayers" : "keras.layers";
        if (is_qkeras) schema.registered = "qkeras>" + schema.class_name;
      }
      schemas.emplace(schema.class_name, std::move(schema));
    }
  }
  return schemas;
}

const std::map<std::string, LayerSchema, std::less<>>& registry() {
  static const auto schemas = all_schemas();
  return schemas;
}

}  // namespace

const AttributeSpec* LayerSchema::find(std::string_view attribute) const {
  for (const AttributeSpec& spec : attributes) {
    if (spec.name == attribute || std::find(spec.aliases.begin(), spec.aliases.end(), attribute) != spec.aliases.end())
      return &spec;
  }
  return nullptr;
}

const LayerSchema* find_schema(std::string_view class_name) {
  const auto found = registry().find(class_name);
  return found == registry().end() ? nullptr : &found->second;
}

const LayerSchema& schema_of(const Layer& layer) {
  if (const LayerSchema* schema = find_schema(layer.class_name)) return *schema;
  throw Unsupported("[graph] {}: nibble does not know this layer class. {}", described(layer),
                    suggest(layer.class_name, known_layers()));
}

std::string described(const Layer& layer) { return fmt::format("layer '{}' ({})", layer.name, layer.class_name); }

std::vector<std::string> known_layers() {
  std::vector<std::string> names;
  for (const auto& [name, schema] : registry()) names.push_back(name);
  return names;
}

namespace schema {

AttributeSpec boolean(std::string name, bool default_value) {
  return {.name = std::move(name), .kind = AttributeKind::kBool, .default_value = default_value};
}
AttributeSpec integer(std::string name, int64_t default_value, int64_t minimum) {
  return {.name = std::move(name), .kind = AttributeKind::kInt, .default_value = default_value, .minimum = minimum};
}
AttributeSpec required_integer(std::string name, int64_t minimum) {
  return {.name = std::move(name), .kind = AttributeKind::kInt, .required = true, .minimum = minimum};
}
AttributeSpec real(std::string name, double default_value) {
  return {.name = std::move(name), .kind = AttributeKind::kFloat, .default_value = default_value};
}
AttributeSpec choice(std::string name, std::string default_value, std::vector<std::string> choices,
                     std::vector<std::string> not_yet) {
  return {.name = std::move(name),
          .kind = AttributeKind::kString,
          .default_value = std::move(default_value),
          .choices = std::move(choices),
          .not_yet = std::move(not_yet)};
}
AttributeSpec ints(std::string name, std::vector<int64_t> default_value, int64_t minimum) {
  const int count = static_cast<int>(default_value.size());
  return {.name = std::move(name),
          .kind = AttributeKind::kInts,
          .default_value = std::move(default_value),
          .minimum = minimum,
          .count = count};
}
AttributeSpec required_ints(std::string name, int count, int64_t minimum) {
  return {.name = std::move(name), .kind = AttributeKind::kInts, .required = true, .minimum = minimum, .count = count};
}
AttributeSpec activation(std::string default_value) {
  return {.name = "activation", .kind = AttributeKind::kActivation, .default_value = std::move(default_value)};
}
AttributeSpec quantizer(std::string name) {
  return {.name = std::move(name), .kind = AttributeKind::kQuantizer, .optional = true};
}
AttributeSpec weight_quantizer(std::string name) {
  AttributeSpec spec = quantizer(std::move(name));
  spec.weight_quantizer = true;
  return spec;
}
AttributeSpec initializer(std::string name, std::string default_value) {
  return {.name = std::move(name), .kind = AttributeKind::kInitializer, .default_value = std::move(default_value)};
}
AttributeSpec opaque(std::string name, bool only_if_changed) {
  return {
      .name = std::move(name), .kind = AttributeKind::kOpaque, .optional = true, .only_if_changed = only_if_changed};
}
AttributeSpec data_format() { return choice("data_format", "channels_last", {"channels_last", "channels_first"}); }

std::vector<AttributeSpec> join(std::initializer_list<std::vector<AttributeSpec>> parts) {
  std::vector<AttributeSpec> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<AttributeSpec> opaques(std::initializer_list<const char*> names) {
  std::vector<AttributeSpec> specs;
  for (const char* name : names) specs.push_back(opaque(name));
  return specs;
}

}  // namespace schema
}  // namespace nibble::graph
