#include "nibble/cost/bit_operations.h"

namespace nibble::cost {

Operations count_operations(const DataTypeMap& map) {
  Operations result;
  for (const LayerTypes& layer : map.layers) {
    LayerOperations own = {.name = layer.name, .class_name = layer.class_name};
    for (const Mac& mac : layer.macs) {
      own.multiplications += mac.operation_count;
      own.bit_operations += mac.operation_count * mac.input.bit_width * mac.weight.bit_width;
    }
    result.multiplications += own.multiplications;
    result.bit_operations += own.bit_operations;
    result.layers.push_back(std::move(own));
  }
  return result;
}

}  // namespace nibble::cost
