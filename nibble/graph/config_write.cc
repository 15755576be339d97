// A model as Keras 3 writes it. Schema: spec/interop.md section 2.1.
#include <nlohmann/json.hpp>

#include "nibble/graph/initializer.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph {
namespace {

using nlohmann::json;

json batched(const Shape& shape, const json& batch = nullptr) {
  json extents = json::array({batch});
  for (int64_t extent : shape) extents.push_back(extent == Shape::kFree ? json(nullptr) : json(extent));
  return extents;
}

json quantizer_object(const quant::Quantizer& quantizer) {
  const std::string name(quantizer.class_name());
  return {{"module", "qkeras.quantizers"},
          {"class_name", name},
          {"config", quantizer.config()},
          {"registered_name", "qkeras>" + name}};
}

json value_of(const AttributeSpec& spec, const Attribute& value) {
  if (const auto* b = std::get_if<bool>(&value)) return *b;
  if (const auto* i = std::get_if<int64_t>(&value)) return *i;
  if (const auto* d = std::get_if<double>(&value)) return *d;
  if (const auto* q = std::get_if<quant::QuantizerPtr>(&value)) return *q ? quantizer_object(**q) : json(nullptr);
  if (const auto* o = std::get_if<OpaqueJson>(&value)) return json::parse(o->text);
  if (const auto* s = std::get_if<std::string>(&value)) {
    return spec.kind == AttributeKind::kInitializer ? initializer_config(*s) : json(*s);
  }
  if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) {
    // Keras writes [[top, bottom], [left, right]].
    if ((spec.name == "padding" || spec.name == "cropping") && list->size() == 4) {
      return json::array({json::array({list->at(0), list->at(1)}), json::array({list->at(2), list->at(3)})});
    }
    return *list;
  }
  return nullptr;
}

json dtype_policy() {
  return {{"module", "keras"},
          {"class_name", "DTypePolicy"},
          {"config", {{"name", "float32"}}},
          {"registered_name", nullptr}};
}

json input_config(const Layer& layer) {
  const json batch = layer.has("batch_size") ? json(layer.get_int("batch_size")) : json(nullptr);
  return {{"name", layer.name},
          {"batch_shape", batched(Shape(layer.get_ints("shape")), batch)},
          {"dtype", "float32"},
          {"sparse", false}};
}

json attributes_config(const Layer& layer, const LayerSchema& schema) {
  json config = {{"name", layer.name}, {"trainable", layer.trainable}, {"dtype", dtype_policy()}};
  for (const AttributeSpec& spec : schema.attributes) {
    const Attribute& value = layer.attributes.at(spec.name);
    if (spec.only_if_changed && equal(value, coerce(spec, spec.default_value, layer))) continue;
    config[spec.name] = value_of(spec, value);
  }
  return config;
}

json layer_config(const Layer& layer, const LayerSchema& schema) {
  json config = layer.class_name == "InputLayer" ? input_config(layer) : attributes_config(layer, schema);
  // Named as the argument of TFMOT's QuantizeWrapper that it stands for.
  if (layer.quantization) config["quantize_config"] = to_json(*layer.quantization);
  return config;
}

json tensor(const std::string& producer, const Shape& shape) {
  return {
      {"class_name", "__keras_tensor__"},
      {"config", {{"shape", batched(shape)}, {"dtype", "float32"}, {"keras_history", json::array({producer, 0, 0})}}}};
}

json inbound_nodes(const Layer& layer, const LayerSchema& schema, const std::map<std::string, Shape>& shapes) {
  if (layer.inputs.empty()) return json::array();
  json tensors = json::array();
  for (const std::string& input : layer.inputs) tensors.push_back(tensor(input, shapes.at(input)));
  // A merge layer takes one argument, the list.
  json arguments = schema.max_inputs > 1 ? json::array({tensors}) : std::move(tensors);
  return json::array({json{{"args", std::move(arguments)}, {"kwargs", json::object()}}});
}

json build_config(const Layer& layer, const std::map<std::string, Shape>& shapes) {
  json inputs = json::array();
  for (const std::string& input : layer.inputs) inputs.push_back(batched(shapes.at(input)));
  return {{"input_shape", inputs.size() == 1 ? inputs[0] : inputs}};
}

json layer_object(const Layer& layer, const std::map<std::string, Shape>& shapes) {
  const LayerSchema& schema = schema_of(layer);
  json object = {{"module", schema.module},
                 {"class_name", layer.class_name},
                 {"config", layer_config(layer, schema)},
                 {"registered_name", schema.registered.empty() ? json(nullptr) : json(schema.registered)},
                 {"name", layer.name},
                 {"inbound_nodes", inbound_nodes(layer, schema, shapes)}};
  if (!layer.inputs.empty()) object["build_config"] = build_config(layer, shapes);
  return object;
}

json ends(const std::vector<std::string>& names) {
  json triples = json::array();
  for (const std::string& name : names) triples.push_back(json::array({name, 0, 0}));
  return triples;
}

}  // namespace

Attribute as_inner_layer(const Layer& layer) {
  const LayerSchema& schema = schema_of(layer);
  return OpaqueJson{json{{"module", schema.module},
                         {"class_name", layer.class_name},
                         {"config", layer_config(layer, schema)},
                         {"registered_name", schema.registered.empty() ? json(nullptr) : json(schema.registered)}}
                        .dump()};
}

Attribute as_cell(const Layer& layer) {
  json cell = json::parse(std::get<OpaqueJson>(as_inner_layer(layer)).text);
  cell["class_name"] = layer.class_name + "Cell";
  if (cell["registered_name"].is_string())
    cell["registered_name"] = cell["registered_name"].get<std::string>() + "Cell";
  for (const char* of_the_layer : {"return_sequences", "return_state", "go_backwards", "stateful", "unroll"}) {
    cell["config"].erase(of_the_layer);
  }
  return OpaqueJson{cell.dump()};
}

json to_config(const Model& model) {
  const std::map<std::string, Shape> shapes = infer_shapes(model);
  json layers = json::array();
  for (const Layer& layer : model.layers) layers.push_back(layer_object(layer, shapes));
  return {{"module", "keras"},
          {"class_name", "Functional"},
          {"config",
           {{"name", model.name},
            {"trainable", true},
            {"layers", std::move(layers)},
            {"input_layers", ends(model.inputs)},
            {"output_layers", ends(model.outputs)}}},
          {"registered_name", "Functional"},
          {"build_config", {{"input_shape", nullptr}}}};
}

}  // namespace nibble::graph
