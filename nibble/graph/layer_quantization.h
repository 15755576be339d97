// nibble/graph/layer_quantization.h
// Affine fake quantization as data of a layer: which of its tensors are quantized, how, and with which ranges.
//
//   point             what is quantized                                   applied
//   <a weight's name> kernel, depthwise_kernel, ...                       before the layer computes with it
//   pre_activation    what enters the layer's `activation`                softmax, sigmoid, tanh, gelu
//   post_activation   what leaves it                                      linear, relu, swish, gelu
//   output            the layer's output; of an InputLayer: the input     after everything else
//
// Every class has `output`; those with an `activation`, ReLU, LeakyReLU and Softmax have the two around it. A batch
// norm's weights, and what a layer remembers of its batches, are no points.
//
// Variables of a point are weights of the layer, after its own, in the order of the table, so that they are saved and
// read with the model:
//   LastValue, MovingAverage, AllValues   <point>_min, <point>_max        start at -6, 6 (AllValues: 0, 0), as TFMOT's
//   LSQ, LSQ+                             <point>_step [, <point>_offset] start at 0: not found yet
//   PACT                                  <point>_alpha                   likewise
//   Fixed, DoReFa, None                   none
// They are scalars, or per axis vectors with one value a channel. An AllValues tracker that saw nothing but zeros has
// [-0, 0], which is the same range as its start and tells that it was calibrated. Sources: spec/tfmot-tflite.md A2 and
// A3, spec/ptq-qat-experiments.md 5.1 - 5.4. Their arithmetic is nibble/quant/affine's.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/quant/affine/affine_params.h"
#include "nibble/quant/affine/learned_step.h"
#include "nibble/quant/affine/range_tracker.h"

namespace nibble::graph {

struct Layer;
struct Model;
struct WeightSpec;

enum class AffineKind { kNone, kLastValue, kMovingAverage, kAllValues, kFixed, kLsq, kLsqPlus, kPact, kDorefa };

// "NoQuantizer", "LastValueQuantizer", ..., "LSQQuantizer", "LSQPlusQuantizer", "PACTQuantizer", "DoReFaQuantizer".
std::string_view class_name(AffineKind kind);
//   throws  InvalidArgument with the nearest name
AffineKind affine_kind(std::string_view class_name);

// A plain value: what the constructor of TFMOT's quantizer takes, and what its configuration holds.
struct AffineQuantizer {
  AffineKind kind = AffineKind::kNone;
  int num_bits = 8;            // 2 .. 16; DoReFa: 1 .. 16
  bool per_axis = false;       // a range for each slice of `axis`; not PACT and DoReFa
  bool symmetric = false;      // zero is the middle code; LSQ, LSQ+: signed codes
  bool narrow_range = false;   // the lowest code is not used
  int axis = -1;               // of a weight; -1 of a depthwise kernel: its output channels (input, multiplier)
  affine::Range fixed{-6, 6};  // Fixed
  double ema_decay = 0.999;    // MovingAverage, in [0, 1)
  affine::AverageStart average_start = affine::AverageStart::kInitialRange;  // MovingAverage
  affine::RangeRule range = affine::RangeRule::kExtremes;  // of a batch; LastValue, MovingAverage, AllValues
  double penalty = 0.0;                                    // PACT: penalty * alpha^2 is added to the loss
  int gradient_bits = 0;  // DoReFa on activations, 1 .. 16: of the gradients that leave it; 0: they stay float
  affine::GradientElements gradient_elements = affine::GradientElements::kShared;  // LSQ, LSQ+: scales the gradients

