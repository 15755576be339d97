#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {
using namespace schema;

constexpr int kManyInputs = 1 << 16;

std::string list(std::span<const Shape> shapes) {
  std::vector<std::string> texts;
  for (const Shape& shape : shapes) texts.push_back(shape.str());
  return fmt::format("{}", fmt::join(texts, ", "));
}

// Elementwise layers broadcast extents of 1, as numpy does; the ranks must agree.
Shape elementwise_shape(const Layer& layer, std::span<const Shape> inputs) {
  Shape out = inputs[0];
  for (const Shape& input : inputs) {
    if (input.rank() != out.rank()) {
      throw InvalidArgument("[graph] {}: inputs {} differ in their number of axes.", described(layer), list(inputs));
    }
    for (int axis = 0; axis < out.rank(); ++axis) {
      if (out[axis] == input[axis] || input[axis] == 1) continue;
      if (out[axis] == 1 || out[axis] == Shape::kFree) {
        out[axis] = input[axis];
      } else if (input[axis] != Shape::kFree) {
        throw InvalidArgument("[graph] {}: inputs {} differ on axis {}; they must be equal or 1.", described(layer),
                              list(inputs), axis);
      }
    }
  }
  return out;
}

// Keras counts the batch axis.
Shape concatenated_shape(const Layer& layer, std::span<const Shape> inputs) {
  Shape out = inputs[0];
  const int64_t given = layer.get_int("axis"), rank = out.rank() + 1;
  const auto axis = static_cast<int>((given < 0 ? given + rank : given) - 1);
  if (axis < 0 || axis >= out.rank()) {
    throw InvalidArgument("[graph] {}: axis {} is not an axis of the inputs {} (the batch axis is 0).",
                          described(layer), given, list(inputs));
  }
  for (const Shape& input : inputs.subspan(1)) {
    bool fits = input.rank() == out.rank();
    for (int i = 0; fits && i < out.rank(); ++i) fits = i == axis || input[i] == out[i];
    if (!fits) {
      throw InvalidArgument("[graph] {}: inputs {} must be equal except on axis {}.", described(layer), list(inputs),
                            given);
    }
    out[axis] = out[axis] == Shape::kFree || input[axis] == Shape::kFree ? Shape::kFree : out[axis] + input[axis];
  }
  return out;
}

// The axis of input `i` that Dot contracts, batch axis excluded.
int contracted_axis(const Layer& layer, const Shape& input, size_t i) {
  const auto& axes = layer.get_ints("axes");
  const int64_t given = axes.size() == 1 ? axes[0] : axes.at(i), rank = input.rank() + 1;
  const auto axis = static_cast<int>((given < 0 ? given + rank : given) - 1);
  if (axis >= 0 && axis < input.rank()) return axis;
  throw InvalidArgument("[graph] {}: axis {} is not an axis of the input {} (the batch axis is 0).", described(layer),
                        given, input.str());
}

// What is left of both inputs, the first one's axes first; one number where nothing is left.
Shape dot_shape(const Layer& layer, std::span<const Shape> inputs) {
  if (layer.get_ints("axes").size() > 2) {
    throw InvalidArgument("[graph] {}: axes [{}] must be one number or two.", described(layer),
                          fmt::join(layer.get_ints("axes"), ", "));
  }
  std::vector<int64_t> extents;
  const int a = contracted_axis(layer, inputs[0], 0), b = contracted_axis(layer, inputs[1], 1);
  if (inputs[0][a] != inputs[1][b]) {
    throw InvalidArgument("[graph] {}: inputs {} differ on the axes that are contracted.", described(layer),
                          list(inputs));
  }
  for (int axis = 0; axis < inputs[0].rank(); ++axis) {
    if (axis != a) extents.push_back(inputs[0][axis]);
  }
  for (int axis = 0; axis < inputs[1].rank(); ++axis) {
    if (axis != b) extents.push_back(inputs[1][axis]);
  }
  return extents.empty() ? Shape{1} : Shape(std::move(extents));
}

}  // namespace

std::vector<LayerSchema> merge_layers() {
  std::vector<LayerSchema> layers;
  for (const char* name : {"Add", "Multiply", "Average", "Maximum", "Minimum"}) {
    layers.push_back(
        {.class_name = name, .min_inputs = 2, .max_inputs = kManyInputs, .output_shape = elementwise_shape});
  }
  layers.push_back({.class_name = "Subtract", .min_inputs = 2, .max_inputs = 2, .output_shape = elementwise_shape});
  layers.push_back({.class_name = "Concatenate",
                    .attributes = {integer("axis", -1, -8)},
                    .min_inputs = 2,
                    .max_inputs = kManyInputs,
                    .output_shape = concatenated_shape});
  layers.push_back({.class_name = "Dot",
                    .attributes = {required_ints("axes", 0, -8), boolean("normalize", false)},
                    .min_inputs = 2,
                    .max_inputs = 2,
                    .output_shape = dot_shape});
  return layers;
}

}  // namespace nibble::graph
