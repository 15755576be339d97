#include "nibble/graph/qnoise.h"

#include <nlohmann/json.hpp>

#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph {
namespace {

Layer with_qnoise(const Layer& layer, const QNoise& noise) {
  Layer result = layer;
  result.weights.clear();
  for (auto& [name, attribute] : result.attributes) {
    if (auto* quantizer = std::get_if<quant::QuantizerPtr>(&attribute)) {
      attribute = graph::with_qnoise(*quantizer, noise);
    } else if (layer.class_name.ends_with("Bidirectional") && name.ends_with("layer") && layer.has(name)) {
      attribute = as_inner_layer(with_qnoise(inner_layer(layer, name), noise));
    } else if (layer.class_name == "RNN" && name == "cell") {
      attribute = as_cell(with_qnoise(inner_layer(layer, name), noise));
    }
  }
  return result;
}

}  // namespace

quant::QuantizerPtr with_qnoise(const quant::QuantizerPtr& quantizer, const QNoise& noise) {
  if (quantizer == nullptr) return nullptr;
  nlohmann::json config = quantizer->config();
  if (!config.contains("qnoise_factor")) return quantizer;
  config["qnoise_factor"] = noise.factor;
  if (config.contains("use_ste") && noise.use_ste) config["use_ste"] = *noise.use_ste;
  return quant::quantizer_from_config(quantizer->class_name(), config);
}

Model with_qnoise(const Model& model, const QNoise& noise) {
  Model result;
  result.name = model.name;
  result.inputs = model.inputs;
  result.outputs = model.outputs;
  for (const Layer& layer : model.layers) result.layers.push_back(with_qnoise(layer, noise));
  return result;
}

}  // namespace nibble::graph
