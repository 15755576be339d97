// nibble/quant/number.h
// Parameter values of quantizers that the standard types do not say exactly.
#pragma once

#include <cstdint>
#include <vector>

namespace nibble::quant {

// A number that remembers how it was written, since QKeras prints alpha=1 and alpha=1.0
// differently. Both are the same value and compare equal.
struct Number {
  double value = 0.0;
  bool is_integer = false;

  constexpr Number() = default;
  constexpr Number(int number) : value(number), is_integer(true) {}                           // NOLINT: converts
  constexpr Number(int64_t number) : value(static_cast<double>(number)), is_integer(true) {}  // NOLINT: converts
  constexpr Number(double number) : value(number) {}                                          // NOLINT: converts

  constexpr float real() const { return static_cast<float>(value); }
  constexpr bool operator==(const Number& other) const { return value == other.value; }
};

// One integer, or one per entry of a list: scale_axis=1, scale_axis=[1 2].
struct IntegerOrList {
  std::vector<int> values;
  bool is_list = false;

  IntegerOrList() = default;
  IntegerOrList(int value) : values{value} {}                                       // NOLINT: converts
  IntegerOrList(std::vector<int> list) : values(std::move(list)), is_list(true) {}  // NOLINT: converts
  bool operator==(const IntegerOrList&) const = default;
};

}  // namespace nibble::quant
