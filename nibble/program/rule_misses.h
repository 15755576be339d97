// nibble/program/rule_misses.h
// How many sums a fixed-point rule rounds otherwise than the trained network: counted, over every integer that a
// layer's accumulators can be.
//
// Both programs' comparisons are step functions of the same integers, so that walking along both sets of steps tells
// exactly, without a sample. What comes of it depends on how often the data meets those sums: 'nibble verify' counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nibble/program/program.h"

namespace nibble::program {

struct RuleMisses {
  int operation = 0;  // the program's comparison
  std::string layer;
  uint64_t sums = 0;    // integers that accumulators can be, of all channels; one channel's where all have one function
  uint64_t missed = 0;  // of these, those with another code; both stop at the largest number
};

// Of every comparison that has a rule, in the program's order.
//   trained  lowered from the same model with the same options, but for `rounding`, which is null
//   throws   InvalidArgument if the two programs are not of one model
std::vector<RuleMisses> find_rule_misses(const Program& program, const Program& trained);

}  // namespace nibble::program
