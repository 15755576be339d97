#include "nibble/graph/layers_dense.h"

#include "nibble/core/error.h"

namespace nibble::graph {
namespace {
using namespace schema;

// Acts on the last axis, whatever stands before it.
int64_t features(const Layer& layer, const Shape& input) {
  if (input.rank() >= 1 && input[-1] != Shape::kFree) return input[-1];
  throw InvalidArgument("[graph] {} needs an input whose last axis is fixed, but gets {}.", described(layer),
                        input.str());
}

// QScaleShift: two numbers for the whole layer.
std::vector<WeightSpec> scale_shift_weights(const Layer& layer, std::span<const Shape>) {
  std::vector<WeightSpec> weights = {{"weight", {1, 1}, "weight_initializer"}};
  if (layer.get_bool("use_bias")) weights.push_back({"bias", {1, 1}, "bias_initializer"});
  return weights;
}

}  // namespace

std::vector<WeightSpec> dense_weights(const Layer& layer, std::span<const Shape> inputs) {
  const int64_t units = layer.get_int("units");
  std::vector<WeightSpec> weights = {{"kernel", {features(layer, inputs[0]), units}, "kernel_initializer"}};
  if (layer.get_bool("use_bias")) weights.push_back({"bias", {units}, "bias_initializer"});
  return weights;
}

Shape dense_shape(const Layer& layer, std::span<const Shape> inputs) {
  features(layer, inputs[0]);
  Shape out = inputs[0];
  out[-1] = layer.get_int("units");
  return out;
}

std::vector<AttributeSpec> dense_attributes(const char* initializer_name) {
  return join({{required_integer("units", 1), activation(), boolean("use_bias", true),
                initializer("kernel_initializer", initializer_name), initializer("bias_initializer", "zeros")},
               opaques({"kernel_regularizer", "bias_regularizer", "activity_regularizer", "kernel_constraint",
                        "bias_constraint"})});
}

std::vector<LayerSchema> dense_layers() {
  return {
      {.class_name = "Dense",
       .attributes = dense_attributes("glorot_uniform"),
       .weights = dense_weights,
       .output_shape = dense_shape},
      {.class_name = "QDense",
       .attributes =
           join({dense_attributes("he_normal"), {weight_quantizer("kernel_quantizer"), quantizer("bias_quantizer")}}),
       .weights = dense_weights,
       .output_shape = dense_shape},
      // The hook that makes alpha None "auto_po2" runs for its bias quantizer too (spec/qkeras.md section 4).
      {.class_name = "QScaleShift",
       .attributes = join({{boolean("use_bias", true), activation(), initializer("weight_initializer", "he_normal"),
                            initializer("bias_initializer", "zeros"), weight_quantizer("weight_quantizer"),
                            weight_quantizer("bias_quantizer")},
                           opaques({"weight_regularizer", "bias_regularizer"})}),
       .weights = scale_shift_weights},
  };
}

}  // namespace nibble::graph
