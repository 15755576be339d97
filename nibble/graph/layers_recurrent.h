// nibble/graph/layers_recurrent.h
// Layers that hold others: Bidirectional two of them, RNN a cell.
#pragma once

#include <optional>

#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

// The SimpleRNN, LSTM or GRU (or its quantized form) inside another layer, as a layer of its own without weights. The
// backward layer of a Bidirectional that has none is the forward one, turned round; the cell of an RNN is the layer
// that runs it, as the RNN does.
//   attribute  "layer" or "backward_layer" of a Bidirectional, "cell" of an RNN
//   throws     InvalidArgument or Unsupported as reading a configuration does
Layer inner_layer(const Layer& layer, const std::string& attribute);

// A weight of a layer inside another one.
struct InnerWeight {
  Layer layer;       // the one inside
  std::string name;  // there: "kernel" for a Bidirectional's "forward_kernel"
};
// Nothing where the weight is the layer's own.
std::optional<InnerWeight> inner_weight(const Layer& layer, const std::string& weight);

// The attribute for a layer inside another one: its configuration as Keras writes it, without weights.
Attribute as_inner_layer(const Layer& layer);
// The same for the cell of an RNN: of QLSTM, the QLSTMCell.
Attribute as_cell(const Layer& layer);

}  // namespace nibble::graph
