// nibble/cost/assumed_types.h
// Where a data-type map had to assume a type, because the model has no quantizer there. A float network's numbers are
// those of a network that does not exist; whoever prints them should say so.
#pragma once

#include <string>
#include <vector>

#include "nibble/cost/data_type_map.h"
#include "nibble/graph/model.h"

namespace nibble::cost {

// Names of layers, in the model's order.
struct AssumedTypes {
  std::vector<std::string> weights;      // one of its weights at least; counted as options.keras_quantizer
  std::vector<std::string> activations;  // activation layers; counted as options.keras_accumulator
};

// Nothing in reference mode, which looks at no quantizer.
AssumedTypes assumed_types(const graph::Model& model, const DataTypeOptions& options);

}  // namespace nibble::cost
