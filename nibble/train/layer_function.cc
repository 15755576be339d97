#include "nibble/train/layer_function.h"

#include <fmt/format.h>

#include "nibble/train/trainer.h"

namespace nibble::train {

Tensor layer_function(const graph::Layer& layer, std::span<const Tensor> inputs) {
  graph::Model model;
  graph::Layer alone = layer;
  alone.inputs.clear();
  for (const Tensor& input : inputs) {
    const auto& extents = input.shape().extents();
    std::vector<int64_t> shape(extents.begin() + 1, extents.end());
    const std::string name = fmt::format("{} input {}", layer.name, model.inputs.size());
    model.layers.push_back(graph::make_layer("InputLayer", name, {{"shape", std::move(shape)}}));
    model.inputs.push_back(name);
    alone.inputs.push_back(name);
  }
  model.outputs = {alone.name};
  model.layers.push_back(std::move(alone));
  return std::move(Trainer(std::move(model), {}).predict(inputs).at(0));
}

}  // namespace nibble::train
