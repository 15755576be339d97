// nibble/transform/ptq/quantized_forward.h
// A network with calibrated affine quantizers, layer by layer: weights through their stored ranges, then the layer as
// a float network computes it, then its activation points; an Add of codes sums whole numbers. Slow, and without torch:
// the definition that the fake quantization of train/ is tested against.
#pragma once

#include "nibble/transform/ptq/post_training.h"

namespace nibble::ptq {

// The layer without its quantization and the variables of it.
graph::Layer without_quantization(const graph::Layer& layer);

// The model's output for x, [n, shape of its input].
//   compute  of single layers without quantization
//   throws   InvalidArgument if a range was never calibrated; Unsupported for quantizers that keep no range (LSQ, PACT)
Tensor quantized_output(const graph::Model& model, const Tensor& x, const LayerFunction& compute);

}  // namespace nibble::ptq
