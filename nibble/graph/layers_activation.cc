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

}  // namespace

std::vector<LayerSchema> activation_layers() {
  return {
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
