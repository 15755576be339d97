#include "nibble/program/integer_weights.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/quantizer_errors.h"
#include "nibble/program/affine_grid.h"
#include "nibble/program/program.h"

namespace nibble::program {
namespace {

const Tensor& required(const graph::Layer& layer, std::string_view name) {
  const graph::Weight* weight = layer.find_weight(name);
  if (weight != nullptr) return weight->value;
  throw InvalidArgument("[compile] layer '{}' ({}) has no weight '{}' yet. Train the model or load its weights first.",
                        layer.name, layer.class_name, name);
}

quant::QuantizerPtr quantizer_of(const graph::Layer& layer, std::string_view attribute) {
  const bool known = layer.attributes.contains(std::string(attribute));
  return known ? graph::effective_quantizer(layer, attribute) : nullptr;
}

// Index into a tensor that broadcasts to `shape`, for the element at `index` of `shape`.
int64_t broadcast_index(const Shape& small, const Shape& shape, int64_t index) {
  int64_t result = 0, stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    const int64_t position = index % shape[axis];
    index /= shape[axis];
    const int in_small = axis - (shape.rank() - small.rank());
    if (in_small < 0) break;
    if (small[in_small] != 1) result += position * stride;
    stride *= small[in_small];
  }
  return result;
}

[[noreturn]] void refuse_scales(const graph::Layer& layer, std::string_view weight, const quant::Quantizer& quantizer) {
  throw Unsupported(
      "[compile] layer '{}': {} with {} has more than one scale for one channel of the output, so its products cannot "
      "be "
      "summed as integers. Use one scale, or one a channel.",
      layer.name, weight, quantizer.str());
}

// sign * 2^(code - lowest), in units of scale * 2^lowest.
struct PowerUnits {
  int32_t lowest = 0;
  PowerUnits(const graph::Layer& layer, const quant::Encoded& encoded) {
    if (encoded.kind != quant::Encoded::Kind::kPowerOfTwo) return;
    const auto [low, high] = std::minmax_element(encoded.codes.begin(), encoded.codes.end());
    lowest = *low;
    if (*high - *low <= 29) return;
    throw Unsupported(
        "[compile] layer '{}': its powers of two span {} bits, more than a weight of 32 bits holds. Give the quantizer "
        "a "
        "max_value, or fewer bits.",
        layer.name, *high - *low + 1);
  }
};

}  // namespace

IntegerWeights integer_weights(const graph::Layer& layer, std::string_view weight, std::string_view attribute,
                               int64_t channels, int64_t inner) {
  const Tensor& value = required(layer, weight);
  const auto quantizer = quantizer_of(layer, attribute);
  if (quantizer == nullptr) {
    throw Unsupported("[compile] layer '{}' ({}) has no {}, so its {} has no integers. Give it one and train on.",
                      layer.name, layer.class_name, attribute, weight);
  }
  const quant::Encoded encoded = graph::naming_layer(layer, weight, [&] { return quantizer->encode(value); });
  const Tensor real = quantizer->quantize(value).real;
  const bool powers = encoded.kind == quant::Encoded::Kind::kPowerOfTwo;
  const PowerUnits units(layer, encoded);

  IntegerWeights result;
  result.scale.assign(static_cast<size_t>(channels), 0.0f);
  Interval range{0, 0};
  for (int64_t i = 0; i < value.size(); ++i) {
    const auto index = static_cast<size_t>(i);
    float scale = encoded.scale[broadcast_index(encoded.scale.shape(), value.shape(), i)];
    int32_t integer = encoded.codes[index] - encoded.zero_point;
    if (powers) {
      scale = std::ldexp(scale, units.lowest);
      integer = encoded.signs[index] * (int32_t{1} << (encoded.codes[index] - units.lowest));
      if (real[i] == 0.0f) integer = 0;
    }
    float& of_channel = result.scale[static_cast<size_t>(i / inner % channels)];
    if (of_channel == 0.0f) of_channel = scale;
    if (of_channel != scale) refuse_scales(layer, weight, *quantizer);
    if (static_cast<float>(integer) * scale != real[i]) {
      throw Unsupported("[compile] layer '{}': the value {} of {} is no integer times its scale {}.", layer.name,
                        real[i], weight, scale);
    }
    range = {std::min<int64_t>(range.low, integer), std::max<int64_t>(range.high, integer)};
    result.values.push_back(integer);
  }
  for (float& scale : result.scale) {
    if (scale == 0.0f) scale = 1.0f;  // a channel of zeros
  }
  result.bits = bits_of({std::min<int64_t>(range.low, -1), range.high});
  return result;
}

std::vector<float> weight_values(const graph::Layer& layer, std::string_view weight, std::string_view attribute) {
  const Tensor& value = required(layer, weight);
  const auto quantizer = quantizer_of(layer, attribute);
  const Tensor real = through_point(layer, weight, quantizer == nullptr ? value : quantizer->quantize(value).real);
  return {real.data().begin(), real.data().end()};
}

std::vector<float> bias_values(const graph::Layer& layer) {
  if (layer.attributes.contains("use_bias") && !layer.get_bool("use_bias")) return {};
  return weight_values(layer, "bias", "bias_quantizer");
}

Affine batch_norm(const graph::Layer& layer) {
  const auto quantized = [&](std::string_view weight, std::string_view attribute) {
    const Tensor& value = required(layer, weight);
    const auto quantizer = quantizer_of(layer, attribute);
    const Tensor real = quantizer == nullptr ? value : quantizer->quantize(value).real;
    return std::vector<double>(real.data().begin(), real.data().end());
  };
  const std::vector<double> mean = quantized("moving_mean", "mean_quantizer");
  std::vector<double> inverse = quantized("moving_variance", "variance_quantizer");
  const double epsilon = layer.get_float("epsilon");
  for (double& value : inverse) value = 1.0 / std::sqrt(value + epsilon);
  if (layer.find_weight("gamma") != nullptr) {
    const std::vector<double> gamma = quantized("gamma", "gamma_quantizer");
    for (size_t c = 0; c < inverse.size(); ++c) inverse[c] *= gamma[c];
  }
  if (const auto quantizer = quantizer_of(layer, "inverse_quantizer")) {
    const Tensor real =
        quantizer->quantize(Tensor(Shape{static_cast<int64_t>(inverse.size())}, {inverse.begin(), inverse.end()})).real;
    inverse.assign(real.data().begin(), real.data().end());
  }
  Affine result;
  std::vector<double> beta(inverse.size(), 0.0);
  if (layer.find_weight("beta") != nullptr) beta = quantized("beta", "beta_quantizer");
  for (size_t c = 0; c < inverse.size(); ++c) {
    const double product = -mean[c] * inverse[c];
    result.multiplier.push_back(static_cast<float>(inverse[c]));
    result.offset.push_back(static_cast<float>(layer.find_weight("beta") != nullptr ? product + beta[c] : product));
  }
  return result;
}

}  // namespace nibble::program
