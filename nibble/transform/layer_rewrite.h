// nibble/transform/layer_rewrite.h
// The decision of model_quantize for one layer, as data. Private to transform/.
//
// A plan is made from few facts, so that the same rules serve a graph::Layer, the inner layers
// of a Bidirectional (kept as JSON) and the recorded rows of the reference.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nibble/transform/model_quantize.h"

namespace nibble::transform {

// What the rules look at.
struct LayerFacts {
  std::string name, class_name;
  bool use_bias = true;
  std::string activation;     // function's name; empty where there is none or a quantizer stands
  double negative_slope = 0;  // ReLU and LeakyReLU
  bool folds = false;         // takes in the batch normalization after it, if it is quantized at all
};

struct LayerEdit {
  std::string class_name;
  std::map<std::string, nlohmann::json> set;  // attribute -> text, object or integer; null for None
  std::vector<std::string> erase;
};

// Nothing if the layer stays as it is. A Bidirectional changes its class only; its inner layers
// are planned by plan_inner_layer().
//   throws  InvalidArgument naming the layer
std::optional<LayerEdit> plan_layer(const LayerFacts& layer, const nlohmann::json& config,
                                    const ModelQuantizeOptions& options);

// The same of a layer inside the Bidirectional `outer`, which the entry of that one is for.
std::optional<LayerEdit> plan_inner_layer(const std::string& outer, const LayerFacts& inner,
                                          const nlohmann::json& config, const ModelQuantizeOptions& options);

// Keras' description {"class_name": ..., "config": {...}} of a layer, rewritten in place; inner layers included.
void rewrite_layer_json(nlohmann::json& layer, const nlohmann::json& config, const ModelQuantizeOptions& options);

}  // namespace nibble::transform
