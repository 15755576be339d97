// nibble/cost/bit_operations.h
// Multiplications of weights and inputs, and their bit operations (BOPs):
//
//   bit operations = sum of multiplications * bits of the weight * bits of the input
//
// the measure by which papers on mixed precision compare networks; QTools' roofline calls it ACE. Products of two
// activations (merge layers, gates of an LSTM) are none of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/cost/data_type_map.h"

namespace nibble::cost {

struct LayerOperations {
  std::string name, class_name;
  int64_t multiplications = 0;  // per inference
  int64_t bit_operations = 0;
};

struct Operations {
  std::vector<LayerOperations> layers;  // all of the map's
  int64_t multiplications = 0;
  int64_t bit_operations = 0;
};

Operations count_operations(const DataTypeMap& map);

}  // namespace nibble::cost
