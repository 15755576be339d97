// nibble/train/layer_function.h
// One layer on its own, in inference: what post-training quantization (transform/ptq) walks a network with.
#pragma once

#include <span>

#include "nibble/graph/model.h"

namespace nibble::train {

//   layer    with its weights; its `inputs` are not looked at
//   inputs   one tensor an input, [n, shape]
//   returns  [n, output shape]
//   throws   Unsupported naming the layer that cannot be computed; InvalidArgument if the inputs do not fit
Tensor layer_function(const graph::Layer& layer, std::span<const Tensor> inputs);

}  // namespace nibble::train
