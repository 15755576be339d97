// nibble/transform/separable_layers.h
// Separable convolutions as the two layers that they are, so that what lies between can be quantized.
//
//   SeparableConv2D   DepthwiseConv2D "<name>_depthwise" without bias -> Conv2D of 1x1 "<name>"
//   SeparableConv1D   Reshape "<name>_expand" to [1, steps, channels] -> DepthwiseConv2D -> Conv2D "<name>_pointwise"
//                     -> Reshape "<name>"; with padding causal a ZeroPadding2D "<name>_pad" before the DepthwiseConv2D
// The function stays, bit for bit but for the order of sums; weights go along.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

bool is_separable(const graph::Layer& layer);

// False for a sequence with a free number of steps.
//   input  shape of one sample
bool can_separate(const graph::Layer& layer, const Shape& input);

struct SeparatedLayer {
  std::vector<graph::Layer> layers;  // what stands in the place of one, in order; the last has its name
  bool has_squeeze = false;          // the last is a Reshape
};

//   throws  Unsupported where it cannot be separated
SeparatedLayer separate(const graph::Layer& layer, const Shape& input, const Shape& output);

// `model` with all of them separated that can be.
graph::Model with_separated_layers(const graph::Model& model);

// Those attributes of a layer that another class takes too.
std::map<std::string, graph::Attribute> attributes_shared_with(const graph::Layer& layer,
                                                               const std::string& class_name);

}  // namespace nibble::transform
