// nibble/transform/quantizer_config.h
// The dictionary of quantizers that model_quantize is given: its keys, and how a layer
// finds its entry. Private to transform/.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

// What decides whether a layer is converted, and which keys its entry may hold.
enum class Family {
  kKernel,
  kDepthwise,
  kSeparable,
  kRecurrent,
  kBidirectional,
  kActivation,
  kRelu,
  kBatchNormalization,
  kPooling,
  kFoldedKernel,     // QConv2DBatchnorm
  kFoldedDepthwise,  // QDepthwiseConv2DBatchnorm
};

struct Conversion {
  std::string_view from;
  std::string_view to;
  Family family;
};

// Null for a class that model_quantize leaves alone.
const Conversion* find_conversion(std::string_view class_name);

// The entry of `name`, else of `q_class`; null where neither exists or is JSON null.
const nlohmann::json* find_entry(const nlohmann::json& config, const std::string& name, std::string_view q_class);

// entry[key]; null where it is absent or JSON null.
//   throws  InvalidArgument if the entry is not an object
const nlohmann::json* find_value(const nlohmann::json& entry, std::string_view key, const std::string& layer);

// Refuses entries that no layer of the model could use.
//   folding  convolutions may take in their batch normalizations, so their entries may say how
//   throws  InvalidArgument with the nearest known names
void check_config(const nlohmann::json& config, std::span<const graph::Layer> layers, bool folding);

}  // namespace nibble::transform
