// nibble/train/plan.h
// How a network is computed: the layers of a graph as a list of steps, with the ones that
// belong together joined into one.
//
// Plain data, no torch. lower() gives one or two steps a layer; fuse() then joins
//   [batch norm -> activation -> dropout]                      into one kFused step, and
//   [that -> convolution -> 2x2 max pool -> batch moments]     into one kConvolution step,
// wherever every value between them has a single reader.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/kernels/activation_spec.h"
#include "nibble/train/convolution.h"

namespace nibble::train {

enum class StepKind {
  kInput,
  kConvolution,  // any prologue, pool and moments with it
  kDense,
  kBatchNorm,
  kActivation,
  kDropout,
  kFused,    // a prologue on its own
  kMaxPool,  // pool_size x pool_size windows
  kAveragePool,
  kGlobalAveragePool,
  kReshape,  // Flatten too: the shape is the output's
  kPad,      // zeros around height and width
  kPermute,  // axes in another order
  kAdd,
  kSubtract,
  kMultiply,
  kMaximum,
  kMinimum,
  kAverage,
  kConcatenate,
  kFakeQuant,  // a point of affine quantization, affine_points.h
  kLayer,      // by the op of its class, layer_op.h
  kPenalty,    // what the activity_regularizer of its layer makes of the layer's output; read by nothing
};

// An activation: a plain function by name, or a quantizer.
struct Activation {
  std::string function;  // "relu", "softmax", ...; empty where a quantizer stands
  quant::QuantizerPtr quantizer;
  double negative_slope = 0.0, threshold = 0.0;  // function "relu" only
  std::optional<double> max_value;
  std::optional<kernels::ActivationSpec> fast;  // set where a kernel knows it
  // Set where a kernel knows the quantizer but for its qnoise_factor: the quantizer without it, and the factor.
  std::optional<kernels::ActivationSpec> whole = {};
  float qnoise_factor = 1.0f;
};

// What is done to a value on its way into the next computation, in this order.
struct Prologue {
  int batch_norm_layer = -1;             // -1: no batch norm
  std::optional<Activation> activation;  // .fast is set
  int dropout_layer = -1;
  double dropout_rate = 0.0;
};

struct Window {
  int64_t height = 1, width = 1, stride_height = 1, stride_width = 1;
  int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
};

struct Step {
  StepKind kind = StepKind::kInput;
  int layer = -1;           // index in the model of the layer that names this step
  std::vector<int> inputs;  // indices of earlier steps
  Shape shape;              // of the output, without the batch axis

  ConvolutionGeometry geometry;      // kConvolution; batch is 1 here
  std::optional<Prologue> prologue;  // kConvolution, kFused
  bool pools = false;                // kConvolution: 2x2 max pool after it
  bool gives_moments = false;        // kConvolution: sums for the batch norm that reads it
  bool gradient_is_pending = false;  // its one reader leaves the last pass of the gradient to it

  Activation activation;               // kActivation
  double rate = 0.0;                   // kDropout
  std::string point = {};              // kFakeQuant: which one of the layer's
  int input_point = -1;                // the kFakeQuant step whose codes a sum's or average's inputs are; -1: none
  std::vector<int> input_points = {};  // kAdd: likewise, of each input; empty unless all have one
  Window window;                       // pools, kPad
  std::vector<int64_t> order = {};     // kPermute: the axes of the input, the batch's first
  bool moves_values = false;           // kLayer: its values are values of its input, or 0
  bool sums_products = false;          // kLayer: its op sums codes where it may (LayerContext::sum_grid)
  bool keeps_sums = false;  // in inference, exact sums by channel stay what they are, or are clipped by a ReLU
  int axis = -1;            // kConcatenate, kBatchNorm; counted with the batch axis, -1 is the last
};

struct Plan {
  std::vector<Step> steps;
  std::vector<int> outputs;  // steps that are the model's outputs
};

// One or two steps a layer, nothing joined.
//   throws  Unsupported naming the layer that training does not know
Plan lower(const graph::Model& model);

// Joins what belongs together. The result computes the same.
Plan fuse(const Plan& plan);

// Fills in input_point and input_points: between a point and its reader stand steps that move values only; and
// keeps_sums.
void find_input_points(Plan& plan, const graph::Model& model);

// Which steps read each step's value.
std::vector<std::vector<int>> readers(const Plan& plan);

}  // namespace nibble::train
