// Layers whose numbers of filters must agree, found from the graph: two branches that an Add joins, with whatever keeps
// the channels in between; and those whose number must stay. Private to autoq/.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "nibble/graph/model.h"

namespace nibble::autoq {

// Layer -> the first layer, in the model's order, of those that are tuned with it (itself where it is alone). Absent
// are layers whose filters cannot change:
//   - the model's output would change with them, whose size the data decide;
//   - they are a convolution of several groups, or what one reads: both numbers have to be multiples of the groups;
//   - what they are joined with cannot change: an input, a layer that is not tuned;
//   - they are joined by way of a tensor whose size is derived: of a sum, a concatenation joined with one layer; of a
//     product, what a Flatten makes of an image; or they go through a Reshape to a size that is written down.
//   model     whose shapes fit
//   is_tuned  true for layers whose filters may change, as far as their own class and name go. A Reshape for which it
//             is true has its last extent scaled with all that it is made of
std::map<std::string, std::string> filter_groups(const graph::Model& model,
                                                 const std::function<bool(const graph::Layer&)>& is_tuned);

}  // namespace nibble::autoq
