#include "nibble/cost/data_type_map.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/affine_type.h"
#include "nibble/cost/kernel_parts.h"
#include "nibble/cost/merge.h"
#include "nibble/cost/multiplier.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::cost {
namespace {

using graph::Layer;

// The layer inside another one, with its own of the other's weights.
Layer with_weights_of(Layer inner, const Layer& outer, const std::string& prefix) {
  for (const graph::Weight& weight : outer.weights) {
    if (weight.name.starts_with(prefix)) inner.weights.push_back({weight.name.substr(prefix.size()), weight.value});
  }
  return inner;
}

// Layers in order; each reads the types its inputs have left in types_.
class MapBuilder {
 public:
  MapBuilder(const graph::Model& model, const DataTypeOptions& options)
      : model_(model), options_(options), compat_(options.compat), shapes_(graph::infer_shapes(model)) {}

  DataTypeMap build();

 private:
  void add_sources();
  LayerTypes visit(const Layer& layer);
  void add_macs(const Layer& layer, LayerTypes& types);
  Mac plain_mac(const Layer& layer, const KernelPart& part, const QuantizerType& input);
  void set_biases(const KernelPart& part, int64_t biases, Mac& mac) const;
  void fold_bias(const Layer& layer, const KernelPart& part, Mac& mac);
  void add_recurrent(const Layer& layer, LayerTypes& types);
  QuantizerType add_direction(const Layer& layer, const std::string& prefix, LayerTypes& types);
  QuantizerType value_of(const Layer& layer, const char* attribute) const;
  void add_lookup(const Layer& layer, LayerTypes& types);
  void add_pool(const Layer& layer, LayerTypes& types);
  void add_norm(const Layer& layer, LayerTypes& types);
  QuantizerType forwarded_output(const LayerTypes& types) const;
  QuantizerType activation_output(const Layer& layer) const;

  // Q layers outside reference mode have their own quantizers; all others take their types from the options.
  bool is_own(const Layer& layer) const { return is_quantized_class(layer.class_name) && !options_.for_reference; }
  // Plain layers may have affine quantizers, which QTools does not know.
  bool takes_affine() const { return compat_ == Compat::kNone && !options_.for_reference; }
  std::optional<QuantizerType> affine(const Layer& layer, std::string_view point) const {
    return takes_affine() ? affine_type(layer, point) : std::nullopt;
  }
  QuantizerType value_type() const { return options_.keras_quantizer.value_or(default_type()); }
  QuantizerType accumulator_type() const { return options_.keras_accumulator.value_or(default_type()); }
  // The type that layers without operators give in reference mode: the two generations of the reference.
  const std::optional<QuantizerType>& carried_type() const {
    return compat_ == Compat::kQkeras2020 ? options_.keras_quantizer : options_.keras_accumulator;
  }

  std::optional<QuantizerType> own_type(const Layer& layer, const std::string& attribute) const;
  QuantizerType weight_type(const Layer& layer, const std::string& attribute, const std::string& weight) const;
  QuantizerType norm_type(const Layer& layer, const char* attribute, const char* weight, const QuantizerType& missing);
  QuantizerType set_output(const Layer& layer, const QuantizerType& type) const;
  void count_values(const Layer& layer, const std::string& attribute, const std::string& weight,
                    QuantizerType& type) const;
  QuantizerType widened_by_scale(const Layer& layer, const KernelPart& part, const QuantizerType& product) const;
  quant::QuantizerPtr quantizer_of(const Layer& layer, const std::string& attribute) const;
  const Tensor& weight_value(const Layer& layer, const std::string& weight) const;

  // The layer whose values `name` hands out: itself, or what stands before a Dropout.
  const Layer& producer(const std::string& name) const;

