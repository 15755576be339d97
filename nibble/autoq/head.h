// One output of a network with several: what a search trains and scores. Private to autoq/.
#pragma once

#include <string>

#include "nibble/graph/model.h"

namespace nibble::autoq {

// The network of that output alone: layers and inputs that only serve others are left out.
//   throws  InvalidArgument with the model's outputs for a name that is none of them
graph::Model keep_head(graph::Model model, const std::string& head);

}  // namespace nibble::autoq
