// What a person sees of a model.
#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/layer_schema.h"
#include "nibble/graph/layers_recurrent.h"

namespace nibble::graph {
namespace {

// "kernel quantized_bits(4,0,1)": attributes in the schema's order, of the layers inside too.
std::vector<std::string> quantizers_of(const Layer& layer) {
  std::vector<std::string> texts;
  const auto take_inner = [&](const char* attribute, const char* prefix) {
    for (const std::string& text : quantizers_of(inner_layer(layer, attribute))) texts.push_back(prefix + text);
  };
  if (layer.class_name == "RNN") take_inner("cell", "");
  if (layer.class_name.ends_with("Bidirectional")) {
    const bool has_two = layer.has("backward_layer");
    take_inner("layer", has_two ? "forward " : "");
    if (has_two) take_inner("backward_layer", "backward ");
  }
  if (layer.class_name == "QAdaptiveActivation") {
    texts.push_back(fmt::format("activation {}, {} bits", layer.get_string("activation"), layer.get_int("total_bits")));
  }
  for (const AttributeSpec& spec : schema_of(layer).attributes) {
    if (spec.kind != AttributeKind::kQuantizer && spec.kind != AttributeKind::kActivation) continue;
    const quant::QuantizerPtr quantizer = layer.get_quantizer(spec.name);
    if (!quantizer) continue;
    const size_t suffix = spec.name.rfind("_quantizer");
    texts.push_back(fmt::format("{} {}", spec.name.substr(0, suffix), quantizer->str()));
  }
  for (const QuantizedPoint& point : quantized_points(layer)) {
    texts.push_back(fmt::format("{} {}", point.name, to_string(point.quantizer)));
  }
  return texts;
}

std::string batched(const Shape& shape) {
  std::vector<int64_t> extents = {Shape::kFree};
  extents.insert(extents.end(), shape.begin(), shape.end());
  return Shape(std::move(extents)).str();
}

using Row = std::vector<std::string>;

std::string padded_table(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  size_t total = 0;
  for (size_t width : widths) total += width + 2;
  const std::string rule(total, '=');
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows[r].size(); ++i) line += fmt::format(" {:<{}} ", rows[r][i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
    if (r == 0) text += rule + "\n";
  }
  return text + rule + "\n";
}

}  // namespace

std::vector<LayerSummary> summarize(const Model& model) {
  const std::map<std::string, Shape> shapes = infer_shapes(model);
  std::vector<LayerSummary> rows;
  for (const Layer& layer : model.layers) {
    LayerSummary row{.name = layer.name,
                     .class_name = layer.class_name,
                     .output_shape = shapes.at(layer.name),
                     .quantizers = fmt::format("{}", fmt::join(quantizers_of(layer), ", "))};
    for (const WeightSpec& weight : weight_specs(layer, input_shapes(layer, shapes))) {
      row.parameters += weight.shape.elements();
      if (weight.trainable && layer.trainable) row.trainable_parameters += weight.shape.elements();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string summary(const Model& model) {
  const std::vector<LayerSummary> layers = summarize(model);
  const bool quantized = std::any_of(layers.begin(), layers.end(), [](const auto& l) { return !l.quantizers.empty(); });
  std::vector<Row> rows = {{"Layer (type)", "Output Shape", "Param #", "Connected to"}};
  if (quantized) rows[0].push_back("Quantizers");
  int64_t total = 0, trainable = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const LayerSummary& layer = layers[i];
    rows.push_back({fmt::format("{} ({})", layer.name, layer.class_name), batched(layer.output_shape),
                    fmt::format("{}", layer.parameters), fmt::format("{}", fmt::join(model.layers[i].inputs, ", "))});
    if (quantized) rows.back().push_back(layer.quantizers);
    total += layer.parameters;
    trainable += layer.trainable_parameters;
  }
  return fmt::format("Model: \"{}\"\n{}Total params: {}\nTrainable params: {}\nNon-trainable params: {}\n", model.name,
                     padded_table(rows), total, trainable, total - trainable);
}

}  // namespace nibble::graph
