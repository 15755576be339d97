// tests/network_codes.h
// For tests of integer programs: their integers against those of the network that they were made from.
#pragma once

#include <cstddef>

#include "nibble/core/tensor.h"
#include "nibble/graph/model.h"
#include "nibble/program/program.h"

namespace nibble {

// Every integer of the program is the network's, for so many layers at least.
void expect_the_networks_codes(const program::Program& program, const graph::Model& model, const Tensor& x,
                               size_t least_compared);

}  // namespace nibble
