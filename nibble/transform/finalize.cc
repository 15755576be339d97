#include "nibble/transform/finalize.h"

#include <algorithm>

#include "nibble/core/error.h"
#include "nibble/graph/channel_order.h"
#include "nibble/graph/quantizer_errors.h"
#include "nibble/transform/batch_norm_folding.h"
#include "nibble/transform/weight_roles.h"

namespace nibble::transform {
namespace {

bool folds_batch_norm(const graph::Layer& layer) {
  return layer.class_name.starts_with("Q") && layer.class_name.ends_with("Batchnorm");
}

bool averages(const graph::Layer& layer) {
  return layer.class_name == "QAveragePooling2D" || layer.class_name == "QGlobalAveragePooling2D";
}

bool is_convolution(const graph::Layer& layer) {
  return layer.class_name == "QConv2D" || layer.class_name == "QDepthwiseConv2D";
}

// The QBatchNormalization that alone follows `layer`; null if something else does.
const graph::Layer* fusable_batch_norm(const graph::Model& model, const graph::Layer& layer) {
  if (!is_convolution(layer)) return nullptr;
  const auto consumers = model.consumers(layer.name);
  if (consumers.size() != 1) return nullptr;
  const graph::Layer& next = model.layer(consumers.front());
  if (next.class_name != "QBatchNormalization" || graph::is_channels_first(layer)) return nullptr;
  const int64_t axis = next.has("axis") ? next.get_int("axis") : -1;
  return axis == -1 || axis == 3 ? &next : nullptr;  // the channels
}

// The weights that quantizers see: a folding layer shows its folded kernel and bias.
std::vector<graph::Weight> visible_weights(const graph::Layer& layer) {
  if (!folds_batch_norm(layer)) return layer.weights;
  FoldedWeights folded = folded_weights(layer);
  const bool depthwise = layer.class_name == "QDepthwiseConv2DBatchnorm";
  return {{depthwise ? "depthwise_kernel" : "kernel", std::move(folded.kernel)}, {"bias", std::move(folded.bias)}};
}

quant::QuantizerPtr quantizer_of(const graph::Layer& layer, const graph::Weight& weight, size_t position,
                                 Compatibility compat) {
  if (compat == Compatibility::kNibble) return weight_quantizer(layer, weight.name);
  // The reference pairs by position.
  const auto quantizers = ordered_quantizers(layer);
  return position < quantizers.size() ? quantizers[position] : nullptr;
}

FinalizedWeight finalize_weight(const graph::Layer& layer, const graph::Weight& weight, quant::QuantizerPtr quantizer,
                                std::vector<std::string>& warnings) {
  FinalizedWeight result{
      .name = weight.name, .quantizer = quantizer, .value = weight.value, .scale = Tensor::scalar(1.0f), .encoded = {}};
  if (quantizer == nullptr) {
    warnings.push_back(fmt::format("layer '{}' ({}): {} has no quantizer and stays float.", layer.name,
                                   layer.class_name, weight.name));
    return result;
  }
  quant::Quantized quantized =
      graph::naming_layer(layer, weight.name, [&] { return quantizer->quantize(weight.value); });
  result.value = std::move(quantized.real);
  result.scale = std::move(quantized.scale);
  try {
    result.encoded = quantizer->encode(weight.value);
  } catch (const Unsupported& error) {
    warnings.push_back(fmt::format("layer '{}': {} has no integer codes: {}", layer.name, weight.name, error.what()));
  }
  return result;
}

double average_area(const graph::Model& model, const graph::Layer& layer) {
  if (layer.class_name == "QAveragePooling2D") {
    double area = 1;
    for (int64_t extent : layer.get_ints("pool_size")) area *= static_cast<double>(extent);
    return area;
  }
  const Shape input = graph::infer_shapes(model).at(layer.inputs.at(0));
  if (input.rank() != 3 || input[0] < 1 || input[1] < 1) {
    throw InvalidArgument("[finalize] layer '{}' averages an input of shape {}; its height and width must be known.",
                          layer.name, input.str());
  }
  return static_cast<double>(input[0] * input[1]);
}

AverageFactor average_factor(const graph::Model& model, const graph::Layer& layer) {
  const auto quantizer = layer.get_quantizer("average_quantizer");
  AverageFactor factor;
  factor.area = average_area(model, layer);
  factor.exact = 1.0f / static_cast<float>(factor.area);
  factor.quantized = quantizer == nullptr ? factor.exact : quantizer->quantize(Tensor::scalar(factor.exact)).real[0];
  return factor;
}

void require_weights(const graph::Layer& layer) {
  if (!layer.weights.empty()) return;
  throw InvalidArgument(
      "[finalize] layer '{}' ({}) has no weights yet, so there is nothing to quantize. Train the model or load its "
      "weights first.",
      layer.name, layer.class_name);
}

FinalizedLayer finalize_layer(const graph::Layer& layer, Compatibility compat, std::vector<std::string>& warnings) {
  FinalizedLayer result{.name = layer.name,
                        .class_name = layer.class_name,
                        .weights = {},
                        .is_fused = false,
                        .fusing = {},
                        .average = {}};
  require_weights(layer);
  const auto weights = visible_weights(layer);
  for (size_t i = 0; i < weights.size(); ++i) {
    result.weights.push_back(finalize_weight(layer, weights[i], quantizer_of(layer, weights[i], i, compat), warnings));
  }
  return result;
}

void warn_of_float_layer(const graph::Layer& layer, std::vector<std::string>& warnings) {
  if (layer.weights.empty()) return;
  if (layer.quantization) {
    if (layer.quantization->weights.empty()) return;
    warnings.push_back(
        fmt::format("layer '{}' ({}) has affine quantizers: its weights stay as they are here, and 'nibble compile' "
                    "makes their codes.",
                    layer.name, layer.class_name));
    return;
  }
  warnings.push_back(fmt::format("layer '{}' ({}) has no quantizers; its {} weights stay float.", layer.name,
                                 layer.class_name, layer.weights.size()));
}

}  // namespace

Finalized finalize(graph::Model model, Compatibility compat) {
  Finalized result;
  const graph::Model& source = model;
  graph::Model written = model;
  std::vector<std::string> fused_batch_norms;
  for (size_t i = 0; i < source.layers.size(); ++i) {
    const graph::Layer& layer = source.layers[i];
    if (averages(layer)) {
      FinalizedLayer entry{.name = layer.name,
                           .class_name = layer.class_name,
                           .weights = {},
                           .is_fused = false,
                           .fusing = {},
                           .average = {}};
      entry.average = average_factor(source, layer);
      result.layers.push_back(std::move(entry));
      continue;
    }
    if (!has_weight_quantizers(layer)) {
      warn_of_float_layer(layer, result.warnings);
      continue;
    }
    FinalizedLayer entry = finalize_layer(layer, compat, result.warnings);
    if (!folds_batch_norm(layer)) {
      for (size_t w = 0; w < entry.weights.size(); ++w) written.layers[i].weights[w].value = entry.weights[w].value;
    }
    if (const graph::Layer* batch_norm = fusable_batch_norm(source, layer)) {
      const graph::Weight* bias = written.layers[i].find_weight("bias");
      FusedBatchNorm fused = fused_batch_norm(*batch_norm, bias == nullptr ? Tensor() : bias->value);
      entry.is_fused = true;
      entry.fusing = BatchNormFusing{batch_norm->name, std::move(fused.inverse), std::move(fused.bias)};
      fused_batch_norms.push_back(batch_norm->name);
    }
    entry.is_fused = entry.is_fused || std::find(fused_batch_norms.begin(), fused_batch_norms.end(), layer.name) !=
                                           fused_batch_norms.end();
    result.layers.push_back(std::move(entry));
  }
  result.model = std::move(written);
  return result;
}

}  // namespace nibble::transform
