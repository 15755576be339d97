// A network's parameters: made from the model's weights, given back as weights, and their quantizers.
#include <ATen/ATen.h>

#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/layers_recurrent.h"
#include "nibble/train/layer_runtime.h"
#include "nibble/train/network.h"

namespace nibble::train {
namespace {

at::Tensor to_torch(const Tensor& t) {
  at::Tensor result = at::empty(t.shape().extents(), at::kFloat);
  std::copy(t.data().begin(), t.data().end(), result.data_ptr<float>());
  return result;
}

// What a layer remembers of the batches it saw: no gradient moves it.
bool is_state(const std::string& weight) {
  static const std::set<std::string> kNames = {"moving_mean", "moving_variance", "iteration",
                                               "ema_min",     "ema_max",         "step"};
  return kNames.contains(weight);
}

// The layer's attribute of a `kind` ("quantizer", "constraint", ...) for a weight. Of "depthwise_kernel" it is that of
// "depthwise" in most classes, of itself or of "kernel" in some. A class without one gives the first.
std::string attribute_of(const graph::Layer& layer, const std::string& weight, const char* kind) {
  std::vector<std::string> stems = {weight};
  if (weight == "moving_mean") stems = {"mean"};
  if (weight == "moving_variance") stems = {"variance"};
  for (const char* part : {"depthwise", "pointwise", "recurrent"}) {
    if (weight == std::string(part) + "_kernel") stems = {part, weight, "kernel"};
  }
  for (const std::string& stem : stems) {
    if (layer.attributes.contains(stem + "_" + kind)) return stem + "_" + kind;
  }
  return stems[0] + "_" + kind;
}

// QConv2D's mask as a tensor that broadcasts over the kernel's channels; undefined where there is none.
at::Tensor mask_of(const graph::Layer& layer) {
  const auto* given = std::get_if<graph::OpaqueJson>(&layer.attributes.at("mask"));
  if (given == nullptr) return {};
  std::vector<float> values;
  const auto collect = [&](const auto& self, const nlohmann::json& value) -> void {
    if (value.is_number()) values.push_back(value.get<float>());
    if (value.is_array()) {
      for (const nlohmann::json& item : value) self(self, item);
    }
  };
  const nlohmann::json parsed = nlohmann::json::parse(given->text, nullptr, /*allow_exceptions=*/false);
  collect(collect, parsed);
  const auto& kernel = layer.get_ints("kernel_size");
  const bool has_rows = parsed.is_array() && !parsed.empty() && parsed[0].is_array();
  if (!has_rows || static_cast<int64_t>(values.size()) != kernel[0] * kernel[1]) {
    throw InvalidArgument("[train] layer '{}': its mask must be {} lists of {} numbers, as the kernel; it is {:.80}.",
                          layer.name, kernel[0], kernel[1], given->text);
  }
  return at::tensor(values).reshape({kernel[0], kernel[1], 1, 1});
}

// A range of affine quantization: batches move it.
bool is_range(const graph::Layer& layer, const std::string& weight) {
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    if (weight == point.name + "_min" || weight == point.name + "_max") return true;
  }
  return false;
}

// The learned step or clipping level that a learned variable of affine quantization is measured by; "" for others.
std::string measure_of(const graph::Layer& layer, const std::string& weight) {
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    if (!graph::is_learned(point.quantizer.kind)) continue;
    for (const char* suffix : {"_step", "_alpha"}) {
      if (weight == point.name + suffix) return weight;
    }
    if (weight == point.name + "_offset") return point.name + "_step";
  }
  return "";
}

// What PACT adds to the loss for its clipping level; nothing for other weights.
graph::Regularizer penalty_on(const graph::Layer& layer, const std::string& weight) {
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    if (weight == point.name + "_alpha") return {.l2 = point.quantizer.penalty};
  }
  return {};
}

