#include "nibble/cost/data_type_map.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/affine_type.h"
#include "nibble/cost/fused_norm.h"
#include "nibble/cost/map_builder.h"
#include "nibble/cost/multiplier.h"
#include "nibble/cost/saturated.h"
#include "nibble/graph/channel_order.h"

namespace nibble::cost {

using graph::Layer;

const Layer& MapBuilder::producer(const std::string& name) const {
  const Layer* layer = &model_.layer(name);
  while (layer_kind(layer->class_name, compat_) == LayerKind::kDropout) {
    const Layer* before = &model_.layer(layer->inputs.at(0));
    if (compat_ != Compat::kNone && layer_kind(before->class_name, compat_) == LayerKind::kInput)
      throw Unsupported(
          "[data_type_map] QTools fails on the dropout layer '{}', which follows an input. Leave compat off.",
          layer->name);
    layer = before;
  }
  return *layer;
}

bool MapBuilder::has_listed_input(const Layer& layer) const {
  if (compat_ == Compat::kNone) return false;
  return layer_kind(model_.layer(layer.inputs.at(0)).class_name, compat_) == LayerKind::kInput;
}

void MapBuilder::add_sources() {
  const auto& sources = options_.sources;
  if (sources.size() > 1 && sources.size() != model_.inputs.size())
    throw InvalidArgument(
        "[data_type_map] {} source quantizers are given for {} model inputs. Give one for all, or one each.",
        sources.size(), model_.inputs.size());
  for (size_t i = 0; i < model_.inputs.size(); ++i) {
    QuantizerType type = default_type();
    if (!sources.empty()) type = sources.size() == 1 ? sources[0] : sources[i];
    const auto own = affine(model_.layer(model_.inputs[i]), graph::kOutput);
    types_[model_.inputs[i]] = own.value_or(type);
  }
}

// For the reference a layer that another one reads is no output, whatever the model says.
std::set<std::string> MapBuilder::output_layers() const {
  std::set<std::string> outputs;
  if (compat_ == Compat::kNone) {
    for (const std::string& name : model_.outputs) outputs.insert(producer(name).name);
    return outputs;
  }
  for (const Layer& layer : model_.layers) {
    if (model_.consumers(layer.name).empty()) outputs.insert(producer(layer.name).name);
  }
  return outputs;
}

DataTypeMap MapBuilder::build() {
  add_sources();
  const std::set<std::string> outputs = output_layers();
  DataTypeMap map = {.compat = compat_, .inputs = model_.inputs, .sources = {}, .source_shapes = {}, .layers = {}};
  for (const std::string& name : model_.inputs) {
    map.sources.push_back(types_.at(name));
    map.source_shapes.push_back(shapes_.at(name));
  }
  for (const Layer& layer : model_.layers) {
    const LayerKind kind = layer_kind(layer.class_name, compat_);
    if (kind == LayerKind::kInput || kind == LayerKind::kDropout) continue;
    LayerTypes types = visit(layer);
    types.writes_model_output = outputs.count(layer.name) > 0;
    types.has_activation = has_activation(layer);
    types_[layer.name] = types.output;
    map.layers.push_back(std::move(types));
  }
  return map;
}

LayerTypes MapBuilder::visit(const Layer& layer) {
  LayerTypes types = {.name = layer.name, .class_name = layer.class_name};
  types.kind = layer_kind(layer.class_name, compat_);
  types.output_shape = shapes_.at(layer.name);
  for (const std::string& name : layer.inputs) {
    const Layer& source = producer(name);
    types.inputs.push_back(types_.at(source.name));
    types.input_shapes.push_back(shapes_.at(source.name));
    if (layer_kind(source.class_name, compat_) == LayerKind::kInput) types.reads_model_input = true;
  }
  if (types.inputs.empty())
    throw InvalidArgument("[data_type_map] layer '{}' ({}) has no inputs.", layer.name, layer.class_name);
  if (has_kernel(types.kind)) {
    add_macs(layer, types);
    return types;
  }
  types.operation_count = elementwise_count(layer, types.kind, {types.input_shapes, types.output_shape}, compat_);
  switch (types.kind) {
    case LayerKind::kRecurrent:
      add_recurrent(layer, types);
      break;
    case LayerKind::kLookup:
      add_lookup(layer, types);
      break;
    case LayerKind::kMerge:
      add_merge(layer, types);
      break;
    case LayerKind::kAveragePooling:
    case LayerKind::kGlobalAveragePooling:
      add_pool(layer, types);
      break;
    case LayerKind::kBatchNormalization:
      add_norm(layer, types);
      break;
    case LayerKind::kActivation:
      types.output = set_output(layer, activation_output(layer));
      break;
    case LayerKind::kOther:
      types.output = set_output(layer, forwarded_output(types));
      break;
    default:
      types.output = set_output(layer, types.inputs[0]);
  }
  return types;
}

QuantizerType MapBuilder::forwarded_output(const LayerTypes& types) const {
  const bool is_carried = options_.for_reference && carried_type() && !types.reads_model_input;
  return is_carried ? *carried_type() : types.inputs[0];
}

QuantizerType MapBuilder::activation_output(const Layer& layer) const {
  if (is_own(layer)) {
    if (const auto own = own_type(layer, "activation")) return *own;
    if (compat_ != Compat::kNone)
      throw Unsupported("[data_type_map] QTools has no type for the activation of '{}'. Leave compat off.", layer.name);
  }
  return carried_type().value_or(default_type());
}

bool MapBuilder::has_activation(const Layer& layer) const {
  if (layer_kind(layer.class_name, compat_) == LayerKind::kActivation) return true;
  if (takes_affine() && affine_output_type(layer)) return true;
  return layer.activation_function() != "linear";
}

// ---- layers with kernels --------------------------------------------------------

void MapBuilder::add_macs(const Layer& layer, LayerTypes& types) {
  QuantizerType input = types.inputs[0];
  const auto parts = kernel_parts(layer, types.kind, {types.input_shapes, types.output_shape}, compat_);
  for (const KernelPart& part : parts) {
    Mac mac = plain_mac(layer, part, input);
    if (is_folded(types.kind)) fold_bias(layer, part, mac);
    const Layer* norm = options_.fuses_batch_norms && is_own(layer) ? norm_inside(model_, layer) : nullptr;
    if (norm != nullptr) fuse_norm(layer, *norm, part, mac);
    if (!is_own(layer) && !affine(layer, part.weight)) {
      mac.multiplier.output = mac.accumulator = accumulator_type();
      if (mac.fused_accumulator) mac.fused_accumulator = mac.accumulator;
    }
    types.operation_count = saturated_sum(types.operation_count, mac.operation_count);
    // The transposed classes have an activation after each half.
    const char* activation = part.weight == "pointwise_kernel" ? "pointwise_activation" : "depthwise_activation";
    input = mac.accumulator;
    if (is_own(layer)) input = type_from_attribute(layer, activation, compat_).value_or(input);
    types.macs.push_back(std::move(mac));
  }
  types.output = set_output(layer, input);
}

Mac MapBuilder::plain_mac(const Layer& layer, const KernelPart& part, const QuantizerType& input) {
  const bool is_conv1d_kernel = part.shape.rank() != 2 && part.shape.rank() != 4;
  Mac mac = {.prefix = part.prefix,
             .weight = weight_type(layer, part.quantizer, part.weight),
             .input = input,
             .kernel = part.shape,
             .adds = layer.class_name != "PReLU"};
  const bool is_affine = !is_own(layer) && affine(layer, part.weight).has_value();
  if (part.biases > 0) mac.bias = is_affine ? affine_bias_type(layer) : weight_type(layer, "bias_quantizer", "bias");
  set_biases(part, part.biases, mac);
  mac.operation_count = part.operation_count;
  mac.multiplier = multiply(mac.weight, input, compat_);
  if (compat_ != Compat::kNone && is_conv1d_kernel && !mac.multiplier.output.is_float())
    throw Unsupported("[data_type_map] QTools fails on the kernel {} of '{}'; it knows 2 and 4 axes. Leave compat off.",
                      part.shape.str(), layer.name);
  if (is_affine) {
    // A bias on the accumulator's grid is one term more, whatever bits it is stored with.
    mac.accumulator = accumulate(mac.multiplier.output, part.terms + (part.biases > 0 ? 1 : 0));
    mac.fused_accumulator = mac.accumulator;
    return mac;
  }
  mac.accumulator = accumulate_with_bias(mac.multiplier.output, part.terms, mac.bias, compat_);
  const QuantizerType scaled = widened_by_scale(layer, part, mac.multiplier.output);
  mac.fused_accumulator = accumulate_with_bias(scaled, part.terms, mac.bias, compat_);
  return mac;
}

// The reference takes the kernel's last axis for the bias, which is wrong for depthwise and transposed kernels.
void MapBuilder::set_biases(const KernelPart& part, int64_t biases, Mac& mac) const {
  mac.biases = biases;
  mac.charged_biases = compat_ == Compat::kNone || biases == 0 ? biases : part.shape[-1];
}

// A folded layer always has a bias, the batch normalization's; without a quantizer it takes the accumulator's type.
void MapBuilder::fold_bias(const Layer& layer, const KernelPart& part, Mac& mac) {
  mac.fused_accumulator.reset();
  mac.multiplier.output = widened_by_scale(layer, part, mac.multiplier.output);
  set_biases(part, shapes_.at(layer.name)[-1], mac);
  if (compat_ != Compat::kNone && !layer.get_bool("use_bias")) mac.biases = 0;  // that of the kernel alone
  const bool has_type = !is_own(layer) || own_type(layer, "bias_quantizer");
  if (has_type) mac.bias = weight_type(layer, "bias_quantizer", "bias");
  mac.accumulator = accumulate(mac.multiplier.output, part.terms + (has_type ? 1 : 0));
  if (has_type) return;
  mac.bias = mac.accumulator;
  if (mac.accumulator.is_float()) return;
  ++mac.accumulator.bit_width;
  ++mac.accumulator.int_bits;
}

// ---- types of attributes and weights ---------------------------------------------------

std::optional<QuantizerType> MapBuilder::own_type(const Layer& layer, const std::string& attribute) const {
  const auto type = type_from_attribute(layer, attribute, compat_);
  if (!type && quantizer_of(layer, attribute) != nullptr)
    throw Unsupported("[data_type_map] QTools has no type for {} of '{}': {}. Leave compat off.", attribute, layer.name,
                      quantizer_of(layer, attribute)->str());
  return type;
}

QuantizerType MapBuilder::weight_type(const Layer& layer, const std::string& attribute,
                                      const std::string& weight) const {
  if (!is_own(layer)) return affine(layer, weight).value_or(value_type());
  QuantizerType type = own_type(layer, attribute).value_or(default_type());
  count_values(layer, attribute, weight, type);
  return type;
}

// What leaves the layer: its affine quantizer's or its fused activation's type where it has one, else `type`.
QuantizerType MapBuilder::set_output(const Layer& layer, const QuantizerType& type) const {
  if (takes_affine())
    if (const auto affine = affine_output_type(layer)) return *affine;
  if (!options_.for_reference)
    if (const auto tagged = type_from_attribute(layer, "activation", compat_)) return *tagged;
  return forwarded(type, compat_);
}

quant::QuantizerPtr MapBuilder::quantizer_of(const Layer& layer, const std::string& attribute) const {
  const auto found = layer.attributes.find(attribute);
  if (found == layer.attributes.end()) return nullptr;
  const auto* quantizer = std::get_if<quant::QuantizerPtr>(&found->second);
  return quantizer == nullptr ? nullptr : *quantizer;
}

const Tensor& MapBuilder::weight_value(const Layer& layer, const std::string& weight) const {
  if (const graph::Weight* found = layer.find_weight(weight)) return found->value;
  throw InvalidArgument(
      "[data_type_map] layer '{}' has no weight '{}', but use_weights asks for it. Load or initialize "
      "the model's weights first.",
      layer.name, weight);
}

void MapBuilder::count_values(const Layer& layer, const std::string& attribute, const std::string& weight,
                              QuantizerType& type) const {
  if (!looks_at(layer, weight) || !type.is_po2()) return;
  Tensor value = weight_value(layer, weight);
  const auto quantizer = quantizer_of(layer, attribute);
  if (quantizer != nullptr && !options_.weights_are_quantized) value = quantizer->quantize(value).real;
  const std::set<float> distinct(value.data().begin(), value.data().end());
  type.value_count = static_cast<int>(distinct.size());
}

// A scale of 2^k inside the product moves its point by k; scales of several channels need all their positions.
QuantizerType MapBuilder::widened_by_scale(const Layer& layer, const KernelPart& part,
                                           const QuantizerType& product) const {
  if (!looks_at(layer, part.weight) || !is_own(layer) || product.is_float()) return product;
  quant::QuantizerPtr quantizer = quantizer_of(layer, part.quantizer);
  if (quantizer == nullptr || quantizer->class_name() != "quantized_bits") return product;
  quantizer = quantizer->as_weight_quantizer();
  if (quantizer->config().value("alpha", nlohmann::json()) != nlohmann::json("auto_po2")) return product;
  const Tensor scale = quantizer->quantize(weight_value(layer, part.weight)).scale;
  float smallest = scale[0], largest = scale[0];
  for (const float s : scale.data()) {
    smallest = std::min(smallest, s);
    largest = std::max(largest, s);
  }
  if (!(smallest > 0)) return product;
  QuantizerType result = product;
  result.int_bits += static_cast<int>(std::trunc(std::log2(largest)));
  result.bit_width =
      product.bit_width - product.int_bits - static_cast<int>(std::trunc(std::log2(smallest))) + result.int_bits;
  return result;
}

const LayerTypes* DataTypeMap::find(std::string_view name) const {
  for (const LayerTypes& layer : layers)
    if (layer.name == name) return &layer;
  return nullptr;
}

DataTypeMap data_type_map(const graph::Model& model, const DataTypeOptions& options) {
  graph::require_channels_last(model, "cost");
  return MapBuilder(model, options).build();
}

}  // namespace nibble::cost
