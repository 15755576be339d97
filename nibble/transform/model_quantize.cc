#include "nibble/transform/model_quantize.h"

#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/transform/folded_model.h"
#include "nibble/transform/layer_rewrite.h"
#include "nibble/transform/quantizer_config.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

LayerFacts facts_of(const graph::Layer& layer) {
  LayerFacts facts{.name = layer.name,
                   .class_name = layer.class_name,
                   .use_bias = true,
                   .activation = "",
                   .negative_slope = 0,
                   .folds = false};
  if (layer.has("use_bias")) facts.use_bias = layer.get_bool("use_bias");
  if (layer.attributes.contains("activation")) facts.activation = layer.activation_function();
  if (layer.has("negative_slope")) facts.negative_slope = layer.get_float("negative_slope");
  return facts;
}

// Texts stay texts: make_layer() reads them as the attribute's type asks.
graph::Attribute to_attribute(const json& value) {
  if (value.is_null()) return graph::None{};
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_object() && value.contains("class_name")) {
    return quant::quantizer_from_config(value.at("class_name").get<std::string>(),
                                        value.value("config", json::object()));
  }
  throw InvalidArgument("[model_quantize] {} is not a quantizer; give a text such as \"quantized_bits(4,0,1)\".",
                        value.dump());
}

// What the new class knows too. An attribute that it lacks may go if it stands at its default.
std::map<std::string, graph::Attribute> kept_attributes(const graph::Layer& layer, const graph::LayerSchema& target,
                                                        const std::vector<std::string>& erased) {
  std::map<std::string, graph::Attribute> kept;
  const graph::LayerSchema& source = graph::schema_of(layer);
  for (const auto& [name, value] : layer.attributes) {
    if (target.find(name) != nullptr) {
      kept.emplace(name, value);
      continue;
    }
    const graph::AttributeSpec* spec = source.find(name);
    const bool is_default = spec != nullptr && graph::equal(value, spec->default_value);
    const bool is_erased = std::find(erased.begin(), erased.end(), name) != erased.end();
    if (!is_default && !is_erased && !std::holds_alternative<graph::None>(value)) {
      throw Unsupported("[model_quantize] layer '{}': {} has no attribute '{}', so {} = {} would be lost.", layer.name,
                        target.class_name, name, name, graph::to_string(value));
    }
  }
  return kept;
}

graph::Layer apply(const LayerEdit& edit, const graph::Layer& layer) {
  const graph::LayerSchema* target = graph::find_schema(edit.class_name);
  if (target == nullptr) {
    throw Unsupported(
        "[model_quantize] layer '{}' would become {}, which nibble does not know yet. Leave it out of "
        "the configuration.",
        layer.name, edit.class_name);
  }
  auto attributes = kept_attributes(layer, *target, edit.erase);
  for (const auto& [name, value] : edit.set) attributes.insert_or_assign(name, to_attribute(value));
  graph::Layer result = graph::make_layer(edit.class_name, layer.name, std::move(attributes));
  result.inputs = layer.inputs;
  result.weights = layer.weights;
  result.trainable = layer.trainable;
  return result;
}

// The layers inside a Bidirectional by its entry.
void quantize_inside(graph::Layer& layer, const json& config, const ModelQuantizeOptions& options) {
  for (const char* attribute : {"backward_layer", "layer"}) {
    if (!layer.has(attribute)) continue;
    const graph::Layer inner = graph::inner_layer(layer, attribute);
    const auto edit = plan_inner_layer(layer.name, facts_of(inner), config, options);
    if (edit) layer.attributes[attribute] = graph::as_inner_layer(apply(*edit, inner));
  }
}

// Convolutions that take in their batch normalization, and these out of the graph.
void fold_pairs(graph::Model& model, const json& config, const ModelQuantizeOptions& options) {
  for (const FoldablePair& pair : foldable_pairs(model)) {
    graph::Layer& layer = model.layer(pair.layer);
    LayerFacts facts = facts_of(layer);
    facts.folds = true;
    const auto edit = plan_layer(facts, config, options);
    if (!edit) continue;
    layer = apply(*edit, layer);
    take_in_batch_norm(layer, model.layer(pair.batch_norm));
    bypass_layer(model, pair.batch_norm);
  }
}

}  // namespace

graph::Model model_quantize(const graph::Model& model, const json& config, const ModelQuantizeOptions& options) {
  if (!config.is_object()) {
    throw InvalidArgument(
        "[model_quantize] the configuration is {}; it must be an object that maps layer names or classes such as "
        "QConv2D to their quantizers.",
        config.type_name());
  }
  if (options.activation_bits < 1 || options.activation_bits > 32) {
    throw InvalidArgument("[model_quantize] activation_bits is {}; it must be 1 to 32.", options.activation_bits);
  }
  if (options.compat == Compatibility::kNibble) check_config(config, model.layers, options.enable_bn_folding);
  graph::Model result = model;
  if (options.enable_bn_folding) fold_pairs(result, config, options);
  for (graph::Layer& layer : result.layers) {
    const auto edit = plan_layer(facts_of(layer), config, options);
    if (edit) layer = apply(*edit, layer);
    if (layer.class_name == "QBidirectional") quantize_inside(layer, config, options);
    if (!options.transfer_weights) layer.weights.clear();
  }
  return result;
}

}  // namespace nibble::transform
