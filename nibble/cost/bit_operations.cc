#include "nibble/cost/bit_operations.h"

#include "nibble/cost/saturated.h"

namespace nibble::cost {

Operations count_operations(const DataTypeMap& map) {
  Operations result;
  for (const LayerTypes& layer : map.layers) {
    LayerOperations own = {.name = layer.name, .class_name = layer.class_name};
    for (const Mac& mac : layer.macs) {
      own.multiplications = saturated_sum(own.multiplications, mac.operation_count);
      own.bit_operations =
          saturated_sum(own.bit_operations,
                        saturated_product(mac.operation_count, int64_t{mac.input.bit_width} * mac.weight.bit_width));
    }
    result.multiplications = saturated_sum(result.multiplications, own.multiplications);
    result.bit_operations = saturated_sum(result.bit_operations, own.bit_operations);
    result.layers.push_back(std::move(own));
  }
  return result;
}

}  // namespace nibble::cost
