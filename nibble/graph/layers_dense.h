// nibble/graph/layers_dense.h
// What dense layers and their folded forms share.
#pragma once

#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

std::vector<AttributeSpec> dense_attributes(const char* initializer_name);
std::vector<WeightSpec> dense_weights(const Layer& layer, std::span<const Shape> inputs);
Shape dense_shape(const Layer& layer, std::span<const Shape> inputs);

}  // namespace nibble::graph
