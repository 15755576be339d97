#include "nibble/transform/qat/quantize_apply.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/transform/ptq/activation_points.h"
#include "nibble/transform/qat/layout.h"
#include "nibble/transform/qat/rewrites.h"

namespace nibble::qat {
namespace {

using graph::AffineQuantizer;
using graph::Layer;
using graph::LayerQuantization;
using graph::Model;

void check_annotations(const AnnotatedModel& annotated) {
  if (annotated.layers.empty()) {
    throw InvalidArgument("[quantize_apply] no layer of model '{}' is annotated; there is nothing to quantize.",
                          annotated.model.name);
  }
  for (const auto& [name, config] : annotated.layers) annotated.model.layer(name);
}

// A bias lies on the grid input scale * weight scale: without the second its bits mean nothing.
void check_bias_bits(const Layer& layer, const LayerQuantization& quantization) {
  if (quantization.bias_bits == 0) return;
  const auto points = graph::quantized_points(quantization);
  if (std::any_of(points.begin(), points.end(), [](const auto& point) { return point.is_weight; })) return;
  throw InvalidArgument(
      "[quantize_apply] {}: bias_bits is {}, but its configuration quantizes no weights, and a bias is rounded to the "
      "grid input scale * weight scale. Say the quantizer of its weights too, or leave bias_bits out.",
      graph::described(layer), quantization.bias_bits);
}

// Layers that are not marked but must give quantized values to a marked one that reads nothing else.
std::set<std::string> unmarked_producers(const AnnotatedModel& annotated) {
  std::set<std::string> producers;
  for (const auto& [name, config] : annotated.layers) {
    const Layer& layer = annotated.model.layer(name);
    if (layer.inputs.size() != 1 || annotated.layers.contains(layer.inputs[0])) continue;
    if (annotated.model.layer(layer.inputs[0]).class_name != "InputLayer") producers.insert(layer.inputs[0]);
  }
  return producers;
}

[[noreturn]] void refuse(const Layer& layer, const Scheme& scheme) {
  throw Unsupported(
      "[quantize_apply] {} has no default quantization in this scheme. Give it a configuration "
      "(quantize_annotate_layer, or its entry in the file), or leave it out of the annotated layers. Known: {}.",
      graph::described(layer), fmt::join(known_classes(scheme), ", "));
}

LayoutRules layout_rules(const Scheme& scheme) {
  if (!scheme.tfmot) return LayoutRules::kNibble;
  return is_tfmot_of_bits(scheme) ? LayoutRules::kTfmotBits : LayoutRules::kTfmot;
}

class Application {
 public:
  Application(AnnotatedModel annotated, const Scheme& scheme) : annotated_(std::move(annotated)), scheme_(scheme) {}

  Model run() {
    facts_.squeezes = expand_separable(annotated_);
    merge_batch_norms(annotated_, scheme_.batch_norm.value_or(BatchNormMode::kFloat));
    for (const auto& [name, config] : annotated_.layers) {
      facts_.annotated.insert(name);
      if (config != nullptr) facts_.configured.insert(name);
    }
    layouts_ = layout(annotated_.model, facts_, layout_rules(scheme_));
    rectified_ = rectified_outputs(annotated_.model);
    const std::set<std::string> producers = unmarked_producers(annotated_);
    for (const Layer& layer : annotated_.model.layers) {
      if (layer.quantization) continue;
      if (const auto found = annotated_.layers.find(layer.name); found != annotated_.layers.end()) {
        decide(layer, of_marked(layer, found->second));
      } else if (layer.class_name == "InputLayer") {
        if (feeds_annotated(layer)) decide(layer, input_of(layer));
      } else if (producers.contains(layer.name)) {
        decide(layer, output_of(layer));
      }
    }
    widen_edges();
    for (const std::string& output : annotated_.model.outputs) widen_result(annotated_.model.layer(output));
    for (auto& [name, quantization] : decisions_) {
      const bool is_empty = graph::quantized_points(quantization).empty();
      if (!is_empty) graph::set_quantization(annotated_.model, name, std::move(quantization));
    }
    return std::move(annotated_.model);
  }

 private:
  void decide(const Layer& layer, LayerQuantization quantization) {
    if (scheme_.tfmot) quantization = as_tfmot(std::move(quantization));
    decisions_.emplace(layer.name, std::move(quantization));
  }

  bool feeds_annotated(const Layer& layer) const {
    const auto readers = annotated_.model.consumers(layer.name);
    return std::any_of(readers.begin(), readers.end(),
                       [&](const std::string& reader) { return facts_.annotated.contains(reader); });
  }

  LayerLayout layout_of(const Layer& layer) const {
    const auto found = layouts_.find(layer.name);
    return found == layouts_.end() ? LayerLayout{} : found->second;
  }

  LayerQuantization input_of(const Layer& layer) const {
    if (layout_of(layer).drops_output || ptq::feeds_embedding(annotated_.model, layer.name)) return {};
    return {.output = input_quantizer(scheme_)};
  }

  // Of a layer that is not marked itself. One of QKeras' quantizes what it gives by its own.
  LayerQuantization output_of(const Layer& layer) const {
    if (is_qkeras_quantized(layer)) return {};
    auto quantization = default_quantization(layer, scheme_, rectified_.at(layer.name));
    if (!quantization) return {};
    quantization->weights.clear();
    quantization->bias_bits = 0;
    return *quantization;
  }

