// Convolutions outside the fast path: one axis, separable, transposed.
#include <ATen/ATen.h>

#include "nibble/train/layers/convolve.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

ConvolutionWindow window_of(const graph::Layer& layer) {
  return {layer.get_ints("kernel_size"), layer.get_ints("strides"), layer.get_ints("dilation_rate"),
          layer.get_string("padding")};
}

at::Tensor with_bias(LayerContext& context, const at::Tensor& y) {
  const at::Tensor bias = context.weight("bias");
  return bias.defined() ? y + bias : y;
}

at::Tensor convolution(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor y = convolve(inputs[0], context.weight("kernel"), context.weight("bias"), window_of(context.layer()),
                                context.layer().get_int("groups"));
  return context.activate(y);
}

// A convolution of each channel, then one of single pixels across the channels; nothing is quantized between.
at::Tensor separable(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor each =
      convolve_depthwise(inputs[0], context.weight("depthwise_kernel"), {}, window_of(context.layer()));
  const at::Tensor pointwise = context.weight("pointwise_kernel");
  const at::Tensor y = at::matmul(each, pointwise.reshape({pointwise.size(-2), pointwise.size(-1)}));
  return context.activate(with_bias(context, y));
}

// Its activation is a step of its own (lower.cc).
at::Tensor transposed(LayerContext& context, std::span<const at::Tensor> inputs) {
  const Shape& out = context.output_shape();
  const at::Tensor kernel = context.weight("kernel");  // (kh, kw, out, in)
  const auto sum = [&](const at::Tensor& x, const at::Tensor& k) {
    return convolve_transposed(x, k, window_of(context.layer()), {out[0], out[1]});
  };
  if (const auto grid = context.sum_grid("kernel")) {
    return exact_sum(inputs[0], kernel.transpose(-1, -2).contiguous(), *grid,
                     [&](const at::Tensor& x, const at::Tensor& k) { return sum(x, k.transpose(-1, -2)); });
  }
  const at::Tensor y = sum(inputs[0], kernel), bias = context.bias("kernel");
  return bias.defined() ? y + bias : y;
}

// Groups of group_size channels, each transposed by itself. The reference makes a bias and never applies it; here it
// is.
at::Tensor depthwise_transposed(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor kernel = context.weight("depthwise_kernel");  // (kh, kw, groups * out, in)
  const int64_t size = context.layer().get_int("group_size"), groups = kernel.size(2) / size;
  const at::Tensor grouped = kernel.reshape({kernel.size(0), kernel.size(1), groups, size, size})
                                 .permute({0, 1, 3, 2, 4})
                                 .reshape({kernel.size(0), kernel.size(1), size, groups * size});
  const Shape& out = context.output_shape();
  const at::Tensor y = convolve_transposed(inputs[0], grouped, window_of(context.layer()), {out[0], out[1]}, groups);
  return context.activate(with_bias(context, y), "depthwise_activation");
}

// A transposed convolution of each channel, its activation, then one of single pixels across the channels.
at::Tensor separable_transposed(LayerContext& context, std::span<const at::Tensor> inputs) {
  const Shape& out = context.output_shape();
  const at::Tensor each = convolve_transposed(inputs[0], context.weight("depthwise_kernel"), window_of(context.layer()),
                                              {out[0], out[1]}, inputs[0].size(-1));
  const at::Tensor pointwise = context.weight("pointwise_kernel").flatten(0, 2);  // (co, ci)
  const at::Tensor y = at::matmul(context.activate(each, "depthwise_activation"), pointwise.transpose(0, 1));
  return context.activate(with_bias(context, y), "pointwise_activation", /*draw=*/1);
}

// QScaleShift: one number times x, plus one number.
at::Tensor scale_shift(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor bias = context.weight("bias");
  const at::Tensor y = inputs[0] * context.weight("weight").reshape({});
  return context.activate(bias.defined() ? y + bias.reshape({}) : y);
}

}  // namespace

std::vector<LayerOpRow> convolution_ops() {
  return {{"Conv1D", convolution},
          {"QConv1D", convolution},
          {"SeparableConv1D", separable},
          {"QSeparableConv1D", separable},
          {"SeparableConv2D", separable},
          {"QSeparableConv2D", separable},
          {"Conv2DTranspose", transposed},
          {"QConv2DTranspose", transposed},
          {"QScaleShift", scale_shift},
          {"QDepthwiseConv2DTranspose", depthwise_transposed},
          {"QSeparableConv2DTranspose", separable_transposed}};
}

}  // namespace nibble::train::layers
