// nibble/cli/samples.h
// Samples of a data set as a tensor for a network.
#pragma once

#include "nibble/core/tensor.h"
#include "nibble/data/dataset.h"

namespace nibble::cli {

//   sample_shape  what the network takes; another shape of as many elements serves
//   returns       [count, sample shape]
//   throws        InvalidArgument if the numbers of elements differ
Tensor gather(const data::Samples& samples, int64_t begin, int64_t count, const Shape& sample_shape);

}  // namespace nibble::cli
