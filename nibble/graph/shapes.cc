// Shape inference and the checks of a whole graph.
#include <algorithm>
#include <set>

#include "nibble/core/error.h"
#include "nibble/core/nearest_name.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {

// Keeps products of an extent and an attribute (at most 2^30) within 64 bits.
constexpr int64_t kLargestExtent = int64_t{1} << 31;

void check_input_count(const Layer& layer, const LayerSchema& schema, size_t count) {
  const auto given = static_cast<int>(count);
  if (given >= schema.min_inputs && given <= schema.max_inputs) return;
  const std::string wanted = schema.max_inputs > schema.min_inputs ? fmt::format("at least {}", schema.min_inputs)
                                                                   : fmt::format("{}", schema.min_inputs);
  throw InvalidArgument("[graph] {} has {} inputs, but takes {}.", described(layer), given, wanted);
}

// Shapes of a layer's inputs; an input that stands later, or nowhere, is an error of its own.
std::vector<Shape> shapes_of_inputs(const Model& model, const Layer& layer, const std::map<std::string, Shape>& known) {
  std::vector<Shape> shapes;
  for (const std::string& input : layer.inputs) {
    const auto found = known.find(input);
    if (found != known.end()) {
      shapes.push_back(found->second);
      continue;
    }
    if (model.find_layer(input)) {
      throw InvalidArgument(
          "[graph] {} takes its input from '{}', which does not stand before it: the layers must be "
          "in an order without cycles.",
          described(layer), input);
    }
    std::vector<std::string> names;
    for (const Layer& each : model.layers) names.push_back(each.name);
    throw InvalidArgument("[graph] {} takes its input from '{}', which is no layer of the model. {}", described(layer),
                          input, suggest(input, names));
  }
  return shapes;
}

Shape output_shape(const Layer& layer, const std::vector<Shape>& inputs) {
  const LayerSchema& schema = schema_of(layer);
  check_input_count(layer, schema, inputs.size());
  const std::vector<Shape> seen = seen_by(layer, inputs);
  Shape shape = schema.output_shape ? schema.output_shape(layer, seen) : seen[0];
  // Flatten and pools over everything leave no order.
  if (is_channels_first(layer) && shape.rank() == seen[0].rank()) shape = with_channels_first(shape);
  for (int64_t extent : shape) {
    if (extent <= kLargestExtent) continue;
    throw InvalidArgument("[graph] {}: its output {} has an extent above {}.", described(layer), shape.str(),
                          kLargestExtent);
  }
  return shape;
}

void check_weights(const Layer& layer, const std::vector<Shape>& inputs) {
  const auto expected = weight_shapes(layer, inputs);  // also refuses inputs that no weight fits
  if (layer.weights.empty()) return;
  if (expected.size() != layer.weights.size()) {
    throw InvalidArgument("[validate] {} carries {} weights, but must have {}.", described(layer), layer.weights.size(),
                          expected.size());
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& [name, shape] = expected[i];
    const Weight& weight = layer.weights[i];
    if (weight.name == name && weight.value.shape() == shape) continue;
    throw InvalidArgument("[validate] {}: weight {} is '{}' of shape {}, but must be '{}' of shape {}.",
                          described(layer), i, weight.name, weight.value.shape().str(), name, shape.str());
  }
}

void check_ends(const Model& model) {
  if (model.inputs.empty()) throw InvalidArgument("[validate] model '{}' has no inputs.", model.name);
  if (model.outputs.empty()) throw InvalidArgument("[validate] model '{}' has no outputs.", model.name);
  for (const std::string& output : model.outputs) model.layer(output);
  for (const std::string& input : model.inputs) {
    if (model.layer(input).class_name == "InputLayer") continue;
    throw InvalidArgument("[validate] model '{}' names {} as an input, which is no InputLayer.", model.name,
                          described(model.layer(input)));
  }
}

}  // namespace

std::map<std::string, Shape> infer_shapes(const Model& model) {
  std::map<std::string, Shape> shapes;
  for (const Layer& layer : model.layers) {
    const std::vector<Shape> inputs = shapes_of_inputs(model, layer, shapes);
    if (!shapes.emplace(layer.name, output_shape(layer, inputs)).second) {
      throw InvalidArgument("[graph] model '{}' has two layers of the name '{}'. Rename one.", model.name, layer.name);
    }
  }
  return shapes;
}

std::vector<Shape> input_shapes(const Layer& layer, const std::map<std::string, Shape>& shapes) {
  std::vector<Shape> inputs;
  for (const std::string& name : layer.inputs) {
    const auto found = shapes.find(name);
    if (found == shapes.end()) {
      throw InvalidArgument("[graph] {} takes its input from '{}', whose shape is not known.", described(layer), name);
    }
    inputs.push_back(found->second);
  }
  return inputs;
}

std::vector<WeightSpec> weight_specs(const Layer& layer, const std::vector<Shape>& inputs) {
  const LayerSchema& schema = schema_of(layer);
  const std::vector<Shape> seen = seen_by(layer, inputs);
  std::vector<WeightSpec> specs = schema.weights ? schema.weights(layer, seen) : std::vector<WeightSpec>{};
  if (!layer.quantization) return specs;
  const std::vector<WeightSpec> variables = quantization_variables(layer, specs, output_shape(layer, inputs));
  specs.insert(specs.end(), variables.begin(), variables.end());
  return specs;
}

std::vector<std::pair<std::string, Shape>> weight_shapes(const Layer& layer, const std::vector<Shape>& input_shapes) {
  check_input_count(layer, schema_of(layer), input_shapes.size());
  std::vector<std::pair<std::string, Shape>> shapes;
  for (WeightSpec& weight : weight_specs(layer, input_shapes)) {
    shapes.emplace_back(std::move(weight.name), std::move(weight.shape));
  }
  return shapes;
}

void validate(const Model& model) {
  const std::map<std::string, Shape> shapes = infer_shapes(model);
  check_ends(model);
  for (const Layer& layer : model.layers) check_weights(layer, input_shapes(layer, shapes));
}

}  // namespace nibble::graph
