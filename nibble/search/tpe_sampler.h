// Tree-structured Parzen estimator for choices.
//
//   value of a point = sum over parameters of log l(choice) - log g(choice)
//
// l and g are how often the best trials and the others made a choice, smoothed by one uniform trial
// [Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization", section 4]. The best are
// ceil(10 %) of the trials, at most 25. Of kCandidates points drawn from l the one of highest value is proposed.
#pragma once

#include "nibble/search/sampler.h"

namespace nibble::search {

class TpeSampler final : public Sampler {
 public:
  static constexpr int kStartup = 10;  // finished trials before which proposals are uniform
  static constexpr int kCandidates = 24;

  // Trial k draws from the Philox stream (seed, kSampler, layer 1, step k).
  explicit TpeSampler(uint64_t seed) : seed_(seed) {}

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  uint64_t seed_;
};

}  // namespace nibble::search
