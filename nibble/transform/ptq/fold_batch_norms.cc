#include "nibble/transform/ptq/fold_batch_norms.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/transform/folded_model.h"
#include "nibble/transform/ptq/kernel_layout.h"

namespace nibble::ptq {
namespace {

bool is_output(const graph::Model& model, const std::string& name) {
  return std::find(model.outputs.begin(), model.outputs.end(), name) != model.outputs.end();
}

// Keras counts the batch axis; the channels are the last.
bool is_on_channels(const graph::Layer& batch_norm, const Shape& input) {
  const int64_t axis = batch_norm.get_int("axis");
  return axis == -1 || axis == input.rank();
}

// The layer that can take in `batch_norm`; null: none.
graph::Layer* partner_of(graph::Model& model, const graph::Layer& batch_norm,
                         const std::map<std::string, Shape>& shapes) {
  graph::Layer& layer = model.layer(batch_norm.inputs.at(0));
  const bool fits = has_kernel(layer) && layer.activation_function() == "linear" && !is_output(model, layer.name) &&
                    model.consumers(layer.name).size() == 1 && is_on_channels(batch_norm, shapes.at(layer.name));
  return fits ? &layer : nullptr;
}

std::vector<double> values_or(const graph::Layer& batch_norm, const char* name, size_t channels, double otherwise) {
  const graph::Weight* weight = batch_norm.find_weight(name);
  if (weight == nullptr) return std::vector<double>(channels, otherwise);
  if (weight->value.size() != static_cast<int64_t>(channels)) {
    throw InvalidArgument("[fold] layer '{}': '{}' has shape {}, but there are {} channels.", batch_norm.name, name,
                          weight->value.shape().str(), channels);
  }
  return {weight->value.data().begin(), weight->value.data().end()};
}

void require_statistics(const graph::Layer& batch_norm) {
  for (const char* needed : {"moving_mean", "moving_variance"}) {
    if (batch_norm.find_weight(needed) != nullptr) continue;
    throw InvalidArgument("[fold] layer '{}' has no '{}'. Train the model or load its weights first.", batch_norm.name,
                          needed);
  }
}

void take_in(graph::Layer& layer, const graph::Layer& batch_norm, FoldDivisor divisor) {
  const auto channels = static_cast<size_t>(output_channels(layer));
  require_statistics(batch_norm);
  const auto mean = values_or(batch_norm, "moving_mean", channels, 0.0);
  const auto variance = values_or(batch_norm, "moving_variance", channels, 1.0);
  const auto gamma = values_or(batch_norm, "gamma", channels, 1.0);
  const auto beta = values_or(batch_norm, "beta", channels, 0.0);
  const double epsilon = batch_norm.get_float("epsilon");
  if (layer.find_weight("bias") == nullptr) {
    layer.attributes.insert_or_assign("use_bias", true);
    layer.weights.push_back({"bias", Tensor(Shape{static_cast<int64_t>(channels)})});
  }
  Tensor& bias = layer.find_weight("bias")->value;
  Tensor& kernel = kernel_of(layer);
  std::vector<double> factor(channels);
  for (size_t c = 0; c < channels; ++c) {
    const double sum = variance[c] + epsilon;
    factor[c] = gamma[c] / (divisor == FoldDivisor::kVariance ? sum : std::sqrt(sum));
    if (!std::isfinite(factor[c])) {
      throw InvalidArgument("[fold] layer '{}': channel {} has gamma {} and variance {}; it cannot be merged.",
                            batch_norm.name, c, gamma[c], variance[c]);
    }
    const auto i = static_cast<int64_t>(c);
    bias[i] = static_cast<float>((static_cast<double>(bias[i]) - mean[c]) * factor[c] + beta[c]);
  }
  affine::for_each_element(scale_layout(layer, /*per_axis=*/true), [&](size_t i, size_t c) {
    float& weight = kernel[static_cast<int64_t>(i)];
    weight = static_cast<float>(static_cast<double>(weight) * factor[c]);
  });
}

}  // namespace

ChannelMoments output_moments(const graph::Layer& batch_norm) {
  require_statistics(batch_norm);
  const auto channels = static_cast<size_t>(batch_norm.find_weight("moving_variance")->value.size());
  const auto variance = values_or(batch_norm, "moving_variance", channels, 1.0);
  const auto gamma = values_or(batch_norm, "gamma", channels, 1.0);
  ChannelMoments moments{.mean = values_or(batch_norm, "beta", channels, 0.0), .deviation = {}};
  const double epsilon = batch_norm.get_float("epsilon");
  for (size_t c = 0; c < channels; ++c) {
    const double sum = variance[c] + epsilon;
    moments.deviation.push_back(sum > 0.0 ? std::abs(gamma[c]) * std::sqrt(variance[c] / sum) : 0.0);
  }
  return moments;
}

FoldedBatchNorms fold_batch_norms(const graph::Model& model, FoldDivisor divisor, const MayFold& may_fold) {
  FoldedBatchNorms result{.model = model, .folded = {}, .left = {}, .moments = {}};
  const auto shapes = graph::infer_shapes(model);
  for (const graph::Layer& layer : model.layers) {
    if (layer.class_name != "BatchNormalization") continue;
    const graph::Layer batch_norm = result.model.layer(layer.name);  // its input may have changed
    graph::Layer* partner = partner_of(result.model, batch_norm, shapes);
    if (partner == nullptr || (may_fold && !may_fold(*partner, batch_norm))) {
      result.left.push_back(layer.name);
      continue;
    }
    take_in(*partner, batch_norm, divisor);
    // Of several in a row the last tells what the layer gives.
    const bool is_first = result.moments.insert_or_assign(partner->name, output_moments(batch_norm)).second;
    if (is_first) result.folded.push_back(partner->name);
    transform::bypass_layer(result.model, layer.name);
  }
  return result;
}

}  // namespace nibble::ptq
