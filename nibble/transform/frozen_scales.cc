#include "nibble/transform/frozen_scales.h"

#include <functional>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/quant/quantized_bits.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::transform {
namespace {

using graph::Layer;

// The quantizer with the scale it finds for `value`; null where it fits none or has a frozen one.
quant::QuantizerPtr frozen(const quant::Quantizer& quantizer, const Tensor& value) {
  const auto* bits = dynamic_cast<const quant::QuantizedBits*>(&quantizer);
  if (bits == nullptr || bits->params().alpha.kind() != quant::Alpha::Kind::kAutoPo2) return nullptr;
  if (bits->params().post_training_scale) return nullptr;
  quant::QuantizedBitsParams params = bits->params();
  params.post_training_scale = bits->quantize(value).scale;
  return std::make_shared<quant::QuantizedBits>(std::move(params));
}

// Null where the layer has none of that name, as a layer without bias.
using WeightByName = std::function<const Tensor*(std::string_view name)>;

void freeze(Layer& layer, const WeightByName& weight) {
  for (const WeightRole& role : weight_roles(layer.class_name)) {
    const auto quantizer = role.weight.empty() ? nullptr : effective_quantizer(layer, role);
    if (quantizer == nullptr) continue;
    const Tensor* value = weight(role.weight);
    if (value == nullptr) continue;
    if (auto constant = frozen(*quantizer, *value)) layer.attributes[std::string(role.quantizer)] = std::move(constant);
  }
}

const Tensor* weight_of(const Layer& layer, std::string_view name) {
  if (layer.weights.empty()) {
    throw InvalidArgument("[freeze] layer '{}' ({}) has no weights yet. Train the model or load its weights first.",
                          layer.name, layer.class_name);
  }
  const graph::Weight* found = layer.find_weight(name);
  return found == nullptr ? nullptr : &found->value;
}

void freeze_inner(Layer& layer, const std::string& attribute, const std::string& prefix) {
  Layer inner = graph::inner_layer(layer, attribute);
  freeze(inner, [&](std::string_view name) { return weight_of(layer, prefix + std::string(name)); });
  layer.attributes[attribute] = attribute == "cell" ? graph::as_cell(inner) : graph::as_inner_layer(inner);
}

void freeze_layer(Layer& layer) {
  if (layer.class_name.ends_with("Bidirectional")) {
    // The backward layer of a layer that has none is taken from the forward one: before that changes.
    freeze_inner(layer, "backward_layer", "backward_");
    freeze_inner(layer, "layer", "forward_");
  } else if (layer.class_name == "RNN") {
    freeze_inner(layer, "cell", "");
  } else if (layer.class_name.ends_with("Batchnorm") && !layer.weights.empty()) {
    const FoldedWeights folded = folded_weights(layer);
    freeze(layer, [&](std::string_view name) { return name == "bias" ? &folded.bias : &folded.kernel; });
  } else {
    freeze(layer, [&](std::string_view name) { return weight_of(layer, name); });
  }
}

// As the layer computes with them; folded kernels are quantized after folding, so theirs stay.
void quantize_weights(Layer& layer) {
  if (layer.class_name.ends_with("Batchnorm")) return;
  for (graph::Weight& weight : layer.weights) {
    if (const auto quantizer = weight_quantizer(layer, weight.name)) {
      weight.value = quantizer->quantize(weight.value).real;
    }
  }
}

}  // namespace

graph::Model clone_model_and_freeze_auto_po2_scale(const graph::Model& model, const FreezeOptions& options) {
  graph::Model result = model;
  for (Layer& layer : result.layers) {
    freeze_layer(layer);
    if (options.quantize_model_weights) quantize_weights(layer);
  }
  return result;
}

}  // namespace nibble::transform
