// nibble/cost/affine_type.h
// The widths that affine quantization (graph/layer_quantization.h) gives to the tensors of a layer. Codes are whole
// numbers here: their scale is no power of two, and it costs nothing in the sums.
//
//   weights        signed, num_bits; DoReFa's odd codes one bit more, and +-1 with one bit
//   activations    num_bits, unsigned beside a zero point (which goes into the bias); signed for symmetric LSQ
//   bias           bias_bits of its accumulator's grid; 0: float of 32 bits
#pragma once

#include <optional>
#include <string_view>

#include "nibble/cost/quantizer_type.h"

namespace nibble::cost {

// Of a point of the layer: a weight's name, or where its activations are quantized. Nothing where it is not.
std::optional<QuantizerType> affine_type(const graph::Layer& layer, std::string_view point);

// Of what leaves the layer: the last of its points on activations.
std::optional<QuantizerType> affine_output_type(const graph::Layer& layer);

// Of the bias of a layer with affine weights.
QuantizerType affine_bias_type(const graph::Layer& layer);

// True for weights that hold a quantizer's range or step: a device has them in its scales.
bool is_affine_variable(const graph::Layer& layer, std::string_view weight);

}  // namespace nibble::cost
