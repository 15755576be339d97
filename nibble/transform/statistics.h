// nibble/transform/statistics.h
// QKeras' extract_model_operations, print_qstats and get_model_sparsity: which operation each layer needs in hardware,
// how often, how many bits its weights take, and how many of them are zero.
// Source: spec/qkeras.md section 5, "Statistics".
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::transform {

// The kind of number that a quantizer gives, as these statistics see it.
struct NumberMode {
  enum Kind { kFixed, kPo2, kTernary, kBinary, kZeroOne, kFloat };  // QKeras' 0 .. 5
  Kind kind = kFloat;
  int bits = 32;
  bool is_signed = true;
  bool operator==(const NumberMode&) const = default;
};

// Null: float. Quantizers whose mode QKeras cannot tell (quantized_linear, quantized_sigmoid, quantized_hswish,
// quantized_tanh of 2 bits) are fixed point of their width (docs/differences.md).
NumberMode number_mode(const quant::QuantizerPtr& quantizer);

// "mult", "barrel", "adder", "mux", "xor", "fmult"
std::string_view operation_type(NumberMode::Kind weight, NumberMode::Kind input);

struct LayerOperation {
  std::string layer, operation;  // "mult"
  NumberMode weight, input;      // of the operation
  int64_t count = 0;             // operations per sample
  // One entry; a separable convolution has two.
  std::vector<int64_t> weight_counts;
  std::vector<NumberMode> weight_modes;
  int64_t bias_count = 0;
  NumberMode bias_mode;

  // "smult_4_8": signed if either side is; bits of the weight and of the input.
  std::string type() const;
};

// Of the layers QDense, QConv1D, QConv2D, QDepthwiseConv2D, QSeparableConv1D/2D and the folded ones, in the model's
// order. The input counts as quantized_relu(8, 0); a tensor keeps the mode of the last quantizer before it.
//   input  what quantizes the model's input instead; null: as above
std::vector<LayerOperation> extract_model_operations(const graph::Model& model, quant::QuantizerPtr input = nullptr);

struct LayerSparsity {
  std::string layer;
  double share = 0;  // of exact zeros among the quantized weights and biases
};
struct ModelSparsity {
  double total = 0;
  std::vector<LayerSparsity> layers;
};
//   allow_list  the classes that count; empty: QKeras' own list
//   throws      InvalidArgument if a layer has no weights yet
ModelSparsity model_sparsity(const graph::Model& model, std::span<const std::string> allow_list = {});

// What print_qstats prints, line for line.
std::string qstats_text(std::span<const LayerOperation> operations, const ModelSparsity& sparsity);

}  // namespace nibble::transform
