// nibble/transform/qat/rewrites.h
// What quantize_apply() changes in a graph before it quantizes it. Private to transform/qat.
#pragma once

#include <set>
#include <string>

#include "nibble/transform/qat/quantize_apply.h"

namespace nibble::qat {

// Marked separable convolutions without a configuration become DepthwiseConv2D ("<name>_depthwise") and Conv2D, which
// keeps the name; of SeparableConv1D, the Conv2D is "<name>_pointwise" between two Reshape layers, the last of which
// keeps the name.
//   returns  the names of those last ones
//   throws   Unsupported for causal padding and for a free number of steps
std::set<std::string> expand_separable(AnnotatedModel& annotated);

// Batch normalizations behind layers whose weights are to be quantized are merged, as the mode says. One stays where
// it is not marked, has a configuration of the user's, or it or the layer is quantized already.
void merge_batch_norms(AnnotatedModel& annotated, BatchNormMode mode);

}  // namespace nibble::qat
