// nibble/transform/weight_roles.h
// Which quantizer of a layer class is meant for which of its weights.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

struct WeightRole {
  std::string_view quantizer;  // attribute of the layer: "kernel_quantizer"
  std::string_view weight;     // name of the weight; "" for a quantizer of something else (states, inverse)
  // The layer turns this quantizer's alpha None into "auto_po2" (Quantizer::as_weight_quantizer).
  bool takes_hook = false;
};

// In the order of QKeras' get_quantizers(); empty for classes without quantized weights.
// Source: spec/qkeras.md section 4.
std::span<const WeightRole> weight_roles(std::string_view class_name);

// The quantizer that the layer really applies to the role's weight; null if there is none.
quant::QuantizerPtr effective_quantizer(const graph::Layer& layer, const WeightRole& role);

// ---- of a layer and of the layers inside it (Bidirectional, RNN) -----------------------------

// True where the class of the layer, or of the one inside it, has quantizers for weights.
bool has_weight_quantizers(const graph::Layer& layer);

// What is really applied to a weight of the layer, such as "kernel" or "forward_kernel"; null if nothing is.
quant::QuantizerPtr weight_quantizer(const graph::Layer& layer, const std::string& weight);

// In the order of QKeras' get_quantizers(): of a Bidirectional the forward layer's, then the backward one's. Null
// where one is None.
std::vector<quant::QuantizerPtr> ordered_quantizers(const graph::Layer& layer);

}  // namespace nibble::transform
