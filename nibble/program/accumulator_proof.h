// nibble/program/accumulator_proof.h
// How wide an accumulator has to be, proven by interval arithmetic with the actual weights.
#pragma once

#include "nibble/program/program.h"

namespace nibble::program {

// The interval of each output channel of `a`, given those of its inputs (one, or one a channel):
//   sum over the terms of [min(w * low, w * high), max(w * low, w * high)] + bias
// Each bound is reached: by the input that is low where the weight is negative and high where it is positive, or the
// other way round. A term that the border may leave out counts 0 too. Inputs have kNarrowBits at most; sums beyond 64
// bits stay at the ends of int64_t, so that a.accumulator_bits() is 64.
//
// Fills in a.partial_sums, which every sum of some of the terms lies in, whatever their order, and
// a.is_exact_in_float.
std::vector<Interval> prove_accumulator(Accumulate& a, const std::vector<Interval>& inputs);

}  // namespace nibble::program
