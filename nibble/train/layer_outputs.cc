#include "nibble/train/layer_outputs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "nibble/core/atomic_file.h"
#include "nibble/core/error.h"
#include "nibble/quant/blocks.h"
#include "nibble/train/trainer.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::train {
namespace {

bool is_of_qkeras(const graph::Layer& layer) { return layer.class_name.starts_with("Q"); }

void require_weights(const graph::Model& model) {
  const auto shapes = graph::infer_shapes(model);
  for (const graph::Layer& layer : model.layers) {
    if (layer.inputs.empty() || !layer.weights.empty()) continue;
    if (graph::weight_shapes(layer, graph::input_shapes(layer, shapes)).empty()) continue;
    throw InvalidArgument("[debug] layer '{}' ({}) has no weights yet. Train the model or load its weights first.",
                          layer.name, layer.class_name);
  }
}

struct Extremes {
  float smallest = 0, largest = 0;
};

Extremes extremes_of(const Tensor& values) {
  if (values.size() == 0) return {};
  const auto [smallest, largest] = std::minmax_element(values.data().begin(), values.data().end());
  return {*smallest, *largest};
}

// values / scale, which broadcasts. What a scale of 0 belongs to becomes 0.
Tensor divided(const Tensor& values, const Tensor& scale) {
  Tensor result = values;
  const quant::BlockIndex block(scale.shape(), values.shape());
  for (int64_t i = 0; i < values.size(); ++i) {
    const float own = scale[block[i]];
    result[i] = own == 0.0f ? 0.0f : values[i] / own;
  }
  return result;
}

// A scale that was found from the data; a fixed one is rank 0.
bool is_found(const Tensor& scale) { return scale.shape().rank() > 0; }

std::string output_text(const graph::Layer& layer, const Tensor& input, const Tensor& output) {
  Tensor shown = output;
  std::string scales;
  const auto quantizer = layer.class_name == "QActivation" ? layer.get_quantizer("activation") : nullptr;
  if (quantizer != nullptr) {
    const Tensor scale = quantizer->quantize(input).scale;
    const Extremes range = extremes_of(scale);
    if (range.smallest != 1.0f || range.largest != 1.0f) {
      shown = divided(output, scale);
      scales = fmt::format(" a[{: 8.4f} {: 8.4f}]", range.smallest, range.largest);
    }
  }
  const Extremes range = extremes_of(shown);
  return fmt::format("{:30} {: 8.4f} {: 8.4f}", layer.name, range.smallest, range.largest) + scales;
}

// The weights a layer computes with before they are quantized: of a layer with folded batch normalization the folded
// kernel and bias, as the reference shows them.
std::vector<graph::Weight> shown_weights(const graph::Layer& layer) {
  if (!layer.class_name.ends_with("Batchnorm")) return layer.weights;
  transform::FoldedWeights folded = transform::folded_weights(layer);
  return {{layer.weights.at(0).name, std::move(folded.kernel)}, {"bias", std::move(folded.bias)}};
}

std::string weights_text(const graph::Layer& layer) {
  std::string text, scales;
  const bool is_depthwise = layer.class_name.starts_with("QDepthwise");
  const std::vector<graph::Weight> weights = shown_weights(layer);
  for (size_t i = 0; i < weights.size(); ++i) {
    Tensor value = weights[i].value;
    if (const auto quantizer = transform::weight_quantizer(layer, weights[i].name)) {
      quant::Quantized quantized = quantizer->quantize(value);
      value = std::move(quantized.real);
      const bool is_divided = i == 0 && !is_depthwise && layer.class_name != "QBatchNormalization";
      if (is_divided && is_found(quantized.scale)) {
        value = divided(value, quantized.scale);
        const Extremes range = extremes_of(quantized.scale);
        scales = fmt::format(" a({: 10.6f} {: 10.6f})", range.smallest, range.largest);
      }
    }
    const Extremes range = extremes_of(value);
    text += fmt::format(" ({: 8.4f} {: 8.4f})", range.smallest, range.largest);
  }
  return text + scales;
}

}  // namespace

std::vector<LayerOutput> layer_outputs(const graph::Model& model, const Tensor& x) {
  require_weights(model);
  std::vector<LayerOutput> outputs;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const graph::Layer& layer = model.layers[i];
    if (layer.inputs.empty()) continue;
    // The network up to this layer: layers stand after what they read.
    graph::Model part = model;
    part.layers.resize(i + 1);
    part.outputs = {layer.name};
    outputs.push_back({layer.name, Trainer(std::move(part), {}).predict(x)});
  }
  return outputs;
}

std::string model_debug_text(const graph::Model& model, const Tensor& x) {
  std::map<std::string, Tensor> values;
  for (LayerOutput& output : layer_outputs(model, x)) values.emplace(output.layer, std::move(output.value));
  const Extremes input = extremes_of(x);
  std::string text = fmt::format("{:30} {: 8.4f} {: 8.4f}\n", "input", input.smallest, input.largest);
  for (const graph::Layer& layer : model.layers) {
    if (!is_of_qkeras(layer) || layer.inputs.empty()) continue;
    const auto found = values.find(layer.inputs[0]);
    text += output_text(layer, found == values.end() ? x : found->second, values.at(layer.name)) + weights_text(layer) +
            "\n";
  }
  return text;
}

std::vector<std::filesystem::path> dump_layer_outputs(const graph::Model& model, const Tensor& x,
                                                      const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  std::set<std::string> names;
  for (const graph::Layer& layer : model.layers) {
    std::string name = layer.name;
    std::replace(name.begin(), name.end(), '/', '_');
    if (!is_of_qkeras(layer) || names.insert(name).second) continue;
    throw InvalidArgument("[dump] two layers would be written to '{}.bin'. Rename '{}'.", name, layer.name);
  }
  make_directories(directory);
  for (const LayerOutput& output : layer_outputs(model, x)) {
    if (!is_of_qkeras(model.layer(output.layer))) continue;
    std::string name = output.layer;
    std::replace(name.begin(), name.end(), '/', '_');
    files.push_back(directory / (name + ".bin"));
    const auto data = output.value.data();
    write_file(files.back(), {reinterpret_cast<const char*>(data.data()), data.size_bytes()});
  }
  return files;
}

}  // namespace nibble::train
