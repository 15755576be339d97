// nibble/train/layers/random_masks.h
// Random tensors from Philox, for layers whose draws are no hot path.
#pragma once

#include <ATen/core/Tensor.h>

#include "nibble/core/philox.h"

namespace nibble::train::layers {

// Standard normal numbers of x's shape.
at::Tensor normal_like(const at::Tensor& x, const RandomKey& key);

// 1 with probability 1 - rate, else 0.
at::Tensor keep_mask(at::IntArrayRef shape, double rate, const RandomKey& key);

}  // namespace nibble::train::layers