  LayerQuantization of_marked(const Layer& layer, const QuantizeConfigPtr& config) const {
    const bool is_overruled = layout_of(layer).quantizes_nothing;  // TFMOT's layers before a ReLU
    if (config == nullptr || is_overruled) return by_default(layer);
    LayerQuantization quantization = config->quantization(layer);
    check_bias_bits(layer, quantization);
    return quantization;
  }

  LayerQuantization by_default(const Layer& layer) const {
    const LayerLayout place = layout_of(layer);
    if (place.quantizes_nothing) return {};
    if (place.quantizes_output) {
      const bool is_off = place.drops_output;
      return is_off ? LayerQuantization{} : LayerQuantization{.output = activation_quantizer(scheme_, false)};
    }
    auto quantization = default_quantization(layer, scheme_, rectified_.at(layer.name));
    if (!quantization) refuse(layer, scheme_);
    if (place.drops_activation) {
      quantization->pre_activation = {};
      quantization->post_activation = {};
      // The bias is not yet the folded one.
      if (is_before_batch_norm(layer)) quantization->bias_bits = 0;
    }
    if (place.drops_output) quantization->output = {};
    const auto& outputs = annotated_.model.outputs;
    const bool is_result = std::find(outputs.begin(), outputs.end(), layer.name) != outputs.end();
    if (is_result) keep_result_float(*quantization);
    return *quantization;
  }

  bool is_before_batch_norm(const Layer& layer) const {
    const auto readers = annotated_.model.consumers(layer.name);
    return std::any_of(readers.begin(), readers.end(), [&](const std::string& reader) {
      return annotated_.model.layer(reader).class_name == "BatchNormalization";
    });
  }

  // A sigmoid or tanh that ends the network is not rounded once more.
  static void keep_result_float(LayerQuantization& quantization) {
    for (AffineQuantizer* quantizer : {&quantization.post_activation, &quantization.output}) {
      if (quantizer->kind == graph::AffineKind::kFixed) *quantizer = {};
    }
  }

  // The first and the last layer of the model; where the user has said something of one, it has no other in its place.
  void widen_edges() {
    if (scheme_.edge_weight_bits == 0) return;
    std::vector<std::string> with_weights;
    for (const Layer& layer : annotated_.model.layers) {
      if (computes_with_weights(layer)) with_weights.push_back(layer.name);
    }
    if (with_weights.empty()) return;
    for (const std::string& name : {with_weights.front(), with_weights.back()}) {
      const auto found = decisions_.find(name);
      if (found == decisions_.end() || facts_.configured.contains(name)) continue;
      for (auto& weight : found->second.weights) set_bits(scheme_, weight.quantizer, scheme_.edge_weight_bits);
    }
  }

  // What a model gives comes from the last quantizer before it, unless something is computed in between.
  void widen_result(const Layer& layer) {
    const auto found = decisions_.find(layer.name);
    const bool is_decided = found != decisions_.end();
    if (is_decided && !facts_.configured.contains(layer.name)) {
      LayerQuantization& q = found->second;
      for (AffineQuantizer* quantizer : {&q.output, &q.post_activation, &q.pre_activation}) {
        if (quantizer->is_none()) continue;
        set_bits(scheme_, *quantizer, std::max(quantizer->num_bits, scheme_.least_result_bits));
        return;
      }
    }
    const bool is_quantized =
        !graph::quantized_points(layer).empty() || (is_decided && !graph::quantized_points(found->second).empty());
    const bool is_left_out = !facts_.annotated.contains(layer.name) && graph::schema_of(layer).weights != nullptr;
    if (is_quantized || is_left_out || computes_with_weights(layer)) return;
    for (const std::string& input : layer.inputs) widen_result(annotated_.model.layer(input));
  }

  AnnotatedModel annotated_;
  const Scheme& scheme_;
  LayoutFacts facts_;
  std::map<std::string, LayerLayout> layouts_;
  std::map<std::string, bool> rectified_;
  std::map<std::string, LayerQuantization> decisions_;
};

}  // namespace

void quantize_annotate_model(AnnotatedModel& annotated) {
  for (const Layer& layer : annotated.model.layers) {
    if (layer.class_name != "InputLayer") annotated.layers.emplace(layer.name, nullptr);
  }
}

AnnotatedModel quantize_annotate_model(const Model& model) {
  AnnotatedModel annotated{.model = model};
  quantize_annotate_model(annotated);
  return annotated;
}

void quantize_annotate_layer(AnnotatedModel& annotated, const std::string& layer, QuantizeConfigPtr config) {
  if (annotated.model.layer(layer).class_name == "InputLayer") {
    throw InvalidArgument(
        "[quantize_annotate_layer] {} is an input; it is quantized by itself where a layer that reads it is annotated.",
        graph::described(annotated.model.layer(layer)));
  }
  annotated.layers.insert_or_assign(layer, std::move(config));
}

Model quantize_apply(const AnnotatedModel& annotated, const Scheme& scheme) {
  check(scheme);
  check_annotations(annotated);
  graph::validate(annotated.model);
  return Application(annotated, scheme).run();
}

Model quantize_model(const Model& model, const Scheme& scheme) {
  return quantize_apply(quantize_annotate_model(model), scheme);
}

}  // namespace nibble::qat
