// nibble/cli/affine_table.h
// What is quantized affinely in a model (graph/layer_quantization.h), point by point, for people and as JSON.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <ostream>

#include "nibble/graph/model.h"

namespace nibble::cli {

bool has_affine_points(const graph::Model& model);

// False, and nothing printed, where the model has no such quantizers.
bool print_affine_points(const graph::Model& model, std::ostream& out);

// A list, one object a point; scales, zero points and the lowest and highest values only where they were found.
nlohmann::json affine_points_json(const graph::Model& model);

}  // namespace nibble::cli