  const graph::Model& model_;
  const DataTypeOptions& options_;
  const Compat compat_;
  const std::map<std::string, Shape> shapes_;
  std::map<std::string, QuantizerType> types_;
};

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

DataTypeMap MapBuilder::build() {
  add_sources();
  std::set<std::string> outputs;
  for (const std::string& name : model_.outputs) outputs.insert(producer(name).name);
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
      types.merge = merge(layer.class_name, types.inputs, compat_);
      if (options_.for_reference) types.merge->output = accumulator_type();
      types.output = set_output(layer, types.merge->output);
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

// ---- layers with kernels --------------------------------------------------------

void MapBuilder::add_macs(const Layer& layer, LayerTypes& types) {
  QuantizerType input = types.inputs[0];
  const auto parts = kernel_parts(layer, types.kind, {types.input_shapes, types.output_shape}, compat_);
  for (const KernelPart& part : parts) {
    Mac mac = plain_mac(layer, part, input);
    if (is_folded(types.kind)) fold_bias(layer, part, mac);
    if (!is_own(layer) && !affine(layer, part.weight)) {
      mac.multiplier.output = mac.accumulator = accumulator_type();
      if (mac.fused_accumulator) mac.fused_accumulator = mac.accumulator;
    }
    types.operation_count += mac.operation_count;
    // The transposed classes have an activation after each half.
    const char* activation = part.weight == "pointwise_kernel" ? "pointwise_activation" : "depthwise_activation";
    input = mac.accumulator;
    if (is_own(layer)) input = type_from_attribute(layer, activation, compat_).value_or(input);
    types.macs.push_back(std::move(mac));
  }
  types.output = set_output(layer, input);
}

// ---- recurrent layers and tables ----------------------------------------------------

// The type of what an activation gives, or a state quantizer: float where a Q layer has none.
QuantizerType MapBuilder::value_of(const Layer& layer, const char* attribute) const {
  if (!is_own(layer)) return accumulator_type();
  return own_type(layer, attribute).value_or(float_type(32));
}

// Adds the kernels of a SimpleRNN, LSTM or GRU to `types`, and gives the type of its states h:
//   SimpleRNN  h = act(...)        LSTM  h = gate * act(c)        GRU  h = gate * h + gate * act(...)
QuantizerType MapBuilder::add_direction(const Layer& layer, const std::string& prefix, LayerTypes& types) {
  const QuantizerType activation = value_of(layer, "activation");
  const bool has_state_quantizer = is_own(layer) && quantizer_of(layer, "state_quantizer") != nullptr;
  const QuantizerType state = has_state_quantizer ? value_of(layer, "state_quantizer") : activation;
  for (const KernelPart& part : recurrent_parts(layer, types.input_shapes[0])) {
    Mac mac = plain_mac(layer, part, part.weight == "kernel" ? types.inputs[0] : state);
    mac.prefix = prefix + part.prefix;
    if (!is_own(layer)) mac.multiplier.output = mac.accumulator = accumulator_type();
    types.operation_count += mac.operation_count;
    types.macs.push_back(std::move(mac));
  }
  if (!layer.attributes.contains("recurrent_activation")) return activation;
  const QuantizerType gate = value_of(layer, "recurrent_activation");
  constexpr int64_t kProductsPerUnit = 3;  // f c, i g, o act(c); r h, z h, (1 - z) act(...)
  const int64_t steps = types.input_shapes[0].elements() / types.input_shapes[0][-1];
  if (!types.gates) types.gates = GateTypes{multiply(gate, state, compat_), 0};
  types.gates->products += kProductsPerUnit * steps * layer.get_int("units");
  if (!is_own(layer)) return accumulator_type();
  const QuantizerType product = multiply(gate, activation, compat_).output;
  if (layer.class_name.ends_with("LSTM")) return product;
  return add(product, multiply(gate, state, compat_).output, compat_);
}

void MapBuilder::add_recurrent(const Layer& layer, LayerTypes& types) {
  types.operation_count = 0;
  if (layer.class_name == "RNN") {
    types.output = add_direction(with_weights_of(graph::inner_layer(layer, "cell"), layer, ""), "", types);
    return;
  }
  if (!layer.class_name.ends_with("Bidirectional")) {
    types.output = add_direction(layer, "", types);
    return;
  }
  const QuantizerType forward =
      add_direction(with_weights_of(graph::inner_layer(layer, "layer"), layer, "forward_"), "", types);
  const QuantizerType backward = add_direction(
      with_weights_of(graph::inner_layer(layer, "backward_layer"), layer, "backward_"), "backward_", types);
  const std::string& mode = layer.get_string("merge_mode");
  const char* merging = mode == "mul" ? "Multiply" : (mode == "concat" ? "Concatenate" : "Add");
  types.output = merge(merging, std::vector<QuantizerType>{forward, backward}, compat_).output;
}

void MapBuilder::add_lookup(const Layer& layer, LayerTypes& types) {
  types.operation_count = 0;
  const QuantizerType value = affine(layer, "embeddings").value_or(value_type());
  types.lookup = LookupTypes{value, elements_of(layer, types.output_shape)};
  types.output = set_output(layer, value);
}

Mac MapBuilder::plain_mac(const Layer& layer, const KernelPart& part, const QuantizerType& input) {
  const bool is_conv1d_kernel = part.shape.rank() != 2 && part.shape.rank() != 4;
  Mac mac = {.prefix = part.prefix,
             .weight = weight_type(layer, part.quantizer, part.weight),
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
  const bool has_type = !is_own(layer) || own_type(layer, "bias_quantizer");
  if (has_type) mac.bias = weight_type(layer, "bias_quantizer", "bias");
  mac.accumulator = accumulate(mac.multiplier.output, part.terms + (has_type ? 1 : 0));
  if (has_type) return;
  mac.bias = mac.accumulator;
  if (mac.accumulator.is_float()) return;
  ++mac.accumulator.bit_width;
  ++mac.accumulator.int_bits;
}

// ---- pooling and normalization -----------------------------------------------------

void MapBuilder::add_pool(const Layer& layer, LayerTypes& types) {
  const int64_t area = pool_area(layer, types.kind, {types.input_shapes, types.output_shape});
  PoolTypes pool = {.sum = accumulate(types.inputs[0], area), .average = {}, .multiplier = {}};
  if (is_quantized_class(layer.class_name)) {
    pool.average = weight_type(layer, "average_quantizer", "");
    pool.multiplier = multiply(pool.sum, *pool.average, compat_);
  }
  if (options_.for_reference) {
    pool.sum = accumulator_type();
    if (pool.multiplier) pool.multiplier->output = pool.sum;
  }
  types.output = set_output(layer, pool.multiplier ? pool.multiplier->output : pool.sum);
  types.pool = std::move(pool);
}

QuantizerType MapBuilder::norm_type(const Layer& layer, const char* attribute, const char* weight,
                                    const QuantizerType& missing) {
  if (!is_own(layer)) return value_type();
  QuantizerType type = own_type(layer, attribute).value_or(missing);
  count_values(layer, attribute, weight, type);
  return type;
}

void MapBuilder::add_norm(const Layer& layer, LayerTypes& types) {
  const QuantizerType& input = types.inputs[0];
  NormTypes norm;
  norm.parameters = {.gamma = norm_type(layer, "gamma_quantizer", "gamma", default_type()),
                     .beta = norm_type(layer, "beta_quantizer", "beta", input),
                     .mean = norm_type(layer, "mean_quantizer", "moving_mean", input),
                     .variance = norm_type(layer, "variance_quantizer", "moving_variance", default_type()),
                     .use_scale = layer.get_bool("scale"),
                     .use_center = layer.get_bool("center")};
  norm.operators = normalize(norm.parameters, input, compat_);
  norm.channels = elements_of(layer, graph::weight_shapes(layer, types.input_shapes).at(0).second);
  if (!is_own(layer)) {
    norm.operators.divide.output = accumulator_type();
    if (norm.operators.multiply) norm.operators.multiply->output = accumulator_type();
    if (norm.operators.accumulate) norm.operators.accumulate = accumulator_type();
  }
  types.output = set_output(layer, norm.operators.output());
  types.norm = std::move(norm);
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
  if (!options_.use_weights || !type.is_po2() || weight.empty()) return;
  Tensor value = weight_value(layer, weight);
  const auto quantizer = quantizer_of(layer, attribute);
  if (quantizer != nullptr && !options_.weights_are_quantized) value = quantizer->quantize(value).real;
  const std::set<float> distinct(value.data().begin(), value.data().end());
  type.value_count = static_cast<int>(distinct.size());
}

// A scale of 2^k inside the product moves its point by k; scales of several channels need all their positions.
QuantizerType MapBuilder::widened_by_scale(const Layer& layer, const KernelPart& part,
                                           const QuantizerType& product) const {
  if (!options_.use_weights || !is_own(layer) || product.is_float()) return product;
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

}  // namespace

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
