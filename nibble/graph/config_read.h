// nibble/graph/config_read.h
// The two halves of from_config(): one layer's config, and the connections.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::graph {

// A layer without its connections.
//   entry   {"class_name", "config", ...}
//   throws  Unsupported for an unknown class or attribute, InvalidArgument for a wrong value
Layer layer_from_config(const nlohmann::json& entry);

// The producers of a layer, out of inbound_nodes of Keras 2 or Keras 3.
//   throws  Unsupported for a shared layer, a producer with several outputs, or call arguments
std::vector<std::string> producers(const nlohmann::json& inbound_nodes, const Layer& layer);

// Names in input_layers or output_layers: a list of [name, node, tensor], or one such triple.
std::vector<std::string> end_names(const nlohmann::json& triples, const char* key);

// [null, 28, 28, 1] without its batch axis, null as -1.
std::vector<int64_t> without_batch(const nlohmann::json& batch_shape, const Layer& layer);

// Moves layers behind those that feed them; keeps the order where it is right already.
//   throws  InvalidArgument if there is a cycle
void sort_layers(Model& model);

}  // namespace nibble::graph
