#include "nibble/quant/alpha.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"

namespace nibble::quant {

Alpha::Alpha(Number number) : value_(number) {
  if (!std::isfinite(number.real())) {
    throw InvalidArgument("[quantizer] alpha is {}; it must be a finite number.", number.value);
  }
}

Alpha::Alpha(Tensor array) : value_(std::move(array)) {
  if (std::get<Tensor>(value_).size() == 0) {
    throw InvalidArgument("[quantizer] alpha is an empty list; give one scale or one for each channel.");
  }
}

Alpha::Alpha(std::string_view name) {
  if (name == "auto") {
    value_ = Automatic::kReal;
  } else if (name == "auto_po2") {
    value_ = Automatic::kPowerOfTwo;
  } else {
    throw InvalidArgument("[quantizer] alpha is '{}'; it must be None, a number, an array, 'auto' or 'auto_po2'.",
                          name);
  }
}

Alpha::Kind Alpha::kind() const {
  if (const auto* automatic = std::get_if<Automatic>(&value_)) {
    return *automatic == Automatic::kReal ? Kind::kAuto : Kind::kAutoPo2;
  }
  if (std::holds_alternative<Number>(value_)) return Kind::kNumber;
  return std::holds_alternative<Tensor>(value_) ? Kind::kArray : Kind::kNone;
}

double Alpha::bound() const {
  if (kind() == Kind::kNumber) return std::max(1.0, number().value);
  double largest = 1.0;
  if (kind() == Kind::kArray) {
    for (float value : array().data()) largest = std::max(largest, static_cast<double>(value));
  }
  return largest;
}

}  // namespace nibble::quant
