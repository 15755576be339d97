// The dictionary that QKeras' model_save_quantized_weights returns, and nibble's own with codes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "nibble/core/error.h"
#include "nibble/transform/finalize.h"

namespace nibble::transform {
namespace {

using nlohmann::json;

// The shortest decimal that identifies the float, so that 0.1f prints as 0.1.
json number(float value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return std::stod(fmt::format("{}", value));
}

json tensor_json(const Tensor& tensor) {
  json data = json::array();
  for (float value : tensor.data()) data.push_back(number(value));
  return {{"shape", tensor.shape().extents()}, {"data", std::move(data)}};
}

bool is_power_of_two(float value) {
  int exponent = 0;
  return value > 0 && std::isfinite(value) && std::frexp(value, &exponent) == 0.5f;
}

bool is_po2(const quant::Quantizer& quantizer) {
  return quantizer.class_name() == "quantized_po2" || quantizer.class_name() == "quantized_relu_po2";
}

bool is_auto_po2_bits(const quant::Quantizer& quantizer) {
  if (quantizer.class_name() != "quantized_bits") return false;
  const json config = quantizer.config();
  const auto alpha = config.find("alpha");
  return alpha != config.end() && alpha->is_string() && *alpha == "auto_po2";
}

template <class Function>
Tensor mapped(Tensor tensor, Function function) {
  for (float& value : tensor.data()) value = function(value);
  return tensor;
}

// The three entries of one weight.
struct Stored {
  json weight;
  json sign = json::array();
  json scale = json::array();
};

Stored stored_po2(const FinalizedWeight& weight) {
  Stored stored;
  stored.weight = tensor_json(mapped(weight.value, [](float v) { return std::nearbyint(std::log2(std::fabs(v))); }));
  stored.sign = tensor_json(mapped(weight.value, [](float v) { return v < 0 ? -1.0f : 1.0f; }));
  return stored;
}

Stored stored_auto_po2(const std::string& layer, const FinalizedWeight& weight) {
  const json config = weight.quantizer->config();
  const int unsigned_bits = config.at("bits").get<int>() - (config.value("keep_negative", true) ? 1 : 0);
  const int shift = unsigned_bits - config.value("integer", 0);
  for (float scale : weight.scale.data()) {
    if (!is_power_of_two(scale)) {
      throw InvalidArgument("[finalize] layer '{}': the scale {} of {} is not a power of two.", layer, scale,
                            weight.name);
    }
  }
  Stored stored;
  stored.weight = tensor_json(mapped(weight.value, [&](float v) { return std::ldexp(v, shift); }));
  stored.scale = tensor_json(mapped(weight.scale, [&](float s) { return std::ldexp(s, -shift); }));
  return stored;
}

json layer_json(const FinalizedLayer& layer, Compatibility compat) {
  json weights = json::array(), signs = json::array(), scales = json::array();
  bool has_signs = false, has_scales = false;
  for (const FinalizedWeight& weight : layer.weights) {
    const bool has_po2_scale = weight.quantizer != nullptr && is_auto_po2_bits(*weight.quantizer);
    Stored stored;
    if (has_po2_scale) {
      stored = stored_auto_po2(layer.name, weight);
    } else if (weight.quantizer != nullptr && is_po2(*weight.quantizer)) {
      stored = stored_po2(weight);
      has_signs = has_signs || weight.quantizer->class_name() == "quantized_po2";
    } else {
      stored.weight = tensor_json(weight.value);
    }
    has_scales = has_scales || has_po2_scale;
    weights.push_back(std::move(stored.weight));
    scales.push_back(std::move(stored.scale));
    if (!has_po2_scale || compat == Compatibility::kNibble) signs.push_back(std::move(stored.sign));
  }
  json entry = {{"weights", std::move(weights)}, {"enable_bn_fusing", layer.is_fused}};
  if (has_signs) entry["signs"] = std::move(signs);
  if (has_scales) entry["scales"] = std::move(scales);
  if (layer.fusing) {
    entry["fused_bn_layer_name"] = layer.fusing->batch_norm;
    entry["bn_inv"] = tensor_json(layer.fusing->inverse);
    entry["fused_bias"] = tensor_json(layer.fusing->bias);
  }
  if (layer.average) {
    entry["q_mult_factor"] = number(layer.average->quantized);
    entry["mult_factor"] = number(layer.average->exact);
    entry["pool_area"] = layer.average->area;
  }
  return entry;
}

json encoded_json(const quant::Encoded& encoded) {
  const bool affine = encoded.kind == quant::Encoded::Kind::kAffine;
  json result = {{"kind", affine ? "affine" : "power_of_two"},
                 {"bit_width", encoded.bit_width},
                 {"is_signed", encoded.is_signed},
                 {"scale", tensor_json(encoded.scale)},
                 {"scale_is_power_of_two", encoded.scale_is_power_of_two},
                 {"zero_point", encoded.zero_point},
                 {"codes", encoded.codes}};
  if (!affine) result["signs"] = encoded.signs;
  return result;
}

}  // namespace

json qkeras_weights(const Finalized& finalized, Compatibility compat) {
  json result = json::object();
  for (const FinalizedLayer& layer : finalized.layers) result[layer.name] = layer_json(layer, compat);
  return result;
}

json integer_weights(const Finalized& finalized) {
  json layers = json::array();
  for (const FinalizedLayer& layer : finalized.layers) {
    json weights = json::array();
    for (const FinalizedWeight& weight : layer.weights) {
      json entry = {{"name", weight.name}, {"shape", weight.value.shape().extents()}, {"quantizer", nullptr}};
      if (weight.quantizer != nullptr) entry["quantizer"] = weight.quantizer->str();
      if (weight.encoded) entry.update(encoded_json(*weight.encoded));
      weights.push_back(std::move(entry));
    }
    layers.push_back({{"name", layer.name}, {"class_name", layer.class_name}, {"weights", std::move(weights)}});
  }
  return {{"layers", std::move(layers)}, {"warnings", finalized.warnings}};
}

}  // namespace nibble::transform
