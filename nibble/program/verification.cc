#include "nibble/program/verification.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"

namespace nibble::program {
namespace {

int64_t largest(std::span<const float> values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

std::vector<int64_t> index_of(const Shape& shape, int64_t element) {
  std::vector<int64_t> index(static_cast<size_t>(shape.rank()));
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[static_cast<size_t>(axis)] = element % shape[axis];
    element /= shape[axis];
  }
  return index;
}

// The program's values of one sample against the network's.
void compare(const Value& value, std::span<const int64_t> integers, std::span<const float> expected, int64_t sample,
             LayerComparison& comparison) {
  const int64_t channels = value.channels();
  for (size_t i = 0; i < integers.size(); ++i) {
    const float scale = at(value.scale, static_cast<int64_t>(i) % channels);
    const float found = static_cast<float>(integers[i]) * scale;
    ++comparison.values;
    if (found == expected[i]) continue;
    ++comparison.differing;
    if (comparison.first) continue;
    const auto element = static_cast<int64_t>(i);
    // A value on the grid is a code times the scale, rounded to float32; a code is the nearest whole number then.
    const double code = static_cast<double>(expected[i]) / static_cast<double>(scale);
    const bool is_on_grid = static_cast<float>(std::round(code)) * scale == expected[i];
    comparison.first = Difference{.sample = sample,
                                  .element = element,
                                  .index = index_of(value.shape, element),
                                  .expected = expected[i],
                                  .found = found,
                                  .expected_code = is_on_grid ? std::round(code) : code,
                                  .found_code = integers[i]};
  }
}

}  // namespace

graph::Model network_up_to(const graph::Model& model, const std::string& layer) {
  graph::Model part = model;
  part.outputs = {layer};
  graph::Layer& last = part.layer(layer);
  const auto points = graph::quantized_points(last);
  const bool quantizes_softmax = std::any_of(points.begin(), points.end(), [](const graph::QuantizedPoint& point) {
    return point.name == graph::kPostActivation || point.name == graph::kOutput;
  });
  const bool has_softmax = last.class_name == "Softmax" || last.activation_function() == "softmax";
  if (!has_softmax || quantizes_softmax) return part;
  const std::string linear = "linear";
  if (last.class_name == "Softmax") {
    last.class_name = "Activation";
    last.attributes = graph::make_layer("Activation", layer, {{"activation", linear}}).attributes;
  } else {
    last.attributes["activation"] = linear;
  }
  return part;
}

int64_t Verification::values() const {
  int64_t sum = 0;
  for (const LayerComparison& layer : layers) sum += layer.values;
  return sum;
}

int64_t Verification::differing() const {
  int64_t sum = 0;
  for (const LayerComparison& layer : layers) sum += layer.differing;
  return sum;
}

const LayerComparison* Verification::first_difference() const {
  for (const LayerComparison& layer : layers) {
    if (layer.differing > 0) return &layer;
  }
  return nullptr;
}

Verifier::Verifier(const Program& program) : Verifier(program, std::make_unique<Executor>(program)) {}

Verifier::Verifier(const Program& program, std::unique_ptr<Runner> runner)
    : program_(program), runner_(std::move(runner)) {
  for (size_t i = 0; i < program.operations.size(); ++i) {
    const Operation& operation = program.operations[i];
    // A reshape says nothing new, and the input is what both are given.
    const bool moves = std::holds_alternative<Reshape>(operation.action) || operation.inputs.empty();
    if (!operation.is_layer_output || moves) continue;
    operations_.push_back(i);
    result_.layers.push_back(
        {.layer = operation.layer, .operation = std::string(name_of(operation.action)), .first = {}});
  }
}

std::vector<std::string> Verifier::layers() const {
  std::vector<std::string> names;
  for (const LayerComparison& layer : result_.layers) names.push_back(layer.layer);
  return names;
}

void Verifier::add(const Tensor& x, const NetworkValue& network) {
  const int64_t count = x.shape()[0];
  std::vector<Tensor> expected;
  for (const LayerComparison& layer : result_.layers) expected.push_back(network(layer.layer, x));
  const Tensor outputs = network("", x);
  const auto in = static_cast<size_t>(program_.input_shape.elements());
  std::vector<float> output(static_cast<size_t>(program_.output_shape().elements()));
  for (int64_t n = 0; n < count; ++n) {
    count_samples_from(result_.samples,
                       [&] { runner_->run(x.data().subspan(static_cast<size_t>(n) * in, in), 1, output); });
    for (size_t l = 0; l < operations_.size(); ++l) {
      const auto integers = runner_->result(static_cast<int>(operations_[l]));
      const Tensor& values = expected[l];
      if (values.size() != count * static_cast<int64_t>(integers.size())) {
        throw InvalidArgument("[verify] layer '{}' has {} values in the network and {} in the program.",
                              result_.layers[l].layer, values.size() / count, integers.size());
      }
      compare(program_.operations[operations_[l]].result, integers,
              values.data().subspan(static_cast<size_t>(n) * integers.size(), integers.size()), result_.samples,
              result_.layers[l]);
    }
    const auto network_output = outputs.data().subspan(static_cast<size_t>(n) * output.size(), output.size());
    if (largest(network_output) == largest(output)) ++result_.same_class;
    ++result_.samples;
  }
}

}  // namespace nibble::program
