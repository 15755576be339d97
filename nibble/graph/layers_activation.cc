#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {
using namespace schema;

AttributeSpec required_activation() {
  AttributeSpec spec = activation();
  spec.required = true;
  return spec;
}

AttributeSpec optional_real(const char* name) {
  return {.name = name, .kind = AttributeKind::kFloat, .optional = true};
}

AttributeSpec aliased(AttributeSpec spec, const char* older_name) {
  spec.aliases = {older_name};
  return spec;
}

std::vector<WeightSpec> prelu_weights(const Layer& layer, std::span<const Shape> inputs) {
  Shape alpha = inputs[0];
  if (layer.has("shared_axes")) {
    for (int64_t axis : layer.get_ints("shared_axes")) {
      if (axis < 1 || axis > alpha.rank()) {
        throw InvalidArgument("[graph] {}: shared axis {} is not an axis of the input {} (the batch axis is 0).",
                              described(layer), axis, inputs[0].str());
      }
      alpha[static_cast<int>(axis - 1)] = 1;
    }
  }
  if (alpha.is_fixed()) return {{"alpha", alpha, "alpha_initializer"}};
  throw InvalidArgument("[graph] {} needs a fixed input shape on the axes it does not share, but gets {}.",
                        described(layer), inputs[0].str());
}

AttributeSpec optional_ints(const char* name, int64_t minimum) {
  return {.name = name, .kind = AttributeKind::kInts, .optional = true, .minimum = minimum};
}

AttributeSpec adaptive_activation() {
  AttributeSpec spec = schema::choice("activation", "", {"quantized_bits", "quantized_relu"});
  spec.required = true;
  return spec;
}

AttributeSpec total_bits() { return required_integer("total_bits", 1); }

AttributeSpec optional_integer(const char* name, int64_t minimum) {
  AttributeSpec spec = required_integer(name, minimum);
  spec.required = false;
  spec.optional = true;
  return spec;
}

// One range for the tensor, or one a channel; and how often the layer was called in training, from -1.
std::vector<WeightSpec> adaptive_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t channels = layer.get_bool("per_channel") ? inputs[0][-1] : 1;
  if (channels < 1) {
    throw InvalidArgument("[graph] {} needs a fixed number of channels, but its input is {}.", described(layer),
                          inputs[0].str());
  }
  return {{"ema_min", {channels}, "", false}, {"ema_max", {channels}, "", false}, {"step", {}, "", false, -1.0f}};
}

void check_decay(Layer& layer) {
  const double decay = layer.get_float("ema_decay");
  if (decay >= 0 && decay <= 1) return;
  throw InvalidArgument("[graph] {}: ema_decay is {}; it must lie between 0 and 1.", described(layer), decay);
}

}  // namespace

std::vector<LayerSchema> activation_layers() {
  return {
      {.class_name = "QAdaptiveActivation",
       .attributes = {adaptive_activation(), total_bits(), opaque("current_step"), boolean("symmetric", true),
                      integer("quantization_delay", 0, 0), optional_integer("ema_freeze_delay", 0),
                      real("ema_decay", 0.9999), boolean("per_channel", false), boolean("po2_rounding", false),
                      real("relu_neg_slope", 0.0), optional_real("relu_upper_bound")},
       .weights = adaptive_weights,
       .complete = check_decay},
      {.class_name = "Activation", .attributes = {required_activation()}},
      {.class_name = "QActivation", .attributes = {required_activation()}},
      {.class_name = "ReLU",
       .attributes = {optional_real("max_value"), real("negative_slope", 0.0), real("threshold", 0.0)}},
      {.class_name = "LeakyReLU", .attributes = {aliased(real("negative_slope", 0.3), "alpha")}},
      {.class_name = "ELU", .attributes = {real("alpha", 1.0)}},
      {.class_name = "Softmax", .attributes = {integer("axis", -1, -8)}},
      {.class_name = "PReLU",
       .attributes = join({{initializer("alpha_initializer", "zeros"), optional_ints("shared_axes", 1)},
                           opaques({"alpha_regularizer", "alpha_constraint"})}),
       .weights = prelu_weights},
  };
}

}  // namespace nibble::graph
