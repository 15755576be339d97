#include "nibble/cost/model_bits.h"

#include <algorithm>
#include <optional>

#include "nibble/core/error.h"
#include "nibble/cost/affine_type.h"
#include "nibble/cost/kernel_parts.h"
#include "nibble/cost/quantizer_type.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::cost {
namespace {

using graph::Layer;

// What the reference counts for a QBatchNormalization, whatever its quantizers are: the widths of their defaults.
constexpr int64_t kQuantizedScaleBits = 6;
constexpr int64_t kQuantizedOffsetBits = 5;

class BitCounter {
 public:
  BitCounter(const graph::Model& model, const BitsOptions& options)
      : options_(options), shapes_(graph::infer_shapes(model)) {}

  int64_t parameters(const Layer& layer) const {
    const LayerKind kind = layer_kind(layer.class_name, options_.compat);
    if (kind == LayerKind::kBatchNormalization) return norm_parameters(layer);
    if (!is_counted(kind, layer)) return 0;
    int64_t bits = 0;
    for (const auto& [name, shape] : graph::weight_shapes(layer, input_shapes(layer))) {
      // The quantizers of a layer inside another one stand there.
      const auto inner = graph::inner_weight(layer, name);
      const Layer& owner = inner ? inner->layer : layer;
      if (options_.compat == Compat::kNone && is_affine_variable(layer, name)) continue;
      if (const auto affine = affine_width(layer, name)) {
        bits += elements_of(layer, shape) * *affine;
        continue;
      }
      bits += elements_of(layer, shape) * width(owner, quantizer_of(inner ? inner->name : name, owner));
    }
    return bits;
  }

  int64_t activations(const Layer& layer) const {
    return elements_of(layer, shapes_.at(layer.name)) * activation_width(layer);
  }

 private:
  // The reference forgets transposed, separable and folded layers.
  bool is_counted(LayerKind kind, const Layer& layer) const {
    if (options_.compat == Compat::kNone) {
      return has_kernel(kind) || kind == LayerKind::kRecurrent || kind == LayerKind::kLookup;
    }
    return kind == LayerKind::kDense || kind == LayerKind::kConvolution || kind == LayerKind::kDepthwise;
  }

  std::vector<Shape> input_shapes(const Layer& layer) const {
    std::vector<Shape> shapes;
    for (const std::string& name : layer.inputs) shapes.push_back(shapes_.at(name));
    return shapes;
  }

  int64_t norm_parameters(const Layer& layer) const {
    const int64_t channels = elements_of(layer, graph::weight_shapes(layer, input_shapes(layer)).at(0).second);
    const bool is_constant = is_quantized_class(layer.class_name) && options_.compat != Compat::kNone;
    int64_t scale = is_constant ? kQuantizedScaleBits : options_.ref_bits;
    int64_t offset = is_constant ? kQuantizedOffsetBits : options_.ref_bits;
    if (is_quantized_class(layer.class_name) && !is_constant) {
      // The folded scale gamma / sqrt(variance) is as wide as the wider of its two.
      scale = std::max(width(layer, "gamma_quantizer"), width(layer, "variance_quantizer"));
      offset = width(layer, "beta_quantizer");
    }
    return channels * (scale + (layer.get_bool("center") ? offset : 0));
  }

  // The attribute that quantizes a weight: "depthwise_kernel" -> "depthwise_quantizer".
  static std::string quantizer_of(const std::string& weight, const Layer& layer) {
    if (weight == "bias") return "bias_quantizer";
    if (weight == "recurrent_kernel") return "recurrent_quantizer";
    for (const std::string& attribute : {weight + "_quantizer", weight.substr(0, weight.find('_')) + "_quantizer"}) {
      if (layer.attributes.contains(attribute)) return attribute;
    }
    return "";
  }

