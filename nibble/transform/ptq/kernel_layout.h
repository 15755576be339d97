// nibble/transform/ptq/kernel_layout.h
// The layers that post-training quantization works on, seen as matrix products.
//
// Conv1D, Conv2D (groups too), DepthwiseConv2D and Dense all are
//
//   y[o] = sum over k of patch[group of o][k] * kernel[k][o] + bias[o]
//
// with one row of patches for each position of the output. In every one of them the kernel is a row-major matrix of
// fan_in rows and output_channels columns; the groups are equal runs of columns.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/quant/affine/channel_layout.h"

namespace nibble::ptq {

// One of the classes above, with its channels last.
bool has_plain_kernel(const graph::Layer& layer);

// Those and Conv2DTranspose, whose kernel (h, w, out, in) is no such matrix: what asks for patches does not know it.
bool has_kernel(const graph::Layer& layer);

//   throws  InvalidArgument if the layer has no weights yet
Tensor& kernel_of(graph::Layer& layer);
const Tensor& kernel_of(const graph::Layer& layer);
int64_t output_channels(const graph::Layer& layer);

// Which weights share a scale: all, or those of one output channel.
affine::ChannelLayout scale_layout(const graph::Layer& layer, bool per_axis);

// Weights by the channel of the layer's input. `channels` of the layer's input as another layer made them: a Dense
// behind a Flatten reads each of them several times over.
//   throws  InvalidArgument if the kernel does not consist of them
affine::ChannelLayout input_layout(const graph::Layer& layer, int64_t channels);

struct KernelMatrix {
  int64_t groups = 1, fan_in = 0, outputs = 0;  // outputs of all groups

  int64_t outputs_per_group() const { return outputs / groups; }
  int64_t row_length() const { return groups * fan_in; }  // of one row of patches: [group][k]
};
//   input  shape of one sample
KernelMatrix kernel_matrix(const graph::Layer& layer, const Shape& input);

// Rows of patches: what single positions of the output are computed from.
struct Patches {
  KernelMatrix matrix;
  int64_t rows = 0;
  std::vector<float> values;  // [rows][group][k]
};

// How many positions the output has for x.
int64_t patch_count(const graph::Layer& layer, const Tensor& x);

//   x          [n, input shape]
//   positions  of the output, in row-major order over (n, height, width); each below patch_count()
Patches patches_at(const graph::Layer& layer, const Tensor& x, std::span<const int64_t> positions);

// All positions 0 .. count - 1, or `limit` of them drawn at random, in order: every k-th would see few columns only.
std::vector<int64_t> sampled_positions(int64_t count, int64_t limit, uint64_t seed);

// y[rows][outputs] of a kernel of that layout, and the bias (or none) added.
std::vector<float> multiply(const Patches& patches, std::span<const float> kernel, std::span<const float> bias);

}  // namespace nibble::ptq
