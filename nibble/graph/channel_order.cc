#include "nibble/graph/channel_order.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

bool is_channels_first(const Layer& layer) {
  return layer.has("data_format") && layer.get_string("data_format") == "channels_first";
}

Shape with_channels_last(const Shape& channels_first) {
  std::vector<int64_t> extents = channels_first.extents();
  if (extents.size() >= 2) std::rotate(extents.begin(), extents.begin() + 1, extents.end());
  return Shape(std::move(extents));
}

Shape with_channels_first(const Shape& channels_last) {
  std::vector<int64_t> extents = channels_last.extents();
  if (extents.size() >= 2) std::rotate(extents.begin(), extents.end() - 1, extents.end());
  return Shape(std::move(extents));
}

std::vector<Shape> seen_by(const Layer& layer, const std::vector<Shape>& inputs) {
  if (!is_channels_first(layer)) return inputs;
  std::vector<Shape> shapes;
  for (const Shape& input : inputs) shapes.push_back(with_channels_last(input));
  return shapes;
}

void require_channels_last(const Model& model, std::string_view who) {
  for (const Layer& layer : model.layers) {
    if (!is_channels_first(layer)) continue;
    throw Unsupported(
        "[{}] {} has data_format 'channels_first', which this does not know; training, evaluation and prediction do. "
        "Rebuild the model with 'channels_last': the weights are the same.",
        who, described(layer));
  }
}

}  // namespace nibble::graph
