// nibble/program/fast/input_plan.h
// The input's quantizer as one multiplication, where that gives the same code for every float.
#pragma once

#include <optional>

#include "nibble/kernels/integer/float_codes.h"
#include "nibble/program/program.h"

namespace nibble::program {

// Checked at the first float of every code and at the one before it; between them both are constant. Null where the
// quantizer's grid depends on the data, or where no such line is found. `format` is left to the caller.
std::optional<kernels::FloatCodes> plan_input(const QuantizeInput& action, const Value& result);

}  // namespace nibble::program
