// Data types of the layers that are no plain kernels: recurrent ones, tables, merges, pooling, normalization.
#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/map_builder.h"
#include "nibble/cost/merge.h"
#include "nibble/cost/multiplier.h"
#include "nibble/cost/saturated.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::cost {

using graph::Layer;

namespace {

// The layer inside another one, with its own of the other's weights.
Layer with_weights_of(Layer inner, const Layer& outer, const std::string& prefix) {
  for (const graph::Weight& weight : outer.weights) {
    if (weight.name.starts_with(prefix)) inner.weights.push_back({weight.name.substr(prefix.size()), weight.value});
  }
  return inner;
}

}  // namespace

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
    types.operation_count = saturated_sum(types.operation_count, mac.operation_count);
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

// ---- merges -----------------------------------------------------------------------

void MapBuilder::add_merge(const Layer& layer, LayerTypes& types) {
  const bool is_dot = layer.class_name == "Dot";
  if (compat_ != Compat::kNone && (is_dot || layer.class_name == "Subtract"))
    throw Unsupported("[data_type_map] QTools fails on the {} layer '{}'. Leave compat off.", layer.class_name,
                      layer.name);
  if (is_dot) {
    add_dot(layer, types);
    return;
  }
  types.merge = merge(layer.class_name, types.inputs, compat_);
  if (options_.for_reference) types.merge->output = accumulator_type();
  types.output = set_output(layer, types.merge->output);
}

// The layer is a matrix product of its inputs; as in a Multiply, the first of them stands where a weight would.
void MapBuilder::add_dot(const Layer& layer, LayerTypes& types) {
  if (layer.get_bool("normalize"))
    throw Unsupported(
        "[data_type_map] layer '{}' is a Dot with normalize=True, and the lengths of its inputs have no cost rule. "
        "Give it normalize=False, or leave the layer out.",
        layer.name);
  const int64_t terms = contracted_extent(layer, types.input_shapes[0]);
  Mac mac = {.weight = types.inputs[0], .input = types.inputs[1], .kernel = Shape{0}, .has_kernel = false};
  mac.operation_count = saturated_product(elements_of(layer, types.output_shape), terms);
  mac.multiplier = multiply(mac.weight, mac.input, compat_);
  mac.accumulator = accumulate(mac.multiplier.output, terms);
  if (options_.for_reference) mac.multiplier.output = mac.accumulator = accumulator_type();
  types.operation_count = mac.operation_count;
  types.output = set_output(layer, mac.accumulator);
  types.macs.push_back(std::move(mac));
}

// ---- pooling and normalization -----------------------------------------------------

void MapBuilder::add_pool(const Layer& layer, LayerTypes& types) {
  int64_t area = pool_area(layer, types.kind, {types.input_shapes, types.output_shape});
  const bool is_global = types.kind == LayerKind::kGlobalAveragePooling;
  if (is_global && has_listed_input(layer)) area = 1;
  PoolTypes pool = {.sum = accumulate(types.inputs[0], area), .average = {}, .multiplier = {}};
  if (is_quantized_class(layer.class_name)) {
    // The reference knows no other type of it, in reference mode either.
    pool.average = compat_ == Compat::kNone
                       ? weight_type(layer, "average_quantizer", "")
                       : type_from_attribute(layer, "average_quantizer", compat_).value_or(default_type());
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
  QuantizerType type = missing;
  if (compat_ == Compat::kNone) {
    type = own_type(layer, attribute).value_or(missing);
  } else if (layer.has(attribute)) {  // the reference takes one that it does not know for 8 bits
    type = type_from_attribute(layer, attribute, compat_).value_or(default_type());
  }
  count_values(layer, attribute, weight, type);
  return type;
}

// What is left of a normalization that the layer before has inside.
NormTypes MapBuilder::fused_norm(const FusedBatchNormTypes& fused) const {
  NormTypes norm;
  norm.parameters.mean = fused.mean;
  norm.parameters.use_scale = false;
  norm.parameters.use_center = fused.beta.has_value();
  norm.charges_gamma = false;
  norm.charges_beta = fused.beta.has_value();
  if (fused.beta) norm.parameters.beta = *fused.beta;
  norm.inverse = fused.inverse;
  norm.operators.multiply = multiply(fused.inverse, fused.product, compat_);
  return norm;
}

void MapBuilder::add_norm(const Layer& layer, LayerTypes& types) {
  const QuantizerType& input = types.inputs[0];
  const int64_t channels = elements_of(layer, graph::weight_shapes(layer, types.input_shapes).at(0).second);
  if (const auto fused = fused_.find(layer.name); fused != fused_.end()) {
    types.norm = fused_norm(fused->second);
    types.norm->channels = channels;
    types.output = set_output(layer, input);
    return;
  }
  const bool scales = layer.get_bool("scale"), centers = layer.get_bool("center");
  NormTypes norm;
  norm.parameters = {.gamma = norm_type(layer, "gamma_quantizer", scales ? "gamma" : "", default_type()),
                     .beta = norm_type(layer, "beta_quantizer", centers ? "beta" : "", input),
                     .mean = norm_type(layer, "mean_quantizer", "moving_mean", input),
                     .variance = norm_type(layer, "variance_quantizer", "moving_variance", default_type()),
                     .use_scale = scales,
                     .use_center = centers};
  norm.operators = normalize(norm.parameters, input, compat_);
  norm.channels = channels;
  norm.charges_gamma = scales || compat_ != Compat::kNone;
  norm.charges_beta = centers || compat_ != Compat::kNone;
  if (!is_own(layer)) {
    norm.operators.divide.output = accumulator_type();
    if (norm.operators.multiply) norm.operators.multiply->output = accumulator_type();
    if (norm.operators.accumulate) norm.operators.accumulate = accumulator_type();
  }
  types.output = set_output(layer, norm.operators.output());
  types.has_listed_output = has_listed_input(layer);
  types.norm = std::move(norm);
}

// One accumulator for the products, the bias and the batch normalization that follows.
void MapBuilder::fuse_norm(const Layer& layer, const Layer& norm, const KernelPart& part, Mac& mac) {
  const QuantizerType sum = mac.accumulator;  // what the normalization would meet
  mac.multiplier.output = widened_by_scale(layer, part, mac.multiplier.output);
  FusedBatchNormTypes types;
  types.product = accumulate(mac.multiplier.output, part.terms);
  types.inverse = norm_type(norm, "inverse_quantizer", "", default_type());
  types.mean = norm_type(norm, "mean_quantizer", "moving_mean", sum);
  if (norm.get_bool("center")) types.beta = norm_type(norm, "beta_quantizer", "beta", sum);
  types.bias = mac.bias;
  mac.accumulator = fused_accumulator(types, compat_);
  mac.fused_accumulator.reset();
  fused_[norm.name] = types;
}

}  // namespace nibble::cost
