// Pools outside the fast path: one axis, whole extents, QKeras' averages.
#include <ATen/ATen.h>

#include <limits>
#include <numeric>

#include "nibble/graph/padding.h"
#include "nibble/train/layers/convolve.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

// A pool's windows on [N, C, height, width]; one axis counts as height 1.
struct Pool {
  std::vector<int64_t> size, strides, padding;  // padding in torch's order
};

Pool pool_of(const graph::Layer& layer, const at::Tensor& nchw) {
  Pool pool{layer.get_ints("pool_size"), layer.get_ints("strides"), {}};
  if (pool.size.size() == 1) {
    pool.size.insert(pool.size.begin(), 1);
    pool.strides.insert(pool.strides.begin(), 1);
  }
  for (const size_t i : {size_t{1}, size_t{0}}) {
    const graph::Window w = graph::window(layer.get_string("padding"), nchw.size(static_cast<int64_t>(i) + 2),
                                          pool.size[i], pool.strides[i]);
    pool.padding.insert(pool.padding.end(), {w.before, w.after});
  }
  return pool;
}

// [N, C, 1, T] or [N, C, H, W]
at::Tensor as_image(const at::Tensor& x) {
  const at::Tensor first = channels_first(x);
  return x.dim() == 3 ? first.unsqueeze(2) : first;
}

at::Tensor from_image(const at::Tensor& nchw, int64_t rank) {
  return channels_last(rank == 3 ? nchw.squeeze(2) : nchw);
}

at::Tensor max_pool(LayerContext& context, std::span<const at::Tensor> inputs) {
  const at::Tensor nchw = as_image(inputs[0]);
  const Pool pool = pool_of(context.layer(), nchw);
  const at::Tensor padded = at::constant_pad_nd(nchw, pool.padding, -std::numeric_limits<double>::infinity());
  return from_image(at::max_pool2d(padded, pool.size, pool.strides), inputs[0].dim());
}

// Windows that overlap the border average over the cells inside only.
at::Tensor averaged(const graph::Layer& layer, const at::Tensor& x) {
  const at::Tensor nchw = as_image(x);
  const Pool pool = pool_of(layer, nchw);
  const auto sum = [&](const at::Tensor& t) {
    return at::avg_pool2d(at::constant_pad_nd(t, pool.padding, 0.0), pool.size, pool.strides, {0, 0},
                          /*ceil_mode=*/false, /*count_include_pad=*/true, /*divisor_override=*/1);
  };
  const at::Tensor inside = sum(at::ones({1, 1, nchw.size(2), nchw.size(3)}, at::kFloat));
  return from_image(sum(nchw) / inside, x.dim());
}

at::Tensor average_pool(LayerContext& context, std::span<const at::Tensor> inputs) {
  return averaged(context.layer(), inputs[0]);
}

// 1 / area through the quantizer, a number.
at::Tensor quantized_reciprocal(LayerContext& context, double area) {
  return context.quantize(at::full({}, 1.0f / static_cast<float>(area), at::kFloat), "average_quantizer");
}

// With a quantizer: average(x * area) * Q(1 / area), so a window at the border is not quite its mean.
at::Tensor quantized_average_pool(LayerContext& context, std::span<const at::Tensor> inputs) {
  const graph::Layer& layer = context.layer();
  if (!layer.has("average_quantizer")) return context.activate(averaged(layer, inputs[0]));
  double area = 1;
  for (const int64_t extent : layer.get_ints("pool_size")) area *= static_cast<double>(extent);
  return context.activate(averaged(layer, inputs[0] * area) * quantized_reciprocal(context, area));
}

std::vector<int64_t> spatial_axes(const at::Tensor& x) {
  std::vector<int64_t> axes(static_cast<size_t>(x.dim() - 2));
  std::iota(axes.begin(), axes.end(), 1);
  return axes;
}

at::Tensor global_max(LayerContext& context, std::span<const at::Tensor> inputs) {
  return inputs[0].amax(spatial_axes(inputs[0]), context.layer().get_bool("keepdims"));
}

at::Tensor global_average(LayerContext& context, std::span<const at::Tensor> inputs) {
  return inputs[0].mean(spatial_axes(inputs[0]), context.layer().get_bool("keepdims"));
}

// With a quantizer: sum(x) * Q(1 / (height * width)).
at::Tensor quantized_global_average(LayerContext& context, std::span<const at::Tensor> inputs) {
  const graph::Layer& layer = context.layer();
  const at::Tensor& x = inputs[0];
  const bool keeps = layer.get_bool("keepdims");
  if (!layer.has("average_quantizer")) return context.activate(x.mean(spatial_axes(x), keeps));
  const auto area = static_cast<double>(x.size(1) * x.size(2));
  return context.activate(x.sum(spatial_axes(x), keeps) * quantized_reciprocal(context, area));
}

}  // namespace

std::vector<LayerOpRow> pooling_ops() {
  return {{"MaxPooling1D", max_pool},
          {"AveragePooling1D", average_pool},
          {"QAveragePooling2D", quantized_average_pool},
          {"GlobalMaxPooling1D", global_max},
          {"GlobalMaxPooling2D", global_max},
          {"GlobalAveragePooling1D", global_average},
          {"QGlobalAveragePooling2D", quantized_global_average}};
}

}  // namespace nibble::train::layers
