// nibble/train/golden_layer.h
// For tests: a recorded layer as a network of an input and that layer, and tensors to compare.
#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::train {

// A value of "params" as an attribute: null is None, lists of lists stay JSON.
graph::Attribute golden_attribute(const nlohmann::json& value);

// {"layer", "params", "x"} -> InputLayer and the layer, named "layer". Weights have their initial values.
graph::Model golden_model(const nlohmann::json& row);

// {"kernel": {"shape", "data"}, ...} or [{"name", "value"}, ...] into the last layer.
void set_golden_weights(graph::Model& model, const nlohmann::json& weights);

at::Tensor golden_torch(const nlohmann::json& tensor);

// Within relative 1e-5 and absolute 1e-5, the tolerance of the rows' README for layers.
void expect_golden(const at::Tensor& found, const nlohmann::json& expected, const std::string& what,
                   double tolerance = 1e-5);

}  // namespace nibble::train
