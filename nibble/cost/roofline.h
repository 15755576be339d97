// nibble/cost/roofline.h
// Arithmetic and traffic of a network as QTools' roofline figures.
#pragma once

#include <cstdint>

#include "nibble/cost/data_type_map.h"

namespace nibble::cost {

struct Roofline {
  int64_t ace = 0;              // sum of operations * input bits * weight bits (bit operations)
  int64_t weight_bytes = 0;     // kernels and biases
  double activation_bytes = 0;  // outputs of QActivation layers in whole bytes, and the model's inputs
  bool operator==(const Roofline&) const = default;
};

// Of the map's types, and of the same network in float32.
struct RooflinePair {
  Roofline quantized;
  Roofline float32;
};

RooflinePair roofline(const DataTypeMap& map);

}  // namespace nibble::cost
