// nibble/cost/roofline.h
// Arithmetic and traffic of a network (QTools' roofline figures, spec/qtools.md section 8), and where they put it under
// the roof of a machine [Williams et al. 2009]:
//
//   intensity  = operations / bytes                        time >= max(operations / peak, bytes / bandwidth)
//   attainable = min(peak, intensity * bandwidth)          memory bound where intensity < ridge = peak / bandwidth
#pragma once

#include <cstdint>

#include "nibble/cost/data_type_map.h"

namespace nibble::cost {

struct Roofline {
  int64_t operations = 0;  // a multiplication and its addition are two
  int64_t ace = 0;         // sum of multiplications * input bits * weight bits (bit operations)
  // Of kernels, biases, the rows of a table that are read, and the parameters of batch normalizations (under
  // Compat::kQkeras*, of kernels and biases alone), each in whole bytes.
  int64_t weight_bytes = 0;
  // Outputs of layers with an activation in whole bytes (under Compat::kQkeras*, of QActivation layers alone), and the
  // model's inputs.
  double activation_bytes = 0;

  double bytes() const { return double(weight_bytes) + activation_bytes; }
  double intensity() const { return bytes() > 0 ? double(operations) / bytes() : 0; }  // operations a byte
  bool operator==(const Roofline&) const = default;
};

// Of the map's types, and of the same network in float32.
struct RooflinePair {
  Roofline quantized;
  Roofline float32;
};

RooflinePair roofline(const DataTypeMap& map);

// ---- the roof ------------------------------------------------------------------

struct Machine {
  double operations_per_s = 0;  // peak, a multiplication and an addition being two
  double bytes_per_s = 0;       // from the memory that weights and activations come from
};

struct RooflinePoint {
  double ridge = 0;                        // operations a byte at which the machine is busy with both
  double attainable_operations_per_s = 0;  // at best
  double least_s = 0;                      // of one inference
  bool is_memory_bound = false;
};

//   throws  InvalidArgument unless both rates are finite and above 0
RooflinePoint place(const Roofline& network, const Machine& machine);

}  // namespace nibble::cost
