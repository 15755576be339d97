// InputLayer and the layers that only move numbers around.
#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::graph {
namespace {
using namespace schema;

void check_image(const Layer& layer, const Shape& input) {
  if (input.rank() == 3) return;
  throw InvalidArgument("[graph] {} needs an input of 3 axes (height, width, channels), but gets {}.", described(layer),
                        input.str());
}

Shape input_shape(const Layer& layer, std::span<const Shape>) { return Shape(layer.get_ints("shape")); }

Shape flat_shape(const Layer&, std::span<const Shape> inputs) {
  return inputs[0].is_fixed() ? Shape{inputs[0].elements()} : Shape{Shape::kFree};
}

// One extent of target_shape may be -1: what is left.
Shape reshaped(const Layer& layer, std::span<const Shape> inputs) {
  Shape target(layer.get_ints("target_shape"));
  if (!inputs[0].is_fixed()) return target;
  const int64_t elements = inputs[0].elements();
  int unknown = -1;
  Shape known;
  std::vector<int64_t> fixed;
  for (int axis = 0; axis < target.rank(); ++axis) {
    if (target[axis] != -1)
      fixed.push_back(target[axis]);
    else if (unknown < 0)
      unknown = axis;
    else
      throw InvalidArgument("[graph] {}: target_shape {} has more than one -1.", described(layer), target.str());
  }
  const int64_t rest = Shape(fixed).elements();
  const bool fits = unknown < 0 ? rest == elements : rest > 0 && elements % rest == 0;
  if (!fits) {
    throw InvalidArgument("[graph] {}: the {} numbers of input {} do not fit target_shape [{}].", described(layer),
                          elements, inputs[0].str(), fmt::join(target.extents(), ", "));
  }
  if (unknown >= 0) target[unknown] = elements / rest;
  return target;
}

Shape permuted(const Layer& layer, std::span<const Shape> inputs) {
  const auto& dims = layer.get_ints("dims");
  std::vector<int64_t> sorted = dims, extents;
  std::sort(sorted.begin(), sorted.end());
  bool valid = static_cast<int>(dims.size()) == inputs[0].rank();
  for (size_t i = 0; valid && i < sorted.size(); ++i) valid = sorted[i] == static_cast<int64_t>(i) + 1;
  if (!valid) {
    throw InvalidArgument("[graph] {}: dims [{}] must be the axes 1 to {} of the input {} in some order.",
                          described(layer), fmt::join(dims, ", "), inputs[0].rank(), inputs[0].str());
  }
  for (int64_t axis : dims) extents.push_back(inputs[0][static_cast<int>(axis - 1)]);
  return Shape(std::move(extents));
}

void check_sequence(const Layer& layer, const Shape& input) {
  if (input.rank() == 2) return;
  throw InvalidArgument("[graph] {} needs an input of 2 axes (steps, channels), but gets {}.", described(layer),
                        input.str());
}

// padding and cropping are [top, bottom, left, right], of a sequence [before, after].
Shape resized(const Layer& layer, const Shape& input, const std::vector<int64_t>& edges, int sign) {
  const int axes = static_cast<int>(edges.size() / 2);
  axes == 1 ? check_sequence(layer, input) : check_image(layer, input);
  Shape out = input;
  for (int axis = 0; axis < axes; ++axis) {
    if (out[axis] == Shape::kFree) continue;
    const auto i = static_cast<size_t>(2 * axis);
    out[axis] += sign * (edges[i] + edges[i + 1]);
    if (out[axis] < 1) {
      throw InvalidArgument("[graph] {}: nothing is left of axis {} of the input {}.", described(layer), axis,
                            input.str());
    }
  }
  return out;
}

Shape padded(const Layer& layer, std::span<const Shape> inputs) {
  return resized(layer, inputs[0], layer.get_ints("padding"), 1);
}
Shape cropped(const Layer& layer, std::span<const Shape> inputs) {
  return resized(layer, inputs[0], layer.get_ints("cropping"), -1);
}

Shape upsampled_sequence(const Layer& layer, std::span<const Shape> inputs) {
  check_sequence(layer, inputs[0]);
  Shape out = inputs[0];
  if (out[0] != Shape::kFree) out[0] *= layer.get_int("size");
  return out;
}

Shape upsampled(const Layer& layer, std::span<const Shape> inputs) {
  check_image(layer, inputs[0]);
  Shape out = inputs[0];
  for (int axis = 0; axis < 2; ++axis) {
    if (out[axis] != Shape::kFree) out[axis] *= layer.get_ints("size")[static_cast<size_t>(axis)];
  }
  return out;
}

// Keras' short forms of padding: one number, (vertical, horizontal), ((top, bottom), (left, right)).
template <bool crop>
void complete_edges(Layer& layer) {
  auto& edges = std::get<std::vector<int64_t>>(layer.attributes.at(crop ? "cropping" : "padding"));
  if (edges.size() == 1) edges.assign(4, edges[0]);
  if (edges.size() == 2) edges = {edges[0], edges[0], edges[1], edges[1]};
  if (edges.size() == 4) return;
  throw InvalidArgument(
      "[graph] {}: [{}] must be one number, two (vertical, horizontal) or four (top, bottom, left, "
      "right).",
      described(layer), fmt::join(edges, ", "));
}

// The same of a sequence: one number or (before, after).
template <bool crop>
void complete_ends(Layer& layer) {
  auto& ends = std::get<std::vector<int64_t>>(layer.attributes.at(crop ? "cropping" : "padding"));
  if (ends.size() == 1) ends.assign(2, ends[0]);
  if (ends.size() == 2) return;
  throw InvalidArgument("[graph] {}: [{}] must be one number or two (before, after).", described(layer),
                        fmt::join(ends, ", "));
}

AttributeSpec any_ints(const char* name, std::vector<int64_t> default_value) {
  AttributeSpec spec = ints(name, std::move(default_value), 0);
  spec.count = 0;
  return spec;
}

AttributeSpec off_switch(const char* name) {
  AttributeSpec spec = boolean(name, false);
  spec.only_if_changed = true;
  return spec;
}

void refuse_variants(Layer& layer) {
  for (const char* name : {"sparse", "ragged", "optional"}) {
    if (!layer.get_bool(name)) continue;
    throw Unsupported("[graph] {}: attribute '{}' is true, which nibble cannot do; it takes dense tensors.",
                      described(layer), name);
  }
}

AttributeSpec optional_batch_size() {
  AttributeSpec spec = required_integer("batch_size", 1);
  spec.required = false;
  spec.optional = true;
  return spec;
}

}  // namespace

