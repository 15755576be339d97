// nibble/search/random_sampler.h
// Every parameter uniform and independent of the others; no assignment twice.
//
// Rules of the reference (spec/autoqkeras.md section 7): an assignment that an earlier trial has
// is drawn again, and more than kMaxCollisions such draws for one trial end the search.
#pragma once

#include "nibble/search/sampler.h"

namespace nibble::search {

class RandomSampler final : public Sampler {
 public:
  static constexpr int kMaxCollisions = 20;

  // Trial k draws from the Philox stream (seed, kSampler, layer 0, step k), one number a parameter.
  explicit RandomSampler(uint64_t seed) : seed_(seed) {}

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  uint64_t seed_;
};

}  // namespace nibble::search
