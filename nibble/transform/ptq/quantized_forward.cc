#include "nibble/transform/ptq/quantized_forward.h"

#include <algorithm>
#include <map>

#include "nibble/core/error.h"
#include "nibble/graph/layer_quantization.h"
#include "nibble/graph/layer_schema.h"

namespace nibble::ptq {
namespace {

void require_ranges(const graph::Layer& layer, const graph::QuantizedPoint& point) {
  if (graph::is_tracker(point.quantizer.kind)) return;
  throw Unsupported("[ptq] {}: '{}' is quantized by {}, which keeps no range. Train and evaluate it with train/.",
                    graph::described(layer), point.name, graph::class_name(point.quantizer.kind));
}

// x through a point of `layer`, with its stored ranges.
void quantize_point(const graph::Layer& layer, const graph::QuantizedPoint& point, Tensor& x) {
  require_ranges(layer, point);
  std::vector<affine::Range> ranges = graph::stored_ranges(layer, point.name);
  affine::RangeTracker tracker(graph::tracker_config(point.quantizer), static_cast<int64_t>(ranges.size()));
  tracker.restore(std::move(ranges));
  tracker.quantize(x.data(), graph::point_layout(layer, point, x.shape()), x.data());
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
  for (const graph::Layer& layer : model.layers) {
    std::vector<Tensor> inputs;
    for (const std::string& input : layer.inputs) inputs.push_back(values.at(input));
    Tensor y = layer.inputs.empty() ? x : layer_output(layer, inputs, compute);
    for (const std::string_view point : {graph::kPostActivation, graph::kOutput}) {
      if (const auto quantized = graph::quantized_point(layer, point)) quantize_point(layer, *quantized, y);
    }
    values.insert_or_assign(layer.name, std::move(y));
  }
  return values.at(model.outputs.at(0));
}

}  // namespace nibble::ptq
