// SimpleRNN, LSTM, GRU and their quantized forms, RNN of a cell, Bidirectional, Embedding.
// Weights: spec/interop.md section 2.2; QKeras' arguments: spec/qkeras.md section 4.
#include "nibble/graph/layers_recurrent.h"

#include <nlohmann/json.hpp>

#include <set>

#include "nibble/core/error.h"
#include "nibble/graph/config_read.h"

namespace nibble::graph {
namespace {
using namespace schema;

int64_t features(const Layer& layer, const Shape& input) {
  if (input.rank() == 2 && input[1] >= 1) return input[1];
  throw InvalidArgument("[graph] {} needs an input of 2 axes (steps and a fixed number of features), but gets {}.",
                        described(layer), input.str());
}

template <int gates>
std::vector<WeightSpec> recurrent_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t units = layer.get_int("units"), width = gates * units;
  std::vector<WeightSpec> weights = {{"kernel", {features(layer, inputs[0]), width}, "kernel_initializer"},
                                     {"recurrent_kernel", {units, width}, "recurrent_initializer"}};
  if (!layer.get_bool("use_bias")) return weights;
  const bool two_rows = layer.has("reset_after") && layer.get_bool("reset_after");
  weights.push_back({"bias", two_rows ? Shape{2, width} : Shape{width}, "bias_initializer"});
  return weights;
}

Shape recurrent_shape(const Layer& layer, std::span<const Shape> inputs) {
  features(layer, inputs[0]);
  const int64_t units = layer.get_int("units");
  return layer.get_bool("return_sequences") ? Shape{inputs[0][0], units} : Shape{units};
}

AttributeSpec only_if_changed(AttributeSpec spec) {
  spec.only_if_changed = true;
  return spec;
}

// What Keras offers and nibble cannot do.
void refuse_variants(Layer& layer) {
  for (const char* name : {"return_state", "stateful", "time_major"}) {
    if (!layer.get_bool(name)) continue;
    throw Unsupported(
        "[graph] {}: attribute '{}' is true, which nibble cannot do; it runs whole sequences, from zeros.",
        described(layer), name);
  }
}

AttributeSpec activation_named(const char* name, const char* default_value) {
  AttributeSpec spec = activation(default_value);
  spec.name = name;
  return spec;
}

// How a sequence is run. `unroll` says how Keras computes, `zero_output_for_mask` speaks of masks: neither changes a
// value here.
std::vector<AttributeSpec> sequence_attributes() {
  return {boolean("return_sequences", false),
          boolean("return_state", false),
          boolean("go_backwards", false),
          boolean("stateful", false),
          boolean("unroll", false),
          only_if_changed(boolean("time_major", false)),
          only_if_changed(boolean("zero_output_for_mask", false))};
}

std::vector<AttributeSpec> recurrent_attributes(bool quantized) {
  std::vector<AttributeSpec> specs =
      join({{required_integer("units", 1), activation(quantized ? "quantized_tanh" : "tanh"), boolean("use_bias", true),
             initializer("kernel_initializer", "glorot_uniform"), initializer("recurrent_initializer", "orthogonal"),
             initializer("bias_initializer", "zeros"), real("dropout", 0.0), real("recurrent_dropout", 0.0)},
            sequence_attributes(),
            opaques({"kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "activity_regularizer",
                     "kernel_constraint", "recurrent_constraint", "bias_constraint"})});
  if (!quantized) return specs;
  return join({specs,
               {weight_quantizer("kernel_quantizer"), weight_quantizer("recurrent_quantizer"),
                quantizer("bias_quantizer"), quantizer("state_quantizer")}});
}

// `implementation` and `use_cudnn` say how Keras computes, not what.
std::vector<AttributeSpec> gated_attributes(bool quantized) {
  return join({recurrent_attributes(quantized),
               {activation_named("recurrent_activation", quantized ? "hard_sigmoid" : "sigmoid"),
                only_if_changed(integer("implementation", quantized ? 1 : 2, 0)), opaque("use_cudnn", true),
                opaque("seed", true)}});
}

std::vector<AttributeSpec> with_seed(std::vector<AttributeSpec> specs) {
  return join({std::move(specs), {opaque("seed", true)}});
}

// ---- RNN --------------------------------------------------------------------------

Shape rnn_shape(const Layer& layer, std::span<const Shape> inputs) {
  return recurrent_shape(inner_layer(layer, "cell"), inputs);
}

std::vector<WeightSpec> rnn_weights(const Layer& layer, std::span<const Shape> inputs) {
  const Layer inner = inner_layer(layer, "cell");
  return schema_of(inner).weights(inner, inputs);
}

void complete_rnn(Layer& layer) {
  refuse_variants(layer);
  inner_layer(layer, "cell");
}

// The layer that runs a cell: its class is the cell's without "Cell", its other attributes are the cell's.
Layer layer_of_cell(const Layer& layer, nlohmann::json cell) {
  static const std::set<std::string> kCells = {"SimpleRNNCell",  "LSTMCell",  "GRUCell",
                                               "QSimpleRNNCell", "QLSTMCell", "QGRUCell"};
  const auto found = cell.is_object() ? cell.find("class_name") : cell.end();
  std::string name = cell.is_object() && found != cell.end() && found->is_string() ? found->get<std::string>() : "";
  name = name.substr(name.rfind('>') + 1);
  if (!kCells.contains(name)) {
    throw Unsupported(
        "[graph] {}: its cell is {:.80}; nibble knows SimpleRNNCell, LSTMCell, GRUCell, QSimpleRNNCell, "
        "QLSTMCell and QGRUCell.",
        described(layer), name.empty() ? cell.dump(-1, ' ', true) : name);
  }
  *found = name.substr(0, name.size() - std::string_view("Cell").size());
  Layer inner = layer_from_config(cell);
  for (const char* attribute : {"return_sequences", "go_backwards"}) {
    inner.attributes[attribute] = layer.attributes.at(attribute);
  }
  return inner;
}

// ---- Bidirectional ----------------------------------------------------------------

Shape bidirectional_shape(const Layer& layer, std::span<const Shape> inputs) {
  Shape out = recurrent_shape(inner_layer(layer, "layer"), inputs);
  if (layer.get_string("merge_mode") == "concat") out[-1] *= 2;
  return out;
}

std::vector<WeightSpec> bidirectional_weights(const Layer& layer, std::span<const Shape> inputs) {
  std::vector<WeightSpec> weights;
  for (const char* direction : {"forward", "backward"}) {
    const Layer inner = inner_layer(layer, direction == std::string("forward") ? "layer" : "backward_layer");
    for (WeightSpec& weight : schema_of(inner).weights(inner, inputs)) {
      // Its initializer stands in the inner layer; initialize_weights() looks there.
      weight.name = std::string(direction) + "_" + weight.name;
      weights.push_back(std::move(weight));
    }
  }
  return weights;
}

void complete_bidirectional(Layer& layer) {
  if (!layer.has("layer")) throw InvalidArgument("[graph] {} needs the attribute 'layer'.", described(layer));
  for (const char* name : {"layer", "backward_layer"}) {
    const Layer inner = inner_layer(layer, name);
    const bool is_recurrent = inner.attributes.contains("return_sequences");
    if (is_recurrent) continue;
    throw InvalidArgument("[graph] {}: its {} is a {}; it must be a SimpleRNN, LSTM or GRU.", described(layer), name,
                          inner.class_name);
  }
  if (inner_layer(layer, "layer").get_bool("use_bias") == inner_layer(layer, "backward_layer").get_bool("use_bias")) {
    return;
  }
  throw Unsupported("[graph] {}: one of its two layers has a bias and the other has none; give both the same use_bias.",
                    described(layer));
}

LayerSchema bidirectional(const char* class_name) {
  return {.class_name = class_name,
          .attributes = {opaque("layer"), opaque("backward_layer", true),
                         choice("merge_mode", "concat", {"concat", "sum", "mul", "ave"})},
          .weights = bidirectional_weights,
          .output_shape = bidirectional_shape,
          .complete = complete_bidirectional};
}

// ---- Embedding ------------------------------------------------------------------------

std::vector<WeightSpec> embedding_weights(const Layer& layer, std::span<const Shape>) {
  return {{"embeddings", {layer.get_int("input_dim"), layer.get_int("output_dim")}, "embeddings_initializer"}};
}

Shape embedding_shape(const Layer& layer, std::span<const Shape> inputs) {
  std::vector<int64_t> extents = inputs[0].extents();
  extents.push_back(layer.get_int("output_dim"));
  return Shape(std::move(extents));
}

void refuse_mask(Layer& layer) {
  if (!layer.get_bool("mask_zero")) return;
  throw Unsupported("[graph] {}: attribute 'mask_zero' is true, which nibble cannot do; it has no masks.",
                    described(layer));
}

bool is_bidirectional(const nlohmann::json& class_name) {
  return class_name.is_string() && class_name.get<std::string>().ends_with("Bidirectional");
}

}  // namespace

