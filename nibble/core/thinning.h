// nibble/core/thinning.h
// Looking at some of many values. Every n-th would see a few columns of a matrix, or channels of an image, only.
#pragma once

#include <cstdint>

namespace nibble {

// True for about one position in `part`, without a pattern and always the same ones: position 0 is among them, and
// those of twice the part are among those of the part.
//   part  a power of two
constexpr bool is_sampled(uint64_t position, uint64_t part) {
  // Multiplied by an odd number near 2^64 / golden ratio, neighbours lie far apart; the upper bits know all lower ones.
  constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
  uint64_t mixed = position * kSpread;
  mixed = (mixed ^ (mixed >> 32)) * kSpread;
  return ((mixed ^ (mixed >> 29)) >> 20 & (part - 1)) == 0;
}

// One position of each `part` that follow each other, without a pattern and always the same ones: for some of very many
// values, without counting through all of them.
//   run   positions [run * part, (run + 1) * part)
//   part  a power of two
constexpr uint64_t sampled_of_run(uint64_t run, uint64_t part) {
  constexpr uint64_t kSpread = 0x9E3779B97F4A7C15;
  uint64_t mixed = run * kSpread;
  mixed = (mixed ^ (mixed >> 32)) * kSpread;
  return run * part + ((mixed ^ (mixed >> 29)) >> 20 & (part - 1));
}

}  // namespace nibble
