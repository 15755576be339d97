// nibble/cost/bias_quantizers.h
// Bias quantizers that lose nothing: QKeras' populate_bias_quantizer_from_accumulator.
// Source: spec/qkeras.md section 4 (QConv2DBatchnorm), spec/qtools.md section 7.
#pragma once

#include "nibble/cost/data_type_map.h"

namespace nibble::cost {

// The model with quantized_bits(total, integer, 1) of the accumulator's type as bias_quantizer of each layer with
// folded batch normalization that has none; others are kept. A layer whose accumulator is a float one keeps None.
//   sources  types of the model's inputs, as in DataTypeOptions
//   throws   as data_type_map() does
graph::Model populate_bias_quantizer_from_accumulator(graph::Model model, const std::vector<QuantizerType>& sources);

}  // namespace nibble::cost
