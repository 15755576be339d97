// nibble/formats/keras/tfmot_weights.h
// Weights and ranges of a model that went through TFMOT, out of Keras' two layouts (weight_layout.h).
//
// The legacy layout names its variables, and is read by their names:
//   quant_conv2d/conv2d/kernel:0 (or quant_conv2d/kernel:0), quant_conv2d/kernel_min:0, .../post_activation_max:0;
//   quantize_layer/quantize_layer_min:0; an optimizer_step in every wrapper, which nobody updates.
// An archive numbers them. What stands where follows from how Keras 2 saves (a layer's own trainable variables, then
// the others, in the order in which they were made; then the layers that it holds) and how TFMOT makes them:
//   wrapper          vars/..   ..., the quantized weights, optimizer_step, min and max of each point in nibble's order
//                    layer/vars/..   the inner layer's weights but the quantized ones, which the wrapper took
//   QuantizeLayer    vars/..   min, max, optimizer_step
// No file of that kind was at hand: optimizer_step must be found in its place, at its start of -1, else it is refused.
#pragma once

#include <string>
#include <vector>

#include "nibble/formats/keras/hdf5_file.h"
#include "nibble/formats/keras/tfmot_config.h"
#include "nibble/graph/model.h"

namespace nibble::formats::keras {

// Both replace the weights of all layers.
//   layers  of from_tfmot()
//   throws  CorruptFile; InvalidArgument if names, numbers or shapes do not match
void read_tfmot_legacy(graph::Model& model, const std::vector<TfmotLayer>& layers, const Hdf5Reader& file,
                       const std::string& root);
void read_tfmot_archive(graph::Model& model, const std::vector<TfmotLayer>& layers, const Hdf5Reader& file);

}  // namespace nibble::formats::keras
