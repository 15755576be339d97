#include "nibble/train/layer_runtime.h"

#include <ATen/ATen.h>

namespace nibble::train {

void LayerRuntime::add_weight(std::string name, at::Tensor value, quant::QuantizerPtr quantizer) {
  LayerWeight weight{std::move(name), std::move(value), nullptr, nullptr, static_cast<uint32_t>(weights.size()), {}};
  weight.set_quantizer(std::move(quantizer));
  weights.push_back(std::move(weight));
}

void LayerWeight::set_quantizer(quant::QuantizerPtr given) {
  quantizer = std::move(given);
  fast = quantizer == nullptr ? nullptr : std::make_shared<kernels::WeightQuantizer>(quantizer);
}

LayerWeight* LayerRuntime::find(std::string_view name) {
  for (LayerWeight& weight : weights) {
    if (weight.name == name) return &weight;
  }
  return nullptr;
}

void CollectedStatistics::add(const at::Tensor& mean, const at::Tensor& variance) {
  mean_sum = batches == 0 ? mean.clone() : mean_sum + mean;
  variance_sum = batches == 0 ? variance.clone() : variance_sum + variance;
  ++batches;
}

at::Tensor CollectedStatistics::mean() const { return mean_sum / batches; }
at::Tensor CollectedStatistics::variance() const { return variance_sum / batches; }

BatchStatistics statistics_of(const ChannelSums& sums, double count) {
  const at::Tensor mean = sums.sum / count;
  return {mean, (sums.sum_of_squares / count - mean * mean).clamp_min(0.0)};
}

BatchNormCoefficients batch_norm_coefficients(LayerRuntime& layer, const BatchStatistics& statistics, double epsilon,
                                              const quant::QuantizerPtr& inverse_quantizer,
                                              const std::function<quant::QuantizeOptions(uint32_t role)>& options) {
  const auto quantized = [&](const char* weight, const at::Tensor& value) {
    const LayerWeight* found = layer.find(weight);
    if (found == nullptr || found->quantizer == nullptr) return value;
    return quantize(value.to(at::kFloat), found->quantizer, options(found->role)).to(at::kDouble);
  };
  const LayerWeight* gamma = layer.find("gamma");
  const LayerWeight* beta = layer.find("beta");
  at::Tensor inverse = (quantized("moving_variance", statistics.variance) + epsilon).rsqrt();
  if (gamma != nullptr) inverse = inverse * quantized("gamma", gamma->value.to(at::kDouble));
  if (inverse_quantizer != nullptr) {
    inverse = quantize(inverse.to(at::kFloat), inverse_quantizer, options(kInverseRole)).to(at::kDouble);
  }
  at::Tensor offset = -quantized("moving_mean", statistics.mean) * inverse;
  if (beta != nullptr) offset = offset + quantized("beta", beta->value.to(at::kDouble));
  return {inverse, offset};
}

}  // namespace nibble::train
