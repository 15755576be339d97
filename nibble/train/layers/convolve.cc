#include "nibble/train/layers/convolve.h"

#include <ATen/ATen.h>

#include "nibble/graph/padding.h"

namespace nibble::train::layers {
namespace {

// torch pads from the last axis to the first: {before, after} of the last, then of the one before it ...
std::vector<int64_t> torch_padding(const std::vector<std::pair<int64_t, int64_t>>& edges) {
  std::vector<int64_t> padding;
  for (size_t i = edges.size(); i-- > 0;) padding.insert(padding.end(), {edges[i].first, edges[i].second});
  return padding;
}

at::Tensor padded(const at::Tensor& x, const ConvolutionWindow& w) {
  std::vector<std::pair<int64_t, int64_t>> edges;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const int64_t in = x.size(static_cast<int64_t>(i) + 2);
    const graph::Window window = graph::window(w.padding, in, w.kernel[i], w.strides[i], w.dilation[i]);
    edges.emplace_back(window.before, window.after);
  }
  return at::constant_pad_nd(x, torch_padding(edges), 0.0);
}

// (spatial.., a, b) -> (b, a, spatial..)
at::Tensor torch_kernel(const at::Tensor& kernel) {
  std::vector<int64_t> axes = {kernel.dim() - 1, kernel.dim() - 2};
  for (int64_t axis = 0; axis < kernel.dim() - 2; ++axis) axes.push_back(axis);
  return kernel.permute(axes);
}

std::vector<int64_t> zeros(const ConvolutionWindow& w) { return std::vector<int64_t>(w.kernel.size(), 0); }

}  // namespace

at::Tensor channels_first(const at::Tensor& x) {
  std::vector<int64_t> axes = {0, x.dim() - 1};
  for (int64_t axis = 1; axis < x.dim() - 1; ++axis) axes.push_back(axis);
  return x.permute(axes);
}

at::Tensor channels_last(const at::Tensor& x) {
  std::vector<int64_t> axes = {0};
  for (int64_t axis = 2; axis < x.dim(); ++axis) axes.push_back(axis);
  axes.push_back(1);
  return x.permute(axes).contiguous();
}

at::Tensor convolve(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias, const ConvolutionWindow& w,
                    int64_t groups) {
  const at::Tensor in = padded(channels_first(x), w);
  return channels_last(
      at::convolution(in, torch_kernel(kernel), bias, w.strides, zeros(w), w.dilation, false, zeros(w), groups));
}

at::Tensor convolve_depthwise(const at::Tensor& x, const at::Tensor& kernel, const at::Tensor& bias,
                              const ConvolutionWindow& w) {
  std::vector<int64_t> shape = w.kernel;
  shape.insert(shape.end(), {1, kernel.size(-1) * kernel.size(-2)});
  return convolve(x, kernel.reshape(shape), bias, w, x.size(-1));
}

// The whole transposed convolution has (in - 1) * stride + (kernel - 1) * dilation + 1 elements. "same" cuts off what a
// forward convolution would have padded; where the kernel is shorter than the stride, zeros follow.
at::Tensor convolve_transposed(const at::Tensor& x, const at::Tensor& kernel, const ConvolutionWindow& w,
                               const std::vector<int64_t>& extents, int64_t groups) {
  at::Tensor y = at::convolution(channels_first(x), torch_kernel(kernel), {}, w.strides, zeros(w), w.dilation, true,
                                 zeros(w), groups);
  std::vector<std::pair<int64_t, int64_t>> edges;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const auto axis = static_cast<int64_t>(i) + 2;
    const int64_t surplus = std::max<int64_t>(0, y.size(axis) - extents[i]);
    y = y.slice(axis, w.padding == "same" ? surplus / 2 : 0);
    y = y.slice(axis, 0, std::min(extents[i], y.size(axis)));
    edges.emplace_back(0, extents[i] - y.size(axis));
  }
  return channels_last(at::constant_pad_nd(y, torch_padding(edges), 0.0));
}

}  // namespace nibble::train::layers
