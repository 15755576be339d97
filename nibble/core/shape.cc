#include "nibble/core/shape.h"

#include "nibble/core/error.h"

namespace nibble {

bool Shape::is_fixed() const {
  for (int64_t extent : extents_) {
    if (extent < 0) return false;
  }
  return true;
}

int64_t Shape::elements() const {
  constexpr int64_t kLimit = int64_t{1} << 62;
  if (!is_fixed()) {
    throw InvalidArgument("[Shape] {} has a free extent, so its number of elements is not known.", str());
  }
  int64_t product = 1;
  for (int64_t extent : extents_) {
    if (extent == 0) return 0;
  }
  for (int64_t extent : extents_) {
    if (product > kLimit / extent) {
      throw InvalidArgument("[Shape] {} has more than 2^62 elements.", str());
    }
    product *= extent;
  }
  return product;
}

std::string Shape::str() const {
  std::string text = "(";
  for (size_t i = 0; i < extents_.size(); ++i) {
    if (i > 0) text += ", ";
    text += extents_[i] < 0 ? "None" : std::to_string(extents_[i]);
  }
  if (extents_.size() == 1) text += ",";
  return text + ")";
}

}  // namespace nibble