std::vector<LayerSchema> input_and_shape_layers() {
  return {
      // "shape" leaves the batch axis out; -1 is a free extent. Keras' batch_shape is [batch_size, shape...].
      {.class_name = "InputLayer",
       .attributes = {required_ints("shape", 0, -1), optional_batch_size(), off_switch("sparse"), off_switch("ragged"),
                      off_switch("optional")},
       .min_inputs = 0,
       .max_inputs = 0,
       .output_shape = input_shape,
       .complete = refuse_variants},
      {.class_name = "Flatten", .attributes = {data_format()}, .output_shape = flat_shape},
      {.class_name = "Reshape", .attributes = {required_ints("target_shape", 0, -1)}, .output_shape = reshaped},
      {.class_name = "Permute", .attributes = {required_ints("dims", 0, 1)}, .output_shape = permuted},
      {.class_name = "ZeroPadding1D",
       .attributes = {any_ints("padding", {1, 1})},
       .output_shape = padded,
       .complete = complete_ends<false>},
      {.class_name = "Cropping1D",
       .attributes = {any_ints("cropping", {1, 1})},
       .output_shape = cropped,
       .complete = complete_ends<true>},
      {.class_name = "UpSampling1D", .attributes = {integer("size", 2, 1)}, .output_shape = upsampled_sequence},
      {.class_name = "ZeroPadding2D",
       .attributes = {any_ints("padding", {1, 1, 1, 1}), data_format()},
       .output_shape = padded,
       .complete = complete_edges<false>},
      {.class_name = "Cropping2D",
       .attributes = {any_ints("cropping", {0, 0, 0, 0}), data_format()},
       .output_shape = cropped,
       .complete = complete_edges<true>},
      {.class_name = "UpSampling2D",
       .attributes = {ints("size", {2, 2}, 1), data_format(),
                      choice("interpolation", "nearest", {"nearest", "bilinear"}, {"area", "bicubic"})},
       .output_shape = upsampled},
  };
}

}  // namespace nibble::graph
