// nibble/transform/batch_norm_folding.h
// The arithmetic that merges a batch normalization into the weights before it.
//
//   inv = gamma / sqrt(variance + epsilon)
//   kernel' = inv * kernel        bias' = inv * (bias - mean) + beta
// Source: spec/qkeras.md sections 4 (QConv2DBatchnorm) and 5 (bn fusing); float32 throughout.
#pragma once

#include "nibble/graph/model.h"

namespace nibble::transform {

struct FoldedWeights {
  Tensor kernel;  // shape of the layer's kernel
  Tensor bias;    // [channels]
};

// Of a QConv2DBatchnorm or QDepthwiseConv2DBatchnorm, with its moving statistics, not quantized.
// A layer without gamma counts it as 1; without beta or bias as 0.
//   throws  InvalidArgument if a weight is missing or shapes do not fit
FoldedWeights folded_weights(const graph::Layer& layer);

struct FusedBatchNorm {
  Tensor inverse;  // [channels], quantized by the inverse quantizer if there is one
  Tensor bias;     // [channels]: inverse * bias + beta' - inverse * mean'
};

// What a QBatchNormalization adds to the layer before it, from its unquantized weights.
//   bias   the quantized bias of the layer before; empty tensor (rank 0) counts as 0
FusedBatchNorm fused_batch_norm(const graph::Layer& batch_norm, const Tensor& bias);

}  // namespace nibble::transform
