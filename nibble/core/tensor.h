// nibble/core/tensor.h
// A tensor in host memory: float32, row-major (last axis fastest).
#pragma once

#include <span>
#include <vector>

#include "nibble/core/shape.h"

namespace nibble {

// A plain value: copying copies the data.
class Tensor {
 public:
  Tensor() : Tensor(Shape{}) {}  // the scalar 0
  explicit Tensor(Shape shape, float fill = 0.0f);
  // throws InvalidArgument if data.size() is not shape.elements()
  Tensor(Shape shape, std::vector<float> data);

  static Tensor scalar(float value) { return Tensor(Shape{}, {value}); }

  const Shape& shape() const { return shape_; }
  int64_t size() const { return static_cast<int64_t>(data_.size()); }

  std::span<const float> data() const { return data_; }
  std::span<float> data() { return data_; }
  float operator[](int64_t i) const { return data_[static_cast<size_t>(i)]; }
  float& operator[](int64_t i) { return data_[static_cast<size_t>(i)]; }

  // The same data under another shape.
  //   throws  InvalidArgument if the number of elements differs
  Tensor reshaped(Shape shape) const;

  bool operator==(const Tensor&) const = default;  // bitwise, but -0 == 0 and NaN != NaN

 private:
  Shape shape_;
  std::vector<float> data_;
};

}  // namespace nibble
