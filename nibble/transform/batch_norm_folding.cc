#include "nibble/transform/batch_norm_folding.h"

#include <cmath>

#include "nibble/core/error.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::transform {
namespace {

const Tensor& required(const graph::Layer& layer, std::string_view name) {
  const graph::Weight* weight = layer.find_weight(name);
  if (weight == nullptr) {
    throw InvalidArgument("[fold] layer '{}' ({}) has no weight '{}'. Train the model or load its weights first.",
                          layer.name, layer.class_name, name);
  }
  return weight->value;
}

Tensor or_constant(const graph::Layer& layer, std::string_view name, int64_t channels, float constant) {
  const graph::Weight* weight = layer.find_weight(name);
  if (weight == nullptr) return Tensor(Shape{channels}, constant);
  if (weight->value.size() != channels) {
    throw InvalidArgument("[fold] layer '{}': '{}' has shape {}, but there are {} channels.", layer.name, name,
                          weight->value.shape().str(), channels);
  }
  return weight->value;
}

float epsilon_of(const graph::Layer& layer) {
  return layer.attributes.contains("epsilon") ? static_cast<float>(layer.get_float("epsilon")) : 1e-3f;
}

Tensor quantized(const graph::Layer& layer, std::string_view attribute, const Tensor& value) {
  for (const WeightRole& role : weight_roles(layer.class_name)) {
    if (role.quantizer != attribute) continue;
    const auto quantizer = effective_quantizer(layer, role);
    return quantizer == nullptr ? value : quantizer->quantize(value).real;
  }
  return value;
}

}  // namespace

FoldedWeights folded_weights(const graph::Layer& layer) {
  const bool depthwise = layer.class_name == "QDepthwiseConv2DBatchnorm";
  const Tensor& kernel = required(layer, depthwise ? "depthwise_kernel" : "kernel");
  const Tensor& mean = required(layer, "moving_mean");
  const Tensor& variance = required(layer, "moving_variance");
  const int64_t channels = mean.size();
  if (channels == 0 || variance.size() != channels || kernel.size() % channels != 0) {
    throw InvalidArgument("[fold] layer '{}': a kernel of shape {} does not fit {} moving means and {} variances.",
                          layer.name, kernel.shape().str(), channels, variance.size());
  }
  const Tensor gamma = or_constant(layer, "gamma", channels, 1.0f);
  const Tensor beta = or_constant(layer, "beta", channels, 0.0f);
  const Tensor bias = or_constant(layer, "bias", channels, 0.0f);
  const float epsilon = epsilon_of(layer);

  FoldedWeights folded{.kernel = kernel, .bias = Tensor(Shape{channels})};
  std::vector<float> inverse(static_cast<size_t>(channels));
  for (int64_t c = 0; c < channels; ++c) {
    inverse[static_cast<size_t>(c)] = gamma[c] * (1.0f / std::sqrt(variance[c] + epsilon));
    folded.bias[c] = inverse[static_cast<size_t>(c)] * (bias[c] - mean[c]) + beta[c];
  }
  // The channel runs fastest in both layouts: (h, w, in, out), and (h, w, in, multiplier) whose
  // channel is in * multipliers + multiplier.
  for (int64_t i = 0; i < kernel.size(); ++i) folded.kernel[i] = inverse[static_cast<size_t>(i % channels)] * kernel[i];
  return folded;
}

FusedBatchNorm fused_batch_norm(const graph::Layer& batch_norm, const Tensor& bias) {
  const Tensor& mean_value = required(batch_norm, "moving_mean");
  const int64_t channels = mean_value.size();
  const Tensor variance = quantized(batch_norm, "variance_quantizer", required(batch_norm, "moving_variance"));
  const Tensor mean = quantized(batch_norm, "mean_quantizer", mean_value);
  const graph::Weight* gamma_weight = batch_norm.find_weight("gamma");
  const graph::Weight* beta_weight = batch_norm.find_weight("beta");
  const Tensor gamma = gamma_weight == nullptr ? Tensor(Shape{channels}, 1.0f)
                                               : quantized(batch_norm, "gamma_quantizer", gamma_weight->value);
  const Tensor beta =
      beta_weight == nullptr ? Tensor(Shape{channels}) : quantized(batch_norm, "beta_quantizer", beta_weight->value);
  const bool has_bias = bias.shape().rank() == 1;
  if (variance.size() != channels || gamma.size() != channels || beta.size() != channels ||
      (has_bias && bias.size() != channels)) {
    throw InvalidArgument("[fold] layer '{}': its weights and the bias before it differ in length.", batch_norm.name);
  }
  const float epsilon = epsilon_of(batch_norm);
  Tensor inverse(Shape{channels});
  for (int64_t c = 0; c < channels; ++c) inverse[c] = gamma[c] * (1.0f / std::sqrt(variance[c] + epsilon));
  inverse = quantized(batch_norm, "inverse_quantizer", inverse);
  FusedBatchNorm fused{.inverse = inverse, .bias = Tensor(Shape{channels})};
  for (int64_t c = 0; c < channels; ++c) {
    fused.bias[c] = inverse[c] * (has_bias ? bias[c] : 0.0f) + beta[c] - inverse[c] * mean[c];
  }
  return fused;
}

}  // namespace nibble::transform
