#include "nibble/transform/ptq/quantized_forward.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/quant/affine/common_grid.h"
#include "nibble/transform/ptq/activation_points.h"

namespace nibble::ptq {
namespace {

void require_ranges(const graph::Layer& layer, const graph::QuantizedPoint& point) {
  if (graph::is_tracker(point.quantizer.kind)) return;
  throw Unsupported("[ptq] {}: '{}' is quantized by {}, which keeps no range. Train and evaluate it with train/.",
                    graph::described(layer), point.name, graph::class_name(point.quantizer.kind));
}

// x through a point of `layer`, with its stored ranges. Returns the step between its codes, where they have one and few
// enough bits to be added as integers.
std::optional<float> quantize_point(const graph::Layer& layer, const graph::QuantizedPoint& point, Tensor& x) {
  require_ranges(layer, point);
  std::vector<affine::Range> ranges = graph::stored_ranges(layer, point.name);
  affine::RangeTracker tracker(graph::tracker_config(point.quantizer), static_cast<int64_t>(ranges.size()));
  tracker.restore(std::move(ranges));
  tracker.quantize(x.data(), graph::point_layout(layer, point, x.shape()), x.data());
  const auto nudged = tracker.nudged();
  if (nudged.size() != 1 || point.quantizer.num_bits > affine::kMostBitsOfAdd) return std::nullopt;
  return nudged[0].is_zero ? 1.0f : nudged[0].scale;
}

// An Add of codes, as the integer program has it.
Tensor sum_of_codes(std::span<const Tensor> inputs, std::span<const float> steps) {
  const affine::CommonGrid grid = affine::common_grid(steps);
  Tensor y(inputs[0].shape());
  for (int64_t i = 0; i < y.size(); ++i) {
    int64_t sum = 0;
    for (size_t k = 0; k < inputs.size(); ++k) sum += std::llround(inputs[k][i] / steps[k]) * grid.factors[k];
    y[i] = static_cast<float>(sum) * grid.step;
  }
  return y;
}

Tensor layer_output(const graph::Layer& layer, std::span<const Tensor> inputs, const LayerFunction& compute) {
  graph::Layer plain = without_quantization(layer);
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    if (point.is_weight) quantize_point(layer, point, plain.find_weight(point.name)->value);
  }
  const auto before = graph::quantized_point(layer, graph::kPreActivation);
  if (!before) return compute(plain, inputs);
  const graph::Layer activation =
      graph::make_layer("Activation", layer.name, {{"activation", layer.activation_function()}});
  plain.attributes["activation"] = std::string("linear");
  Tensor y = plain.class_name == "Activation" ? inputs[0] : compute(plain, inputs);
  quantize_point(layer, *before, y);
  return compute(activation, {&y, 1});
}

}  // namespace

graph::Layer without_quantization(const graph::Layer& layer) {
  graph::Layer plain = layer;
  plain.quantization.reset();
  for (const graph::QuantizedPoint& point : graph::quantized_points(layer)) {
    std::erase_if(plain.weights, [&](const graph::Weight& weight) {
      return weight.name != point.name && weight.name.starts_with(point.name + "_");
    });
  }
  return plain;
}

Tensor quantized_output(const graph::Model& model, const Tensor& x, const LayerFunction& compute) {
  graph::require_calibrated(model, "ptq");
  std::map<std::string, Tensor> values;
  std::map<std::string, float> step_of;  // of layers whose values are codes of one step
  for (const graph::Layer& layer : model.layers) {
    std::vector<Tensor> inputs;
    std::vector<float> steps;
    for (const std::string& input : layer.inputs) {
      inputs.push_back(values.at(input));
      if (const auto known = step_of.find(input); known != step_of.end()) steps.push_back(known->second);
    }
    const bool adds_codes = layer.class_name == "Add" && steps.size() == inputs.size();
    Tensor y = layer.inputs.empty() ? x
               : adds_codes         ? sum_of_codes(inputs, steps)
                                    : layer_output(layer, inputs, compute);
    if (moves_values(layer) && !steps.empty()) step_of[layer.name] = steps[0];
    for (const std::string_view point : {graph::kPostActivation, graph::kOutput}) {
      const auto quantized = graph::quantized_point(layer, point);
      if (!quantized) continue;
      step_of.erase(layer.name);
      if (const auto step = quantize_point(layer, *quantized, y)) step_of[layer.name] = *step;
    }
    values.insert_or_assign(layer.name, std::move(y));
  }
  return values.at(model.outputs.at(0));
}

}  // namespace nibble::ptq
