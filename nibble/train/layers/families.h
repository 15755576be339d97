// nibble/train/layers/families.h
// The layer ops, by family; each lives in the file of its name.
#pragma once

#include <vector>

#include "nibble/train/layer_op.h"

namespace nibble::train::layers {

std::vector<LayerOpRow> activation_ops();
std::vector<LayerOpRow> adaptive_ops();
std::vector<LayerOpRow> convolution_ops();
std::vector<LayerOpRow> folded_ops();
std::vector<LayerOpRow> merge_ops();
std::vector<LayerOpRow> noise_ops();
std::vector<LayerOpRow> pooling_ops();
std::vector<LayerOpRow> recurrent_ops();
std::vector<LayerOpRow> shape_ops();

}  // namespace nibble::train::layers
