// Layers whose numbers of filters must agree, found from the graph: two branches that an Add joins, with whatever keeps
// the channels in between. Private to autoq/.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::autoq {

// Layer -> the first layer, in the model's order, of those that are tuned with it (itself where it is alone). Absent
// are layers whose filters cannot change: what they are joined with cannot (an input, a layer that is not tuned, a
// concatenation), or they give the model's output, whose size the data decide.
//   is_tuned  true for layers whose filters may change, as far as their own class and name go
std::map<std::string, std::string> filter_groups(const graph::Model& model,
                                                 const std::function<bool(const graph::Layer&)>& is_tuned);

}  // namespace nibble::autoq
