// Keeps another sampler's proposals inside hard bounds that can be computed without running a trial.
//
// What is proposed outside is repaired: one parameter after the other, in an order drawn anew each time, gets
// the candidate that brings the assignment nearest to the bounds, until it is inside; of several that bring it inside
// one is drawn. So what the sampler wanted is kept as far as the bounds allow, and no trial outside is ever stored.
// Where repairs only find what was tried, the points around it are looked through; where they find nothing inside,
// those around the last trial that was.
#pragma once

#include <functional>
#include <memory>

#include "nibble/search/sampler.h"

namespace nibble::search {

// How far an assignment is outside of the bounds, in any unit that grows with the distance; <= 0 inside. The same
// assignment always gives the same number.
using Excess = std::function<double(const Assignment& values)>;

class ConstrainedSampler final : public Sampler {
 public:
  // Repairs tried for one trial, from different starts, before the points around what they found are looked through.
  static constexpr int kMostRepairs = 20;

  // Repairs draw from the Philox stream (seed, kSampler, layer 4, step k).
  //   inner   not null
  ConstrainedSampler(std::unique_ptr<Sampler> inner, Excess excess, uint64_t seed);

  std::optional<Assignment> propose(const SearchSpace& space, std::span<const Trial> earlier) const override;

 private:
  std::unique_ptr<Sampler> inner_;
  Excess excess_;
  uint64_t seed_;
};

// An assignment inside, or the one of least excess, that changes of one parameter at a time reach. It is the least of
// all where each parameter adds its own share, as with bits; else there may be a better one.
//   excess  may be infinite for what is no network
//   starts  at most so many are begun from, until one leads inside: the first candidates, the second ones, and so on,
//           then points drawn, the same each time
inline constexpr int kMostStarts = 12;
Assignment least_excess(const SearchSpace& space, const Excess& excess, int starts = kMostStarts);

}  // namespace nibble::search
