// nibble/cost/fused_norm.h
// Which batch normalization shares the accumulator of the layer before it (spec/qtools.md section 6; the types are
// those of fused_accumulator() in batch_norm.h).
#pragma once

#include "nibble/graph/model.h"

namespace nibble::cost {

// The QBatchNormalization with an inverse_quantizer that alone reads a QDense, QConv or QDepthwiseConv without
// activation; null where there is none.
const graph::Layer* norm_inside(const graph::Model& model, const graph::Layer& layer);

}  // namespace nibble::cost
