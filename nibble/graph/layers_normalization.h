// nibble/graph/layers_normalization.h
// Weights and attributes of batch normalization, which the folded convolutions carry too.
#pragma once

#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

std::vector<AttributeSpec> batch_normalization_attributes();

// gamma (if scale), beta (if center), moving_mean, moving_variance, each of `size`.
std::vector<WeightSpec> batch_normalization_weights(const Layer& layer, int64_t size);

}  // namespace nibble::graph
