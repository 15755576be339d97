// nibble/transform/ptq/plain_layers.h
// A few layers as plain loops, so that the tests of this folder need no torch.
#pragma once

#include <span>

#include "nibble/graph/model.h"

namespace nibble::ptq {

// Conv1D, Conv2D, DepthwiseConv2D, Conv2DTranspose with padding valid, Dense (activations linear, relu, softmax),
// Activation, MaxPooling2D of 2, Flatten, BatchNormalization, Add.
Tensor plain_layer(const graph::Layer& layer, std::span<const Tensor> inputs);

// The whole model's output, and of every layer.
std::map<std::string, Tensor> plain_values(const graph::Model& model, const Tensor& x);
Tensor plain_output(const graph::Model& model, const Tensor& x);

// Normal numbers.
Tensor random_samples(Shape shape, uint64_t seed);

}  // namespace nibble::ptq
