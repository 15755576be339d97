// nibble/graph/constraint.h
// What weights must obey after each update, and what they cost beside the loss: Keras' constraints and
// regularizers, and the constraint that QKeras gives a quantized weight by itself (spec/qkeras.md section 4).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::graph {

struct Constraint {
  enum class Kind { kNone, kClip, kMaxNorm, kNonNeg, kUnitNorm, kMinMaxNorm };
  Kind kind = Kind::kNone;
  double minimum = 0.0, maximum = 0.0;  // of values (kClip) or of norms
  double rate = 1.0;                    // kMinMaxNorm: how far a norm is moved
  std::vector<int64_t> axes = {};       // over which a norm is taken
  bool operator==(const Constraint&) const = default;
};

// The object or name in an attribute: Clip, MaxNorm, NonNeg, UnitNorm, MinMaxNorm ("max_norm", ...); None is kNone.
//   throws  Unsupported naming layer, attribute and what is known
Constraint constraint_of(const Layer& layer, const std::string& attribute);

// QKeras': +-max(1, quantizer.max()), symmetric even where no value is negative.
Constraint automatic_constraint(const quant::Quantizer& quantizer);

// Makes `values`, a tensor of `shape`, obey.
void apply_constraint(const Constraint& constraint, const Shape& shape, std::span<float> values);

// l1 * sum |w| + l2 * sum w^2
struct Regularizer {
  double l1 = 0.0, l2 = 0.0;
  bool is_none() const { return l1 == 0.0 && l2 == 0.0; }
  bool operator==(const Regularizer&) const = default;
};

// L1, L2, L1L2 ("l1", "l2", "l1_l2") with Keras' defaults of 0.01.
//   throws  Unsupported naming layer, attribute and what is known
Regularizer regularizer_of(const Layer& layer, const std::string& attribute);
// False where regularizer_of() throws, as for a class of somebody's own.
bool knows_regularizer(const Layer& layer, const std::string& attribute);

}  // namespace nibble::graph