Layer inner_layer(const Layer& layer, const std::string& attribute) {
  const bool reversed = attribute == "backward_layer" && !layer.has("backward_layer");
  const auto* object = std::get_if<OpaqueJson>(&layer.attributes.at(reversed ? "layer" : attribute));
  if (object == nullptr) throw InvalidArgument("[graph] {} needs the attribute '{}'.", described(layer), attribute);
  const nlohmann::json parsed = nlohmann::json::parse(object->text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_object() && is_bidirectional(parsed.value("class_name", nlohmann::json()))) {
    throw InvalidArgument("[graph] {}: a Bidirectional cannot hold another one.", described(layer));
  }
  if (attribute == "cell") return layer_of_cell(layer, parsed);
  Layer inner = layer_from_config(parsed);
  if (inner.class_name == "RNN") inner = inner_layer(inner, "cell");
  if (reversed) inner.attributes["go_backwards"] = !inner.get_bool("go_backwards");
  return inner;
}

std::optional<InnerWeight> inner_weight(const Layer& layer, const std::string& weight) {
  if (layer.class_name == "RNN") return InnerWeight{inner_layer(layer, "cell"), weight};
  if (!layer.class_name.ends_with("Bidirectional")) return std::nullopt;
  const bool is_forward = weight.starts_with("forward_");
  return InnerWeight{inner_layer(layer, is_forward ? "layer" : "backward_layer"), weight.substr(weight.find('_') + 1)};
}