  int64_t width(const Layer& layer, const std::string& attribute) const {
    if (!is_quantized_class(layer.class_name)) return options_.ref_bits;
    if (const auto type = type_from_attribute(layer, attribute, options_.compat)) return type->bit_width;
    return untyped_width(layer, attribute);
  }

  // Of a weight with an affine quantizer, and of the bias beside it.
  std::optional<int64_t> affine_width(const Layer& layer, const std::string& weight) const {
    if (options_.compat != Compat::kNone || !layer.quantization) return std::nullopt;
    if (weight == "bias" && layer.quantization->bias_bits > 0) return layer.quantization->bias_bits;
    const auto type = affine_type(layer, weight);
    return type ? std::optional<int64_t>(type->bit_width) : std::nullopt;
  }

  int64_t activation_width(const Layer& layer) const {
    const LayerKind kind = layer_kind(layer.class_name, options_.compat);
    if (options_.compat == Compat::kNone) {
      if (const auto affine = affine_output_type(layer)) return affine->bit_width;
    }
    if (kind == LayerKind::kInput) return options_.input_bits;
    if (options_.compat != Compat::kNone && layer.class_name == "QAdaptiveActivation") return 0;  // it is forgotten
    const bool is_activation = kind == LayerKind::kActivation;
    if (!is_activation && !is_counted(kind, layer)) return 0;
    // A class that is one function: ReLU, LeakyReLU, ELU, Softmax.
    if (is_activation && !layer.attributes.contains("activation")) {
      return layer.class_name == "Softmax" ? options_.output_bits : options_.ref_bits;
    }
    const std::string function = layer.activation_function();
    if (function == "linear") return 0;
    const bool is_quantized = is_quantized_class(layer.class_name);
    if (is_activation && (function == "softmax" || function == "sigmoid")) return options_.output_bits;
    if (is_quantized && function == "softmax") return options_.output_bits;
    if (!is_activation && !is_quantized) return options_.ref_bits;
    if (const auto type = type_from_attribute(layer, "activation", options_.compat)) return type->bit_width;
    return untyped_width(layer, "activation");
  }

  // QTools has no type for some quantizers (quantized_sigmoid), but they have a width.
  int64_t untyped_width(const Layer& layer, const std::string& attribute) const {
    if (!layer.attributes.contains(attribute)) return options_.ref_bits;
    const quant::QuantizerPtr quantizer = layer.get_quantizer(attribute);
    return quantizer ? quantizer->bit_width() : options_.ref_bits;
  }

  const BitsOptions& options_;
  const std::map<std::string, Shape> shapes_;
};

// A class's entry holds for its quantized twin, or trials would be counted by another rule than their reference. The
// reference of AutoQKeras wants an entry for each.
std::optional<BitsParts> parts_of(const std::string& class_name, const BitsOptions& options) {
  auto found = options.config.find(class_name);
  if (found == options.config.end() && options.compat == Compat::kNone && is_quantized_class(class_name)) {
    found = options.config.find(class_name.substr(1));
  }
  if (found == options.config.end()) found = options.config.find("default");
  return found == options.config.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

ModelBits count_bits(const graph::Model& model, const BitsOptions& options) {
  for (const int bits : {options.ref_bits, options.input_bits, options.output_bits})
    if (bits < 0) throw InvalidArgument("[count_bits] a width is {} bits; it must be at least 0.", bits);
  const BitCounter counter(model, options);
  ModelBits result;
  for (const Layer& layer : model.layers) {
    const auto parts = parts_of(layer.class_name, options);
    if (!parts) continue;
    LayerBits bits = {.name = layer.name, .class_name = layer.class_name};
    bits.parameters = counter.parameters(layer);
    bits.activations = counter.activations(layer);
    const int64_t parameters = parts->parameters ? bits.parameters : 0;
    const int64_t activations = parts->activations ? bits.activations : 0;
    bits.total = parameters + activations;
    result.parameters += parameters;
    result.activations += activations;
    result.layers.push_back(std::move(bits));
  }
  return result;
}

}  // namespace nibble::cost
