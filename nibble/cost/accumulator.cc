#include "nibble/cost/accumulator.h"

#include <algorithm>
#include <bit>
#include <cassert>

namespace nibble::cost {
namespace {

int ceil_log2(int64_t terms) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(terms - 1))); }

int float_sum_bits(const QuantizerType& a, const QuantizerType& b, Compat compat) {
  if (compat != Compat::kNone) return std::max(a.bit_width, b.bit_width);
  return std::max(a.is_float() ? a.bit_width : 0, b.is_float() ? b.bit_width : 0);
}

}  // namespace

QuantizerType accumulate(const QuantizerType& product, int64_t terms) {
  assert(terms >= 1 && "a sum has at least one term");
  if (product.is_float()) return float_type(product.bit_width);
  const QuantizerType fixed = as_fixed_point(product);
  const int64_t growth = ceil_log2(terms);
  return fixed_point_type(fixed.bit_width + growth, fixed.int_bits + growth, product.is_signed);
}

QuantizerType add(const QuantizerType& a, const QuantizerType& b, Compat compat) {
  if (a.is_float() || b.is_float()) return float_type(float_sum_bits(a, b, compat));
  const bool is_forgotten = compat != Compat::kNone && a.is_po2() && b.mode == TypeMode::kBinary01;
  const QuantizerType left = is_forgotten ? a : as_fixed_point(a);
  const QuantizerType right = as_fixed_point(b);
  const int64_t int_bits = int64_t{std::max(left.int_bits, right.int_bits)} + 1;
  const int64_t fractional_bits = std::max(left.fractional_bits(), right.fractional_bits());
  const bool is_signed = left.is_signed || right.is_signed;
  return fixed_point_type(int_bits + fractional_bits + (is_signed ? 1 : 0), int_bits, is_signed);
}

QuantizerType accumulate_with_bias(const QuantizerType& product, int64_t terms,
                                   const std::optional<QuantizerType>& bias, Compat compat) {
  const QuantizerType sum = accumulate(product, terms);
  return bias ? add(sum, *bias, compat) : sum;
}

}  // namespace nibble::cost
