#include "nibble/cost/assumed_types.h"

#include "nibble/cost/affine_type.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::cost {
namespace {

using graph::Layer;

// Attributes that give a weight its type where a Q class has them. A missing beta or mean takes the input's type, which
// is none of our assumptions.
constexpr const char* kWeightQuantizers[] = {
    "kernel_quantizer",           "recurrent_quantizer", "depthwise_quantizer",
    "depthwise_kernel_quantizer", "pointwise_quantizer", "pointwise_kernel_quantizer",
    "weight_quantizer",           "gamma_quantizer",     "variance_quantizer"};

// Of a recurrent layer, the function that gives its states. Other ways of merging two directions than side by side
// compute more.
bool has_function_inside(const Layer& layer) {
  if (layer.class_name == "RNN") return has_function_inside(graph::inner_layer(layer, "cell"));
  if (layer.class_name == "Bidirectional") {
    return layer.get_string("merge_mode") == "concat" && has_function_inside(graph::inner_layer(layer, "layer"));
  }
  return !is_quantized_class(layer.class_name) && layer.activation_function() != "linear";
}

class Search {
 public:
  Search(const graph::Model& model, const DataTypeOptions& options)
      : compat_(options.compat), fuses_(options.fuses_batch_norms), shapes_(graph::infer_shapes(model)) {}

  bool assumes_weights(const Layer& layer) const {
    const LayerKind kind = kind_of(layer);
    const bool has_weights = has_kernel(kind) || kind == LayerKind::kRecurrent || kind == LayerKind::kLookup ||
                             kind == LayerKind::kBatchNormalization;
    if (!has_weights) return false;
    if (layer.class_name == "RNN") return lacks_quantizer(graph::inner_layer(layer, "cell"), kind);
    if (layer.class_name.ends_with("Bidirectional")) return lacks_quantizer(graph::inner_layer(layer, "layer"), kind);
    if (is_quantized_class(layer.class_name)) return lacks_quantizer(layer, kind);
    return lacks_affine(layer);
  }

  bool assumes_activation(const Layer& layer) const {
    const LayerKind kind = kind_of(layer);
    if (kind == LayerKind::kActivation && is_quantized_class(layer.class_name)) {
      return !type_from_attribute(layer, "activation", compat_) && !is_affine(layer);
    }
    // Affine weights have an accumulator of their own, which is what is handed on.
    const bool has_sums = kind == LayerKind::kRecurrent || (has_kernel(kind) && lacks_affine(layer));
    return (kind == LayerKind::kActivation || has_sums) && has_plain_activation(layer, compat_);
  }

 private:
  LayerKind kind_of(const Layer& layer) const { return layer_kind(layer.class_name, compat_); }

  bool lacks(const Layer& layer, const char* attribute) const {
    return layer.attributes.contains(attribute) && !type_from_attribute(layer, attribute, compat_);
  }

  bool lacks_quantizer(const Layer& layer, LayerKind kind) const {
    if (!is_quantized_class(layer.class_name)) return true;
    if (fuses_ && layer.has("inverse_quantizer")) return false;
    for (const char* attribute : kWeightQuantizers) {
      if (std::string_view(attribute) == "gamma_quantizer" && layer.has("scale") && !layer.get_bool("scale")) continue;
      if (lacks(layer, attribute)) return true;
    }
    // The bias of a folded layer takes its accumulator's type.
    if (is_folded(kind) || !layer.attributes.contains("use_bias") || !layer.get_bool("use_bias")) return false;
    return lacks(layer, "bias_quantizer");
  }

  bool is_affine(const Layer& layer) const { return compat_ == Compat::kNone && affine_output_type(layer); }

  // A bias beside affine weights has bits of its own.
  bool lacks_affine(const Layer& layer) const {
    if (compat_ != Compat::kNone) return true;
    for (const auto& [name, shape] : graph::weight_shapes(layer, graph::input_shapes(layer, shapes_))) {
      if (name == "bias" || is_affine_variable(layer, name)) continue;
      if (!affine_type(layer, name)) return true;
    }
    return false;
  }

  const Compat compat_;
  const bool fuses_;
  const std::map<std::string, Shape> shapes_;
};

}  // namespace

bool has_plain_activation(const Layer& layer, Compat compat) {
  if (is_quantized_class(layer.class_name) || type_from_attribute(layer, "activation", compat)) return false;
  if (compat == Compat::kNone && affine_output_type(layer)) return false;
  return layer_kind(layer.class_name, compat) == LayerKind::kActivation || has_function_inside(layer);
}

AssumedTypes assumed_types(const graph::Model& model, const DataTypeOptions& options) {
  AssumedTypes result;
  if (options.for_reference) return result;
  const Search search(model, options);
  for (const Layer& layer : model.layers) {
    if (search.assumes_weights(layer)) result.weights.push_back(layer.name);
    if (search.assumes_activation(layer)) result.activations.push_back(layer.name);
  }
  return result;
}

}  // namespace nibble::cost
