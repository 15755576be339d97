// nibble/train/plain_ops.h
// Steps as plain torch operations: the general path, and the reference that the fused functions are
// tested against. Activations are [N, H, W, C]; only inside are they seen as torch's [N, C, H, W].
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "nibble/core/philox.h"
#include "nibble/train/plan.h"

namespace nibble::train {

//   kernel  Keras' layout
//   bias    [out] or undefined
at::Tensor plain_convolution(const at::Tensor& x, const ConvolutionGeometry& geometry, const at::Tensor& kernel,
                             const at::Tensor& bias);

// Sums over windows, [N, H, W, C]; what lies outside is 0.
at::Tensor window_sums(const at::Tensor& x, const Window& window);
// How many cells of each window lie inside [rows, columns]: [1, H, W, 1].
at::Tensor cells_inside(const Window& window, int64_t rows, int64_t columns);

// The same elements are dropped as by the fused function with this key and first unit.
at::Tensor plain_dropout(const at::Tensor& x, float rate, const RandomKey& key, int64_t first_unit = 0);

//   throws  Unsupported naming layer and function if it is not known
at::Tensor plain_activation(const at::Tensor& x, const Activation& activation, const std::string& layer);

// Pools, reshapes, pads and merges.
at::Tensor plain_step(const Step& step, const std::vector<at::Tensor>& inputs);

}  // namespace nibble::train
