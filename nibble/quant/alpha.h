// nibble/quant/alpha.h
// Where a quantizer's scale comes from: QKeras' parameter `alpha`.
#pragma once

#include <string_view>
#include <variant>

#include "nibble/core/tensor.h"
#include "nibble/quant/number.h"

namespace nibble::quant {

// None: scale 1 (and, for binary and ternary, a tanh gradient). A number or an array: that
// scale. "auto": fitted to the data. "auto_po2": fitted, then rounded to a power of two.
class Alpha {
 public:
  enum class Kind { kNone, kNumber, kArray, kAuto, kAutoPo2 };

  Alpha() = default;
  // throws InvalidArgument unless the number is finite
  Alpha(Number number);                            // NOLINT: converts
  Alpha(double number) : Alpha(Number(number)) {}  // NOLINT: converts
  Alpha(int number) : Alpha(Number(number)) {}     // NOLINT: converts
  // throws InvalidArgument for an empty array
  Alpha(Tensor array);                                        // NOLINT: converts
  Alpha(const char* name) : Alpha(std::string_view(name)) {}  // NOLINT: converts
  // throws InvalidArgument unless name is "auto" or "auto_po2"
  Alpha(std::string_view name);  // NOLINT: converts

  Kind kind() const;
  bool is_none() const { return kind() == Kind::kNone; }
  bool is_auto() const { return kind() == Kind::kAuto || kind() == Kind::kAutoPo2; }  // either of the two
  Number number() const { return std::get<Number>(value_); }
  const Tensor& array() const { return std::get<Tensor>(value_); }

  // max(1, alpha) where alpha is fixed, else 1: the bound that QKeras' max() gives.
  double bound() const;

  bool operator==(const Alpha&) const = default;

 private:
  enum class Automatic { kReal, kPowerOfTwo };
  std::variant<std::monostate, Number, Tensor, Automatic> value_;
};

}  // namespace nibble::quant
