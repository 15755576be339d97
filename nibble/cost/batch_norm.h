// nibble/cost/batch_norm.h
// Operators inside batch normalization (spec/qtools.md section 6):
//
//   y = gamma / sqrt(variance) * x + beta'      (divide, multiply, add)
#pragma once

#include <optional>

#include "nibble/cost/operator.h"

namespace nibble::cost {

struct BatchNormTypes {
  QuantizerType gamma, beta, mean, variance;
  bool use_scale = true;   // gamma is there
  bool use_center = true;  // beta is there
};

struct BatchNormOperators {
  Operator divide;                          // gamma / sd, or x / sd without scale
  std::optional<Operator> multiply;         // with scale
  std::optional<QuantizerType> accumulate;  // with center
  const QuantizerType& output() const;      // of the last one
};

//   throws  InvalidArgument if the variance is ternary or binary
BatchNormOperators normalize(const BatchNormTypes& types, const QuantizerType& input, Compat compat = Compat::kNone);

// Conv followed by batch normalization in one accumulator:
//   inverse * product + ((inverse * bias) + (inverse * mean) + beta)
//   product  the conv's accumulator without bias
//   inverse  of the standard deviation, gamma included
struct FusedBatchNormTypes {
  QuantizerType product, inverse, mean;
  std::optional<QuantizerType> beta, bias;
};
//   throws  InvalidArgument for a floating-point inverse
QuantizerType fused_accumulator(const FusedBatchNormTypes& types, Compat compat = Compat::kNone);

}  // namespace nibble::cost
