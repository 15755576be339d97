// nibble/transform/ptq/equalize_layers.h
// Cross-layer equalization of a whole network [Nagel et al. 2019].
//
// Where a layer feeds another through nothing but positively homogeneous steps (ReLU, leaky ReLU, pooling, Flatten,
// Dropout), channel i of the first can be divided by s_i and the second's weights for it multiplied: the function
// stays, and with s = sqrt(r1 / r2) both have the same largest weight there. Chains are swept until nothing moves.
// Pairs across a branch are left alone. Run it after batch normalizations are folded.
// Source: spec/ptq-qat-experiments.md, 5.6.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::ptq {

struct EqualizablePair {
  std::string first, second;
  bool operator==(const EqualizablePair&) const = default;
};

// In the model's order.
std::vector<EqualizablePair> equalizable_pairs(const graph::Model& model);

struct Equalization {
  graph::Model model;
  std::vector<EqualizablePair> pairs;
  int sweeps = 0;  // over all pairs
  // What each output channel of the pairs' first layers was divided by, in all; by layer.
  std::map<std::string, std::vector<double>> divisors;
  double largest_factor = 1.0;  // of all channels of the first sweep, s or 1 / s: how uneven they were
};

//   throws  InvalidArgument if a weight is missing or not finite
Equalization equalize_layers(const graph::Model& model);

}  // namespace nibble::ptq
