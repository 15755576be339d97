#include "nibble/transform/weight_roles.h"

#include <map>
#include <vector>

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
  };
  return rows;
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

}  // namespace nibble::transform
