// nibble/cost/operator.h
// One arithmetic operator of a data path: how it is built, what it gives, what it costs.
#pragma once

#include <string_view>

#include "nibble/cost/quantizer_type.h"

namespace nibble::cost {

enum class Gate { kMul, kAdd, kShifter, kMux, kXor, kAnd };
std::string_view to_string(Gate gate);  // "mul", "add", ...; the rows of a process table

// Energy of one use = gate_factor * E[gate](gate_bits), E from the process table.
struct Operator {
  Gate gate = Gate::kMul;
  QuantizerType output;
  double gate_factor = 1;
  double gate_bits = 0;
};

}  // namespace nibble::cost
