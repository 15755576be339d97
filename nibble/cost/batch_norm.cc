#include "nibble/cost/batch_norm.h"

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
  result.divide = divide(types.use_scale ? types.gamma : input, standard_deviation(types.variance), compat);
  if (types.use_scale) result.multiply = multiply(result.divide.output, input, compat);
  if (types.use_center) result.accumulate = add(result.output(), types.beta, compat);
  return result;
}

QuantizerType fused_accumulator(const FusedBatchNormTypes& types, Compat compat) {
  if (types.inverse.is_float() && compat == Compat::kNone)
    throw InvalidArgument("[fused_accumulator] the inverse is floating point; give it a quantizer.");
  QuantizerType offset = multiply(types.inverse, types.mean, compat).output;
  if (types.bias) offset = add(multiply(types.inverse, *types.bias, compat).output, offset, compat);
  if (types.beta) offset = add(offset, *types.beta, compat);
  return add(multiply(types.inverse, types.product, compat).output, offset, compat);
}

}  // namespace nibble::cost
