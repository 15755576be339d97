// nibble/train/layers/convolve.h
// Convolutions in any number of spatial axes out of torch's, on values with the channels last and kernels in
// Keras' layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace nibble::train::layers {

struct ConvolutionWindow {
  std::vector<int64_t> kernel, strides, dilation;  // one a spatial axis
  std::string padding;                             // "valid", "same", "causal"
};

// [N, s1.., C] <-> [N, C, s1..]
at::Tensor channels_first(const at::Tensor& x);
at::Tensor channels_last(const at::Tensor& x);

//   kernel  (spatial.., in / groups, out)
//   bias    [out] or undefined
at::Tensor convolve(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                    const ConvolutionWindow& window, int64_t groups = 1);

//   kernel  (spatial.., in, multiplier): channel i gives channels i * multiplier ..
at::Tensor convolve_depthwise(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                              const ConvolutionWindow& window);

// The gradient of a convolution with respect to its input, as TensorFlow's conv2d_transpose.
//   kernel  (spatial.., out / groups, in)
//   extents spatial extents of the result
at::Tensor convolve_transposed(const at::Tensor& x, const at::Tensor& kernel, const ConvolutionWindow& window,
                               const std::vector<int64_t>& extents, int64_t groups = 1);

}  // namespace nibble::train::layers
