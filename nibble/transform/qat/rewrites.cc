#include "nibble/transform/qat/rewrites.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/folded_model.h"
#include "nibble/transform/ptq/fold_batch_norms.h"
#include "nibble/transform/separable_layers.h"

namespace nibble::qat {
namespace {

using graph::Layer;

Layer merged_layer(const Layer& layer, const Layer& batch_norm, BatchNormMode mode) {
  const std::string class_name = "Q" + layer.class_name + "Batchnorm";
  auto attributes = transform::attributes_shared_with(layer, class_name.c_str());
  attributes.insert_or_assign("use_bias", true);
  attributes.insert_or_assign("folding_mode",
                              mode == BatchNormMode::kFoldBatch ? "batch_stats_folding" : "ema_stats_folding");
  Layer merged = graph::make_layer(class_name, layer.name, std::move(attributes));
  merged.inputs = layer.inputs;
  merged.trainable = layer.trainable;
  merged.weights = layer.weights;
  transform::take_in_batch_norm(merged, batch_norm);
  return merged;
}

// A layer whose weights are to be quantized, and a batch normalization of which nobody has said anything else.
bool may_merge(const AnnotatedModel& annotated, const Layer& layer, const Layer& batch_norm) {
  const auto of_layer = annotated.layers.find(layer.name), of_norm = annotated.layers.find(batch_norm.name);
  if (of_layer == annotated.layers.end() || of_norm == annotated.layers.end()) return false;
  if (of_norm->second != nullptr || layer.quantization || batch_norm.quantization) return false;
  return of_layer->second == nullptr || !of_layer->second->quantization(layer).weights.empty();
}

constexpr std::string_view kFoldedSuffix = "Batchnorm";

Layer unfolded(const Layer& layer) {
  const std::string class_name = layer.class_name.substr(1, layer.class_name.size() - 1 - kFoldedSuffix.size());
  auto attributes = transform::attributes_shared_with(layer, class_name.c_str());
  attributes.insert_or_assign("use_bias", true);
  Layer plain = graph::make_layer(class_name, layer.name, std::move(attributes));
  plain.inputs = layer.inputs;
  plain.trainable = layer.trainable;
  plain.quantization = layer.quantization;
  transform::FoldedWeights folded = transform::folded_weights(layer);
  const bool is_depthwise = layer.find_weight("depthwise_kernel") != nullptr;
  plain.weights = {{is_depthwise ? "depthwise_kernel" : "kernel", std::move(folded.kernel)},
                   {"bias", std::move(folded.bias)}};
  // The variables of the quantizers come last.
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    for (const graph::Weight& weight : layer.weights) {
      if (weight.name.starts_with(point.name + "_") && plain.find_weight(weight.name) == nullptr) {
        plain.weights.push_back(weight);
      }
    }
  }
  return plain;
}

}  // namespace

graph::Model unfold_batch_norms(const graph::Model& model) {
  graph::Model result = model;
  for (Layer& layer : result.layers) {
    if (layer.quantization && layer.class_name.ends_with(kFoldedSuffix)) layer = unfolded(layer);
  }
  graph::validate(result);
  return result;
}

std::set<std::string> expand_separable(AnnotatedModel& annotated) {
  std::set<std::string> squeezes;
  const auto shapes = graph::infer_shapes(annotated.model);
  std::vector<Layer> layers;
  for (Layer& layer : annotated.model.layers) {
    const auto found = annotated.layers.find(layer.name);
    if (!transform::is_separable(layer) || found == annotated.layers.end() || found->second != nullptr) {
      layers.push_back(std::move(layer));
      continue;
    }
    transform::SeparatedLayer parts = transform::separate(layer, shapes.at(layer.inputs[0]), shapes.at(layer.name));
    if (parts.has_squeeze) squeezes.insert(layer.name);
    for (Layer& part : parts.layers) {
      annotated.layers[part.name] = nullptr;
      layers.push_back(std::move(part));
    }
  }
  annotated.model.layers = std::move(layers);
  return squeezes;
}

void merge_batch_norms(AnnotatedModel& annotated, BatchNormMode mode) {
  if (mode == BatchNormMode::kFloat) return;
  if (mode == BatchNormMode::kFold) {
    annotated.model = ptq::fold_batch_norms(annotated.model, ptq::FoldDivisor::kStandardDeviation,
                                            [&](const Layer& layer, const Layer& batch_norm) {
                                              return may_merge(annotated, layer, batch_norm);
                                            })
                          .model;
  } else {
    for (const transform::FoldablePair& pair : transform::foldable_pairs(annotated.model)) {
      Layer& layer = annotated.model.layer(pair.layer);
      const Layer& batch_norm = annotated.model.layer(pair.batch_norm);
      if (!may_merge(annotated, layer, batch_norm)) continue;
      layer = merged_layer(layer, batch_norm, mode);
      transform::bypass_layer(annotated.model, pair.batch_norm);
    }
  }
  std::erase_if(annotated.layers,
                [&](const auto& entry) { return annotated.model.find_layer(entry.first) == nullptr; });
}

}  // namespace nibble::qat
