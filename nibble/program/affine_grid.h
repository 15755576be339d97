// nibble/program/affine_grid.h
// Affine quantizers (graph/layer_quantization.h) with the ranges that were found, as quantizers of a fixed grid: what
// inputs are coded by and thresholds are searched for. A program's integers are code - zero_point.
//
//   affine_range(min, max, bits, narrow_range, divides)   fake quantization over the range
//   affine_step(step, lowest, highest)                    round(clip(x / step, lowest, highest)) * step
//   affine_clip(highest, bits)                            round(clip(x, 0, highest) * n / highest) * (highest / n),
//                                                         n = 2^bits - 1
#pragma once

#include <optional>

#include "nibble/graph/model.h"
#include "nibble/program/integer_weights.h"
#include "nibble/quant/affine/sum_quantizer.h"

namespace nibble::program {

// Of an activation point.
//   throws  Unsupported naming layer and point where real values are no integers times one scale: per axis, and LSQ+
//           with an offset; InvalidArgument for a clipping level that is none
quant::QuantizerPtr grid_of(const graph::Layer& layer, const graph::QuantizedPoint& point);

// The codes of one of the three; nothing for other quantizers.
std::optional<affine::CodeGrid> code_grid(const quant::Quantizer& quantizer);

// Of a weight point.
//   channels  of the output
//   inner     as of the other integer_weights()
//   throws    Unsupported where a channel has several scales
IntegerWeights integer_weights(const graph::Layer& layer, const graph::QuantizedPoint& point, int64_t channels,
                               int64_t inner = 1);

// `value` of that weight as its affine point leaves it, which is as the network computes with it; as it is where the
// weight has no point.
Tensor through_point(const graph::Layer& layer, std::string_view weight, Tensor value);

// The layer's bias in units of its accumulators; empty where it stays a real number. Of a layer whose codes the network
// sums too: elsewhere it adds the bias as a real number, whatever bias_bits says.
std::vector<int64_t> bias_codes(const graph::Layer& layer, float input_scale, const PerChannel& weight_scales);

// Makes get_quantizer() read the three texts above; program files hold them.
void register_affine_grids();

}  // namespace nibble::program
