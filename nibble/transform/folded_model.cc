#include "nibble/transform/folded_model.h"

#include <algorithm>

#include "nibble/graph/channel_order.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/batch_norm_folding.h"

namespace nibble::transform {
namespace {

constexpr std::string_view kSuffix = "Batchnorm";

bool is_foldable_class(const std::string& class_name) {
  return class_name == "Conv2D" || class_name == "DepthwiseConv2D";
}

// Images have four axes with the batch; the channels are the last.
bool is_on_channels(const graph::Layer& batch_norm) {
  const int64_t axis = batch_norm.get_int("axis");
  return axis == -1 || axis == 3;
}

// Which batch normalization the layer can take in; null: none.
const graph::Layer* partner_of(const graph::Model& model, const graph::Layer& layer) {
  if (!is_foldable_class(layer.class_name) || layer.activation_function() != "linear") return nullptr;
  if (graph::is_channels_first(layer)) return nullptr;
  if (std::find(model.outputs.begin(), model.outputs.end(), layer.name) != model.outputs.end()) return nullptr;
  const auto readers = model.consumers(layer.name);
  if (readers.size() != 1) return nullptr;
  const graph::Layer& reader = model.layer(readers[0]);
  return reader.class_name == "BatchNormalization" && is_on_channels(reader) ? &reader : nullptr;
}

bool is_folded(const graph::Layer& layer) {
  return layer.class_name.starts_with("Q") && layer.class_name.ends_with(kSuffix);
}

graph::Layer unfolded(const graph::Layer& layer) {
  const std::string class_name = layer.class_name.substr(0, layer.class_name.size() - kSuffix.size());
  std::map<std::string, graph::Attribute> attributes;
  for (const graph::AttributeSpec& spec : graph::find_schema(class_name)->attributes) {
    const auto found = layer.attributes.find(spec.name);
    if (found != layer.attributes.end()) attributes.insert(*found);
  }
  attributes.insert_or_assign("use_bias", true);
  graph::Layer result = graph::make_layer(class_name, layer.name, std::move(attributes));
  result.inputs = layer.inputs;
  result.trainable = layer.trainable;
  if (layer.weights.empty()) return result;
  FoldedWeights weights = folded_weights(layer);
  const bool is_depthwise = class_name == "QDepthwiseConv2D";
  result.weights = {{is_depthwise ? "depthwise_kernel" : "kernel", std::move(weights.kernel)},
                    {"bias", std::move(weights.bias)}};
  return result;
}

}  // namespace

std::vector<FoldablePair> foldable_pairs(const graph::Model& model) {
  std::vector<FoldablePair> pairs;
  for (const graph::Layer& layer : model.layers) {
    if (const graph::Layer* partner = partner_of(model, layer)) pairs.push_back({layer.name, partner->name});
  }
  return pairs;
}

void bypass_layer(graph::Model& model, const std::string& name) {
  const auto layer =
      std::find_if(model.layers.begin(), model.layers.end(), [&](const graph::Layer& l) { return l.name == name; });
  const std::string input = layer->inputs.at(0);
  model.layers.erase(layer);
  for (graph::Layer& reader : model.layers) std::replace(reader.inputs.begin(), reader.inputs.end(), name, input);
  std::replace(model.outputs.begin(), model.outputs.end(), name, input);
}

FoldedModel convert_to_folded_model(const graph::Model& model) {
  FoldedModel result{.model = model, .folded = {}};
  for (const FoldablePair& pair : foldable_pairs(model)) {
    bypass_layer(result.model, pair.batch_norm);
    result.folded.push_back(pair.layer);
  }
  return result;
}

void take_in_batch_norm(graph::Layer& folded, const graph::Layer& batch_norm) {
  const graph::LayerSchema& target = graph::schema_of(folded);
  for (const auto& [name, value] : batch_norm.attributes) {
    if (target.find(name) != nullptr) folded.attributes.insert_or_assign(name, value);
  }
  const graph::Weight* mean = batch_norm.find_weight("moving_mean");
  if (folded.weights.empty() || mean == nullptr) {
    folded.weights.clear();
    return;
  }
  if (folded.find_weight("bias") == nullptr) folded.weights.push_back({"bias", Tensor(mean->value.shape())});
  for (const graph::Weight& weight : batch_norm.weights) {
    // Keras' order; the counter of training steps of a layer that has made none.
    if (weight.name == "moving_mean") folded.weights.push_back({"iteration", Tensor::scalar(-1.0f)});
    folded.weights.push_back(weight);
  }
}

graph::Model unfold_model(const graph::Model& model) {
  graph::Model result = model;
  for (graph::Layer& layer : result.layers) {
    if (is_folded(layer)) layer = unfolded(layer);
  }
  return result;
}

}  // namespace nibble::transform
