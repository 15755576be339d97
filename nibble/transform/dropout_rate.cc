#include "nibble/transform/dropout_rate.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "nibble/core/error.h"

namespace nibble::transform {
namespace {

constexpr std::array<std::string_view, 5> kDropoutLayers = {"Dropout", "SpatialDropout1D", "SpatialDropout2D",
                                                            "GaussianDropout", "AlphaDropout"};

bool drops(const graph::Layer& layer) {
  return std::find(kDropoutLayers.begin(), kDropoutLayers.end(), layer.class_name) != kDropoutLayers.end();
}

}  // namespace

graph::Model with_dropout_rate(graph::Model model, double rate) {
  if (!(rate >= 0 && rate < 1)) {
    throw InvalidArgument("[transform] the dropout rate is {}; it must be at least 0 and below 1.", rate);
  }
  if (std::none_of(model.layers.begin(), model.layers.end(), drops)) {
    throw InvalidArgument(
        "[transform] model '{}' has no layer whose dropout rate could be {}. Leave the rate out, or add Dropout "
        "layers.",
        model.name, rate);
  }
  for (graph::Layer& layer : model.layers) {
    if (drops(layer)) layer.attributes["rate"] = rate;
  }
  return model;
}

}  // namespace nibble::transform
