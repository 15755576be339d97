// nibble/transform/model_quantize.h
// QKeras' model_quantize: a float model and a dictionary of quantizers give a quantized model.
//
//   config = {
//     "QConv2D":     {"kernel_quantizer": "quantized_bits(4,0,1)", "bias_quantizer": "quantized_bits(4)"},
//     "conv2d_0":    {"kernel_quantizer": "binary", "activation_quantizer": "quantized_relu(3)"},
//     "QActivation": {"relu": "quantized_relu(2)", "leakyrelu": "quantized_relu(4,negative_slope=0.25)"},
//     "act_2":       "quantized_relu(8)",
//     "QBatchNormalization": {}
//   }
// An entry belongs to a layer by the layer's name or else by the class it would become. The
// entry of a name hides the entry of the class entirely: nothing is merged. A layer without
// an entry, or whose entry lacks the kernel's quantizer, stays as it is.
//
//   becomes                       decided by               also takes
//   QDense QConv1D QConv2D        kernel_quantizer         bias_quantizer, activation_quantizer
//     QConv2DTranspose
//   QDepthwiseConv2D              depthwise_quantizer      bias_quantizer, activation_quantizer
//   QSeparableConv1D/2D           depthwise_quantizer,     bias_quantizer, activation_quantizer
//                                 pointwise_quantizer, or kernel_quantizer for both
//   QSimpleRNN QLSTM QGRU         kernel_quantizer         recurrent_, bias_, state_, activation_,
//     (QBidirectional)                                     recurrent_activation_quantizer
//   QActivation                   the name of the function (ReLU layers: relu, or leakyrelu if they have a slope), or a
//     QAdaptiveActivation         text for every function; an empty text means the automatic one
//   QBatchNormalization           the entry itself         gamma_, beta_, mean_, variance_, inverse_quantizer; one that
//   is
//                                                          not given is None
//   QAveragePooling2D             average_quantizer        activation_quantizer
//     QGlobalAveragePooling2D
//   QConv2DBatchnorm              enable_bn_folding, and   as QConv2D and QDepthwiseConv2D; folding_mode,
//     QDepthwiseConv2DBatchnorm   the quantizer as above   ema_freeze_delay. Without entry: that of the plain class
//
// The automatic activation of a converted layer: relu, tanh and sigmoid become quantized_relu(N),
// quantized_tanh(N), quantized_sigmoid(N) with N = activation_bits; others stay.
// Source: spec/qkeras.md section 5.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "nibble/graph/model.h"
#include "nibble/transform/compatibility.h"

namespace nibble::transform {

struct ModelQuantizeOptions {
  int activation_bits = 8;        // width of the automatic activation quantizers, >= 1
  bool transfer_weights = false;  // keep the weights; else they are left to initialize_weights()
  bool prefer_qadaptiveactivation = false;
  // Conv2D and DepthwiseConv2D that become quantized take in the batch normalization after them (folded_model.h says
  // which can). One whose convolution stays float stays too.
  bool enable_bn_folding = false;
  // kQkeras also lets pass what nibble refuses: entries that no layer could ever use.
  Compatibility compat = Compatibility::kNibble;
};

// A new model; `model` is left alone.
//   throws  InvalidArgument naming entry and layer: an entry that is neither a layer nor a class (nearest known ones
//           named), a key the class does not take, a quantizer that nobody knows
graph::Model model_quantize(const graph::Model& model, const nlohmann::json& config,
                            const ModelQuantizeOptions& options = {});

}  // namespace nibble::transform
