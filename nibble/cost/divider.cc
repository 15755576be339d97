#include "nibble/cost/divider.h"

#include <algorithm>
#include <utility>

#include "nibble/core/error.h"
#include "nibble/cost/multiplier.h"

namespace nibble::cost {
namespace {

using enum TypeMode;

Operator divide_float(const QuantizerType& n, const QuantizerType& d) {
  int bits = std::max(n.is_float() ? n.bit_width : 0, d.is_float() ? d.bit_width : 0);
  if (bits == 0) bits = 32;  // fixed / fixed: the quotient has no finite fixed-point form
  return {Gate::kMul, float_type(bits), 1, double(bits)};
}

// 2^a / 2^b: exponents subtract, so the result has a sign of its own.
Operator subtract_exponents(const QuantizerType& n, const QuantizerType& d) {
  const bool is_capped = n.max_value != -1 && d.max_value != -1;
  QuantizerType output =
      po2_type(std::max(n.bit_width, d.bit_width) + 1, true, is_capped ? n.max_value / d.max_value : -1);
  output.int_bits = std::max(n.int_bits, d.int_bits) + 1;
  return {Gate::kAdd, output, 1, double(output.bit_width)};
}

}  // namespace

Operator divide(const QuantizerType& numerator, const QuantizerType& denominator, Compat compat) {
  const bool is_accepted =
      denominator.mode == kFixedPoint || denominator.mode == kPowerOfTwo || denominator.mode == kFloat;
  if (!is_accepted)
    throw InvalidArgument(
        "[divide] {} is not accepted as a denominator. Give the variance a fixed-point, power-of-two or "
        "floating-point quantizer.",
        denominator.name);
  if (!denominator.is_po2() || numerator.is_float()) return divide_float(numerator, denominator);
  if (numerator.is_po2()) return subtract_exponents(numerator, denominator);
  ShiftRange range = shift_range(denominator);
  std::swap(range.left, range.right);  // dividing by 2^k shifts the other way
  Operator result = shift(numerator, denominator, range);
  const bool is_binary = numerator.mode == kBinary || numerator.mode == kBinary01;
  if (is_binary && compat != Compat::kNone) {  // the reference leaves its po2 prototype's labels on
    result.output.name = "quantized_po2";
    result.output.mode = kPowerOfTwo;
  }
  return result;
}

}  // namespace nibble::cost
