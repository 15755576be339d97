#include "nibble/transform/inspect.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "nibble/core/error.h"
#include "nibble/graph/quantizer_errors.h"
#include "nibble/quant/blocks.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/quantizer_config.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::transform {
namespace {

// Scales are means in float32, so values read back from a file may be an ulp or two away.
constexpr double kGridTolerance = 1e-6;

// The largest power of two that all values are multiples of; none for all zeros.
std::optional<double> common_step(std::span<const float> values, int64_t begin, int64_t stride) {
  std::optional<double> step;
  for (size_t i = static_cast<size_t>(begin); i < values.size(); i += static_cast<size_t>(stride)) {
    if (values[i] == 0.0f || !std::isfinite(values[i])) continue;
    int exponent = 0;
    auto mantissa = static_cast<int64_t>(std::ldexp(std::frexp(std::fabs(values[i]), &exponent), 24));
    int shift = 0;
    for (; (mantissa & 1) == 0; mantissa >>= 1) ++shift;
    const double own = std::ldexp(1.0, exponent - 24 + shift);
    step = step ? std::min(*step, own) : own;
  }
  return step;
}

// True if every channel (last axis) is integers of `bits` bits times some power of two. An
// auto_po2 search does not always find its own result again, so asking it is not enough.
bool fits_power_of_two_grid(const Tensor& values, int bits) {
  const Shape& shape = values.shape();
  const int64_t channels = shape.rank() > 1 ? shape[-1] : 1;
  const double limit = std::ldexp(1.0, bits - 1);
  for (int64_t c = 0; c < channels; ++c) {
    const auto step = common_step(values.data(), c, channels);
    if (!step) continue;
    for (int64_t i = c; i < values.size(); i += channels) {
      if (!(std::fabs(static_cast<double>(values[i])) / *step <= limit)) return false;
    }
  }
  return true;
}

bool is_power_of_two(float scale) {
  int exponent = 0;
  return scale > 0 && std::isfinite(scale) && std::frexp(scale, &exponent) == 0.5f;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return text;
}

bool has_auto_scale(const quant::Quantizer& quantizer) {
  const nlohmann::json config = quantizer.config();
  const auto alpha = config.find("alpha");
  return alpha != config.end() && alpha->is_string();
}

// What quantizing would do to the stored values.
void compare_with_quantized(const Tensor& stored, const quant::Quantized& quantized, WeightInspection& result) {
  int64_t zeros = 0;
  result.is_stable = true;
  const quant::BlockIndex block(quantized.scale.shape(), stored.shape());
  for (int64_t i = 0; i < stored.size(); ++i) {
    const double scale = std::fabs(quantized.scale[block[i]]);
    const double error = std::fabs(static_cast<double>(stored[i]) - quantized.real[i]);
    const double size = std::max<double>(scale, std::fabs(quantized.real[i]));
    if (!(error <= kGridTolerance * size)) result.is_stable = false;
    if (quantized.real[i] == 0.0f) ++zeros;
    result.max_error = std::max(result.max_error, error);
  }
  result.zero_share = stored.size() == 0 ? 0 : static_cast<double>(zeros) / static_cast<double>(stored.size());
}

// Highest and lowest code that a fixed-point number of this width reaches symmetrically.
bool is_extreme(int32_t code, int bit_width, bool is_signed) {
  const int64_t top = is_signed ? (int64_t{1} << (bit_width - 1)) - 1 : (int64_t{1} << bit_width) - 1;
  return code >= top || (is_signed && code <= -top);
}

// Bits of the smallest fixed-point number that holds lowest .. highest.
int bits_for(int64_t lowest, int64_t highest, bool is_signed) {
  int bits = 1;
  if (!is_signed) {
    while ((int64_t{1} << bits) <= highest) ++bits;
    return bits;
  }
  while (-(int64_t{1} << (bits - 1)) > lowest || (int64_t{1} << (bits - 1)) <= highest) ++bits;
  return bits;
}

void describe_codes(const Tensor& stored, const quant::Quantized& quantized, const quant::Encoded& encoded,
                    WeightInspection& result) {
  result.has_codes = true;
  result.is_power_of_two_code = encoded.kind == quant::Encoded::Kind::kPowerOfTwo;
  result.bit_width = encoded.bit_width;
  result.is_signed = encoded.is_signed;
  result.scales.assign(encoded.scale.data().begin(), encoded.scale.data().end());
  result.scale_is_power_of_two = encoded.scale_is_power_of_two;
  for (int32_t code : encoded.codes) ++result.histogram[code];
  if (!result.histogram.empty()) {
    result.code_min = result.histogram.begin()->first;
    result.code_max = result.histogram.rbegin()->first;
  }
  // Exponents have a sign bit of their own beside them; binary's codes of -1 and 1 are one bit.
  result.bits_used = std::min(result.bit_width, bits_for(result.code_min, result.code_max, result.code_min < 0) +
                                                    (result.is_power_of_two_code && result.is_signed ? 1 : 0));
  const bool fixed_point = result.quantizer->format().kind == quant::NumericFormat::Kind::kFixedPoint;
  if (result.is_power_of_two_code || !fixed_point || encoded.bit_width <= 2 || stored.size() == 0) return;
  int64_t saturated = 0, clipped = 0;
  const quant::BlockIndex block(encoded.scale.shape(), stored.shape());
  for (int64_t i = 0; i < stored.size(); ++i) {
    if (is_extreme(encoded.codes[static_cast<size_t>(i)], encoded.bit_width, encoded.is_signed)) ++saturated;
    const double half_step = 0.5 * std::fabs(encoded.scale[block[i]]);
    const double error = std::fabs(static_cast<double>(stored[i]) - quantized.real[i]);
    if (error > half_step * (1 + 1e-5)) ++clipped;
  }
  result.saturated_share = static_cast<double>(saturated) / static_cast<double>(stored.size());
  result.clipped_share = static_cast<double>(clipped) / static_cast<double>(stored.size());
}

WeightInspection inspect_weight(const graph::Layer& layer, const graph::Weight& weight, bool is_folded = false) {
  WeightInspection result;
  result.layer = layer.name;
  result.class_name = layer.class_name;
  result.name = (is_folded ? "folded " : "") + weight.name;
  result.shape = weight.value.shape();
  result.is_folded = is_folded;
  result.quantizer = weight_quantizer(layer, weight.name);
  if (result.quantizer == nullptr) return result;
  const quant::Quantized quantized =
      graph::naming_layer(layer, result.name, [&] { return result.quantizer->quantize(weight.value); });
  compare_with_quantized(weight.value, quantized, result);
  result.bit_width = result.quantizer->bit_width();
  result.is_signed = result.quantizer->is_signed();
  try {
    describe_codes(weight.value, quantized, result.quantizer->encode(weight.value), result);
  } catch (const Unsupported&) {
    result.scales.assign(quantized.scale.data().begin(), quantized.scale.data().end());
  }
  result.is_on_grid =
      result.is_stable || (has_auto_scale(*result.quantizer) && fits_power_of_two_grid(weight.value, result.bit_width));
  return result;
}

// The kernel, whatever the layer calls it, and the bias that it computes with.
std::vector<WeightInspection> inspect_folded(const graph::Layer& layer) {
  FoldedWeights folded = folded_weights(layer);
  const char* kernel = layer.find_weight("depthwise_kernel") != nullptr ? "depthwise_kernel" : "kernel";
  return {inspect_weight(layer, {kernel, std::move(folded.kernel)}, /*is_folded=*/true),
          inspect_weight(layer, {"bias", std::move(folded.bias)}, /*is_folded=*/true)};
}

void warn_about_folded_layers(const std::vector<std::string>& layers, std::vector<std::string>& warnings) {
  if (layers.empty()) return;
  warnings.push_back(
      fmt::format("layers with folded batch normalization ({}) store float weights, and 'nibble finalize' leaves them "
                  "so: what they quantize is the kernel that folding makes of them, which is shown here with the codes "
                  "that they compute with.",
                  joined(layers)));
}

void warn_about_weight(const WeightInspection& weight, std::vector<std::string>& warnings) {
  const std::string where = fmt::format("layer '{}' ({}), {}", weight.layer, weight.class_name, weight.name);
  if (!weight.is_on_grid && !weight.is_folded) {
    warnings.push_back(fmt::format(
        "{}: the stored values are floats, up to {:.3g} away from {}. Training keeps them so; run 'nibble finalize' to "
        "write the quantized values.",
        where, weight.max_error, weight.quantizer->str()));
  }
  if (!weight.scale_is_power_of_two) {
    std::vector<float> odd;
    std::copy_if(weight.scales.begin(), weight.scales.end(), std::back_inserter(odd),
                 [](float scale) { return !is_power_of_two(scale); });
    warnings.push_back(fmt::format(
        "{}: {} leaves {} ({}{:.6g}), so the values written back are scale * code and look like "
        "floats. In hardware the integers are multiplied as they should be, but every result needs one more "
        "multiplication by the scale of its channel, where a power of two would be a shift. Use alpha='auto_po2' for "
        "shifts, or alpha=1.0 for plain fixed point.",
        where, weight.quantizer->str(),
        odd.size() == 1 ? "a scale that is no power of two"
                        : fmt::format("{} scales that are not powers of two", odd.size()),
        odd.size() > 1 ? "first: " : "", odd.empty() ? 0.0f : odd.front()));
  }
  if (weight.clipped_share > 0.01) {
    warnings.push_back(
        fmt::format("{}: {:.1f} % of the values lie outside the range of {} and are clipped. More integer bits or an "
                    "automatic alpha "
                    "would keep them.",
                    where, 100 * weight.clipped_share, weight.quantizer->str()));
  }
  if (weight.has_codes && weight.histogram.size() == 1 && weight.shape.elements() > 1) {
    warnings.push_back(fmt::format("{}: all values have the same code {}.", where, weight.code_min));
  }
}

// What gives weights of a class QKeras' quantizers.
std::string_view qkeras_advice(std::string_view class_name) {
  if (class_name == "BatchNormalization") {
    return "model_quantize changes a batch normalization only if the configuration has an entry 'QBatchNormalization' "
           "or its name. Quantize it, or fold it into the convolution before ('nibble quantize --enable-bn-folding')";
  }
  if (find_conversion(class_name) != nullptr) return "the class has no quantizers. 'nibble quantize' gives it some";
  return "nibble has no quantized form of the class";
}

// The same of affine ones.
std::string_view affine_advice(std::string_view class_name) {
  constexpr std::array<std::string_view, 7> kHaveKernels = {
      "Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"};
  if (class_name == "BatchNormalization") {
    return "'nibble qat --batch-norm fold' on the float model merges a batch normalization into the layer before, if "
           "that layer's weights are quantized and 'layers' of the scheme file has no entry for the batch "
           "normalization (null is one)";
  }
  if (std::find(kHaveKernels.begin(), kHaveKernels.end(), class_name) != kHaveKernels.end()) {
    return "'nibble qat --scheme FILE' quantizes those that 'layers' of the file does not leave out (null, or an entry "
           "without 'weights'); an entry of a class or layer says how";
  }
  return "affine quantization leaves weights of the class as they are";
}

// One sentence a class: a network has a dozen batch normalizations.
//   is_affine  the model has affine quantizers, not QKeras'
void warn_about_float_layers(const std::map<std::string, std::vector<std::string>>& layers_by_class, bool is_affine,
                             std::vector<std::string>& warnings) {
  for (const auto& [class_name, layers] : layers_by_class) {
    warnings.push_back(fmt::format("weights of class {} are float ({}): {}.", class_name, joined(layers),
                                   is_affine ? affine_advice(class_name) : qkeras_advice(class_name)));
  }
}

// Weights without a quantizer in a layer that could have one.
void warn_about_float_weights(const graph::Layer& layer, std::span<const WeightInspection> weights,
                              std::vector<std::string>& warnings) {
  std::vector<std::string> names;
  for (const WeightInspection& weight : weights) {
    if (weight.quantizer == nullptr) names.push_back(weight.name);
  }
  if (names.empty()) return;
  warnings.push_back(fmt::format("layer '{}' ({}) has no quantizer for {}, which {} float.", layer.name,
                                 layer.class_name, joined(names), names.size() == 1 ? "stays" : "stay"));
}

}  // namespace

