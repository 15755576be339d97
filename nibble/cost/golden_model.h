// nibble/cost/golden_model.h
// Networks as the recorded rows of golden/qtools describe them. For tests.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "nibble/cost/data_type_map.h"
#include "nibble/graph/model.h"

namespace nibble::cost::testing {

//   description  {"inputs", "outputs", "layers": [{"name", "class", "inputs", ...}]}
// Fails the running test where graph::infer_shapes disagrees with the description.
graph::Model golden_model(const nlohmann::json& description);

// {"source", "keras_quantizer", "keras_accumulator", "for_reference"} of a row.
DataTypeOptions golden_options(const nlohmann::json& row, Compat compat);

// True if both say the same; true/1 and 1/1.0 are equal, floats to 1e-9.
bool same_json(const nlohmann::json& actual, const nlohmann::json& expected);

// [name, mode, bits, int_bits, is_signed, is_floating_point, is_po2, max_val_po2]
nlohmann::json record_of(const QuantizerType& type);

// A map's "internals": the records and operators behind its report.
nlohmann::json internals_of(const DataTypeMap& map);

}  // namespace nibble::cost::testing
