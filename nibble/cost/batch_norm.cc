#include "nibble/cost/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "nibble/core/error.h"
#include "nibble/cost/accumulator.h"
#include "nibble/cost/divider.h"
#include "nibble/cost/multiplier.h"

namespace nibble::cost {
namespace {

// sqrt of a power of two halves the exponent: a bit less.
QuantizerType standard_deviation(const QuantizerType& variance) {
  QuantizerType result = variance;
  if (!variance.is_po2()) return result;
  result.bit_width -= 1;
  result.int_bits = result.bit_width;
  // Ties to even, as Python's round().
  if (result.max_value >= 0) result.max_value = std::nearbyint(std::sqrt(result.max_value));
  return result;
}

}  // namespace

const QuantizerType& BatchNormOperators::output() const {
  if (accumulate) return *accumulate;
  return multiply ? multiply->output : divide.output;
}

BatchNormOperators normalize(const BatchNormTypes& types, const QuantizerType& input, Compat compat) {
  BatchNormOperators result;
  const QuantizerType deviation = standard_deviation(types.variance);
  result.divide = divide(types.use_scale ? types.gamma : input, deviation, compat);
  // The reference takes every quotient of two known values for one of its own.
  const bool are_known = types.use_scale && types.gamma.value_count > 0 && deviation.value_count > 0;
  if (are_known && compat != Compat::kNone) {
    const int64_t quotients = int64_t{types.gamma.value_count} * deviation.value_count;
    result.divide.output.value_count = static_cast<int>(std::min<int64_t>(quotients, kWidestBits));
  }
  if (types.use_scale) result.multiply = multiply(result.divide.output, input, compat);
  if (types.use_center) result.accumulate = add(result.output(), types.beta, compat);
  return result;
}

QuantizerType fused_accumulator(const FusedBatchNormTypes& types, Compat compat) {
  if (types.inverse.is_float())
    throw InvalidArgument("[fused_accumulator] the inverse is floating point; give it a quantizer.");
  QuantizerType offset = multiply(types.inverse, types.mean, compat).output;
  if (types.bias) offset = add(multiply(types.inverse, *types.bias, compat).output, offset, compat);
  if (types.beta) offset = add(offset, *types.beta, compat);
  return add(multiply(types.inverse, types.product, compat).output, offset, compat);
}

}  // namespace nibble::cost