std::string_view scale_cost(const WeightInspection& weight) {
  if (!weight.scale_is_power_of_two) return "multiply";
  const bool all_one = std::all_of(weight.scales.begin(), weight.scales.end(), [](float s) { return s == 1.0f; });
  return all_one ? "none" : "shift";
}

Inspection inspect(const graph::Model& model) {
  Inspection result;
  std::map<std::string, std::vector<std::string>> float_layers;
  std::vector<std::string> folded_layers;
  bool has_weights = false, is_affine = false;
  for (const graph::Layer& layer : model.layers) {
    has_weights = has_weights || !layer.weights.empty();
    is_affine = is_affine || !graph::quantized_points(layer).empty();
    const size_t first = result.weights.size();
    if (layer.class_name.ends_with("Batchnorm") && !layer.weights.empty()) {
      folded_layers.push_back(layer.name);
      for (WeightInspection& weight : inspect_folded(layer)) result.weights.push_back(std::move(weight));
    } else {
      for (const graph::Weight& weight : layer.weights) {
        if (graph::is_quantization_variable(layer, weight.name)) continue;
        result.weights.push_back(inspect_weight(layer, weight));
      }
    }
    const auto own = std::span(result.weights).subspan(first);
    for (const WeightInspection& weight : own) {
      if (weight.quantizer != nullptr) warn_about_weight(weight, result.warnings);
    }
    if (!graph::quantized_points(layer).empty()) continue;  // its ranges are told elsewhere, and are no float weights
    if (!own.empty() && !has_weight_quantizers(layer)) {
      float_layers[layer.class_name].push_back(layer.name);
    } else {
      warn_about_float_weights(layer, own, result.warnings);
    }
  }
  warn_about_float_layers(float_layers, is_affine, result.warnings);
  warn_about_folded_layers(folded_layers, result.warnings);
  if (!has_weights) {
    throw InvalidArgument("[inspect] model '{}' has no weights yet. Train it or load its weights first.", model.name);
  }
  return result;
}

