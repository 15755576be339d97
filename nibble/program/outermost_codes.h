// nibble/program/outermost_codes.h
// The codes that a quantizer ends at, whatever it is given.
#pragma once

#include <optional>

#include "nibble/quant/affine/sum_quantizer.h"
#include "nibble/quant/quantizer.h"

namespace nibble::program {

// Of a grid of affine_grid.h its own; others are asked for inputs of -1e30 and 1e30, for 0 and for where they turn.
// Nothing where there are none: several scales, codes that are no integers times a scale, or a scale above 1e20, of
// which 1e30 is not enough for the outermost code.
//   throws  Unsupported by a quantizer whose value for one of these lies on no grid
std::optional<affine::CodeGrid> outermost_codes(const quant::Quantizer& quantizer);

}  // namespace nibble::program
