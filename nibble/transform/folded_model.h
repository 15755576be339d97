// nibble/transform/folded_model.h
// Convolutions that take in the batch normalization after them, and the way back.
//
//   Conv2D -> BatchNormalization     model_quantize with enable_bn_folding     QConv2DBatchnorm
//   QConv2DBatchnorm                 unfold_model                              QConv2D with a bias
// Source: spec/qkeras.md sections 4 (folding) and 5 (convert_to_folded_model).
#pragma once

#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

struct FoldablePair {
  std::string layer;       // a Conv2D or DepthwiseConv2D
  std::string batch_norm;  // its only reader
};

// In the model's order. A pair is left out where folding would change the function: the layer has an activation of
// its own, is an output of the model, or the batch normalization works on another axis than the channels.
std::vector<FoldablePair> foldable_pairs(const graph::Model& model);

struct FoldedModel {
  graph::Model model;               // without the batch normalizations of the pairs; weights of the others are kept
  std::vector<std::string> folded;  // the layers that lost theirs
};
FoldedModel convert_to_folded_model(const graph::Model& model);

// `model` without one layer of a single input: what read it reads that input instead.
void bypass_layer(graph::Model& model, const std::string& name);

// Gives `folded`, a Q...Batchnorm layer that holds the weights of a plain convolution or none, the attributes and
// weights of `batch_norm`; a missing bias starts at 0. Without weights on either side it has none.
void take_in_batch_norm(graph::Layer& folded, const graph::Layer& batch_norm);

// Q...Batchnorm layers become QConv2D, QDepthwiseConv2D and QDense with a bias. They hold the folded weights, from the
// moving statistics, not quantized; other layers are copied.
//   throws  InvalidArgument if such a layer lacks a weight that others of its weights need
graph::Model unfold_model(const graph::Model& model);

}  // namespace nibble::transform
