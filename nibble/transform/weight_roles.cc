#include "nibble/transform/weight_roles.h"

#include <algorithm>
#include <map>

#include "nibble/graph/layers_recurrent.h"

namespace nibble::transform {
namespace {

using Roles = std::vector<WeightRole>;

const std::map<std::string_view, Roles>& table() {
  static const Roles kernel = {{"kernel_quantizer", "kernel", true}, {"bias_quantizer", "bias"}};
  static const Roles depthwise = {{"depthwise_quantizer", "depthwise_kernel", true}, {"bias_quantizer", "bias"}};
  static const Roles separable = {{"depthwise_quantizer", "depthwise_kernel", true},
                                  {"pointwise_quantizer", "pointwise_kernel", true},
                                  {"bias_quantizer", "bias"}};
  static const Roles recurrent = {{"kernel_quantizer", "kernel", true},
                                  {"recurrent_quantizer", "recurrent_kernel", true},
                                  {"bias_quantizer", "bias"},
                                  {"state_quantizer", ""}};
  static const Roles batch_norm = {{"gamma_quantizer", "gamma", true},
                                   {"beta_quantizer", "beta"},
                                   {"mean_quantizer", "moving_mean"},
                                   {"variance_quantizer", "moving_variance", true},
                                   {"inverse_quantizer", ""}};
  static const std::map<std::string_view, Roles> rows = {
      {"QDense", kernel},
      {"QConv1D", kernel},
      {"QConv2D", kernel},
      {"QConv2DTranspose", kernel},
      {"QConv2DBatchnorm", kernel},
      {"QDenseBatchnorm", kernel},
      {"QDepthwiseConv2D", depthwise},
      {"QDepthwiseConv2DBatchnorm", depthwise},
      {"QSeparableConv1D", separable},
      {"QSeparableConv2D", separable},
      {"QDepthwiseConv2DTranspose",
       {{"depthwise_kernel_quantizer", "depthwise_kernel", true}, {"bias_quantizer", "bias"}}},
      {"QSeparableConv2DTranspose",
       {{"depthwise_kernel_quantizer", "depthwise_kernel", true},
        {"pointwise_kernel_quantizer", "pointwise_kernel", true},
        {"bias_quantizer", "bias"}}},
      {"QSimpleRNN", recurrent},
      {"QLSTM", recurrent},
      {"QGRU", recurrent},
      {"QBatchNormalization", batch_norm},
      {"QScaleShift", {{"weight_quantizer", "weight", true}, {"bias_quantizer", "bias", true}}},
  };
  return rows;
}

// The attributes that hold the layers inside; empty for a layer that is none but itself.
std::span<const std::string> inner_attributes(const graph::Layer& layer) {
  static const std::vector<std::string> two = {"layer", "backward_layer"}, cell = {"cell"};
  if (layer.class_name.ends_with("Bidirectional")) return two;
  if (layer.class_name == "RNN") return cell;
  return {};
}

}  // namespace

std::span<const WeightRole> weight_roles(std::string_view class_name) {
  const auto found = table().find(class_name);
  if (found == table().end()) return {};
  return found->second;
}

quant::QuantizerPtr effective_quantizer(const graph::Layer& layer, const WeightRole& role) {
  if (!layer.attributes.contains(std::string(role.quantizer))) return nullptr;
  quant::QuantizerPtr quantizer = layer.get_quantizer(role.quantizer);
  return quantizer != nullptr && role.takes_hook ? quantizer->as_weight_quantizer() : quantizer;
}

bool has_weight_quantizers(const graph::Layer& layer) {
  const auto inner = inner_attributes(layer);
  if (inner.empty()) return !weight_roles(layer.class_name).empty();
  return std::any_of(inner.begin(), inner.end(), [&](const std::string& attribute) {
    return has_weight_quantizers(graph::inner_layer(layer, attribute));
  });
}

quant::QuantizerPtr weight_quantizer(const graph::Layer& layer, const std::string& weight) {
  if (const auto inner = graph::inner_weight(layer, weight)) return weight_quantizer(inner->layer, inner->name);
  for (const WeightRole& role : weight_roles(layer.class_name)) {
    if (role.weight == weight) return effective_quantizer(layer, role);
  }
  return nullptr;
}

std::vector<quant::QuantizerPtr> ordered_quantizers(const graph::Layer& layer) {
  std::vector<quant::QuantizerPtr> quantizers;
  for (const WeightRole& role : weight_roles(layer.class_name)) quantizers.push_back(effective_quantizer(layer, role));
  for (const std::string& attribute : inner_attributes(layer)) {
    for (auto& quantizer : ordered_quantizers(graph::inner_layer(layer, attribute))) {
      quantizers.push_back(std::move(quantizer));
    }
  }
  return quantizers;
}

}  // namespace nibble::transform
