#include "nibble/core/tensor.h"

#include "nibble/core/error.h"

namespace nibble {

Tensor::Tensor(Shape shape, float fill)
    : shape_(std::move(shape)), data_(static_cast<size_t>(shape_.elements()), fill) {}

Tensor::Tensor(Shape shape, std::vector<float> data) : shape_(std::move(shape)), data_(std::move(data)) {
  if (shape_.elements() != size()) {
    throw InvalidArgument("[Tensor] shape {} needs {} values, but {} were given.", shape_.str(), shape_.elements(),
                          data_.size());
  }
}

Tensor Tensor::reshaped(Shape shape) const {
  if (shape.elements() != size()) {
    throw InvalidArgument("[Tensor::reshaped] {} cannot become {}: the numbers of elements differ ({} and {}).",
                          shape_.str(), shape.str(), size(), shape.elements());
  }
  return Tensor(std::move(shape), data_);
}

}  // namespace nibble
