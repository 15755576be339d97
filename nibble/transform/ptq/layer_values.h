// nibble/transform/ptq/layer_values.h
// What the calibration samples are at each layer, in the float network and in the one quantized so far.
// Private to transform/ptq.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::ptq {

struct LayerValues {
  Tensor real, quantized;
  // Real step between the codes of `quantized`; nothing where it is not on a grid.
  std::optional<float> scale;
};

// Keeps the values of a layer until its last reader has seen them.
class ValueStore {
 public:
  explicit ValueStore(const graph::Model& model) {
    for (const graph::Layer& layer : model.layers) {
      for (const std::string& input : layer.inputs) ++readers_left_[input];
    }
  }

  const LayerValues& of(const std::string& layer) const { return values_.at(layer); }
  void keep(const std::string& layer, LayerValues values) {
    if (readers_left_[layer] > 0) values_.insert_or_assign(layer, std::move(values));
  }
  void release_inputs(const graph::Layer& layer) {
    for (const std::string& input : layer.inputs) {
      if (--readers_left_.at(input) == 0) values_.erase(input);
    }
  }

 private:
  std::map<std::string, LayerValues> values_;
  std::map<std::string, int> readers_left_;
};

}  // namespace nibble::ptq
