// nibble/search/sampler.h
// Chooses what to try next.
#pragma once

#include <optional>
#include <span>

#include "nibble/core/error.h"
#include "nibble/search/study.h"

namespace nibble::search {

// What propose() throws when it needs the scores of trials that still run: the worker asks again later.
class WaitForTrials : public Error {
 public:
  WaitForTrials() : Error("[sampler] the next trial depends on trials that still run.") {}
};

// A strategy. The proposal for trial k is a pure function of the sampler's seed, the space and
// the trials before k; so whichever worker asks, and however often, the same trial comes out.
class Sampler {
 public:
  virtual ~Sampler() = default;

  // Values for trial number `earlier.size()`, one of each parameter's candidates.
  //   earlier   trials 0 .. k-1 in the order of their numbers, in whatever state they are.
  //             A sampler that looks at scores must wait until those it needs are finished.
  //   returns   nothing when the space is exhausted
  //   throws    WaitForTrials
  virtual std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const = 0;
};

// Number of different assignments, saturating at 2^62.
int64_t size_of(const SearchSpace& space);

}  // namespace nibble::search
