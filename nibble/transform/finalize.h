// nibble/transform/finalize.h
// QKeras' model_save_quantized_weights: the weights of a quantized model become the values
// that their quantizers give, and the integer codes behind them are told.
//
// Quantizers do not change what is stored while training: a file saved then holds floats. After
// finalize() the stored weights are scale * code, and every weight comes with its codes.
// Source: spec/qkeras.md section 5.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nibble/graph/model.h"
#include "nibble/transform/compatibility.h"

namespace nibble::transform {

struct FinalizedWeight {
  std::string name;               // "kernel"
  quant::QuantizerPtr quantizer;  // null: the weight stays as it is
  Tensor value;                   // quantized; written back to the model unless the layer folds a batch norm
  Tensor scale;                   // the quantizer's scale attribute, as QKeras reports it
  // Absent without a quantizer, and for values on no integer grid (quantized_ulaw).
  std::optional<quant::Encoded> encoded;
};

// A convolution whose only successor is a QBatchNormalization can absorb it.
struct BatchNormFusing {
  std::string batch_norm;  // the layer's name
  Tensor inverse;          // [channels]
  Tensor bias;             // [channels]
};

// An average pooling multiplies its sum by a quantized 1/area.
struct AverageFactor {
  float quantized = 0, exact = 0;
  double area = 0;
};

struct FinalizedLayer {
  std::string name, class_name;
  std::vector<FinalizedWeight> weights;  // Keras' order; of folding layers the folded kernel and bias
  bool is_fused = false;                 // either side of a fused pair
  std::optional<BatchNormFusing> fusing;
  std::optional<AverageFactor> average;
};

struct Finalized {
  graph::Model model;
  std::vector<FinalizedLayer> layers;  // those with quantizers, in the model's order
  std::vector<std::string> warnings;   // sentences: what stayed float, what has no codes
};

//   compat  kQkeras pairs quantizers and weights by position, as the reference does, which
//           shifts them in a QBatchNormalization without center or scale
//   throws  InvalidArgument if a layer has no weights yet
Finalized finalize(graph::Model model, Compatibility compat = Compatibility::kNibble);

// The dictionary that model_save_quantized_weights returns: layer -> {weights, enable_bn_fusing,
// signs, scales, ...}; tensors as {"shape", "data"}, [] where there is nothing for a weight.
//   weights  powers of two: the exponents; quantized_bits with auto_po2: code * scale attribute,
//            to be multiplied by the entry of `scales`; others: the values
//   compat   kNibble keeps `signs` as long as `weights`; the reference leaves out auto_po2's entries
nlohmann::json qkeras_weights(const Finalized& finalized, Compatibility compat = Compatibility::kNibble);

// Every weight with its codes: {"layers": [{"name", "class_name", "weights": [{"name", "shape", "quantizer",
// "bit_width", "is_signed", "kind", "scale", "zero_point", "codes", "signs"}]}], "warnings": [...]}.
nlohmann::json integer_weights(const Finalized& finalized);

}  // namespace nibble::transform