  bool is_none() const { return kind == AffineKind::kNone; }
  bool operator==(const AffineQuantizer&) const = default;
};

// "LastValue(8, per_axis, symmetric, narrow_range)"
std::string to_string(const AffineQuantizer& quantizer);

// True for the kinds that watch their tensor's range, and for the ones whose parameters an optimizer moves.
bool is_tracker(AffineKind kind);  // Fixed too
bool is_learned(AffineKind kind);

//   throws  InvalidArgument unless is_tracker()
affine::TrackerConfig tracker_config(const AffineQuantizer& quantizer);

struct WeightQuantizer {
  std::string weight;
  AffineQuantizer quantizer;
  bool operator==(const WeightQuantizer&) const = default;
};

struct LayerQuantization {
  std::vector<WeightQuantizer> weights = {};
  AffineQuantizer pre_activation = {}, post_activation = {}, output = {};
  // The bias is rounded to the accumulator's grid, input scale * kernel scale, in so many bits (2 .. 32); 0: it stays
  // as it is, as in TFMOT. Has an effect where the layer's input is quantized.
  int bias_bits = 0;
  bool operator==(const LayerQuantization&) const = default;
};

inline constexpr std::string_view kPreActivation = "pre_activation", kPostActivation = "post_activation",
                                  kOutput = "output";

// A tensor of a layer that is quantized.
struct QuantizedPoint {
  std::string name;
  AffineQuantizer quantizer;
  bool is_weight = false;
};

// In the table's order; points of kind None are left out.
std::vector<QuantizedPoint> quantized_points(const LayerQuantization& quantization);
// Of a layer; empty where it has no quantization. The second form is nothing where the point is not quantized.
std::vector<QuantizedPoint> quantized_points(const Layer& layer);
std::optional<QuantizedPoint> quantized_point(const Layer& layer, std::string_view name);

// How the tensor of a point shares its parameters.
//   shape   of the weight, or of an activation with or without the batch axis
affine::ChannelLayout point_layout(const Layer& layer, const QuantizedPoint& point, const Shape& shape);

// The variables that the points of a layer have.
//   own, output  shapes of the layer's own weights and of its output
//   throws       InvalidArgument naming layer and point: a width, axis, range or decay that is not possible, a weight
//                that the layer does not have, a point that its class does not compute, a kind that does not fit the
//                tensor
std::vector<WeightSpec> quantization_variables(const Layer& layer, std::span<const WeightSpec> own,
                                               const Shape& output);

// True for the name of a variable of one of the layer's points: no weight of the layer's own.
bool is_quantization_variable(const Layer& layer, std::string_view weight);

// Gives a layer its quantization in the place of any it had (nullopt: takes it away), and, where the layer has its
// weights, the variables: those of points that had the same quantizer before are kept, others stand at their start.
//   throws  as quantization_variables()
void set_quantization(Model& model, std::string_view layer, std::optional<LayerQuantization> quantization);

// ---- stored ranges --------------------------------------------------------------

// A range that a tracker has seen, as its variables hold it: [-0, 0] for AllValues of zeros alone. Files and
// checkpoints keep the sign, and no computation sees it.
affine::Range as_seen(AffineKind kind, affine::Range range);

// The ranges of a point whose quantizer is_tracker(): one, or one a channel.
//   throws  InvalidArgument if the layer has no such point, or not its variables
std::vector<affine::Range> stored_ranges(const Layer& layer, std::string_view point);
// The point then counts as calibrated.
//   throws  InvalidArgument also if their number is not that of the variables, or one is no range
void store_ranges(Layer& layer, std::string_view point, std::span<const affine::Range> ranges);

// The first point of a layer whose variables still stand at their start and thus fit nothing; "" if there is none.
std::string uncalibrated_point(const Layer& layer);
//   throws  InvalidArgument naming the first layer and point that was never calibrated, in the name of `who`
void require_calibrated(const Model& model, std::string_view who);

// Scale, zero point and codes of a point, one or one a channel, from the stored variables: signed codes, but unsigned
// ones for PACT, DoReFa, and LSQ without `symmetric`.
//   throws  Unsupported where reals do not lie on such a grid (LSQ+ with an offset that is no multiple of the step,
//           DoReFa on weights); InvalidArgument as stored_ranges()
std::vector<affine::AffineParams> point_params(const Layer& layer, std::string_view point);

// ---- JSON -----------------------------------------------------------------------

// {"class_name": "LastValueQuantizer", "config": {"num_bits": 8, ...}}, as TFMOT serializes it; null for None.
nlohmann::json to_json(const AffineQuantizer& quantizer);
nlohmann::json to_json(const LayerQuantization& quantization);

//   where   begins the message
//   throws  InvalidArgument naming the key and its value
AffineQuantizer affine_quantizer_from_json(const nlohmann::json& json, std::string_view where);
LayerQuantization layer_quantization_from_json(const nlohmann::json& json, std::string_view where);

}  // namespace nibble::graph
