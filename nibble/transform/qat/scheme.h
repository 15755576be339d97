// nibble/transform/qat/scheme.h
// The default quantization of each layer class: how wide, by which quantizers, and where in the layer.
//
// Where (spec/tfmot-tflite.md, A3 and A5):
//   Conv1D, Conv2D, DepthwiseConv2D, Conv2DTranspose, Dense   weights, and around the layer's activation:
//                       after linear, relu, swish, ...; before softmax, sigmoid, tanh; gelu both
//   ReLU, LeakyReLU, ELU, PReLU, Activation(relu, ...)        output
//   merges, average pooling, UpSampling2D                     output
//   Flatten, Reshape, Dropout and noise, padding, max pooling, Softmax  nothing
//   BatchNormalization                                        by the layers around it, layout.h
//   InputLayer                                                output
// TFMOT knows fewer classes: `tfmot` leaves out what it does.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::qat {

// What becomes of a batch normalization right after a linear convolution or Dense (spec/ptq-qat-experiments.md, 5.9).
enum class BatchNormMode {
  kFloat,        // stays behind the quantized kernel, in float, as in TFMOT
  kFold,         // merged into the weights before training begins: they must be trained already
  kFoldBatch,    // merged in each step, with the batch's statistics
  kFoldRunning,  // merged in each step, with the moving statistics; the batch's correct the result
};

struct Scheme {
  int weight_bits = 8, activation_bits = 8;  // 2 .. 16
  int input_bits = 8;                        // of the model's inputs
  int least_result_bits = 8;                 // what the model gives has max(activation_bits, this): few bits tie
  int edge_weight_bits = 0;                  // of the model's first and last layer with weights; 0: weight_bits
  int bias_bits = 32;                        // on the accumulator's grid; 0: biases stay float
  graph::AffineKind weights = graph::AffineKind::kLastValue;
  // Inputs always get AllValues. LSQ and LSQ+ take signed codes where values can be negative; PACT and DoReFa stand
  // only where they cannot, and a moving average elsewhere.
  graph::AffineKind activations = graph::AffineKind::kMovingAverage;
  bool per_axis = true;     // a range for each output channel of the weights; not DoReFa
  double ema_decay = 0.99;  // TFMOT's 0.999 from [-6, 6] needs thousands of steps
  affine::AverageStart average_start = affine::AverageStart::kFirstBatch;
  // What trackers make of a batch. Nothing: range_rule() says.
  std::optional<affine::RangeRule> ranges = {};
  double penalty = 0.0;   // PACT: of its clipping levels; the network's weight decay works
  int gradient_bits = 0;  // DoReFa: of the gradients behind its activations, 1 .. 16; 0: they stay float
  affine::GradientElements gradient_elements = affine::GradientElements::kShared;  // LSQ and LSQ+
  // Nothing: nobody said. quantize_apply() then takes kFloat, and `nibble qat` kFold where the model is trained.
  std::optional<BatchNormMode> batch_norm = {};
  // As TFMOT (spec/tfmot-tflite.md A4 - A7): its classes, its placement with its defects (layout.h), what its
  // quantizers make of their arguments (as_tfmot()), Dense and Conv2DTranspose per tensor. What it fails at, but nibble
  // can do, is done (docs/differences.md). Numbers of bits, biases and batch norms are those of the other members.
  bool tfmot = false;

  bool operator==(const Scheme&) const = default;
};

// TFMOT's schemes: that of 8 bits, and for other widths the experimental one of n bits, inputs and results included;
// biases and batch norms in float.
Scheme tfmot_scheme(int weight_bits = 8, int activation_bits = 8);

// Of a `tfmot` scheme, whether it is TFMOT's of n bits: one of its widths is not 8. That one differs from the other in
// more than the bits (layout.h; no gelu layers), so TFMOT's n-bit scheme with n = 8 has no name here.
bool is_tfmot_of_bits(const Scheme& scheme);

// What TFMOT computes where it is given such quantizers: AllValues has one range whatever per_axis says, Fixed has 8
// bits, and per_axis of a depthwise kernel is its last axis, the multiplier. Source: spec/tfmot-tflite.md, A2.1.
graph::LayerQuantization as_tfmot(graph::LayerQuantization quantization);

// "int8", "int4" (also int2 .. int16): weights and activations of so many bits; "tfmot8", "tfmot4", ...
//   throws  InvalidArgument naming what is allowed
Scheme scheme_named(std::string_view name);

// "last_value", "moving_average", "all_values", "lsq", "lsq_plus", "pact", "dorefa": quantizers of weights and
// activations that belong together, set in a scheme.
//   throws  InvalidArgument with the nearest name
void set_quantizer(Scheme& scheme, std::string_view name);

// {"base": "int8", "weight_bits": 4, "weights": "LSQQuantizer", "batch_norm": "fold_running", ...}
//   throws  InvalidArgument naming the key
Scheme scheme_from_json(const nlohmann::json& json);

//   throws  InvalidArgument naming the width that is not possible
void check(const Scheme& scheme);

// What a tracker of so many bits makes of a batch. Where nobody said, as post-training quantization does: the range of
// least squared error below 6 bits, extremes from there on. Extremes too for TFMOT's schemes, and beside learned
// quantizers.
affine::RangeRule range_rule(const Scheme& scheme, int num_bits);

// Gives a quantizer of a scheme another width, and the rule of its range that goes with it.
void set_bits(const Scheme& scheme, graph::AffineQuantizer& quantizer, int num_bits);

// The default for a layer, or nothing for a class the scheme does not know.
//   is_rectified  what leaves the layer cannot be negative
//   throws        Unsupported for an activation function that cannot be quantized, or one that is a QKeras quantizer
std::optional<graph::LayerQuantization> default_quantization(const graph::Layer& layer, const Scheme& scheme,
                                                             bool is_rectified);

// Quantizers of a scheme.
graph::AffineQuantizer weight_quantizer(const Scheme& scheme, const graph::Layer& layer);
graph::AffineQuantizer activation_quantizer(const Scheme& scheme, bool is_rectified);
graph::AffineQuantizer input_quantizer(const Scheme& scheme);

// True where quantizers of QKeras' stand in the layer, its activation among them.
bool is_qkeras_quantized(const graph::Layer& layer);

// True where a class multiplies by its weights or looks them up: convolutions, Dense, recurrent layers, Embedding; not
// batch normalization and PReLU.
bool computes_with_weights(const graph::Layer& layer);

std::vector<std::string> known_classes(const Scheme& scheme);  // sorted

}  // namespace nibble::qat
