// Gives a model its first weights.
#include "nibble/core/error.h"
#include "nibble/graph/initializer.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph {
namespace {

// More than any layer that fits the machines nibble is for; a wrong extent should fail before it allocates.
constexpr int64_t kLargestWeight = int64_t{1} << 31;

// The quantizer for which QKeras would wrap the initializer; null if there is none.
quant::QuantizerPtr wrapping_quantizer(const Layer& layer, const std::string& initializer) {
  const std::string attribute = initializer.substr(0, initializer.rfind("_initializer")) + "_quantizer";
  if (!layer.has(attribute)) return nullptr;
  quant::QuantizerPtr quantizer = effective_quantizer(layer, attribute);
  return wraps_initializer(layer.attributes.at(initializer), *quantizer) ? quantizer : nullptr;
}

// Keras' unit_forget_bias: an LSTM begins by remembering. Gates i, f, c, o.
void open_forget_gate(const Layer& layer, Tensor& bias) {
  if (!layer.attributes.contains("unit_forget_bias") || !layer.get_bool("unit_forget_bias")) return;
  const int64_t units = layer.get_int("units");
  for (int64_t i = units; i < 2 * units; ++i) bias[i] = 1.0f;
}

Tensor first_values(const Layer& layer, const WeightSpec& spec, RandomStream& random) {
  if (spec.shape.elements() > kLargestWeight) {
    throw InvalidArgument("[initialize_weights] {}: weight '{}' of shape {} has more than {} numbers.",
                          described(layer), spec.name, spec.shape.str(), kLargestWeight);
  }
  if (spec.initializer.empty()) return Tensor(spec.shape, spec.start);
  const std::optional<InnerWeight> inner = inner_weight(layer, spec.name);
  const Layer& owner = inner ? inner->layer : layer;
  const Attribute& initializer = owner.attributes.at(spec.initializer);
  const quant::QuantizerPtr quantizer = wrapping_quantizer(owner, spec.initializer);
  Tensor values = quantizer ? draw_quantized_initial(initializer, spec.shape, *quantizer, random)
                            : draw_initial(initializer, spec.shape, random);
  if (spec.name.ends_with("bias")) open_forget_gate(owner, values);
  return values;
}

}  // namespace

void initialize_weights(Model& model, uint64_t seed) {
  const std::map<std::string, Shape> shapes = infer_shapes(model);
  for (size_t index = 0; index < model.layers.size(); ++index) {
    Layer& layer = model.layers[index];
    if (!layer.weights.empty()) continue;
    const std::vector<Shape> inputs = input_shapes(layer, shapes);
    uint32_t step = 0;
    for (const WeightSpec& spec : weight_specs(layer, inputs)) {
      RandomStream random({.seed = seed,
                           .purpose = RandomPurpose::kInitializer,
                           .layer = static_cast<uint32_t>(index),
                           .step = step++});
      layer.weights.push_back({spec.name, first_values(layer, spec, random)});
    }
  }
}

}  // namespace nibble::graph
