#include "nibble/train/activation_compression.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/core/philox.h"
#include "nibble/train/layer_outputs.h"

namespace nibble::train {
namespace {

quant::QuantizerPtr quantizer_of(const graph::Layer& layer) {
  const auto quantizer = layer.class_name == "QActivation" ? layer.get_quantizer("activation") : nullptr;
  if (quantizer != nullptr) return quantizer;
  throw InvalidArgument(
      "[activation_compression] layer '{}' is a {} without a quantizer; name QActivations that have one.", layer.name,
      layer.class_name);
}

void check(const ActivationCompressionOptions& options) {
  if (options.bits < 1 || options.bits > 8) {
    throw InvalidArgument("[activation_compression] bits is {}; it must lie between 1 and 8.", options.bits);
  }
  if (!(options.sample_size > 0 && options.sample_size <= 1)) {
    throw InvalidArgument("[activation_compression] sample_size is {}; it must lie above 0 and not above 1.",
                          options.sample_size);
  }
}

// A share of the values, at least one; each is drawn on its own.
std::vector<float> sampled(const Tensor& values, const ActivationCompressionOptions& options, uint32_t layer) {
  if (options.sample_size == 1.0 || values.size() == 0) return {values.data().begin(), values.data().end()};
  RandomStream random({options.seed, RandomPurpose::kSampler, 2, layer});
  std::vector<float> result;
  for (const float value : values.data()) {
    if (random.uniform_double() < options.sample_size) result.push_back(value);
  }
  if (result.empty()) result.push_back(values[0]);
  return result;
}

}  // namespace

std::vector<ActivationCodebook> activation_compression(const graph::Model& model,
                                                       const std::vector<std::string>& layers, const Tensor& x,
                                                       const ActivationCompressionOptions& options) {
  check(options);
  for (const std::string& name : layers) quantizer_of(model.layer(name));
  const std::vector<LayerOutput> outputs = layer_outputs(model, x);
  std::vector<ActivationCodebook> result;
  for (const std::string& name : layers) {
    const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const auto& o) { return o.layer == name; });
    const auto index = static_cast<uint32_t>(model.index_of(name));
    const std::vector<float> values = sampled(found->value, options, index);
    std::vector<float> centroids = transform::k_means(values, 1 << options.bits, options.seed, options.restarts);
    result.push_back({name, transform::in_out_table(std::move(centroids), *quantizer_of(model.layer(name)))});
  }
  return result;
}

}  // namespace nibble::train
