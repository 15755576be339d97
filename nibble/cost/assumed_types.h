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
  std::vector<std::string> weights;  // one of its weights at least; counted as options.keras_quantizer
  // Activation layers, and layers without a quantizer that have an activation inside; counted as
  // options.keras_accumulator.
  std::vector<std::string> activations;
};

// True for what hands out values of a function (relu, softmax, ...) that nothing quantizes: a plain activation layer,
// or a plain layer with an activation inside. Q layers hand on a type of their own; affine quantizers count as they do
// for the data-type map.
bool has_plain_activation(const graph::Layer& layer, Compat compat = Compat::kNone);

// Nothing in reference mode, which looks at no quantizer.
AssumedTypes assumed_types(const graph::Model& model, const DataTypeOptions& options);

}  // namespace nibble::cost
