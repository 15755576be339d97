// nibble/models/builtin.h
// Networks that can be named instead of given as a file: the four of the AutoQKeras tutorial, and the four of the
// PTQ and QAT experiments (quantization_dnns.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nibble/graph/model.h"

namespace nibble::models {

struct Builtin {
  std::string name;
  std::string description;  // one line
};

// In that order.
const std::vector<Builtin>& builtins();
std::vector<std::string> builtin_names();
bool is_builtin(std::string_view name);

// The network without weights; call graph::initialize_weights() next.
//   throws  InvalidArgument for an unknown name, with the nearest ones
graph::Model make_builtin(std::string_view name);

}  // namespace nibble::models
