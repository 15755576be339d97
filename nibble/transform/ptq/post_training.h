// nibble/transform/ptq/post_training.h
// Post-training quantization: a trained float network becomes one of affine fake quantization, without training.
//
//   1. batch normalizations are folded                                    fold_batch_norms.h
//   2. neighbouring layers are equalized (option)                         equalize_layers.h
//   3. the calibration samples run through the float network, layer by layer; each activation gets a range
//   4. weights get symmetric ranges, per tensor or per axis, and are rounded: to nearest, or adaptively (option)
//   5. biases are corrected so that the mean of each output is the float network's (option), by the samples or by the
//      batch norms' statistics (expected_values.h), and put on the grid of their accumulators
//
// 3 to 5 go through the network once, from its input to its output: at every layer the float values and those of the
// network quantized so far are at hand, so that corrections and roundings see what the layer will really get.
// The model that comes out carries graph::LayerQuantization with stored ranges: it can be trained on (QAT), saved and
// compiled. Source: spec/ptq-qat-experiments.md, 5.5 - 5.9.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/quant/affine/calibration.h"
#include "nibble/transform/ptq/adaptive_rounding.h"
#include "nibble/transform/ptq/fold_batch_norms.h"
#include "nibble/transform/ptq/weight_ranges.h"

namespace nibble::ptq {

// Where a bias of few bits takes its scale from.
enum class BiasScale {
  kAccumulator,  // input scale * weight scale: what an integer accumulator adds; few bits saturate
  kOwn,          // the largest bias of the layer fits
};

// How biases take on what coding changes in the mean of each output.
enum class BiasCorrection {
  kNone,
  kEmpirical,  // mean output of the float network less that of the quantized one, on the samples
  kAnalytic,   // error of the weights times the mean input that the batch norms before the layer imply; needs no data
};

struct PostTrainingOptions {
  int bit_width = 8;          // of weights, input and activations, 2 .. 16
  int least_result_bits = 8;  // the logits have max(bit_width, this): with few bits they would tie
  int bias_bits = 32;         // 2 .. 32; 0: biases stay float. What does not fit 32 bits stays float too
  BiasScale bias_scale = BiasScale::kAccumulator;
  affine::CalibrationOptions calibration = {};  // its bit_width is set for each tensor
  int64_t batch_size = 64;                      // samples that a moving average sees at once
  bool per_axis = false;                        // a scale for each output channel of the weights
  WeightRule weight_rule = WeightRule::kAutomatic;
  bool equalize = false;
  BiasCorrection bias_correction = BiasCorrection::kNone;
  bool adaptive_rounding = false;
  AdaptiveRoundingOptions rounding = {};
  int64_t sampled_positions = 8192;  // of each layer's output, that rounding and correction look at, at most
  // The model that comes out keeps the float weights, as a start of training; its inference is the same, since ranges
  // are stored. Adaptive rounding cannot be kept so and writes weights on the grid in any case.
  bool keep_float_weights = false;
  // Mistakes of seed 4, for the ablation (spec, section 2).
  FoldDivisor fold_divisor = FoldDivisor::kStandardDeviation;  // D1: ranges of the right network, weights of the wrong
  bool range_before_activation = false;                        // D6: ReLU keeps the range of what enters it
};

// What a layer gives in inference, without its `quantization`: [n, shape] -> [n, output shape].
using LayerFunction = std::function<Tensor(const graph::Layer& layer, std::span<const Tensor> inputs)>;

struct QuantizedLayer {
  std::string layer, class_name;
  int weight_bits = 0;              // 0: no weights that are quantized
  affine::Range weight_range = {};  // of all channels together
  double weight_sqnr_db = 0;        // of the kernel
  double weights_clipped = 0;       // share beyond the range of their channel
  double rounded_otherwise = 0;     // share that adaptive rounding moved
  int64_t saturated_biases = 0;     // that were clipped to their bits
  double bias_correction = 0;       // largest change of a bias
  int output_bits = 0;              // 0: the output is not quantized here
  affine::Range output_range = {}, output_seen = {};
  double output_clipped = 0;  // share of the float values outside output_range
  double range_sqnr_db = 0;   // of the float output through this range alone
  double output_sqnr_db = 0;  // of the layer's output against the float network's, with all that came before
  std::string note = {};      // why something stays float; else empty
};

struct PostTrainingResult {
  graph::Model model;
  std::vector<QuantizedLayer> layers;  // in the model's order; layers that only move values are left out
  std::vector<std::string> folded, left_batch_norms;
  int equalized_pairs = 0;
  double largest_equalization = 1.0;
};

//   throws  Unsupported naming the input whose shape has a free extent
void require_fixed_input(const std::string& input, const Shape& shape);

//   model    float, with weights: plain Keras layers
//   samples  [n, shape of the model's input], n >= 1
//   compute  for example train::layer_function()
//   before_layer  called with the name of each layer of the result and its index, if given; may throw to stop
//   throws   InvalidArgument if the model already has quantizers, has no weights, or the samples or an activation hold
//            NaN (naming the layer); Unsupported for more than one input, and for a free number of steps
PostTrainingResult quantize_after_training(const graph::Model& model, const Tensor& samples,
                                           const PostTrainingOptions& options, const LayerFunction& compute,
                                           const std::function<void(const std::string&, size_t)>& before_layer = {});

}  // namespace nibble::ptq