std::vector<LayerSchema> recurrent_layers() {
  std::vector<LayerSchema> layers;
  for (const bool quantized : {false, true}) {
    const std::string q = quantized ? "Q" : "";
    layers.push_back({.class_name = q + "SimpleRNN",
                      .attributes = with_seed(recurrent_attributes(quantized)),
                      .weights = recurrent_weights<1>,
                      .output_shape = recurrent_shape,
                      .complete = refuse_variants});
    layers.push_back({.class_name = q + "LSTM",
                      .attributes = join({gated_attributes(quantized), {boolean("unit_forget_bias", true)}}),
                      .weights = recurrent_weights<4>,
                      .output_shape = recurrent_shape,
                      .complete = refuse_variants});
    layers.push_back({.class_name = q + "GRU",
                      .attributes = join({gated_attributes(quantized), {boolean("reset_after", !quantized)}}),
                      .weights = recurrent_weights<3>,
                      .output_shape = recurrent_shape,
                      .complete = refuse_variants});
  }
  layers.push_back({.class_name = "RNN",
                    .attributes = join({{opaque("cell")}, sequence_attributes()}),
                    .weights = rnn_weights,
                    .output_shape = rnn_shape,
                    .complete = complete_rnn});
  layers.push_back(bidirectional("Bidirectional"));
  layers.push_back(bidirectional("QBidirectional"));
  layers.push_back(
      {.class_name = "Embedding",
       .attributes = join({{required_integer("input_dim", 1), required_integer("output_dim", 1),
                            initializer("embeddings_initializer", "random_uniform"), boolean("mask_zero", false),
                            opaque("input_length", true)},
                           opaques({"embeddings_regularizer", "activity_regularizer", "embeddings_constraint"})}),
       .weights = embedding_weights,
       .output_shape = embedding_shape,
       .complete = refuse_mask});
  return layers;
}

}  // namespace nibble::graph
