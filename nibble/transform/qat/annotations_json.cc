// Annotations as a file says them, and fixed ranges.
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/qat/quantize_apply.h"

namespace nibble::qat {
namespace {

using graph::AffineQuantizer;
using graph::Layer;
using graph::LayerQuantization;
using graph::Model;
using nlohmann::json;

QuantizeConfigPtr config_of(const std::string& key, const json& entry, const QuantizeScope& scope) {
  const auto named = entry.is_object() ? entry.find("config") : entry.end();
  if (!entry.is_object() || named == entry.end()) {
    return always(graph::layer_quantization_from_json(entry, fmt::format("[annotate] entry '{}'", key)));
  }
  if (entry.size() > 1) {
    throw InvalidArgument(
        "[annotate] entry '{}' names a configuration, which says all there is to say; what stands beside 'config' "
        "would be lost. Leave one of them out.",
        key);
  }
  const auto found = named->is_string() ? scope.find(named->get<std::string>()) : scope.end();
  if (found != scope.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [name, config] : scope) known.push_back(name);
  const std::string name = named->is_string() ? named->get<std::string>() : named->dump();
  throw InvalidArgument("[annotate] entry '{}' names the configuration '{}', which the scope does not have. {}", key,
                        name, known.empty() ? "The scope is empty." : suggest(name, known));
}

// Of an input only its values can be quantized.
QuantizeConfigPtr input_config_of(const std::string& key, const json& entry, const QuantizeScope& scope,
                                  const Layer& input) {
  if (entry.is_null()) {
    throw InvalidArgument(
        "[annotate] entry '{}' is null, but an input is not marked: it is quantized where a layer that reads it is. "
        "{{}} leaves it in float; {{\"output\": ...}} gives it a quantizer.",
        key);
  }
  QuantizeConfigPtr config = config_of(key, entry, scope);
  const LayerQuantization asked = config->quantization(input);
  if (asked == LayerQuantization{.output = asked.output}) return config;
  throw InvalidArgument("[annotate] entry '{}' quantizes more than the output of an input. Leave the rest out.", key);
}

void check_entries(const Model& model, const json& layers) {
  std::set<std::string> known;
  for (const Layer& layer : model.layers) known.insert({layer.name, layer.class_name});
  for (const auto& [key, entry] : layers.items()) {
    if (known.contains(key)) continue;
    throw InvalidArgument("[annotate] entry '{}' is neither a layer of model '{}' nor a class of one. {}", key,
                          model.name, suggest(key, std::vector<std::string>(known.begin(), known.end())));
  }
}

LayerQuantization* quantization_of(Model& model, const std::string& layer) {
  auto& quantization = model.layer(layer).quantization;
  return quantization ? &*quantization : nullptr;
}

// The last quantizer before a model's output; where its layer stands.
std::string result_layer(Model& model, const std::string& name) {
  if (const LayerQuantization* q = quantization_of(model, name)) {
    if (!q->output.is_none() || !q->post_activation.is_none() || !q->pre_activation.is_none()) return name;
  }
  const Layer& layer = model.layer(name);
  return layer.inputs.size() == 1 ? result_layer(model, layer.inputs[0]) : "";
}

void fix(AffineQuantizer& quantizer, const FixedRangeOptions& options, affine::Range range) {
  quantizer = {.kind = graph::AffineKind::kFixed,
               .num_bits = options.compat == affine::TrackerCompat::kTfmot ? 8 : options.num_bits,
               .narrow_range = options.narrow_range,
               .fixed = range};
}

}  // namespace

AnnotatedModel annotate_from_json(const Model& model, const json& layers, const QuantizeScope& scope) {
  if (!layers.is_object()) throw InvalidArgument("[annotate] the entries must be an object of layers.");
  check_entries(model, layers);
  AnnotatedModel annotated{.model = model};
  for (const Layer& layer : model.layers) {
    const bool is_input = layer.class_name == "InputLayer";
    const std::string key = layers.contains(layer.name) ? layer.name : layer.class_name;
    if (is_input) {  // inputs follow by themselves
      if (layers.contains(key)) annotated.layers.emplace(layer.name, input_config_of(key, layers[key], scope, layer));
    } else if (!layers.contains(key)) {
      annotated.layers.emplace(layer.name, nullptr);
    } else if (!layers[key].is_null()) {
      annotated.layers.emplace(layer.name, config_of(key, layers[key], scope));
    }
  }
  return annotated;
}

void fix_input_output_range(Model& model, const FixedRangeOptions& options) {
  Model changed = model;
  for (const std::string& name : model.inputs) {
    LayerQuantization* quantization = quantization_of(changed, name);
    if (quantization == nullptr) {
      throw InvalidArgument("[fix_input_output_range] the input '{}' is not quantized. Apply quantization first.",
                            name);
    }
    LayerQuantization fixed = *quantization;
    fix(fixed.output, options, options.input);
    graph::set_quantization(changed, name, fixed);
  }
  for (const std::string& name : model.outputs) {
    const std::string layer = result_layer(changed, name);
    if (layer.empty()) {
      throw InvalidArgument("[fix_input_output_range] the output '{}' is not quantized. Apply quantization first.",
                            name);
    }
    LayerQuantization fixed = *quantization_of(changed, layer);
    AffineQuantizer& last = !fixed.output.is_none()            ? fixed.output
                            : !fixed.post_activation.is_none() ? fixed.post_activation
                                                               : fixed.pre_activation;
    fix(last, options, options.output);
    graph::set_quantization(changed, layer, fixed);
  }
  model = std::move(changed);
}

void remove_input_range(Model& model) {
  for (const std::string& name : model.inputs) {
    if (quantization_of(model, name) != nullptr) continue;
    throw InvalidArgument("[remove_input_range] the input '{}' is not quantized; there is no range to take away.",
                          name);
  }
  for (const std::string& name : model.inputs) graph::set_quantization(model, name, std::nullopt);
}

}  // namespace nibble::qat
