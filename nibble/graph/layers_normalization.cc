#include "nibble/graph/layers_normalization.h"

#include "nibble/core/error.h"

namespace nibble::graph {
namespace {
using namespace schema;

// The axis that keeps its own statistics. Keras counts the batch axis; negative axes count from the last.
int64_t normalized_extent(const Layer& layer, const Shape& input) {
  const int64_t axis = layer.get_int("axis");
  const int64_t rank = input.rank() + 1;
  const int64_t position = axis < 0 ? axis + rank : axis;
  if (position < 1 || position >= rank) {
    throw InvalidArgument("[graph] {}: axis {} is not an axis of the input {} (the batch axis is 0).", described(layer),
                          axis, input.str());
  }
  const int64_t extent = input[static_cast<int>(position - 1)];
  if (extent >= 1) return extent;
  throw InvalidArgument("[graph] {}: axis {} of the input {} must have a fixed size.", described(layer), axis,
                        input.str());
}

std::vector<WeightSpec> weights_of(const Layer& layer, std::span<const Shape> inputs) {
  return batch_normalization_weights(layer, normalized_extent(layer, inputs[0]));
}

AttributeSpec with_default(AttributeSpec spec, const char* text) {
  spec.default_value = text;
  return spec;
}

AttributeSpec noise(const char* name) { return opaque(name, true); }

// Variants that compute something else.
void refuse_variants(const Layer& layer) {
  for (const char* name : {"renorm", "virtual_batch_size"}) {
    if (!layer.has(name) || std::get<OpaqueJson>(layer.attributes.at(name)).text == "false") continue;
    throw Unsupported("[graph] {}: attribute '{}' is {}, which nibble cannot do; it can do plain batch normalization.",
                      described(layer), name, to_string(layer.attributes.at(name)));
  }
}

void check_numbers(Layer& layer) {
  refuse_variants(layer);
  const double momentum = layer.get_float("momentum"), epsilon = layer.get_float("epsilon");
  if (!(momentum >= 0 && momentum <= 1)) {
    throw InvalidArgument("[graph] {}: momentum is {}; it must lie between 0 and 1.", described(layer), momentum);
  }
  if (!(epsilon >= 0 && epsilon <= 1)) {
    throw InvalidArgument("[graph] {}: epsilon is {}; it must lie between 0 and 1.", described(layer), epsilon);
  }
}

void check_quantizers(Layer& layer) {
  check_numbers(layer);
  if (layer.has("inverse_quantizer") && (layer.has("gamma_quantizer") || layer.has("variance_quantizer"))) {
    throw InvalidArgument("[graph] {}: with an inverse_quantizer, gamma_quantizer and variance_quantizer must be None.",
                          described(layer));
  }
}

}  // namespace

std::vector<AttributeSpec> batch_normalization_attributes() {
  return join(
      {{integer("axis", -1, -8), real("momentum", 0.99), real("epsilon", 1e-3), boolean("center", true),
        boolean("scale", true), initializer("beta_initializer", "zeros"), initializer("gamma_initializer", "ones"),
        initializer("moving_mean_initializer", "zeros"), initializer("moving_variance_initializer", "ones")},
       opaques({"beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint"}),
       // How TensorFlow computes it; renorm and virtual batches are refused when on.
       {noise("renorm"), noise("renorm_clipping"), noise("renorm_momentum"), noise("fused"),
        noise("virtual_batch_size"), noise("adjustment"), noise("synchronized")}});
}

std::vector<WeightSpec> batch_normalization_weights(const Layer& layer, int64_t size) {
  std::vector<WeightSpec> weights;
  if (layer.get_bool("scale")) weights.push_back({"gamma", {size}, "gamma_initializer"});
  if (layer.get_bool("center")) weights.push_back({"beta", {size}, "beta_initializer"});
  weights.push_back({"moving_mean", {size}, "moving_mean_initializer", false});
  weights.push_back({"moving_variance", {size}, "moving_variance_initializer", false});
  return weights;
}

std::vector<LayerSchema> normalization_layers() {
  AttributeSpec gamma = with_default(weight_quantizer("gamma_quantizer"), "quantized_relu_po2(6,2048)");
  AttributeSpec variance =
      with_default(weight_quantizer("variance_quantizer"), "quantized_relu_po2(6,quadratic_approximation=True)");
  return {
      {.class_name = "BatchNormalization",
       .attributes = batch_normalization_attributes(),
       .weights = weights_of,
       .complete = check_numbers},
      {.class_name = "QBatchNormalization",
       .attributes = join(
           {batch_normalization_attributes(),
            {activation(), with_default(quantizer("beta_quantizer"), "quantized_po2(5)"), gamma,
             with_default(quantizer("mean_quantizer"), "quantized_po2(5)"), variance, quantizer("inverse_quantizer")}}),
       .weights = weights_of,
       .complete = check_quantizers},
  };
}

}  // namespace nibble::graph
