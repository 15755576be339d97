// nibble/transform/frozen_scales.h
// Scales that are fitted to the weights, made constants of the model: QKeras' clone_model_and_freeze_auto_po2_scale.
// Source: spec/qkeras.md section 5.
#pragma once

#include "nibble/graph/model.h"

namespace nibble::transform {

struct FreezeOptions {
  bool quantize_model_weights = false;  // true: the weights become their quantized values
};

// The model with the scale that each quantized_bits with alpha "auto_po2" finds for its present weight as that
// quantizer's post_training_scale: later weights are quantized with it. A quantizer that had one keeps it. A folded
// layer's scale is the one of its folded kernel. Layers inside a Bidirectional or RNN are frozen too.
//   throws  InvalidArgument naming the layer that has no weights yet
graph::Model clone_model_and_freeze_auto_po2_scale(const graph::Model& model, const FreezeOptions& options = {});

}  // namespace nibble::transform
