// nibble/cost/merge.h
// Layers that combine several tensors element by element (spec/qtools.md section 5).
#pragma once

#include <span>
#include <string_view>

#include "nibble/cost/operator.h"

namespace nibble::cost {

bool is_merge(std::string_view class_name);  // Add, Subtract, Multiply, Maximum, Minimum, Average, Concatenate, Dot

//   inputs  at least one, in the layer's order
//   throws  Unsupported for Dot, which is not element by element (data_type_map() has its rule), and for Subtract under
//           Compat::kQkeras*; InvalidArgument for no inputs
Operator merge(std::string_view class_name, std::span<const QuantizerType> inputs, Compat compat = Compat::kNone);

}  // namespace nibble::cost
