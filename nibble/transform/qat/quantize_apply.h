// nibble/transform/qat/quantize_apply.h
// A float model becomes one that is trained with affine fake quantization, as TFMOT does it.
//
//   auto annotated = qat::quantize_annotate_model(model);
//   qat::quantize_annotate_layer(annotated, "conv2d", std::make_shared<OnlyKernel>());
//   graph::Model quantized = qat::quantize_apply(annotated, qat::scheme_named("int4"));
//
// quantize_model() is the first and the last of these. Layers keep their names (TFMOT puts "quant_" before them), and
// fake quantization is data of a layer (graph/layer_quantization.h), not a layer around it; an input's is that of the
// InputLayer. Source: spec/tfmot-tflite.md, A4.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nibble/transform/qat/quantize_config.h"
#include "nibble/transform/qat/scheme.h"

namespace nibble::qat {

// A model with the layers marked that are to be quantized.
struct AnnotatedModel {
  graph::Model model;
  std::map<std::string, QuantizeConfigPtr> layers = {};  // null: the scheme's default
};

// Marks all layers (inputs follow by themselves).
AnnotatedModel quantize_annotate_model(const graph::Model& model);
// Layers that are marked already keep what they have.
void quantize_annotate_model(AnnotatedModel& annotated);

//   config  null: the scheme's default
//   throws  InvalidArgument if there is no such layer, or it is an InputLayer
void quantize_annotate_layer(AnnotatedModel& annotated, const std::string& layer, QuantizeConfigPtr config = nullptr);

// A new model; its ranges stand at their start.
//   1. SeparableConv1D and 2D without a configuration become DepthwiseConv2D and Conv2D
//   2. marked batch normalizations without a configuration are merged as the scheme says, into marked layers whose
//      weights are to be quantized; others stay
//   3. each marked layer gets the user's configuration, or what its neighbours say (layout.h; with a `tfmot` scheme a
//      ReLU behind it comes before the user), or the scheme's default;
//      a layer that is the only input of a marked one, and not marked, gets the default's activations and outputs
//   4. inputs that feed a marked layer are quantized, but for those that an Embedding reads: the names of its rows
// A layer that is quantized already stays as it is.
//   throws  InvalidArgument if no layer is marked, or a configuration does not fit its layer; Unsupported naming a
//           marked layer that has neither a configuration nor a default
graph::Model quantize_apply(const AnnotatedModel& annotated, const Scheme& scheme = {});

graph::Model quantize_model(const graph::Model& model, const Scheme& scheme = {});

// Layers that BatchNormMode::kFoldBatch and kFoldRunning made, as the plain ones that they are after training: Conv2D
// and DepthwiseConv2D with the folded kernel and bias, their quantizers and ranges. Other layers are copied.
//   throws  InvalidArgument if such a layer lacks a weight
graph::Model unfold_batch_norms(const graph::Model& model);

// Marks the layers that a document says, by name or else by class:
//   {"conv2d": {"weights": [{"weight": "kernel", "quantizer": {"class_name": "LSQQuantizer", "config": {...}}}]},
//    "Dense": {"config": "my_config"},      one of the scope's
//    "ReLU": {},                            nothing of it is quantized
//    "dense_2": null,                       is not marked
//    "in": {"output": {...}}}               of an input: its quantizer; not null
// Layers that are not mentioned are marked with the default.
//   throws  InvalidArgument naming the entry that fits no layer, or not the input
AnnotatedModel annotate_from_json(const graph::Model& model, const nlohmann::json& layers,
                                  const QuantizeScope& scope = {});

// ---- fixed ranges of inputs and results ------------------------------------------

struct FixedRangeOptions {
  int num_bits = 8;
  affine::Range input{0.0f, 1.0f}, output{0.0f, 1.0f};
  bool narrow_range = false;
  affine::TrackerCompat compat = affine::TrackerCompat::kNone;  // kTfmot: 8 bits, whatever num_bits says
};
// Gives the model's inputs, and the points that its outputs come from, fixed ranges.
//   throws  InvalidArgument unless inputs and outputs are quantized
void fix_input_output_range(graph::Model& model, const FixedRangeOptions& options = {});

// Takes away the quantization of the inputs.
//   throws  InvalidArgument unless the inputs are quantized
void remove_input_range(graph::Model& model);

}  // namespace nibble::qat
