#include "nibble/cli/samples.h"

#include <numeric>

#include "nibble/core/error.h"

namespace nibble::cli {

Tensor gather(const data::Samples& samples, int64_t begin, int64_t count, const Shape& sample_shape) {
  if (samples.shape().elements() != sample_shape.elements()) {
    throw InvalidArgument("the network takes samples of shape {}, but the data have {}.", sample_shape.str(),
                          samples.shape().str());
  }
  std::vector<int64_t> indices(static_cast<size_t>(count)), extents = {count};
  std::iota(indices.begin(), indices.end(), begin);
  extents.insert(extents.end(), sample_shape.begin(), sample_shape.end());
  Tensor x{Shape(extents)};
  samples.gather(indices, x.data());
  return x;
}

}  // namespace nibble::cli
