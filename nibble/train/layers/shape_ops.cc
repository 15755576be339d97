// Layers that only move numbers around.
#include <ATen/ATen.h>

#include "nibble/core/error.h"
#include "nibble/train/layers/families.h"

namespace nibble::train::layers {
namespace {

at::Tensor permute(LayerContext& context, std::span<const at::Tensor> inputs) {
  std::vector<int64_t> axes = {0};
  for (const int64_t axis : context.layer().get_ints("dims")) axes.push_back(axis);  // counted with the batch axis
  return inputs[0].permute(axes).contiguous();
}

// cropping is [top, bottom, left, right].
at::Tensor crop_image(LayerContext& context, std::span<const at::Tensor> inputs) {
  const auto& edges = context.layer().get_ints("cropping");
  const at::Tensor& x = inputs[0];
  return x.slice(1, edges[0], x.size(1) - edges[1]).slice(2, edges[2], x.size(2) - edges[3]).contiguous();
}

// padding and cropping are [before, after] of the steps.
at::Tensor pad_sequence(LayerContext& context, std::span<const at::Tensor> inputs) {
  const auto& ends = context.layer().get_ints("padding");
  return at::constant_pad_nd(inputs[0], {0, 0, ends[0], ends[1]});
}

at::Tensor crop_sequence(LayerContext& context, std::span<const at::Tensor> inputs) {
  const auto& ends = context.layer().get_ints("cropping");
  return inputs[0].slice(1, ends[0], inputs[0].size(1) - ends[1]).contiguous();
}

at::Tensor upsample_sequence(LayerContext& context, std::span<const at::Tensor> inputs) {
  return inputs[0].repeat_interleave(context.layer().get_int("size"), 1);
}

// bilinear: Keras' half-pixel centres.
at::Tensor upsample_image(LayerContext& context, std::span<const at::Tensor> inputs) {
  const auto& size = context.layer().get_ints("size");
  const at::Tensor& x = inputs[0];
  if (context.layer().get_string("interpolation") == "nearest") {
    return x.repeat_interleave(size[0], 1).repeat_interleave(size[1], 2);
  }
  const at::Tensor channels_first = x.permute({0, 3, 1, 2}).contiguous();
  const at::Tensor y = at::upsample_bilinear2d(channels_first, {x.size(1) * size[0], x.size(2) * size[1]},
                                               /*align_corners=*/false);
  return y.permute({0, 2, 3, 1}).contiguous();
}

}  // namespace

std::vector<LayerOpRow> shape_ops() {
  return {{"Permute", permute},       {"ZeroPadding1D", pad_sequence},     {"Cropping1D", crop_sequence},
          {"Cropping2D", crop_image}, {"UpSampling1D", upsample_sequence}, {"UpSampling2D", upsample_image}};
}

}  // namespace nibble::train::layers
