// nibble/program/fast/input_plan.h
// The input's quantizer as one multiplication, where that gives the same code for every float, and as thresholds.
#pragma once

#include <optional>
#include <vector>

#include "nibble/kernels/integer/float_codes.h"
#include "nibble/program/program.h"

namespace nibble::program {

struct InputPlan {
  bool is_line = false;      // `line` gives every code; otherwise it is a guess
  kernels::FloatCodes line;  // its format is left to the caller
  // Of code low + 1, low + 2, ...: the first float that has at least that code.
  std::vector<float> firsts;
};

// A line is checked at the first float of every code and at the one before it; between them both are constant. Null
// where the quantizer's grid depends on the data, or where some code belongs to no float.
std::optional<InputPlan> plan_input(const QuantizeInput& action, const Value& result);

}  // namespace nibble::program
