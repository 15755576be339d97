// nibble/cost/data_type_map.h
// Which kind of number travels on every edge of a network, and which operators
// each layer needs for it (QTools; spec/qtools.md section 7).
//
// A quantized layer multiplies its weight type by its input type, sums the products
// in an accumulator that cannot overflow, and hands that accumulator on unless a
// quantizer says otherwise. Plain layers with affine quantizers (affine_type.h) do likewise, but under
// Compat::kQkeras*, which does not know them. In reference mode every layer is thought to be built from one type of
// values and one type of accumulator instead.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nibble/core/shape.h"
#include "nibble/cost/batch_norm.h"
#include "nibble/cost/compat.h"
#include "nibble/cost/layer_kind.h"
#include "nibble/cost/operator.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

struct DataTypeOptions {
  Compat compat = Compat::kNone;
  // Reference mode: quantizers of the model are ignored.
  bool for_reference = false;
  // Type of weights (and of what else is a value) where a layer has no quantizer of its own;
  // nothing means quantized_bits(8,0,1).
  std::optional<QuantizerType> keras_quantizer = {};
  // Type of accumulators and activations there; nothing means quantized_bits(8,0,1).
  std::optional<QuantizerType> keras_accumulator = {};
  // Types of the model's inputs: none (quantized_bits(8,0,1)), one for all, or one each.
  std::vector<QuantizerType> sources = {};
  // Reads the weights: values of power-of-two tensors, scales of alpha 'auto_po2'.
  // A layer with such a tensor must have its weights, unless weights_may_miss.
  bool use_weights = false;
  bool weights_may_miss = false;       // use_weights: a layer without weights counts as if nothing had been asked
  bool weights_are_quantized = false;  // use_weights: they hold quantized values already
  // A QBatchNormalization with an inverse_quantizer shares the accumulator of the layer before it (fused_norm.h), and
  // hands that on.
  bool fuses_batch_norms = false;
};

// Products of a kernel, or of two inputs (Dot), and their sum.
struct Mac {
  std::string prefix = {};    // of its keys in the report: "pointwise_", "recurrent_", "backward_", ...
  QuantizerType weight = {};  // of a Dot, the first input
  QuantizerType input = {};   // what the kernel meets: the layer's input, or the states of a recurrent layer
  std::optional<QuantizerType> bias = {};
  Operator multiplier = {};
  QuantizerType accumulator = {};
  // With the scale of an auto_po2 weight inside; none for folded layers.
  std::optional<QuantizerType> fused_accumulator = {};
  Shape kernel = {};            // (0,) where there is none to be read
  int64_t biases = 0;           // elements of the bias; 0 without
  int64_t charged_biases = 0;   // as charged and reported: QTools takes the last axis of the kernel
  int64_t operation_count = 0;  // multiplications per inference
  bool has_kernel = true;       // false: both factors are inputs of the layer
  bool adds = true;             // false: products that nothing sums
};

// Rows of a table that are read, as Embedding does.
struct LookupTypes {
  QuantizerType weight = {};
  int64_t elements = 0;  // read per inference
};

// Products of gates and states, as LSTM and GRU form them.
struct GateTypes {
  Operator multiplier = {};
  int64_t products = 0;  // per inference
};

struct PoolTypes {
  QuantizerType sum = {};
  std::optional<QuantizerType> average = {};  // Q classes: 1/area
  std::optional<Operator> multiplier = {};    // Q classes: sum * average
};

// A batch normalization, with its parameters' types and its operators.
struct NormTypes {
  BatchNormTypes parameters = {};
  BatchNormOperators operators = {};
  int64_t channels = 0;
  // Which of the two are charged and reported: QTools does so even where they are switched off.
  bool charges_gamma = true, charges_beta = true;
  // Of gamma / sqrt(variance), where the layer before has this normalization inside: neither of the two is there then,
  // and no divider; the multiplier is that of the inverse and the layer's sum.
  std::optional<QuantizerType> inverse = {};
};

struct LayerTypes {
  std::string name = {}, class_name = {};
  LayerKind kind = LayerKind::kOther;
  std::vector<QuantizerType> inputs = {};
  std::vector<Shape> input_shapes = {};  // batch axis excluded
  QuantizerType output = {};
  Shape output_shape = {};
  bool reads_model_input = false;  // through Dropout too
  bool writes_model_output = false;
  bool has_listed_output = false;  // QTools reports a list of one shape, and charges one element for it
  bool has_activation = false;     // an activation layer, or one with an activation or a quantizer on its output
  int64_t operation_count = 0;     // as QTools counts: multiplications, or elements of the input
  // What the kind of layer has; else empty.
  std::vector<Mac> macs = {};  // one; two for a separable convolution; two a direction for a recurrent layer
  std::optional<Operator> merge = {};
  std::optional<PoolTypes> pool = {};
  std::optional<NormTypes> norm = {};
  std::optional<LookupTypes> lookup = {};
  std::optional<GateTypes> gates = {};
};

struct DataTypeMap {
  Compat compat = Compat::kNone;
  std::vector<std::string> inputs = {};  // the model's, with their types and shapes
  std::vector<QuantizerType> sources = {};
  std::vector<Shape> source_shapes = {};
  std::vector<LayerTypes> layers = {};  // model order; without inputs and dropout

  const LayerTypes* find(std::string_view name) const;  // null if absent
};

//   throws  InvalidArgument naming the layer for shapes that are not fixed, weights that are missing or a
//           number of sources that does not fit; Unsupported for a layer or quantizer without a rule
DataTypeMap data_type_map(const graph::Model& model, const DataTypeOptions& options = {});

// QTools' report: layer name -> types and operators, and "source_quantizers".
nlohmann::json report_of(const DataTypeMap& map);

}  // namespace nibble::cost
