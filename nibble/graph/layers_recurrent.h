// nibble/graph/layers_recurrent.h
// A layer that holds another one.
#pragma once

#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

// The layer inside a Bidirectional, as a layer of its own without weights. Without a backward_layer of its own that is
// the forward one, turned round.
//   attribute  "layer" or "backward_layer"
//   throws     InvalidArgument or Unsupported as reading a configuration does
Layer inner_layer(const Layer& layer, const std::string& attribute);

// The attribute for a layer inside another one: its configuration as Keras writes it, without weights.
Attribute as_inner_layer(const Layer& layer);

}  // namespace nibble::graph
