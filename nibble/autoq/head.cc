#include "nibble/autoq/head.h"

#include <algorithm>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"

namespace nibble::autoq {

graph::Model keep_head(graph::Model model, const std::string& head) {
  if (std::find(model.outputs.begin(), model.outputs.end(), head) == model.outputs.end()) {
    throw InvalidArgument("[run_config] head_name '{}' is no output of model '{}'. {}", head, model.name,
                          suggest(head, model.outputs));
  }
  model.outputs = {head};
  // Layers stand after those that feed them, so one pass from the end finds all that are needed.
  std::set<std::string> needed = {head};
  for (auto layer = model.layers.rbegin(); layer != model.layers.rend(); ++layer) {
    if (needed.contains(layer->name)) needed.insert(layer->inputs.begin(), layer->inputs.end());
  }
  std::erase_if(model.layers, [&](const graph::Layer& layer) { return !needed.contains(layer.name); });
  std::erase_if(model.inputs, [&](const std::string& name) { return !needed.contains(name); });
  return model;
}

}  // namespace nibble::autoq