// QKeras clips a quantized weight that has no constraint of its own.
graph::Constraint constraint_on(const graph::Layer& layer, const std::string& weight,
                                const quant::QuantizerPtr& quantizer) {
  const std::string attribute = attribute_of(layer, weight, "constraint");
  if (layer.has(attribute)) return graph::constraint_of(layer, attribute);
  return quantizer == nullptr ? graph::Constraint{} : graph::automatic_constraint(*quantizer);
}

// The quantizer of a weight, which may be that of a layer inside.
quant::QuantizerPtr weight_quantizer(const graph::Layer& layer, const std::string& weight) {
  const std::optional<graph::InnerWeight> inner = graph::inner_weight(layer, weight);
  const graph::Layer& owner = inner ? inner->layer : layer;
  return quantizer_of(owner, attribute_of(owner, inner ? inner->name : weight, "quantizer"));
}

}  // namespace

quant::QuantizerPtr quantizer_of(const graph::Layer& layer, const std::string& attribute) {
  return layer.attributes.contains(attribute) ? graph::effective_quantizer(layer, attribute) : nullptr;
}

void Network::make_parameters() {
  layers_.resize(model_.layers.size());
  for (size_t l = 0; l < model_.layers.size(); ++l) {
    const graph::Layer& layer = model_.layers[l];
    for (size_t w = 0; w < layer.weights.size(); ++w) {
      const std::string& name = layer.weights[w].name;
      // The weight of a layer inside: its quantizer, constraint and regularizer stand there.
      const std::optional<graph::InnerWeight> inner = graph::inner_weight(layer, name);
      const graph::Layer& owner = inner ? inner->layer : layer;
      const std::string& own_name = inner ? inner->name : name;
      Parameter parameter{static_cast<int>(l),
                          static_cast<int>(w),
                          layer.trainable && owner.trainable && !is_state(name) && !is_range(layer, name),
                          to_torch(layer.weights[w].value),
                          {},
                          {}};
      if (const std::string measure = measure_of(layer, name); !measure.empty()) {
        const LayerWeight* found = layers_[l].find(measure);
        parameter.measure = found == nullptr ? parameter.value : found->value;
      }
      parameter.value.set_requires_grad(parameter.trainable);
      const auto quantizer = weight_quantizer(layer, name);
      if (!is_state(name)) {
        parameter.constraint = constraint_on(owner, own_name, quantizer);
        parameter.regularizer = graph::regularizer_of(owner, attribute_of(owner, own_name, "regularizer"));
        if (parameter.regularizer.is_none()) parameter.regularizer = penalty_on(layer, name);
      }
      layers_[l].add_weight(name, parameter.value, quantizer);
      if (name == "kernel" && layer.attributes.contains("mask")) layers_[l].weights.back().mask = mask_of(layer);
      parameters_.push_back(std::move(parameter));
    }
  }
}

void Network::set_qnoise(const graph::QNoise& noise) {
  if (noise_ == noise) return;
  noise_ = noise;
  noisy_ = graph::with_qnoise(model_, noise);
  adopt_plan(lower(*noisy_));
  for (size_t l = 0; l < layers_.size(); ++l) {
    for (LayerWeight& weight : layers_[l].weights) {
      if (weight.quantizer != nullptr) weight.set_quantizer(weight_quantizer(noisy_->layers[l], weight.name));
    }
  }
}

graph::Model Network::model() const {
  graph::Model result = model_;
  if (noise_) result = graph::with_qnoise(model_, {noise_->factor, std::nullopt});
  for (size_t i = 0; i < model_.layers.size(); ++i) result.layers[i].weights = model_.layers[i].weights;
  for (const Parameter& parameter : parameters_) {
    Tensor& target =
        result.layers[static_cast<size_t>(parameter.layer)].weights[static_cast<size_t>(parameter.weight)].value;
    const auto* data = parameter.value.data_ptr<float>();
    std::copy(data, data + parameter.value.numel(), target.data().begin());
  }
  return result;
}

}  // namespace nibble::train
