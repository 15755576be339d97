// nibble/core/shape.h
// The extent of a tensor along each axis, outermost first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace nibble {

// A plain value. Extents are >= 0, or kFree where a size is not fixed (Keras' null).
class Shape {
 public:
  static constexpr int64_t kFree = -1;

  Shape() = default;  // rank 0: a scalar, one element
  Shape(std::initializer_list<int64_t> extents) : extents_(extents) {}
  explicit Shape(std::vector<int64_t> extents) : extents_(std::move(extents)) {}

  int rank() const { return static_cast<int>(extents_.size()); }
  bool is_fixed() const;  // no free extent

  // axis may be negative, counting from the last.
  int64_t operator[](int axis) const { return extents_[normalize(axis)]; }
  int64_t& operator[](int axis) { return extents_[normalize(axis)]; }

  // Product of the extents.
  //   throws  InvalidArgument if an extent is free or negative, or if the product
  //           exceeds 2^62 (so that bytes of any element type fit an int64_t)
  int64_t elements() const;

  const std::vector<int64_t>& extents() const { return extents_; }
  std::vector<int64_t>::const_iterator begin() const { return extents_.begin(); }
  std::vector<int64_t>::const_iterator end() const { return extents_.end(); }

  std::string str() const;  // "(28, 28, 1)"; a free extent prints as None

  bool operator==(const Shape&) const = default;

 private:
  size_t normalize(int axis) const { return static_cast<size_t>(axis < 0 ? axis + rank() : axis); }
  std::vector<int64_t> extents_;
};

}  // namespace nibble
