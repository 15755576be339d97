// Layers that disturb their input in training and pass it on otherwise.
#include <ATen/ATen.h>

#include <cmath>

#include "nibble/train/layers/families.h"
#include "nibble/train/layers/random_masks.h"

namespace nibble::train::layers {
namespace {

at::Tensor gaussian_noise(LayerContext& context, std::span<const at::Tensor> inputs) {
  if (!context.is_training()) return inputs[0];
  return inputs[0] +
         normal_like(inputs[0], context.random_key(RandomPurpose::kDropout)) * context.layer().get_float("stddev");
}

// Multiplies by 1 + noise of the variance that dropout has.
at::Tensor gaussian_dropout(LayerContext& context, std::span<const at::Tensor> inputs) {
  const double rate = context.layer().get_float("rate");
  if (!context.is_training() || rate == 0.0) return inputs[0];
  const at::Tensor noise = normal_like(inputs[0], context.random_key(RandomPurpose::kDropout));
  return inputs[0] * (1.0 + noise * std::sqrt(rate / (1.0 - rate)));
}

// Whole channels are dropped.
at::Tensor spatial_dropout(LayerContext& context, std::span<const at::Tensor> inputs) {
  const double rate = context.layer().get_float("rate");
  if (!context.is_training() || rate == 0.0) return inputs[0];
  std::vector<int64_t> shape = inputs[0].sizes().vec();
  for (size_t axis = 1; axis + 1 < shape.size(); ++axis) shape[axis] = 1;
  return inputs[0] * keep_mask(shape, rate, context.random_key(RandomPurpose::kDropout)) / (1.0 - rate);
}

// Dropped values become SELU's lowest, then mean and variance are put right.
//   G. Klambauer et al., "Self-Normalizing Neural Networks", NIPS 2017
at::Tensor alpha_dropout(LayerContext& context, std::span<const at::Tensor> inputs) {
  const double rate = context.layer().get_float("rate");
  if (!context.is_training() || rate == 0.0) return inputs[0];
  constexpr double kLowest = -1.6732632423543772 * 1.0507009873554805;
  const double a = 1.0 / std::sqrt((1.0 - rate) * (1.0 + rate * kLowest * kLowest));
  const at::Tensor mask = keep_mask(inputs[0].sizes(), rate, context.random_key(RandomPurpose::kDropout));
  return (inputs[0] * mask + (1.0 - mask) * kLowest) * a - a * kLowest * rate;
}

}  // namespace

std::vector<LayerOpRow> noise_ops() {
  return {{"GaussianNoise", gaussian_noise},
          {"GaussianDropout", gaussian_dropout},
          {"SpatialDropout1D", spatial_dropout},
          {"SpatialDropout2D", spatial_dropout},
          {"AlphaDropout", alpha_dropout}};
}

}  // namespace nibble::train::layers
