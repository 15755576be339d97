// nibble/graph/channel_order.h
// Keras' data_format "channels_first": what a layer reads and gives has its channels before the other axes. Its weights
// have the same layout as with "channels_last".
#pragma once

#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::graph {

bool is_channels_first(const Layer& layer);

// (C, rest...) <-> (rest..., C); fewer than two axes stay as they are.
Shape with_channels_last(const Shape& channels_first);
Shape with_channels_first(const Shape& channels_last);

// The shapes as a layer of "channels_last" would see them.
std::vector<Shape> seen_by(const Layer& layer, const std::vector<Shape>& inputs);

// For what knows channels_last alone.
//   throws  Unsupported naming `who` and the layer
void require_channels_last(const Model& model, std::string_view who);

}  // namespace nibble::graph