nlohmann::json to_json(const Inspection& inspection) {
  using nlohmann::json;
  json weights = json::array();
  for (const WeightInspection& weight : inspection.weights) {
    json entry = {{"layer", weight.layer},           {"class_name", weight.class_name}, {"name", weight.name},
                  {"shape", weight.shape.extents()}, {"folded", weight.is_folded},      {"quantizer", nullptr}};
    if (weight.quantizer != nullptr) {
      entry["quantizer"] = weight.quantizer->str();
      entry["on_grid"] = weight.is_on_grid;
      entry["stable"] = weight.is_stable;
      entry["bit_width"] = weight.bit_width;
      entry["is_signed"] = weight.is_signed;
      entry["scales"] = weight.scales;
      entry["scale_is_power_of_two"] = weight.scale_is_power_of_two;
      entry["scale_cost"] = scale_cost(weight);
      entry["zero_share"] = weight.zero_share;
      entry["max_error"] = weight.max_error;
    }
    if (weight.has_codes) {
      entry["kind"] = weight.is_power_of_two_code ? "power_of_two" : "affine";
      entry["bits_used"] = weight.bits_used;
      entry["code_min"] = weight.code_min;
      entry["code_max"] = weight.code_max;
      entry["distinct_codes"] = weight.histogram.size();
      entry["saturated_share"] = weight.saturated_share;
      entry["clipped_share"] = weight.clipped_share;
      entry["histogram"] = json::array();
      for (const auto& [code, count] : weight.histogram) entry["histogram"].push_back({code, count});
    }
    weights.push_back(std::move(entry));
  }
  return {{"weights", std::move(weights)}, {"warnings", inspection.warnings}};
}

}  // namespace nibble::transform
