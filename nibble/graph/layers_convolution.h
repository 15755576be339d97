// nibble/graph/layers_convolution.h
// What the plain and the batch-norm-folded convolutions have in common.
#pragma once

#include "nibble/graph/layer_schema.h"

namespace nibble::graph {

// Attributes of Conv{rank}D up to the quantizers.
std::vector<AttributeSpec> convolution_attributes(int rank, const char* initializer_name);
std::vector<AttributeSpec> depthwise_attributes(int rank, const char* initializer_name, const char* padding);

// Conv2DTranspose's, with output_padding.
std::vector<AttributeSpec> transposed_attributes(const char* initializer_name);

// kernel (k..., ci/groups, co) and depthwise_kernel (k..., ci, m), each with its bias.
std::vector<WeightSpec> convolution_weights(const Layer& layer, std::span<const Shape> inputs);
std::vector<WeightSpec> depthwise_weights(const Layer& layer, std::span<const Shape> inputs);
Shape convolution_shape(const Layer& layer, std::span<const Shape> inputs);
Shape depthwise_shape(const Layer& layer, std::span<const Shape> inputs);

Shape transposed_shape(const Layer& layer, std::span<const Shape> inputs);

// Channels of the input of a convolution.
//   throws  InvalidArgument unless it has as many spatial axes as the kernel and a fixed number of channels
int64_t convolved_channels(const Layer& layer, const Shape& input);

// Refuses strides together with dilation, as Keras does.
void check_strides(Layer& layer);

}  // namespace nibble::graph
