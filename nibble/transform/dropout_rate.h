// nibble/transform/dropout_rate.h
// Another dropout rate for a network that was made with one. Dropout keeps networks that could learn the training
// samples by heart from doing so; one that few bits and filters leave too small for that learns better without.
#pragma once

#include "nibble/graph/model.h"

namespace nibble::transform {

// The rate of every Dropout, SpatialDropout1D, SpatialDropout2D, GaussianDropout and AlphaDropout layer becomes `rate`.
//   rate    0 (nothing is dropped) up to, but not, 1
//   throws  InvalidArgument for another rate, or where the model has none of these layers
graph::Model with_dropout_rate(graph::Model model, double rate);

}  // namespace nibble::transform
